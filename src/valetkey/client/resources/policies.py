"""The organization's rules."""

from collections.abc import Iterator

from valetkey.client import answers
from valetkey.client.protocol import at, get, post
from valetkey.client.resources.group import Group


class Policies(Group):
    def apply(self, text: str, *, after: int, why: str = "") -> answers.Policy:
        """Put a policy in force that was made from version number `after`; 0 where there was none."""
        applied: answers.Policy = self._call(post("/v1/policies", text=text, after=after, why=why))
        return applied

    def check(self, text: str) -> answers.CheckedPolicy:
        """Whether that could be applied."""
        checked: answers.CheckedPolicy = self._call(post("/v1/policies/check", text=text))
        return checked

    def list(self) -> list[answers.Policy]:
        return self._listed("/v1/policies")

    def get(self, policy: str) -> answers.Policy:
        """A version with its text, by id or by number."""
        found: answers.Policy = self._call(get(at("policies", policy)))
        return found

    def ready(self) -> answers.ReadyRules:
        """The ready rules, and whether they are off, observed or enforced."""
        found: answers.ReadyRules = self._call(get("/v1/policies/ready"))
        return found

    def choose_ready(self, mode: str, *, why: str = "") -> answers.ReadyRules:
        """Turn the ready rules off, observe them, or enforce them."""
        chosen: answers.ReadyRules = self._call(post("/v1/policies/ready", mode=mode, why=why))
        return chosen

    def explain(self, decision: str) -> answers.ExplainedDecision:
        """Why a recorded call was decided as it was."""
        said: answers.ExplainedDecision = self._call(get(at("decisions", decision)))
        return said

    def foresee(
        self, *, task: str, integration: str, method: str, path: str, body: str = "", content_type: str = ""
    ) -> answers.ForeseenDecision:
        """What would be decided of a call that was not made, under a task that acts for you."""
        call = {"task": task, "integration": integration, "method": method, "path": path}
        said: answers.ForeseenDecision = self._call(
            post("/v1/decisions/foresee", **call, body=body, content_type=content_type)
        )
        return said

    def replay(self, text: str, *, seconds: int) -> Iterator[bytes]:
        """What that policy would have decided of the recorded calls of so long; lines of JSON as they are found."""
        return self._stream(post("/v1/policies/replay", text=text, seconds=seconds))
