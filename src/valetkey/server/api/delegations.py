"""/v1/delegations: recording what a person permits, reading it, and vouching for a task."""

from dataclasses import replace
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.agents import named as agent_named
from valetkey.server.api.described import GrantText, Purpose, Seconds
from valetkey.server.api.door import Caller, listed, route, same_org
from valetkey.server.api.paging import Listing, Page
from valetkey.server.connections import store as connections
from valetkey.server.connections.delegable import delegable
from valetkey.server.delegations import store
from valetkey.server.delegations.budgets.model import NAMES
from valetkey.server.delegations.confirm import Wish, not_yours
from valetkey.server.delegations.grants import grant_text, parse_grants
from valetkey.server.delegations.model import Delegation, Grant, Kept, Mode
from valetkey.server.delegations.open_task import EVIDENCE_SECONDS
from valetkey.server.delegations.sentence import sentence
from valetkey.server.errors import Conflict, ConnectionRequired, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, ServiceAccount, User
from valetkey.server.revocation import store as revocation
from valetkey.server.services import Services

DELEGATIONS = Listing("delegations")
LATEST = 253_402_300_799  # the last second of the year 9999


class Part(msgspec.Struct, forbid_unknown_fields=True):
    scopes: list[str]
    resources: list[str]


class Less(msgspec.Struct, forbid_unknown_fields=True):
    """`lines`: what to keep of each line, in the order shown, or all; `seconds`: how long it still lasts, from now."""

    lines: list[Part] | None = None
    seconds: int | None = None


class Longer(msgspec.Struct, forbid_unknown_fields=True):
    seconds: Seconds


class NewDelegation(msgspec.Struct, forbid_unknown_fields=True):
    agent: str
    grants: list[GrantText]
    purpose: Purpose
    seconds: Seconds = 600
    user: str | None = None
    mode: Mode = Mode.ATTENDED
    tasks_per_day: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    share_with: list[str] = []
    max_calls: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    max_writes: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)] | None = None
    max_calls_per_resource: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    max_writes_per_resource: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    max_bytes_per_resource: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)] | None = None
    not_after: Annotated[int, msgspec.Meta(ge=1, le=LATEST, description="Seconds since 1970.")] | None = None
    ask: Annotated[list[GrantText], msgspec.Meta(description="Lines that ask you before each call.")] = []


async def create(services: Services, caller: Caller, request: Request, body: NewDelegation) -> answers.Delegation:
    by = caller.user()
    if body.not_after is not None and body.not_after <= services.clock.now():
        raise InvalidRequest("not_after is a time to come, in seconds since 1970.")
    async with services.database.read() as db:
        user = by
        if body.user is not None and body.user.lower() != by.email:
            if not by.is_administrator:
                raise not_yours()  # before looking: whether that person exists is nobody's business
            user = same_org(await principals.user_by_email(db, caller.org, body.user.lower()), caller, "user")
        held = await delegable(db, user, services.catalogue, shared_only=user.id != by.id)
    agent = await agent_named(services, caller, body.agent)
    share_with = tuple([await agent_named(services, caller, name) for name in body.share_with])
    grants = []
    asking = [replace(grant, ask=True) for grant in parse_grants(body.ask)]
    for grant in [*parse_grants(body.grants), *asking]:
        bound = await held.bound(grant, services.lookups)
        grants.append(replace(bound, **{name: getattr(body, name) for name in NAMES}, not_after=body.not_after))
    wish = Wish(
        user=user,
        agent=agent,
        grants=tuple(grants),
        purpose=body.purpose,
        seconds=body.seconds,
        mode=body.mode,
        tasks_per_day=body.tasks_per_day,
        share_with=share_with,
    )
    delegation = await services.confirm.record(
        wish,
        by=by,
        shared_only=all(held.is_shared(g) for g in grants),
        allowed=held.allowed,
    )
    return await shown(services, delegation)


async def delegations(
    services: Services, caller: Caller, request: Request, page: Page
) -> answers.Listed[answers.Delegation]:
    caller.may("delegations:read")
    after = DELEGATIONS.after(services, caller, page.cursor)
    user = None if caller.sees_all else caller.principal.id
    async with services.database.read() as db:
        found = await store.delegations_of(db, org=caller.org, user=user, after=after, limit=page.limit + 1)
    rows, cursor = DELEGATIONS.cut(services, caller, found, page.limit)
    return listed([await shown(services, d) for d in rows], cursor)


async def delegation(services: Services, caller: Caller, request: Request) -> answers.Delegation:
    return await shown(services, await visible(services, caller, request.path_params["id"]))


