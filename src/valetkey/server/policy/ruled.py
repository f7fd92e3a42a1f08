"""What rules say of a call that everything else permits: the policy, the ready rules, the user's own rules.

Each layer is asked for every agent of the chain: an agent that passes a task on does not shed the rules about it.
"""

from collections.abc import Sequence
from dataclasses import replace

from valetkey.server.delegations.model import Catalogue, Fit, Grant
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.history import History
from valetkey.server.policy.labels import commented_before
from valetkey.server.policy.layer import SILENCE, Asked, Layer, Verdict
from valetkey.server.policy.lines import denies_all, needs_calls
from valetkey.server.policy.model import UNRULED, Allow, Answerers, Ask, Authority, Call, Decision, Deny, Reason, Ruled
from valetkey.server.policy.rules import Effect
from valetkey.server.principals.model import Agent


def ruled(
    permitted: Allow | Ask, call: Call, authority: Authority, catalogue: Catalogue, now: float, history: History
) -> Decision:
    """Deny beats ask beats allow, over both layers and the whole chain. Anything that goes wrong denies."""
    if not layers_of(authority):
        return permitted
    try:
        return _ruled(permitted, call, authority, catalogue, now, history)
    except Exception as error:
        return Deny(reason=Reason.ERROR, detail=type(error).__name__)


def _ruled(
    permitted: Allow | Ask, call: Call, authority: Authority, catalogue: Catalogue, now: float, history: History
) -> Decision:
    decision: Allow | Ask = permitted
    by: Ruled | None = None
    for layer in layers_of(authority):
        for agent in authority.agents:
            verdict = layer.judge(_asked(call, authority, agent, catalogue, now, history))
            if layer is authority.ready and verdict.effect is Effect.ALLOW:
                continue  # its silence says nothing
            this = Ruled(policies=(layer.id,), rules=verdict.rules, observed=verdict.observed)
            by = this if by is None else Ruled.of((by, this))
            if verdict.effect is Effect.DENY:
                return _denied(verdict, layer, is_own=layer is authority.own_rules, by=by)
            if verdict.effect is Effect.ASK:
                asking = _asking(verdict, layer, call, catalogue, permitted)
                decision = asking if not isinstance(decision, Ask) else _both(decision, asking)
    if isinstance(decision, Ask):
        return replace(decision, ruled=by or UNRULED)
    return Allow(spends=permitted.spends, ruled=by or UNRULED)


def layers_of(authority: Authority) -> tuple[Layer, ...]:
    """Every layer that decides, in their order."""
    layers = (authority.policy, authority.ready, authority.own_rules)
    return tuple(layer for layer in layers if layer is not None)


def _asked(call: Call, authority: Authority, agent: Agent, catalogue: Catalogue, now: float, history: History) -> Asked:
    return Asked(
        agent=agent.name,
        user=authority.user.email,
        integration=catalogue[call.integration],
        operation=call.operation,
        scopes_needed=call.scopes_needed,
        actual=call.actual,
        resource=call.resource,
        parameters=call.parameters,
        history=history,
        now=now,
        named=is_named(call, authority),
    )


def is_named(call: Call, authority: Authority) -> bool:
    """Whether the delegation names the place of the call, or the task does, rather than to cover it with `*`."""
    root = authority.tasks[-1:]
    # SECURITY: what an agent narrows by itself is not what a person named: neither a task it opened while nobody was
    # there, nor a child. Guarded by tests/attacks/test_flows_of_information.py::test_a_child_does_not_name_a_channel
    attended = [line for task in root if task.evidence != "standing" for line in task.grants]
    return call.actual is not None and any(
        resource.name != "*" and resource.fit(call.actual) is Fit.YES
        for line in (*authority.delegation.grants, *attended)
        if line.integration == call.integration and line.connection == call.connection
        for resource in line.resources
    )


def looks_back(authority: Authority, call: Call, catalogue: Catalogue) -> bool:
    """Whether what a task has done so far may change what rules say of such calls."""
    return any(
        layer.looks_back(agent.name, catalogue[call.integration], call.operation, call.scopes_needed)
        for layer in layers_of(authority)
        for agent in authority.agents
    )


def watching(authority: Authority, call: Call, catalogue: Catalogue) -> bool:
    """Whether the rules that are only observed may have anything to say of such calls."""
    layer = authority.watched
    return layer is not None and any(
        layer.may_speak(agent.name, catalogue[call.integration], call.operation, call.scopes_needed)
        for agent in authority.agents
    )


