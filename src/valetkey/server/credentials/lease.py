"""A lease: our record that a credential of somebody else's is out, how narrow it is, and when it ends. Pure.

A credential leaves only where the API itself narrows it to what was delegated, and only when nothing that could apply
needs to see a single call: no counted line, nothing but named and bound resources, the same scopes on each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from valetkey.server.delegations.model import Grant
from valetkey.server.errors import Denied
from valetkey.server.integrations.authorization import Installation
from valetkey.server.integrations.databases import Database
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.role import PolicyTooLong, Role
from valetkey.server.policy.layer import SILENCE
from valetkey.server.policy.model import Authority
from valetkey.server.policy.ruled import judges_calls

MOST_RESOURCES = 100
NO_OTHER_WAY = (
    "Ask for named buckets, the same scopes on each, and nothing that is counted; or call through the gateway."
)
NAME_TABLES = (
    "Ask for named tables and nothing that is counted, or ask single questions at the gateway: each is judged."
)
NAME_TABLES_ONLY = "Ask for named tables and nothing that is counted or asked about; there is no other way here."
USE_THE_GATEWAY = "Call the API through the gateway instead: it judges every call."


class State(StrEnum):
    """Opening: decided, and perhaps made. Out: handed out. Ending: over here, and not yet revoked there."""

    OPENING = "opening"
    OUT = "out"
    ENDING = "ending"
    ENDED = "ended"
    LOST = "lost"
    """Perhaps made, never seen: it ends by itself there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Times are seconds since the epoch. `nodes` are all whose end is its end."""

    id: str
    org: str
    user: str
    agent: str
    task: str
    delegation: str
    connection: str
    integration: str
    lines: tuple[Grant, ...]
    nodes: frozenset[str]
    state: State
    opened_at: int
    ends_at: int
    fingerprint: str = ""
    upstream_ends_at: int | None = None
    tries: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """What the API is asked to make: permissions on resources by its own ids. Never empty: nothing would mean all.

    `scopes` are ours that are held: of a role, its session policy is written from them.
    """

    permissions: frozenset[str]
    resource_ids: tuple[str, ...]
    scopes: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.permissions or not self.resource_ids:
            raise ValueError("an empty narrowing is none")


def narrowing(lines: Sequence[Grant], authority: Authority, integration: Integration) -> Narrowing:
    """How the API can narrow to exactly these lines. Raises `Denied` where it can not, with the way that can."""
    how = integration.installation or integration.role
    if how is None and integration.database is None:
        raise _otherwise(
            integration, f"{integration.title} gives out no credentials that are narrow enough to hand out."
        )
    levels = (lines, authority.delegation.grants, authority.entitlements, *(t.grants for t in authority.tasks))
    if any(g.is_counted for grants in levels for g in grants if g.integration == integration.name):
        raise _otherwise(integration, "Calls are counted here, and a credential that is out cannot be counted.")
    # SECURITY: a credential that is out asks nobody.
    # Guarded by tests/rules/test_asking.py::test_what_asks_is_never_lent
    if any(g.ask for grants in levels for g in grants if g.integration == integration.name):
        raise _otherwise(
            integration, "You asked to be asked before these calls, and a credential that is out asks nobody."
        )
    check_rules(lines, authority, integration)
    if integration.database is not None:
        return _of_database(lines, integration, integration.database)
    assert how is not None
    if len({line.scopes for line in lines}) != 1 or len({line.connection for line in lines}) != 1:
        raise _otherwise(
            integration, "A credential has the same permissions on everything it reaches; these lines do not."
        )
    scopes = lines[0].scopes
    resources = [resource for line in lines for resource in line.resources]
    if any(r.kind != how.resource_kind or not r.id for r in resources):
        raise _otherwise(integration, f"A credential is for {how.resource_kind} resources that are named one by one.")
    ids = tuple(sorted({r.id for r in resources}))
    if len(ids) > MOST_RESOURCES:
        raise _otherwise(integration, f"A credential reaches at most {MOST_RESOURCES} resources.")
    held = frozenset(name for name in integration.scopes if any(integration.includes(s, name) for s in scopes))
    permissions, served = _permissions(how, held)
    # SECURITY: what was asked for and no permission serves must not be left out in silence.
    if unserved := sorted(scope for scope in scopes if scope not in served):
        raise _otherwise(
            integration, f"{integration.title} has no permission that says no more than {', '.join(unserved)}."
        )
    if integration.role is not None:
        _check_length(integration.role, held, ids, integration)
    return Narrowing(permissions=permissions, resource_ids=ids, scopes=held)


def _of_database(lines: Sequence[Grant], integration: Integration, database: Database) -> Narrowing:
    """Tables one by one, or all of a schema where that scope may be had so; each line has its own scopes."""
    if len({line.connection for line in lines}) != 1:
        raise _otherwise(integration, "A login is for one database; these lines are for several.")
    resources = [(resource, line.scopes) for line in lines for resource in line.resources]
    for resource, scopes in resources:
        if resource.kind != "table" or not (resource.owner if resource.is_whole else resource.id):
            raise _otherwise(integration, "A login is for tables that are named, or for all tables of a named schema.")
        if resource.is_whole and not scopes <= database.on_a_whole_schema:
            raise _otherwise(integration, f"{', '.join(sorted(scopes))} is for tables that are named one by one.")
    if len(resources) > MOST_RESOURCES:
        raise _otherwise(integration, f"A login reaches at most {MOST_RESOURCES} tables or schemas.")
    scopes = frozenset(scope for line in lines for scope in line.scopes)
    ids = sorted({resource.id or resource.owner for resource, _ in resources})
    return Narrowing(permissions=scopes, resource_ids=tuple(ids), scopes=scopes)


def check_rules(lines: Sequence[Grant], authority: Authority, integration: Integration) -> None:
    """Raise `Denied` where a rule has to see every call: a credential that is out passes nobody who looks."""
    rule = judges_calls(authority, lines, integration)
    if rule is not None:
        what = "No rule of the policy allows all of it" if rule == SILENCE else f"Rule {rule} judges single calls"
        raise _otherwise(integration, f"{what}, and calls with a credential that is out are not seen here.")


def _permissions(how: Installation | Role, held: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The API's permissions that say no more than these scopes, and the scopes that they serve."""
    if isinstance(how, Role):
        return how.actions_of(held), frozenset(one.scope for one in how.allowed if one.scope in held)
    permissions = frozenset(p for p, needed in how.permissions.items() if needed <= held)
    return permissions, frozenset(scope for p in permissions for scope in how.permissions[p])


def _check_length(role: Role, held: frozenset[str], ids: tuple[str, ...], integration: Integration) -> None:
    """Before anything is recorded as lent: an account's number and a moment are always as long as these."""
    try:
        role.policy(held, ids, account="0" * 12, ends_at=0)
    except PolicyTooLong as error:
        raise _otherwise(
            integration, f"{len(ids)} {role.resource_kind} resources do not fit into one session policy; ask for fewer."
        ) from error


def _otherwise(integration: Integration, words: str) -> Denied:
    if integration.database is not None:
        hint = NAME_TABLES if integration.database.answers_questions else NAME_TABLES_ONLY
        return Denied(words, hint=hint, reason="not_leasable")
    if integration.role is not None:
        return Denied(words, hint=NO_OTHER_WAY, reason="not_leasable")
    return Denied(words, hint=USE_THE_GATEWAY, reason="use_gateway")
