"""/delegations: everything a person gave, and taking it back: less, longer, or not at all."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.connections import store as connections
from valetkey.server.delegations import store
from valetkey.server.delegations.model import Delegation, Kept
from valetkey.server.delegations.sentence import sentence
from valetkey.server.endings import end
from valetkey.server.errors import InvalidRequest, NotFound
from valetkey.server.oauth.form import Form
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, User
from valetkey.server.revocation import store as revocation
from valetkey.server.revocation.revoke import Report
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, shown, view
from valetkey.server.web.render import page
from valetkey.server.web.wording import LineWords, ago, moment, words_of

LONGER = {"600": "10 minutes", "3600": "1 hour", "28800": "8 hours", "86400": "1 day", "604800": "7 days"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A delegation as its person sees it."""

    delegation: Delegation
    user: str
    agent: Agent | None
    sentence: str
    lines: list[LineWords]
    status: str
    until: str
    last_used: str
    is_mine: bool
    shared_with: tuple[str, ...]


async def everything(services: Services, visitor: Visitor, request: Request) -> Response:
    user, _ = visitor.signed_in()
    whose = "all" if request.query_params.get("of") == "all" and user.is_administrator else "mine"
    async with services.database.read() as db:
        found = await store.delegations_of(db, org=user.org, user=None if whose == "all" else user.id)
        rows = await _rows(services, db, found[:100], seen_by=user)
    live = [row for row in rows if row.status == "live"]
    ended = [row for row in rows if row.status != "live"][:20]
    return page("delegations.html", view(visitor, "Delegations", live=live, ended=ended, whose=whose))


async def one(services: Services, visitor: Visitor, request: Request) -> Response:
    user, _ = visitor.signed_in()
    found = await _visible(services, user, request.path_params["id"])
    async with services.database.read() as db:
        [row] = await _rows(services, db, [found], seen_by=user)
        tasks = await store.tasks_of(db, [found.id])
        stopped = await revocation.among(db, {t.id for t in tasks})
        names = {a.id: a.name for a in await principals.agents_of(db, user.org)}
    now = services.clock.now()
    running = [
        {"id": t.id, "agent": names.get(t.agent, t.agent), "purpose": t.purpose, "until": moment(t.expires_at),
         "depth": t.depth}
        for t in tasks
        if t.is_live(now) and t.id not in stopped
    ]  # fmt: skip
    return page("delegation.html", view(visitor, "Delegation", row=row, running=running[:50], longer=LONGER))


async def narrow(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    found = await _visible(services, user, request.path_params["id"])
    kept = [
        Kept(_ticked(form, "scope", number), _ticked(form, "resource", number)) for number in range(len(found.grants))
    ]
    await services.confirm.narrow(found, kept, expires_at=found.expires_at, by=user)
    return RedirectResponse(f"/delegations/{found.id}", 303)


async def extend(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    found = await _visible(services, user, request.path_params["id"])
    if form.get("seconds") not in LONGER:
        raise InvalidRequest("Choose how long it shall last.")
    await services.confirm.extend(found, int(form.must("seconds")), by=user)
    return RedirectResponse(f"/delegations/{found.id}", 303)


async def stop(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    """End one node: a delegation, a task of it. The answer is the report, hop by hop."""
    user, _ = visitor.signed_in()
    report = await end(services, form.must("node"), by=user, reason="ended on the page")
    return _reported(visitor, [report])


async def stop_everything(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    """End every live delegation of the person, one after the other; each has its own report."""
    user, _ = visitor.signed_in()
    async with services.database.read() as db:
        found = await store.delegations_of(db, org=user.org, user=user.id)
        stopped = await revocation.among(db, {d.id for d in found})
    now = services.clock.now()
    live = [d for d in found if d.id not in stopped and d.is_live(now)]
    return _reported(visitor, [await end(services, d.id, by=user, reason="everything was stopped") for d in live])


def _reported(visitor: Visitor, reports: list[Report]) -> Response:
    return page("ended.html", view(visitor, "Ended", reports=reports))


def _ticked(form: Form, name: str, number: int) -> frozenset[str]:
    """The boxes of one line: their values are the line's number, a space, and what they stand for."""
    marked = (value.partition(" ") for value in form.every(name))
    return frozenset(what for line, _, what in marked if line == str(number))


async def _visible(services: Services, user: User, delegation_id: str) -> Delegation:
    async with services.database.read() as db:
        found = await store.delegation(db, delegation_id)
    if found is None or found.org != user.org or (found.user != user.id and not user.is_administrator):
        raise NotFound("There is no such delegation, or it is not yours.")
    return found


async def _rows(services: Services, db: AsyncConnection, found: list[Delegation], *, seen_by: User) -> list[Row]:
    named = {c.facts.id: c.facts for c in await connections.several(
        db, frozenset(g.connection for d in found for g in d.grants))}  # fmt: skip
    people = {u.id: u for u in await principals.users_of(db, seen_by.org)}
    agents = {a.id: a for a in await principals.agents_of(db, seen_by.org)}
    stopped = await revocation.among(db, {node for d in found for node in (d.id, d.user, d.agent, d.org)})
    used = await store.last_used(db, [d.id for d in found])
    now = services.clock.now()
    rows = []
    for d in found:
        agent, user = agents.get(d.agent), people[d.user]
        ended = stopped & {d.id, d.user, d.agent, d.org}
        rows.append(
            Row(
                delegation=d,
                user=user.email,
                agent=agent,
                sentence=sentence(
                    chain=[agent.subject if agent is not None else d.agent],
                    user=user.subject,
                    grants=d.lines,
                    expires_at=d.expires_at,
                    now=now,
                    catalogue=services.catalogue,
                ),
                lines=words_of(d.grants, services.catalogue, named),
                status="ended" if ended else "live" if d.is_live(now) else "expired",
                until=moment(d.expires_at),
                last_used=ago(used[d.id], now) if d.id in used else "never",
                is_mine=d.user == seen_by.id,
                shared_with=tuple(agents[a].name for a in sorted(d.share_with) if a in agents),
            )
        )
    return rows


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/delegations", everything),
        action(services, "/delegations/stop", stop),
        action(services, "/delegations/stop-everything", stop_everything),
        shown(services, "/delegations/{id}", one),
        action(services, "/delegations/{id}/narrow", narrow),
        action(services, "/delegations/{id}/extend", extend),
    ]
