"""Rules judged the plainest way: one after the other, in Python, without Cedar, slices or memory.

For the differential: it shares the shape of a rule with the product, and none of its judging.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

from valetkey.server.policy.layer import Asked
from valetkey.server.policy.rules import Counted, Hours, Labelled, Parameter, Rule, Span

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def naive(rules: tuple[Rule, ...], asked: Asked) -> tuple[str, set[str], set[str]]:
    """What is said, by which rules, and which observed rules would have said something."""
    said = [rule for rule in rules if all(applies(rule, asked, scope) for scope in [None])]
    by_scope = [said, *[[r for r in rules if applies(r, asked, scope)] for scope in asked.scopes_needed]]
    verdicts = []
    observed: set[str] = set()
    for applying in by_scope:
        counted = [rule for rule in applying if not rule.observe]
        observed |= {f"{rule.effect.value}:{rule.id}" for rule in applying if rule.observe}
        for effect in ("deny", "ask", "allow"):
            names = {rule.id for rule in counted if rule.effect.value == effect}
            if names:
                verdicts.append((effect, names))
                break
        else:
            verdicts.append(("deny", set()))
    worst = next(effect for effect in ("deny", "ask", "allow") if any(effect == v for v, _ in verdicts))
    return worst, set().union(*(names for v, names in verdicts if v == worst)), observed


def applies(rule: Rule, asked: Asked, scope: str | None) -> bool:
    if rule.agents and asked.agent not in rule.agents:
        return False
    if rule.users and asked.user not in rule.users:
        return False
    if rule.integration and rule.integration != asked.integration.name:
        return False
    if rule.actions and not any(_acts(action, asked, scope) for action in rule.actions):
        return False
    if rule.resources and not any(_is(name, asked) for name in rule.resources):
        return False
    if any(_is(name, asked) for name in rule.except_resources):
        return False
    if rule.public is not None and rule.public is not asked.public:
        return False
    if rule.named is not None and rule.named is not asked.named:
        return False
    if rule.leaves is not None and rule.leaves is not _leaves(asked):
        return False
    return all(_holds(condition, asked) for condition in rule.conditions)


def _acts(action: str, asked: Asked, scope: str | None) -> bool:
    operation, known = asked.operation, asked.integration.scopes
    own = known.get(operation.scope)
    if action in ("read", "write"):
        return operation.access == action
    if action == "danger":
        return own is None or own.tier == "danger"
    if action == "outlives":
        return own is None or own.outlives or "outlives" in operation.tags
    if action == "delete":
        words = ("delete", "remove", "destroy", "archive", "trash", "purge", "revoke")
        return operation.access == "write" and (
            operation.method == "DELETE" or any(word in operation.id.lower() for word in words)
        )
    if scope is not None:
        return action == scope
    return action == operation.id or (action in known and operation.id in known[action].operations)


def _is(name: str, asked: Asked) -> bool:
    actual = asked.actual
    if actual is None:
        return False
    if name.startswith("id:"):
        return actual.id == name[3:]
    if name.endswith("/*"):
        return "/" in actual.name and actual.name.lower().split("/")[0] == name[:-2].lower()
    return actual.name.lower() == name.lower()


def _holds(condition: object, asked: Asked) -> bool:
    spans = {
        Span.TASK: asked.history.task,
        Span.USER_HOUR: asked.history.agent_for_user,
        Span.AGENT_HOUR: asked.history.agent,
    }
    match condition:
        case Labelled(span, labels):
            return all(label in spans[span].labels for label in labels)
        case Counted(span, counter, at_least, here):
            place = asked.actual.id if here and asked.actual else ""
            return spans[span].counts.get((counter, place), 0) >= at_least
        case Parameter(name, values):
            return name in asked.parameters and asked.parameters[name] in values
        case Hours(begin, end, zone, days):
            there = datetime.fromtimestamp(asked.now, ZoneInfo(zone))
            minute = (there.hour * 60 + there.minute, there.weekday())
            first, last = begin.hour * 60 + begin.minute, end.hour * 60 + end.minute
            if first < last:
                return DAYS[minute[1]] in days and first <= minute[0] < last
            late = DAYS[minute[1]] in days and minute[0] >= first
            return late or (DAYS[(minute[1] + 6) % 7] in days and minute[0] < last)
    raise AssertionError(condition)


def _leaves(asked: Asked) -> bool:
    tags = asked.operation.tags
    if asked.operation.access == "read":
        return "searches" in tags
    if tags & {"outlives", "access", "mints", "publishes", "runs", "searches"} or asked.scopes_needed:
        return True
    return asked.actual is None or asked.actual.outside is not False
