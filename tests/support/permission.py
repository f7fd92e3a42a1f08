"""Factories of what permits: users, agents, grants, delegations, tasks, authorities and calls, as plain values.

Each takes the one fact a test wants changed; everything else is the usual story of Alice and her reviewer.
"""

from dataclasses import replace
from typing import Any

from valetkey.server.delegations.grants import parse_grant
from valetkey.server.delegations.model import Basis, Delegation, Grant, Mode, Resource, Task
from valetkey.server.integrations.catalogue import load_catalogue
from valetkey.server.integrations.model import ResourceFacts, resource_of
from valetkey.server.policy.model import Authority, Call, ConnectionFacts
from valetkey.server.principals.model import Agent, Role, Status, User

CATALOGUE = load_catalogue()
GITHUB = CATALOGUE["github"]
NOW = 1_800_000_000
BACKEND = ResourceFacts("repository", name="acme-corp/backend", id="11", owner_id="7")
PAYROLL = ResourceFacts("repository", name="acme-corp/payroll", id="12", owner_id="7")


def grant(text: str, **facts: Any) -> Grant:
    """A grant as consent leaves it: through `con_alice`, its repositories bound to their ids."""
    line = parse_grant(text)
    bound = tuple(_bound(resource) for resource in line.resources)
    return replace(line, connection=line.connection or "con_alice", resources=bound, **facts)


def _bound(resource: Resource) -> Resource:
    known = {"acme-corp/backend": BACKEND, "acme-corp/payroll": PAYROLL}.get(resource.name)
    if known is not None:
        return replace(resource, id=known.id, owner=known.owner_id, kind=known.kind)
    return replace(resource, owner="7", kind="repository") if resource.name == "acme-corp/*" else resource


def user(**facts: Any) -> User:
    usual: dict[str, Any] = {
        "id": "usr_alice",
        "org": "org_acme",
        "email": "alice@acme.com",
        "role": Role.MEMBER,
        "status": Status.ACTIVE,
    }
    return User(**usual | facts)


def agent(
    name: str = "reviewer", ceiling: tuple[str, ...] = ("github:repo:write,account:read@*",), **facts: Any
) -> Agent:
    usual: dict[str, Any] = {
        "id": f"agt_{name}",
        "org": "org_acme",
        "name": name,
        "owner": "usr_alice",
        "status": Status.ACTIVE,
        "ceiling": ceiling,
    }
    return Agent(**usual | facts)


def connection(**facts: Any) -> ConnectionFacts:
    usual: dict[str, Any] = {
        "id": "con_alice",
        "org": "org_acme",
        "owner": "usr_alice",
        "integration": "github",
        "name": "alice",
        "account": "alice",
        "base_url": "https://api.github.com",
        "powers": frozenset({"*"}),
        "generation": 1,
    }
    return ConnectionFacts(**usual | facts)


def delegation(*grants: Grant, **facts: Any) -> Delegation:
    usual: dict[str, Any] = {
        "id": "dlg_1",
        "org": "org_acme",
        "user": "usr_alice",
        "agent": "agt_reviewer",
        "basis": Basis.CONSENT,
        "mode": Mode.ATTENDED,
        "purpose": "review",
        "grants": grants,
        "share_with": frozenset(),
        "tasks_per_day": 0,
        "created_by": "usr_alice",
        "created_at": NOW,
        "expires_at": NOW + 600,
    }
    return Delegation(**usual | facts)


def task(*grants: Grant, **facts: Any) -> Task:
    usual: dict[str, Any] = {
        "id": "tsk_1",
        "org": "org_acme",
        "delegation": "dlg_1",
        "agent": "agt_reviewer",
        "parent": None,
        "root": "tsk_1",
        "depth": 0,
        "grants": grants,
        "purpose": "review",
        "evidence": "credential",
        "created_at": NOW,
        "expires_at": NOW + 600,
    }
    return Task(**usual | facts)


def authority(*grants: Grant, **facts: Any) -> Authority:
    """Alice's reviewer under one delegation and one task of the same grants, unless a fact says otherwise."""
    agents = facts.pop("agents", (agent(),))
    held = grants or (grant("github:repo:read@acme-corp/backend"),)
    links = facts.pop("connections", (connection(),))
    usual: dict[str, Any] = {
        "seq": 1,
        "user": user(),
        "agents": agents,
        "delegation": delegation(*held),
        "tasks": (task(*held),),
        "connections": {c.id: c for c in links},
        "entitlements": (),
        "ceilings": tuple(tuple(parse_grant(line) for line in a.ceiling) for a in agents),
    }
    return Authority(**usual | facts)


def call(method: str, path: str, actual: ResourceFacts | None = BACKEND, **facts: Any) -> Call:
    """The call as the gateway normalises it, its resource already looked up."""
    match = GITHUB.operations.match(method, tuple(path.strip("/").split("/")))
    assert match is not None, path
    ref = resource_of(match)
    usual: dict[str, Any] = {
        "integration": "github",
        "connection": "con_alice",
        "operation": match.operation,
        "scopes_needed": match.scopes_needed,
        "resource": "" if ref is None else ref.name or f"id {ref.id}",
        "actual": actual if ref is not None else None,
        "parameters": match.judged,
    }
    return Call(**usual | facts)
