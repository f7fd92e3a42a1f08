"""The decision core: pure, total, fail closed. Deny beats Ask beats Allow; silence denies; an error is Deny.

allowed = what is alive ∩ ceilings of every agent ∩ the user's delegation ∩ what the user may delegate ∩ every task
          ∩ the token ∩ what the connection can do ∩ this call ∩ the organization's policy ∩ the user's own rules

`live` is asked when a credential is issued and again on every call, by the same function.
"""

from collections.abc import Sequence

from valetkey.server.delegations.budgets.model import Measure
from valetkey.server.delegations.model import Catalogue, Fit, Grant
from valetkey.server.integrations.model import ACCOUNT, Integration
from valetkey.server.policy.history import NOTHING_YET, History
from valetkey.server.policy.model import (
    Allow,
    Answerers,
    Ask,
    Authority,
    Call,
    ConnectionFacts,
    Decision,
    Deny,
    Reason,
    Spend,
)
from valetkey.server.policy.ruled import is_dangerous, ruled
from valetkey.server.principals.model import Status


def live(authority: Authority, now: float) -> Deny | None:
    """Whether anything that bounds the task has ended."""
    if authority.stopped:
        return Deny(reason=Reason.REVOKED)
    if authority.user.status is not Status.ACTIVE:
        return Deny(reason=Reason.USER_SUSPENDED)
    if any(agent.status is not Status.ACTIVE for agent in authority.agents):
        return Deny(reason=Reason.AGENT_SUSPENDED)
    if not authority.delegation.is_live(now):
        return Deny(reason=Reason.DELEGATION_EXPIRED)
    if not authority.tasks or not all(task.is_live(now) for task in authority.tasks):
        return Deny(reason=Reason.TASK_EXPIRED)
    return None


def usable(authority: Authority, connection_id: str) -> ConnectionFacts | Deny:
    """The connection, if this user may act through it at all."""
    connection = authority.connections.get(connection_id)
    if connection is None:
        # A connection the delegation names and that is not among the live ones was ended.
        return Deny(reason=Reason.REVOKED if connection_id in authority.nodes else Reason.CONNECTION_FOREIGN)
    if connection.org != authority.user.org or connection.owner not in (None, authority.user.id):
        return Deny(reason=Reason.CONNECTION_FOREIGN)
    return connection


def reaching(call: Call, grants: Sequence[Grant], catalogue: Catalogue, now: float) -> str | Deny:
    """The one connection through which a grant reaches the operation, before its resource is known.

    Where the call names one, that one or none.
    """
    integration = catalogue[call.integration]
    found = {g.connection for g in grants if _reaches(g, call, integration, now, bound=bool(call.connection))}
    if not found:
        return _refusal(grants, call, integration, now)
    if len(found) > 1:
        return Deny(reason=Reason.AMBIGUOUS_CONNECTION)
    return found.pop()


def next_end(authority: Authority, token_grants: Sequence[Grant], now: float) -> float:
    """The next moment at which anything `decide` looks at ends by itself; until then its answers are the same."""
    levels = (token_grants, *(t.grants for t in authority.tasks), authority.delegation.grants)
    levels += (authority.entitlements, *authority.ceilings)
    lines = [g.not_after for grants in levels for g in grants if g.not_after is not None]
    ends = [authority.delegation.expires_at, *(t.expires_at for t in authority.tasks), *lines]
    return min((end for end in ends if end > now), default=now)


def decide(
    call: Call,
    authority: Authority,
    token_grants: Sequence[Grant],
    catalogue: Catalogue,
    now: float,
    *,
    history: History = NOTHING_YET,
) -> Decision:
    """Judge one call. Every level of the chain must allow it by itself; nothing is inferred from another level."""
    delegated = permitted(call, authority, token_grants, catalogue, now)
    return delegated if isinstance(delegated, Deny) else ruled(delegated, call, authority, catalogue, now, history)


def permitted(
    call: Call, authority: Authority, token_grants: Sequence[Grant], catalogue: Catalogue, now: float
) -> Decision:
    """What everything but rules says of it: the part that a call's history and the hour of the day do not change.

    It may be remembered for as long as this authority is current; what rules say of the call (`ruled`) may not.
    """
    try:
        return _permitted(call, authority, token_grants, catalogue, now)
    except Exception as error:
        return Deny(reason=Reason.ERROR, detail=type(error).__name__)


