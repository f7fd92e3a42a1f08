"""What a layer of rules says of a whole line of a delegation, before there is any call."""

from collections.abc import Sequence

from valetkey.server.delegations.model import Grant
from valetkey.server.integrations.model import Integration, Operation
from valetkey.server.policy.acting import acts_on
from valetkey.server.policy.layer import SILENCE, Layer
from valetkey.server.policy.rules import Effect, Rule


def denies_all(layer: Layer, agent: str, grant: Grant, integration: Integration) -> str | None:
    """The rule, or silence, that lets no call under this line pass: nothing is issued for it. None: some might pass."""
    rules = layer.rules_of(agent, integration.name)
    operations = _operations(grant, integration)
    for clause in rules:
        if clause.effect is Effect.DENY and clause.rule is not None and _covers(clause.rule, operations, integration):
            return clause.id
    silent = layer.silence is Effect.DENY and not layer.observes_silence
    if silent and not any(
        clause.effect is not Effect.DENY
        and (clause.rule is None or any(acts_on(clause.rule, op, integration) for op in operations))
        for clause in rules
    ):
        return SILENCE
    return None


def needs_calls(layer: Layer, agent: str, grant: Grant, integration: Integration) -> str | None:
    """The rule that could apply and needs a call to be judged; None where every call would be allowed anyway."""
    operations = _operations(grant, integration)
    allowed = layer.silence is Effect.ALLOW or layer.observes_silence
    for clause in layer.rules_of(agent, integration.name):
        if clause.rule is None:
            return clause.id
        if clause.effect is Effect.ALLOW:
            allowed = allowed or _covers(clause.rule, operations, integration)
        elif any(acts_on(clause.rule, operation, integration) for operation in operations):
            return clause.id
    return None if allowed else SILENCE


def _operations(grant: Grant, integration: Integration) -> list[Operation]:
    ids = {operation for scope in grant.scopes for operation in integration.operations_of(scope)}
    return [integration.operations[one] for one in sorted(ids) if one in integration.operations]


def _covers(rule: Rule, operations: Sequence[Operation], integration: Integration) -> bool:
    """Whether it applies to every such call, whatever it is."""
    if rule.needs_a_call or rule.resources or rule.users:
        return False
    return bool(operations) and all(acts_on(rule, operation, integration) for operation in operations)