async def evidence(services: Services, caller: Caller, request: Request) -> answers.Evidence:
    found = await visible(services, caller, request.path_params["id"])
    handle = await services.open_task.evidence(found, by=caller.user())
    return {"evidence": handle.reveal(), "delegation": found.id, "expires_in": EVIDENCE_SECONDS}


async def narrow(services: Services, caller: Caller, request: Request, body: Less) -> answers.Delegation:
    found = await visible(services, caller, request.path_params["id"])
    by = caller.user()
    if body.lines is not None and len(body.lines) != len(found.lines):
        raise InvalidRequest(f"Say what to keep of each of the {len(found.lines)} lines.")
    asked = iter(body.lines if body.lines is not None else [_all_of(line) for line in found.lines])
    kept = [_NOTHING if line.is_empty else _kept(next(asked)) for line in found.grants]
    now = int(services.clock.now())
    end = found.expires_at if body.seconds is None else now + max(0, body.seconds)
    return await shown(services, await services.confirm.narrow(found, kept, expires_at=end, by=by))


async def extend(services: Services, caller: Caller, request: Request, body: Longer) -> answers.Delegation:
    found = await visible(services, caller, request.path_params["id"])
    return await shown(services, await services.confirm.extend(found, body.seconds, by=caller.user()))


_NOTHING = Kept(frozenset(), frozenset())


def _all_of(line: Grant) -> Part:
    return Part(scopes=sorted(line.scopes), resources=[r.name for r in line.resources])


def _kept(part: Part) -> Kept:
    return Kept(frozenset(part.scopes), frozenset(part.resources))


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


async def shown(services: Services, d: Delegation) -> answers.Delegation:
    """A delegation, as the API shows one, with the sentence."""
    async with services.database.read() as db:
        user = await principals.user(db, d.user)
        agent = await principals.agent(db, d.agent)
        named = {
            c.facts.id: c.facts.name for c in await connections.several(db, frozenset(g.connection for g in d.grants))
        }
        stopped = await revocation.among(db, {d.id, d.user, d.agent, d.org})
        used = await store.last_used(db, [d.id])
    now = services.clock.now()
    return {
        "id": d.id,
        "user": user.email if user is not None else d.user,
        "agent": agent.name if agent is not None else d.agent,
        "basis": d.basis,
        "mode": d.mode,
        "purpose": d.purpose,
        "grants": [grant_text(g, named) for g in d.lines],
        "ask": [grant_text(g, named) for g in d.lines if g.ask],
        "bound": [{"name": r.name, "id": r.id, "owner": r.owner} for g in d.lines for r in g.resources],
        "share_with": sorted(d.share_with),
        "created_by": d.created_by,
        "expires_at": d.expires_at,
        "last_used_at": used.get(d.id),
        "status": "revoked" if stopped else "live" if d.is_live(now) else "expired",
        "sentence": sentence(
            chain=[agent.subject if agent is not None else d.agent],
            user=user.subject if user is not None else d.user,
            grants=d.lines,
            expires_at=d.expires_at,
            now=now,
            catalogue=services.catalogue,
        ),
    }


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/delegations",
            "POST",
            create,
            status=201,
            summary="Record that an agent may act for you",
            body=NewDelegation,
            answer=answers.Delegation,
            refuses=(NotFound, ConnectionRequired, UpstreamFailed),
        ),
        route(
            services,
            "/v1/delegations",
            "GET",
            delegations,
            summary="What you permitted, the newest first; for who sees the organization, all",
            query=Page,
            answer=answers.Listed[answers.Delegation],
            scopes=("delegations:read",),
        ),
        route(
            services,
            "/v1/delegations/{id}",
            "GET",
            delegation,
            summary="One delegation, with its sentence",
            answer=answers.Delegation,
            scopes=("delegations:read",),
        ),
        route(
            services,
            "/v1/delegations/{id}/evidence",
            "POST",
            evidence,
            status=201,
            summary="Vouch that you are there, for one task",
            answer=answers.Evidence,
        ),
        route(
            services,
            "/v1/delegations/{id}/narrow",
            "POST",
            narrow,
            summary="Leave less of a delegation, or let it end sooner",
            body=Less,
            answer=answers.Delegation,
        ),
        route(
            services,
            "/v1/delegations/{id}/extend",
            "POST",
            extend,
            summary="Let your own delegation last longer, counted from now",
            body=Longer,
            answer=answers.Delegation,
            refuses=(Conflict,),
        ),
    ]
