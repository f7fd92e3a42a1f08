"""/agents: registering one in a minute, what to paste where, and stopping it."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from valetkey.server.delegations.grants import parse_grants
from valetkey.server.endings import end
from valetkey.server.errors import NotFound
from valetkey.server.oauth.form import Form
from valetkey.server.principals import store
from valetkey.server.principals.model import Agent, Status, User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.services import Services
from valetkey.server.web.door import Visitor, action, shown, view
from valetkey.server.web.render import page
from valetkey.server.web.snippets import snippets
from valetkey.server.web.wording import words_of


async def agents(services: Services, visitor: Visitor, request: Request) -> Response:
    user, _ = visitor.signed_in()
    whose = "all" if request.query_params.get("of") == "all" and user.is_administrator else "mine"
    async with services.database.read() as db:
        found = await store.agents_of(db, user.org, owner=None if whose == "all" else user.id)
        gone = await revocation.among(db, {a.id for a in found})
        people = {u.id: u.email for u in await store.users_of(db, user.org)}
    rows = [{"agent": a, "owner": people[a.owner], "status": _status(a, gone)} for a in found]
    return page("agents.html", view(visitor, "Agents", rows=rows, whose=whose))


async def register(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    async with services.database.read() as db:
        ceiling = (await store.organization(db, user.org)).default_ceiling
    agent, secret = await services.enroll.agent((form.get("name") or "").strip(), by=user, ceiling=ceiling, jwks=None)
    return await _page(services, visitor, agent, secret)


async def one(services: Services, visitor: Visitor, request: Request) -> Response:
    user, _ = visitor.signed_in()
    return await _page(services, visitor, await _owned(services, user, request.path_params["id"]), None)


async def rotate(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    agent = await _owned(services, user, request.path_params["id"])
    return await _page(services, visitor, agent, await services.enroll.rotate_agent(agent, by=user))


async def set_status(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    agent = await _owned(services, user, request.path_params["id"])
    status = Status.SUSPENDED if form.get("status") == "suspended" else Status.ACTIVE
    await services.enroll.set_agent_status(agent, status, by=user.id)
    return RedirectResponse(f"/agents/{agent.id}", 303)


async def stop(services: Services, visitor: Visitor, request: Request, form: Form) -> Response:
    user, _ = visitor.signed_in()
    agent = await _owned(services, user, request.path_params["id"])
    report = await end(services, agent.id, by=user, reason="ended on the page")
    return page("ended.html", view(visitor, "Ended", reports=[report]))


async def _page(services: Services, visitor: Visitor, agent: Agent, secret: Secret | None) -> Response:
    async with services.database.read() as db:
        owner = await store.user(db, agent.owner)
        gone = await revocation.among(db, {agent.id})
    settings = services.settings
    facts = view(
        visitor,
        agent.name,
        agent=agent,
        owner="" if owner is None else owner.email,
        status=_status(agent, gone),
        # SECURITY: the one moment it is shown; the store keeps its MAC and the page is never cached.
        secret="" if secret is None else secret.reveal(),
        ceiling=words_of(parse_grants(agent.ceiling), services.catalogue, {}),
        snippets=snippets(issuer=settings.issuer, gateway=settings.gateway, client_id=agent.id, name=agent.name),
    )
    return page("agent.html", facts)


async def _owned(services: Services, user: User, agent_id: str) -> Agent:
    """An agent of hers, or of her organization for an administrator; others do not exist."""
    async with services.database.read() as db:
        found = await store.agent(db, agent_id)
    if found is None or found.org != user.org or (found.owner != user.id and not user.is_administrator):
        raise NotFound("There is no such agent, or it is not yours.")
    return found


def _status(agent: Agent, gone: frozenset[str]) -> str:
    return "ended" if agent.id in gone else agent.status.value


def routes(services: Services) -> list[Route]:
    return [
        shown(services, "/agents", agents),
        action(services, "/agents", register),
        shown(services, "/agents/{id}", one),
        action(services, "/agents/{id}/rotate", rotate),
        action(services, "/agents/{id}/status", set_status),
        action(services, "/agents/{id}/stop", stop),
    ]
