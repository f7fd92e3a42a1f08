"""Opening the runs under what a person permits: a task when she is there or vouched for it, a child for a sub-agent.

1. who says that it may begin now, 2. narrowed under the delegation, or the parent and the sub-agent's ceiling,
3. recorded with its audit line in one transaction.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.delegations import store
from valetkey.server.delegations.checks import DAY_SECONDS, check_purpose, under_ceiling
from valetkey.server.delegations.grants import grant_text
from valetkey.server.delegations.model import Catalogue, Delegation, Grant, Mode, Task, narrowed
from valetkey.server.errors import ConsentRequired, Denied, InvalidRequest, TooMany
from valetkey.server.ids import new_handle, new_id
from valetkey.server.principals.model import Agent, User
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.vault.mac import Mac

EVIDENCE_SECONDS: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Evidence that a client redeems: the person's own answer in a browser, on a device, or to a backchannel request.

    Whoever makes one has to spend the answer in the same transaction, by `also` of `root`.
    """

    way: Literal["code", "device", "backchannel", "id_jag"]
    user: str


class OpenTask:
    """The verbs that create tasks and child tasks."""

    def __init__(self, journal: Journal, mac: Mac, clock: Clock, settings: Settings, catalogue: Catalogue) -> None:
        self._journal = journal
        self._mac = mac
        self._clock = clock
        self._settings = settings
        self._catalogue = catalogue

    async def evidence(self, delegation: Delegation, *, by: User) -> Secret:
        """A single-use proof, good for ten minutes, that the user herself wants a task opened now."""
        if by.id != delegation.user:
            raise Denied("Only the person whose delegation it is can vouch for a task.", reason="not_yours")
        handle = new_handle("ev")
        async with self._journal.change() as change:
            await store.add_evidence(
                change.tx,
                self._mac.mac("evidence", "ev", handle),
                delegation=delegation.id,
                user=by.id,
                expires_at=int(self._clock.now()) + EVIDENCE_SECONDS,
            )
            change.record(Event.EVIDENCE_ISSUED, delegation.org, delegation=delegation.id, user=by.id)
        return handle

    async def root(
        self,
        delegation: Delegation,
        *,
        present: User | None,
        evidence: Secret | None,
        asked: Sequence[Grant],
        seconds: int,
        purpose: str,
        answered: Answered | None = None,
        also: Callable[[Change, Task], Awaitable[None]] | None = None,
    ) -> Task:
        """Open a root task. `present` is the user when her own credential asks; an agent brings `evidence` instead.

        `answered` is an answer of hers that is redeemed; `also` runs in the same transaction, and may refuse.
        """
        now = int(self._clock.now())
        drawn = self._drawn(delegation, asked=asked, seconds=seconds, purpose=purpose, now=now)
        async with self._journal.change() as change:
            if answered is not None:
                proof = _redeemed(delegation, answered, also)
            else:
                proof = await self._proof(change.tx, delegation, present, evidence, now)
            task = replace(drawn, evidence=proof)
            await store.add_tasks(change.tx, [task])
            change.record(Event.TASK_OPENED, task.org, **_members(task, delegation))
            if also is not None:
                await also(change, task)
        return task

    def answered(self, delegation: Delegation, answer: Answered, *, seconds: int) -> tuple[Task, Entry]:
        """The task an answer of hers is worth, and the record of its opening.

        Whoever calls this writes both, and spends the answer, in one transaction (`store.add_tasks`).
        """
        now = int(self._clock.now())
        drawn = self._drawn(delegation, asked=(), seconds=seconds, purpose="", now=now)
        task = replace(drawn, evidence=_redeemed(delegation, answer, spends=answer))
        return task, Entry(event=Event.TASK_OPENED, org=task.org, members=_members(task, delegation))

    def _drawn(self, delegation: Delegation, *, asked: Sequence[Grant], seconds: int, purpose: str, now: int) -> Task:
        """A root task of which only the evidence is missing."""
        self._check_task_seconds(seconds)
        if purpose:
            check_purpose(purpose)
        task_id = new_id("tsk")
        return Task(
            id=task_id,
            org=delegation.org,
            delegation=delegation.id,
            agent=delegation.agent,
            parent=None,
            root=task_id,
            depth=0,
            grants=narrowed(delegation.lines, asked or delegation.lines, self._catalogue),
            purpose=purpose.strip() or delegation.purpose,
            evidence="",
            created_at=now,
            expires_at=min(now + seconds, delegation.expires_at),
        )

    async def child(
        self,
        parent: Task,
        delegation: Delegation,
        sub_agent: Agent,
        *,
        asked: Sequence[Grant],
        seconds: int,
        received: str = "",
    ) -> Task:
        """Open a task for a sub-agent: narrower, never longer, never deeper than allowed, only whom the user named.

        `received` is the id of the token that was handed over for it: the child ends with that token.
        """
        if sub_agent.id not in delegation.share_with:
            raise Denied(
                f"{sub_agent.name} may not receive part of this delegation.",
                hint="The user names who may receive part of it when delegating (--share-with).",
                reason="not_shared",
            )
        if sub_agent.id == parent.agent:
            raise Denied("An agent does not pass a task on to itself.", reason="not_shared")
        self._check_task_seconds(seconds)
        if parent.depth + 1 > self._settings.max_depth:
            raise Denied("The chain of sub-agents is as deep as allowed.", reason="too_deep")
        grants = narrowed(parent.grants, asked, self._catalogue)
        under_ceiling(sub_agent, grants, self._catalogue)
        now = int(self._clock.now())
        child = Task(
            id=new_id("tsk"),
            org=parent.org,
            delegation=parent.delegation,
            agent=sub_agent.id,
            parent=parent.id,
            root=parent.root,
            depth=parent.depth + 1,
            grants=grants,
            purpose=parent.purpose,
            evidence=received or "parent",
            created_at=now,
            expires_at=min(now + seconds, parent.expires_at),
        )
        async with self._journal.change() as change:
            await store.add_tasks(change.tx, [child])
            change.record(Event.TASK_OPENED, child.org, **_members(child, delegation))
        return child

    async def _proof(
        self, tx: AsyncConnection, d: Delegation, present: User | None, evidence: Secret | None, now: int
    ) -> str:
        if present is not None:
            if present.id != d.user:
                raise ConsentRequired(detail="a user who is not the delegation's")
            return "credential"
        if evidence is not None:
            user = await store.use_evidence(tx, self._mac.mac("evidence", "ev", evidence), delegation=d.id, now=now)
            if user != d.user:
                raise ConsentRequired("This evidence is not valid, was used, or has expired.")
            return "evidence"
        if d.mode is not Mode.STANDING:
            raise ConsentRequired("An attended delegation opens a task only when its user is there.")
        if await store.unattended_tasks_since(tx, d.id, now - DAY_SECONDS) >= d.tasks_per_day:
            raise TooMany("This standing delegation opened all the tasks it may in a day.", retry_after=3600)
        return "standing"

    def _check_task_seconds(self, seconds: int) -> None:
        if not 1 <= seconds <= self._settings.task_max_seconds:
            raise InvalidRequest(f"A task lasts between 1 and {self._settings.task_max_seconds} seconds.")


def _redeemed(delegation: Delegation, answered: Answered, spends: object) -> str:
    if answered.user != delegation.user or spends is None:
        raise ConsentRequired(detail="an answer that is not the user's, or that nothing spends")
    return answered.way


def _members(task: Task, delegation: Delegation) -> dict[str, Any]:
    members: dict[str, Any] = {
        "task": task.id,
        "delegation": task.delegation,
        "user": delegation.user,
        "agent": task.agent,
        "root": task.root,
        "depth": task.depth,
        "evidence": task.evidence,
        "grants": [grant_text(g) for g in task.grants],
        "expires_at": task.expires_at,
    }
    if task.parent is not None:
        members["parent"] = task.parent
    return members
