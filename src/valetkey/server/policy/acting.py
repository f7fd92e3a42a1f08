"""Whether a rule may be about an operation at all, whoever calls it and whatever the call touches."""

from valetkey.server.integrations.model import Integration, Operation
from valetkey.server.policy.leaving import may_leave
from valetkey.server.policy.rules import Rule, groups


def acts_on(rule: Rule, operation: Operation, integration: Integration) -> bool:
    """Its actions name it, or no action in particular; what never leaves is not what a rule about leaving is about."""
    if rule.leaves and not may_leave(operation):
        return False
    if not rule.actions:
        return True
    known = groups(operation, integration)
    return any(
        action in known or f"{integration.name}:{action}" in known or action == operation.id for action in rule.actions
    )