def watched(calls: Sequence[Call], authority: Authority, catalogue: Catalogue, now: float, history: History) -> Ruled:
    """What the rules that are only observed would have said of a call that goes on. Their errors change nothing."""
    layer = authority.watched
    if layer is None:
        return UNRULED
    try:
        verdicts = [
            layer.judge(_asked(call, authority, agent, catalogue, now, history.commented(before)))
            for call, before in zip(calls, commented_before(calls), strict=True)
            for agent in authority.agents
        ]
    except Exception:
        return Ruled(policies=(layer.id,), observed=("error:ready",))
    said = [f"{v.effect}:{rule}" for v in verdicts if v.effect is not Effect.ALLOW for rule in v.rules]
    said += ["error:ready" for v in verdicts if v.failed]
    return Ruled(policies=(layer.id,), observed=tuple(dict.fromkeys(said))) if said else UNRULED


def is_dangerous(call: Call, integration: Integration) -> bool:
    """Whether a scope that the call needs is of the danger tier. An unknown scope is."""
    named = {call.operation.scope, *call.scopes_needed} - {""}
    tiers = [integration.scopes[name].tier if name in integration.scopes else "danger" for name in named]
    return not tiers or "danger" in tiers


def _denied(verdict: Verdict, layer: Layer, *, is_own: bool, by: Ruled) -> Deny:
    if verdict.failed:
        return Deny(reason=Reason.ERROR, detail=verdict.failed, ruled=by)
    if verdict.is_silence:
        return Deny(reason=Reason.POLICY_SILENT, ruled=replace(by, rules=()))
    by = replace(by, rules=verdict.rules)
    return Deny(reason=Reason.OWN_RULE if is_own else Reason.POLICY, detail=_words(verdict, layer), ruled=by)


def _asking(verdict: Verdict, layer: Layer, call: Call, catalogue: Catalogue, permitted: Allow | Ask) -> Ask:
    clauses = [clause for rule in verdict.rules if (clause := layer.clause(rule)) is not None]
    # SECURITY: each rule is a question of its own: one that names nobody is the user's, whoever others name.
    # Guarded by tests/flows/test_rules_that_ask.py::test_two_rules_that_ask_are_two_questions
    answerers = dict.fromkeys(
        Answerers(people=None)
        if (rule := clause.rule) is None or not rule.answered_by
        else Answerers(people=frozenset(layer.people[email] for email in rule.answered_by), enough=rule.enough)
        for clause in clauses
    )
    return Ask(
        asked_by=verdict.rules,
        words=_words(verdict, layer),
        answerers=tuple(answerers) or (Answerers(people=None),),
        danger=is_dangerous(call, catalogue[call.integration])
        or any(c.rule is not None and c.rule.danger for c in clauses),
        spends=permitted.spends,
    )


def _both(one: Ask, other: Ask) -> Ask:
    return replace(
        one,
        asked_by=tuple(dict.fromkeys((*one.asked_by, *other.asked_by))),
        words=one.words if one.words == other.words else f"{one.words} {other.words}",
        answerers=tuple(dict.fromkeys((*one.answerers, *other.answerers))),
        danger=one.danger or other.danger,
    )


def _words(verdict: Verdict, layer: Layer) -> str:
    clauses = [clause for rule in verdict.rules if (clause := layer.clause(rule)) is not None]
    return " ".join(f"Rule {c.id}: {c.why}" if c.why else f"Rule {c.id}." for c in clauses)


def never_allowed(authority: Authority, grant: Grant, integration: Integration) -> Deny | None:
    """Why nothing is issued for a line: rules would deny every call under it. None where some call might pass."""
    for layer in layers_of(authority):
        for agent in authority.agents:
            rule = denies_all(layer, agent.name, grant, integration)
            if rule is None:
                continue
            by = Ruled(policies=(layer.id,), rules=() if rule == SILENCE else (rule,))
            verdict = Verdict(effect=Effect.DENY, rules=by.rules)
            return _denied(verdict, layer, is_own=layer is authority.own_rules, by=by)
    return None


def judges_calls(authority: Authority, grants: Sequence[Grant], integration: Integration) -> str | None:
    """The rule that has to see every call under these lines; None where all of them would be allowed."""
    for layer in layers_of(authority):
        for agent in authority.agents:
            for grant in grants:
                rule = needs_calls(layer, agent.name, grant, integration)
                if rule is not None:
                    return rule
    return None
