"""/v1/delegations: recording what a person permits, reading it, and vouching for a task."""

from dataclasses import replace
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api.agents import named as agent_named
from valetkey.server.api.door import Caller, body_of, listed, route, same_org
from valetkey.server.api.services import Services
from valetkey.server.connections import store as connections
from valetkey.server.connections.model import Connection
from valetkey.server.delegations import store
from valetkey.server.delegations.confirm import EVIDENCE_SECONDS, Wish, not_yours
from valetkey.server.delegations.grants import grant_text, parse_grants
from valetkey.server.delegations.model import Delegation, Grant, Mode, Resource
from valetkey.server.delegations.sentence import sentence
from valetkey.server.errors import ConnectionRequired, InvalidRequest, NotFound
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, ServiceAccount, User
from valetkey.server.revocation import store as revocation

LATEST = 253_402_300_799  # the last second of the year 9999


class NewDelegation(msgspec.Struct, forbid_unknown_fields=True):
    agent: str
    grants: list[str]
    purpose: str
    seconds: int = 600
    user: str | None = None
    mode: str = "attended"
    tasks_per_day: int = 0
    share_with: list[str] = []
    max_calls: int | None = None
    not_after: int | None = None


async def create(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, NewDelegation)
    by = caller.user()
    if body.mode not in (Mode.ATTENDED, Mode.STANDING):
        raise InvalidRequest("The mode is attended or standing.")
    if body.max_calls is not None and not 1 <= body.max_calls <= 1_000_000:
        raise InvalidRequest("max_calls is between 1 and 1000000.")
    if body.not_after is not None and not services.clock.now() < body.not_after <= LATEST:
        raise InvalidRequest("not_after is a time to come, in seconds since 1970.")
    async with services.database.read() as db:
        user = by
        if body.user is not None and body.user.lower() != by.email:
            if not by.is_administrator:
                raise not_yours()  # before looking: whether that person exists is nobody's business
            user = same_org(await principals.user_by_email(db, caller.org, body.user.lower()), caller, "user")
        usable = await connections.usable_by(db, org=caller.org, user=user.id)
        gone = await revocation.among(db, {c.facts.id for c in usable})
    live = [c for c in usable if c.facts.id not in gone and (user.id == by.id or c.facts.owner is None)]
    agent = await agent_named(services, caller, body.agent)
    share_with = tuple([await agent_named(services, caller, name) for name in body.share_with])
    grants = []
    for grant in parse_grants(body.grants):
        connection = _chosen(grant, live)
        bound = await services.lookups.bind(connection.facts, grant)
        grants.append(replace(bound, max_calls=body.max_calls, not_after=body.not_after))
    shared = [c.facts.id for c in live if c.facts.owner is None]
    async with services.database.read() as db:
        entitled = await store.entitlements_of(db, user.id, shared)
    own = [_everything(c, services) for c in live if c.facts.owner == user.id]
    wish = Wish(
        user=user,
        agent=agent,
        grants=tuple(grants),
        purpose=body.purpose,
        seconds=body.seconds,
        mode=Mode(body.mode),
        tasks_per_day=body.tasks_per_day,
        share_with=share_with,
    )
    delegation = await services.confirm.record(
        wish,
        by=by,
        shared_only=all(g.connection in shared for g in grants),
        allowed=(*own, *entitled),
    )
    return await shown(services, delegation)


async def delegations(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    caller.may("delegations:read")
    user = None if caller.sees_all else caller.principal.id
    async with services.database.read() as db:
        found = await store.delegations_of(db, org=caller.org, user=user)
    return listed([await shown(services, d) for d in found[:100]])


async def delegation(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    return await shown(services, await visible(services, caller, request.path_params["id"]))


async def evidence(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    found = await visible(services, caller, request.path_params["id"])
    handle = await services.confirm.evidence(found, by=caller.user())
    return {"evidence": handle.reveal(), "delegation": found.id, "expires_in": EVIDENCE_SECONDS}


async def visible(services: Services, caller: Caller, delegation_id: str) -> Delegation:
    """The delegation, for its user, its agent, or who sees the whole organization. Others get 404."""
    async with services.database.read() as db:
        found = same_org(await store.delegation(db, delegation_id), caller, "delegation")
    principal = caller.principal
    match principal:
        case User():
            seen = principal.id == found.user or principal.is_administrator
        case Agent():
            seen = principal.id == found.agent
        case ServiceAccount():
            seen = "delegations:read" in caller.scopes & principal.scopes
    if not seen:
        raise NotFound("There is no such delegation, or it is not yours.")
    return found


async def shown(services: Services, d: Delegation) -> dict[str, Any]:
    """A delegation, as the API shows one, with the sentence."""
    async with services.database.read() as db:
        user = await principals.user(db, d.user)
        agent = await principals.agent(db, d.agent)
        named = {
            c.facts.id: c.facts.name for c in await connections.several(db, frozenset(g.connection for g in d.grants))
        }
        stopped = await revocation.among(db, {d.id, d.user, d.agent, d.org})
    now = services.clock.now()
    return {
        "id": d.id,
        "user": user.email if user is not None else d.user,
        "agent": agent.name if agent is not None else d.agent,
        "basis": d.basis.value,
        "mode": d.mode.value,
        "purpose": d.purpose,
        "grants": [grant_text(g, named) for g in d.grants],
        "bound": [{"name": r.name, "id": r.id, "owner": r.owner} for g in d.grants for r in g.resources],
        "share_with": sorted(d.share_with),
        "created_by": d.created_by,
        "expires_at": d.expires_at,
        "status": "revoked" if stopped else "live" if d.is_live(now) else "expired",
        "sentence": sentence(
            chain=[agent.subject if agent is not None else d.agent],
            user=user.subject if user is not None else d.user,
            grants=d.grants,
            expires_at=d.expires_at,
            now=now,
            catalogue=services.catalogue,
        ),
    }


def _chosen(grant: Grant, live: list[Connection]) -> Connection:
    """The one connection a grant means: the one it names, or the only one there is. Never one by accident."""
    fitting = [c for c in live if c.facts.integration == grant.integration]
    if grant.connection:
        fitting = [c for c in fitting if grant.connection in (c.facts.name, c.facts.id)]
    if not fitting:
        raise ConnectionRequired(
            f"No {grant.integration} account is connected that this could use.",
            hint=f"Connect one: valetkey connect {grant.integration} --token-stdin",
            integration=grant.integration,
        )
    if len(fitting) > 1:
        names = ", ".join(sorted(c.facts.name for c in fitting))
        raise InvalidRequest(
            f"Several {grant.integration} accounts are connected: {names}.",
            hint=f"Name one: {grant.integration}/NAME:scope@resource",
        )
    return fitting[0]


def _everything(connection: Connection, services: Services) -> Grant:
    """What a person may delegate through an account of their own: all it can do."""
    scopes = frozenset(services.catalogue[connection.facts.integration].scopes)
    held = scopes if "*" in connection.facts.powers else scopes & connection.facts.powers
    return Grant(
        integration=connection.facts.integration,
        connection=connection.facts.id,
        scopes=held,
        resources=(Resource(name="*"),),
    )


def routes(services: Services) -> list[Route]:
    return [
        route(services, "/v1/delegations", "POST", create, status=201),
        route(services, "/v1/delegations", "GET", delegations),
        route(services, "/v1/delegations/{id}", "GET", delegation),
        route(services, "/v1/delegations/{id}/evidence", "POST", evidence, status=201),
    ]
