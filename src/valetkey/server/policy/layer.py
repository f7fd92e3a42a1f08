"""One layer of rules over calls: the organization's policy, or a user's own rules. Compiled once; judges without I/O.

Rules are sliced by agent and API when they are first needed, so that what is about others costs nothing. What a slice
says of a call is remembered under every input it depends on: conditions (labels, counters, parameters, hours) are
evaluated on every call, and only their answers are part of that key. An error is never remembered and is a deny.
"""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import cedarpy

from valetkey.server.integrations.model import Integration, Operation, ResourceFacts
from valetkey.server.policy.acting import acts_on
from valetkey.server.policy.cedar import Clause, cedar_text, handle_of
from valetkey.server.policy.history import Counter, History
from valetkey.server.policy.leaving import leaves
from valetkey.server.policy.rules import (
    WORDS_OF_ACTIONS,
    Condition,
    Counted,
    Effect,
    Hours,
    Labelled,
    Situation,
    Span,
    folded,
    groups,
)

_REMEMBERED: Final = 8_192
_OF_A_SPAN: Final = (Counted, Labelled)
SILENCE: Final = "silence"
"""What a verdict of no rule at all is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a layer is asked: everything it may depend on."""

    agent: str
    user: str
    integration: Integration
    operation: Operation
    scopes_needed: frozenset[str]
    actual: ResourceFacts | None
    resource: str
    parameters: Mapping[str, str]
    history: History
    now: float
    named: bool = True  # whether the delegation or the task names the place, and does not just cover it with `*`

    @property
    def leaves(self) -> bool:
        """Whether what it carries may come to people outside the organization."""
        return leaves(self.operation, self.scopes_needed, self.actual)

    @property
    def public(self) -> bool:
        """Whether anybody may read what is there. What the API does not say counts as public."""
        return getattr(self.actual, "public", None) is not False

    @property
    def situation(self) -> Situation:
        return Situation(
            history=self.history,
            parameters=self.parameters,
            where="" if self.actual is None else self.actual.id,
            now=self.now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`rules` said it; `observed` would have said something else, each as `effect:rule`. `failed` is a deny."""

    effect: Effect
    rules: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()
    failed: str = ""

    @property
    def is_silence(self) -> bool:
        return self.effect is Effect.DENY and not self.rules


@dataclass(frozen=True, slots=True)
class _Slice:
    clauses: tuple[Clause, ...]
    enforced: "cedarpy.PolicySet"
    observed: "cedarpy.PolicySet | None"
    by_key: Mapping[str, Clause]
    conditions: tuple[Condition, ...]
    spans: tuple[Span, ...]
    looks_at: tuple[str, ...]  # what of the context
    counts: tuple[tuple[Span, Counter, bool], ...]  # and of counters: in which span, and whether at the resource alone
    is_open: bool  # something was written in Cedar: what it depends on is not known, so nothing is remembered


@dataclass(eq=False, slots=True, kw_only=True)
class Layer:
    """`id` and `number` name its version. `silence` is what is said where no rule says anything."""

    id: str
    number: int = 0
    clauses: tuple[Clause, ...] = ()
    silence: Effect = Effect.DENY
    observes_silence: bool = False
    people: Mapping[str, str] = field(default_factory=dict)  # users by email address, for who answers
    _index: dict[tuple[str, str], list[Clause]] = field(default_factory=dict)
    _slices: dict[tuple[str, str], _Slice] = field(default_factory=dict)
    _verdicts: dict[Hashable, Verdict] = field(default_factory=dict)
    _spoken: dict[tuple[str, str, str, bool], tuple[bool, bool]] = field(default_factory=dict)
    _actions: dict[tuple[str, str], tuple[frozenset[str], cedarpy.Entities]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for clause in self.clauses:
            self._index.setdefault((clause.agent, clause.integration), []).append(clause)

    def judge(self, asked: Asked) -> Verdict:
        """What the rules say of the call itself and of every scope it needs besides. The strictest counts."""
        try:
            part = self._slice(asked.agent, asked.integration.name)
            key: Hashable = None
            if not part.is_open:
                situation = asked.situation
                key = (
                    asked.agent,
                    asked.user,
                    asked.integration.name,
                    asked.operation.id,
                    asked.scopes_needed,
                    asked.resource,
                    asked.actual,
                    asked.public,
                    asked.named,
                    tuple([condition.holds(situation) for condition in part.conditions]),
                )
                known = self._verdicts.get(key)
                if known is not None:
                    return known
            verdict = self._judged(asked, part)
            if key is not None and not verdict.failed:
                if len(self._verdicts) >= _REMEMBERED:
                    self._verdicts.clear()
                self._verdicts[key] = verdict
            return verdict
        except Exception as error:
            # SECURITY: whatever goes wrong in here denies, and is not remembered.
            # Guarded by tests/rules/test_policy.py::test_an_error_in_one_rule_denies_although_another_allows
            return Verdict(effect=Effect.DENY, failed=type(error).__name__)

    def rules_of(self, agent: str, integration: str) -> tuple[Clause, ...]:
        """The clauses of a slice that count: for answers that need no call."""
        return tuple(clause for clause in self._slice(agent, integration).clauses if not clause.observe)

    def looks_back(
        self, agent: str, integration: Integration, operation: Operation, scopes_needed: frozenset[str]
    ) -> bool:
        """Whether a history may change what is said of such calls; of what was written in Cedar nobody knows."""
        part = self._slice(agent, integration.name)
        if part.is_open or not part.spans:
            return part.is_open
        return self._said_of(agent, integration, operation, scopes_needed)[1]

    def may_speak(
        self, agent: str, integration: Integration, operation: Operation, scopes_needed: frozenset[str]
    ) -> bool:
        """Whether any rule is about such calls at all."""
        return self._said_of(agent, integration, operation, scopes_needed)[0]

    def _said_of(
        self, agent: str, integration: Integration, operation: Operation, scopes_needed: frozenset[str]
    ) -> tuple[bool, bool]:
        """Whether a rule may be about such calls, and whether one of those looks back."""
        key = (agent, integration.name, operation.id, bool(scopes_needed))
        known = self._spoken.get(key)
        if known is None:
            # NOTE: a scope that is needed besides is judged as an action of its own: then any rule may be about it.
            about = [
                clause
                for clause in self._slice(agent, integration.name).clauses
                if clause.rule is None or scopes_needed or acts_on(clause.rule, operation, integration)
            ]
            known = bool(about), any(clause.rule is None or clause.rule.is_about_history for clause in about)
            if len(self._spoken) >= _REMEMBERED:
                self._spoken.clear()
            self._spoken[key] = known
        return known

    def clause(self, rule_id: str) -> Clause | None:
        """The clause of that name."""
        return next((clause for clause in self.clauses if clause.id == rule_id), None)

    def _judged(self, asked: Asked, part: _Slice) -> Verdict:
        context = json.dumps(_context(asked, part))
        _, entities = self._action(asked.integration, asked.operation)
        verdicts = [self._asked(asked, part, f"{asked.integration.name}/{asked.operation.id}", entities, context)]
        for scope in sorted(asked.scopes_needed):
            uid = f"{asked.integration.name}:{scope}"
            verdicts.append(self._asked(asked, part, uid, _one(uid, asked), context))
        worst = max(verdicts, key=lambda verdict: (bool(verdict.failed), _STRICTNESS[verdict.effect]))
        same = [verdict for verdict in verdicts if verdict.effect is worst.effect]
        return Verdict(
            effect=worst.effect,
            rules=tuple(dict.fromkeys(rule for verdict in same for rule in verdict.rules)),
            observed=tuple(dict.fromkeys(rule for verdict in verdicts for rule in verdict.observed)),
            failed=worst.failed,
        )

    def _asked(self, asked: Asked, part: _Slice, action: str, entities: cedarpy.Entities, context: str) -> Verdict:
        request = {
            "principal": {"type": "Agent", "id": asked.agent},
            "action": {"type": "Action", "id": action},
            "resource": {"type": "Resource", "id": _uid(asked)},
            "context": context,
        }
        answer = cedarpy.is_authorized(request, part.enforced, entities)
        # SECURITY: Cedar skips a policy that errors, a forbid too; here any error denies.
        # Guarded by tests/rules/test_policy.py::test_an_error_in_one_rule_denies_although_another_allows
        if answer.diagnostics.errors:
            return Verdict(effect=Effect.DENY, failed="a rule could not be evaluated")
        said = [part.by_key[key] for key in answer.diagnostics.reasons]
        observed = self._observed(request, part, entities)
        if answer.decision is cedarpy.Decision.Allow:
            effect = Effect.ASK if any(c.effect is Effect.ASK for c in said) else Effect.ALLOW
        elif said or self.silence is Effect.DENY:
            effect = Effect.DENY
        else:
            effect = self.silence
        rules = tuple(sorted({c.id for c in said if c.effect is effect}))
        if effect is Effect.DENY and not rules and self.observes_silence:
            effect, observed = Effect.ALLOW, (*observed, f"deny:{SILENCE}")
        return Verdict(effect=effect, rules=rules, observed=observed)

    def _observed(self, request: dict[str, Any], part: _Slice, entities: cedarpy.Entities) -> tuple[str, ...]:
        if part.observed is None:
            return ()
        answer = cedarpy.is_authorized(request, part.observed, entities)
        found = {f"{part.by_key[key].effect}:{part.by_key[key].id}" for key in answer.diagnostics.reasons}
        return (*sorted(found), *(["error:observed"] if answer.diagnostics.errors else []))

    def _slice(self, agent: str, integration: str) -> _Slice:
        agent = agent if any((agent, api) in self._index for api in ("", integration)) else ""
        known = self._slices.get((agent, integration))
        if known is not None:
            return known
        keys = {(who, api) for who in ("", agent) for api in ("", integration)}
        clauses = tuple(clause for key in sorted(keys) for clause in self._index.get(key, ()))
        watched = [clause for clause in clauses if clause.observe]
        conditions = {c: None for clause in clauses if clause.rule is not None for c in clause.rule.conditions}
        is_open = any(clause.rule is None for clause in clauses)
        texts = [] if is_open else [cedar_text(clause.rule) for clause in clauses if clause.rule is not None]
        counted = {(c.span, c.counter, c.here): None for c in conditions if isinstance(c, Counted)}
        part = _Slice(
            clauses=clauses,
            enforced=handle_of(clause for clause in clauses if not clause.observe),
            observed=handle_of(watched, all_permit=True) if watched else None,
            by_key={clause.key: clause for clause in clauses},
            conditions=tuple(conditions),
            spans=tuple(Span) if is_open else tuple({c.span: None for c in conditions if isinstance(c, _OF_A_SPAN)}),
            looks_at=tuple(name for name in _SAID if is_open or any(f"context.{name}" in text for text in texts)),
            counts=_EVERY_COUNT if is_open else tuple(counted),
            is_open=is_open,
        )
        if len(self._slices) >= _REMEMBERED:
            self._slices.clear()
        self._slices[agent, integration] = part
        return part

    def _action(self, integration: Integration, operation: Operation) -> tuple[frozenset[str], cedarpy.Entities]:
        known = self._actions.get((integration.name, operation.id))
        if known is None:
            parents = groups(operation, integration)
            known = (parents, _entity(f"{integration.name}/{operation.id}", parents))
            self._actions[integration.name, operation.id] = known
        return known


_STRICTNESS: Final = {Effect.ALLOW: 0, Effect.ASK: 1, Effect.DENY: 2}


def _entity(uid: str, parents: Sequence[str] | frozenset[str]) -> cedarpy.Entities:
    entity = {
        "uid": {"type": "Action", "id": uid},
        "attrs": {},
        "parents": [{"type": "Action", "id": parent} for parent in sorted(parents)],
    }
    return cedarpy.Entities.from_json_str(json.dumps([entity]))


def _one(uid: str, asked: Asked) -> cedarpy.Entities:
    """A scope that is needed besides: it is judged as an action of the same access."""
    words = groups(asked.operation, asked.integration) & {*WORDS_OF_ACTIONS, "any", f"{asked.integration.name}:*"}
    return _entity(uid, words)


def _uid(asked: Asked) -> str:
    return f"{asked.integration.name}/{folded(asked.actual.name)}" if asked.actual else asked.integration.name


def _context(asked: Asked, part: _Slice) -> dict[str, Any]:
    """What conditions may look at, as docs/policy.md lists it; of all that, what this slice looks at.

    Most of what Cedar costs is reading this. A rule that looked at what is left out would fail, which denies.
    """
    return {name: _SAID[name](asked, part) for name in part.looks_at}


def _resource_of(asked: Asked, _: _Slice) -> dict[str, str]:
    name = "" if asked.actual is None else folded(asked.actual.name)
    owner = name.partition("/")[0] if "/" in name else ""
    id_ = "" if asked.actual is None else asked.actual.id
    return {"name": name, "owner": owner, "id": id_, "kind": asked.operation.resource_kind}


def _counts(asked: Asked, part: _Slice) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    where = "" if asked.actual is None else asked.actual.id
    for span, counter, here in part.counts:
        name = f"{counter}_here" if here else counter.value
        found.setdefault(span.attribute, {})[name] = span.of(asked.history).count(counter, where if here else "")
    return found


def _within(asked: Asked, part: _Slice) -> list[str]:
    situation = asked.situation
    return [c.text for c in part.conditions if isinstance(c, Hours) and c.holds(situation)]


def _utc(asked: Asked, _: _Slice) -> dict[str, int]:
    minutes = int(asked.now // 60)
    return {"minute": minutes % 1_440, "weekday": (minutes // 1_440 + 3) % 7}  # Monday is 0


_SAID: Final[Mapping[str, Callable[[Asked, _Slice], Any]]] = {
    "integration": lambda asked, _: asked.integration.name,
    "user": lambda asked, _: asked.user,
    "access": lambda asked, _: asked.operation.access,
    "resource": _resource_of,
    "public": lambda asked, _: asked.public,
    "leaves": lambda asked, _: asked.leaves,
    "named": lambda asked, _: asked.named,
    "parameters": lambda asked, _: [f"{key}={value}" for key, value in asked.parameters.items()],
    "labels": lambda asked, part: {span.attribute: sorted(span.of(asked.history).labels) for span in part.spans},
    "counts": _counts,
    "within": _within,
    "utc": _utc,
}
_EVERY_COUNT: Final = tuple((span, counter, here) for span in Span for counter in Counter for here in (False, True))
