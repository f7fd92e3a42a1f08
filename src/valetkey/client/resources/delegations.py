"""Delegations, tasks, tokens, leases, and their end."""

from collections.abc import Sequence

from valetkey.client import answers
from valetkey.client.protocol import at, get, post
from valetkey.client.resources.group import Group


class Delegations(Group):
    def create(
        self,
        *,
        agent: str,
        grants: Sequence[str],
        seconds: int,
        purpose: str = "",
        user: str | None = None,
        standing: bool = False,
        tasks_per_day: int | None = None,
        share_with: Sequence[str] = (),
        max_calls: int | None = None,
        max_writes: int | None = None,
        max_bytes: int | None = None,
        max_calls_per_resource: int | None = None,
        max_writes_per_resource: int | None = None,
        max_bytes_per_resource: int | None = None,
        ask: Sequence[str] = (),
    ) -> answers.Delegation:
        """Record that the agent may act for the signed-in user (or, for administrators, for `user`).

        `ask` are further lines, each of whose calls waits for her approval.
        """
        request = post(
            "/v1/delegations",
            agent=agent,
            user=user,
            grants=list(grants),
            seconds=seconds,
            purpose=purpose,
            mode="standing" if standing else "attended",
            tasks_per_day=tasks_per_day,
            share_with=list(share_with) or None,
            max_calls=max_calls,
            max_writes=max_writes,
            max_bytes=max_bytes,
            max_calls_per_resource=max_calls_per_resource,
            max_writes_per_resource=max_writes_per_resource,
            max_bytes_per_resource=max_bytes_per_resource,
            ask=list(ask) or None,
        )
        delegation: answers.Delegation = self._call(request)
        return delegation

    def list(self) -> list[answers.Delegation]:
        return self._listed("/v1/delegations")

    def get(self, delegation: str) -> answers.Delegation:
        found: answers.Delegation = self._call(get(at("delegations", delegation)))
        return found

    def evidence(self, delegation: str) -> answers.Evidence:
        """A single-use proof that the user is there, with which the agent may open one task."""
        evidence: answers.Evidence = self._call(post(at("delegations", delegation, "evidence")))
        return evidence


class Tasks(Group):
    def create(
        self,
        delegation: str,
        *,
        grants: Sequence[str] = (),
        seconds: int | None = None,
        purpose: str | None = None,
        evidence: str | None = None,
    ) -> answers.Task:
        """Open a task; `task_token` in the answer is for the delegation's agent only."""
        body = {"grants": list(grants) or None, "seconds": seconds, "purpose": purpose, "evidence": evidence}
        task: answers.Task = self._call(post("/v1/tasks", delegation=delegation, **body))
        return task

    def list(self) -> list[answers.Task]:
        return self._listed("/v1/tasks")

    def create_child(self, task: str, *, agent: str, grants: Sequence[str], seconds: int | None = None) -> answers.Task:
        """As the task's agent: a narrower task for a sub-agent."""
        body = {"agent": agent, "grants": list(grants), "seconds": seconds}
        child: answers.Task = self._call(post(at("tasks", task, "children"), **body))
        return child


class Tokens(Group):
    def create(
        self,
        task_token: str,
        *,
        target: str,
        scope: str | None = None,
        grants: Sequence[str] = (),
        seconds: int | None = None,
    ) -> answers.Token:
        """As the agent: a delegated credential for one API, named by its audience or its address at the gateway."""
        body = {"target": target, "scope": scope, "grants": list(grants) or None, "seconds": seconds}
        token: answers.Token = self._call(post("/v1/tokens", task_token=task_token, **body))
        return token

    def explain(self, token: str) -> answers.Explanation:
        explanation: answers.Explanation = self._call(post("/v1/tokens/explain", token=token))
        return explanation


class Leases(Group):
    def create(
        self, task_token: str, *, target: str, scope: str | None = None, grants: Sequence[str] = ()
    ) -> answers.Lent:
        """As the agent: a real credential that the API narrows itself. It is taken back when the task ends."""
        body = {"target": target, "scope": scope, "grants": list(grants) or None}
        lent: answers.Lent = self._call(post("/v1/leases", task_token=task_token, **body))
        return lent

    def list(self) -> list[answers.Lease]:
        return self._listed("/v1/leases")


class Revocations(Group):
    def create(self, node: str, *, reason: str | None = None) -> answers.Revocation:
        """End anything by its id, with everything under it."""
        report: answers.Revocation = self._call(post("/v1/revocations", node=node, reason=reason))
        return report
