"""What a policy would have decided of a recorded call, as far as the record tells. Pure.

A record does not hold everything a rule may look at. What it does not hold is tried both ways: where the two disagree,
the call cannot be decided from what was recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from valetkey.server.delegations.model import Catalogue
from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.policy.cedar import clauses_of
from valetkey.server.policy.history import NOTHING_YET
from valetkey.server.policy.layer import Asked, Layer
from valetkey.server.policy.model import Reason
from valetkey.server.policy.reading import read_policy
from valetkey.server.policy.rules import Effect, Rule

EVENTS: Final = frozenset({"call.allowed", "call.denied", "call.held"})
_OF_RULES: Final = frozenset({Reason.POLICY.value, Reason.POLICY_SILENT.value, Reason.ASKS.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One recorded call. `now` is None where the record does not tell enough; `is_about_rules` is false where no rule
    had a say, because the call was refused before."""

    was: Effect
    now: Effect | None
    rules: tuple[str, ...] = ()
    is_about_rules: bool = True

    @property
    def has_changed(self) -> bool:
        return self.is_about_rules and self.now is not None and self.now is not self.was


class Replay:
    """One policy over many records. `names` are the agents' names and the users' addresses by their ids."""

    def __init__(self, text: str, catalogue: Catalogue, names: Mapping[str, str]) -> None:
        written = read_policy(text, catalogue)
        self._catalogue = catalogue
        self._names = names
        self._is_open = bool(written.cedar.strip())
        self._layers = tuple(
            Layer(
                id="",
                clauses=clauses_of([rule for one in written.rules if (rule := assumed(one))], written.cedar),
                observes_silence=written.observes_silence,
            )
            for assumed in (_as_if_it_held, _as_if_it_did_not)
        )

    def of(self, event: str, members: Mapping[str, Any], time: float) -> Replayed:
        """What would be decided of that recorded call now."""
        was = {"call.allowed": Effect.ALLOW, "call.held": Effect.ASK}.get(event, Effect.DENY)
        reason = members.get("reason", "")
        if reason == Reason.ASKS.value:
            was = Effect.ASK
        if event == "call.denied" and reason not in _OF_RULES:
            return Replayed(was=was, now=was, is_about_rules=False)
        both = [self._judged(layer, members, time) for layer in self._layers]
        verdicts = {effect for effect, _ in both}
        if None in verdicts or len(verdicts) != 1:
            return Replayed(was=was, now=None)
        effect, rules = both[0]
        return Replayed(was=was, now=effect, rules=rules)

    def _judged(self, layer: Layer, members: Mapping[str, Any], time: float) -> tuple[Effect | None, tuple[str, ...]]:
        """The strictest over all the call did and every agent of its chain; None where the record does not tell."""
        worst, said = Effect.ALLOW, tuple[str, ...]()
        integration = self._catalogue.get(str(members.get("integration", "")))
        chain = [self._names.get(agent) for agent in members.get("chain", ())]
        user = self._names.get(str(members.get("user", "")))
        # NOTE: text written in Cedar may look at anything, and at more than is recorded.
        if integration is None or user is None or not chain or None in chain or self._is_open:
            return None, ()
        for part in (members, *members.get("also", ())):
            operation = integration.operations.get(str(part.get("operation", "")))
            if operation is None:
                return None, ()
            fields = part.get("parameters", {})
            actual = None
            if part.get("resource_id"):
                actual = ResourceFacts(operation.resource_kind, name=part["resource"], id=part["resource_id"])
            for agent in chain:
                verdict = layer.judge(
                    Asked(
                        agent=str(agent),
                        user=user,
                        integration=integration,
                        operation=operation,
                        scopes_needed=frozenset(g.scope for g in operation.guards if g.applies(fields)),
                        actual=actual,
                        resource=str(part.get("resource", "")),
                        parameters=fields,
                        history=NOTHING_YET,
                        now=time,
                    )
                )
                if _STRICTNESS.index(verdict.effect) >= _STRICTNESS.index(worst):
                    worst, said = verdict.effect, verdict.rules
        return worst, said


_STRICTNESS: Final[Sequence[Effect]] = (Effect.ALLOW, Effect.ASK, Effect.DENY)


def _is_untold(rule: Rule) -> bool:
    """Whether it looks at something no record holds: what was done before, or who could read a place or named it."""
    return rule.is_about_history or any(one is not None for one in (rule.public, rule.leaves, rule.named))


def _as_if_it_held(rule: Rule) -> Rule | None:
    if not _is_untold(rule):
        return rule
    told = tuple(c for c in rule.conditions if c not in _about_history(rule))
    return replace(rule, conditions=told, public=None, leaves=None, named=None)


def _as_if_it_did_not(rule: Rule) -> Rule | None:
    return None if _is_untold(rule) else rule


def _about_history(rule: Rule) -> tuple[object, ...]:
    return tuple(c for c in rule.conditions if replace(rule, conditions=(c,)).is_about_history)


def told(members: Mapping[str, Any]) -> str:
    """A recorded call in a few words.

    >>> told({"operation": "issues/create", "resource": "acme/x"})
    'issues/create on acme/x'
    """
    place = members.get("resource") or "the account"
    return f"{members.get('operation', 'something')} on {place}"