def _permitted(
    call: Call, authority: Authority, token_grants: Sequence[Grant], catalogue: Catalogue, now: float
) -> Decision:
    ended = live(authority, now)
    if ended is not None:
        return ended
    integration = catalogue[call.integration]
    connection = usable(authority, call.connection)
    if isinstance(connection, Deny):
        return connection
    if connection.integration != call.integration:
        return Deny(reason=Reason.CONNECTION_FOREIGN)
    if not _powerful(connection, call, integration):
        return Deny(reason=Reason.CONNECTION_POWER)
    for ceiling in authority.ceilings:
        if _line(ceiling, call, integration, now, bound=False) is None:
            return Deny(reason=Reason.ABOVE_CEILING)
    if authority.lacks_a_ceiling:
        return Deny(reason=Reason.ERROR, detail="a ceiling is missing")
    if connection.owner is None and _line(authority.entitlements, call, integration, now) is None:
        return Deny(reason=Reason.NOT_ENTITLED)
    if _line(token_grants, call, integration, now) is None:
        return _refusal(token_grants, call, integration, now)
    spends: list[Spend] = []
    for task in authority.tasks:
        line = _line(task.grants, call, integration, now)
        if line is None:
            return _refusal(task.grants, call, integration, now)
        if task.parent is not None:
            spends += _counted(task.id, line, task.grants[line], call)
    line = _line(authority.delegation.grants, call, integration, now)
    if line is None:
        return _refusal(authority.delegation.grants, call, integration, now)
    # SECURITY: the root counts by the delegation's lines, not its own: splitting a line must not multiply its calls.
    # Guarded by tests/flows/test_conditions.py::test_a_limited_line_split_in_two_is_still_one_limit
    spends += _counted(authority.tasks[-1].id, line, authority.delegation.grants[line], call)
    # SECURITY: at every level, so that no narrowing loses what the delegation says.
    # Guarded by tests/rules/test_asking.py::test_a_narrowing_never_drops_the_asking
    levels = (token_grants, *(task.grants for task in authority.tasks), authority.delegation.grants)
    if any(_asks(grants, call, integration, now) for grants in levels):
        return Ask(
            asked_by=(authority.delegation.id,),
            words="You asked to be asked before each of these calls.",
            answerers=(Answerers(people=None),),
            danger=is_dangerous(call, integration),
            spends=tuple(spends),
        )
    return Allow(spends=tuple(spends))


def _counted(task: str, line: int, grant: Grant, call: Call) -> list[Spend]:
    """What the call is counted on by one line. What names no resource has the account's own share of `per resource`."""
    thing = ACCOUNT if call.actual is None else call.actual.key
    return [
        Spend(task=task, line=line, cap=cap, measure=measure, resource=thing if each else "")
        for measure, each, cap in grant.limits
        if measure is not Measure.WRITES or call.operation.access == "write"
    ]


def _asks(grants: Sequence[Grant], call: Call, integration: Integration, now: float) -> bool:
    """Whether every line of this level that allows the call asks first: she gave it without asking on none of them."""
    if not any(g.ask for g in grants):
        return False
    allowing = [g for g in grants if _reaches(g, call, integration, now) and _fit(g, call) is Fit.YES]
    return bool(allowing) and all(g.ask for g in allowing)


def _line(
    grants: Sequence[Grant], call: Call, integration: Integration, now: float, *, bound: bool = True
) -> int | None:
    """The first line that allows the call: its operation, every guard scope, its resource."""
    for number, grant in enumerate(grants):
        if _reaches(grant, call, integration, now, bound=bound) and _fit(grant, call) is Fit.YES:
            return number
    return None


def _reaches(grant: Grant, call: Call, integration: Integration, now: float, *, bound: bool = True) -> bool:
    if grant.integration != call.integration or (bound and grant.connection != call.connection):
        return False
    if grant.not_after is not None and now >= grant.not_after:
        return False
    if not any(integration.contains(scope, call.operation.id) for scope in grant.scopes):
        return False
    return all(any(integration.includes(held, needed) for held in grant.scopes) for needed in call.scopes_needed)


def _fit(grant: Grant, call: Call) -> Fit:
    if call.actual is None:
        # Without a resource in the request only a grant on everything can cover it.
        return Fit.YES if any(r.name == "*" for r in grant.resources) else Fit.NO
    fits = {resource.fit(call.actual) for resource in grant.resources}
    if Fit.YES in fits:
        return Fit.YES
    return Fit.CHANGED if Fit.CHANGED in fits else Fit.NO


def _refusal(grants: Sequence[Grant], call: Call, integration: Integration, now: float) -> Deny:
    reaching = [g for g in grants if _reaches(g, call, integration, now)]
    if any(_fit(g, call) is Fit.CHANGED for g in reaching):
        return Deny(reason=Reason.RESOURCE_CHANGED, detail=f"{call.resource} must be confirmed again.")
    if reaching:
        return Deny(reason=Reason.NOT_DELEGATED, detail=f"{call.resource} is not among the delegated resources.")
    held = sorted({scope for g in grants if g.integration == call.integration for scope in g.scopes})
    return Deny(
        reason=Reason.NOT_DELEGATED,
        detail=f"{call.operation.id} is a {call.operation.access}; delegated: {', '.join(held) or 'nothing'}.",
    )


def _powerful(connection: ConnectionFacts, call: Call, integration: Integration) -> bool:
    if "*" in connection.powers:
        return True
    return any(integration.contains(scope, call.operation.id) for scope in connection.powers)
