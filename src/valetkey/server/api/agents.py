"""/v1/agents: registering, reading, suspending, rotating, and the ceiling that only an administrator raises."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api.door import Caller, body_of, listed, route, same_org
from valetkey.server.delegations.grants import parse_grants
from valetkey.server.delegations.model import narrowed
from valetkey.server.errors import Denied, InvalidRequest, NotFound
from valetkey.server.principals import store
from valetkey.server.principals.model import Agent, Status, User
from valetkey.server.services import Services


class NewAgent(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    ceiling: list[str] | None = None
    jwks: dict[str, Any] | None = None


class Ceiling(msgspec.Struct, forbid_unknown_fields=True):
    ceiling: list[str]


def shown(agent: Agent) -> dict[str, Any]:
    """An agent, as the API shows one."""
    return {
        "id": agent.id,
        "name": agent.name,
        "owner": agent.owner,
        "status": agent.status.value,
        "ceiling": list(agent.ceiling),
    }


async def create(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, NewAgent)
    user = caller.user()
    async with services.database.read() as db:
        usual = (await store.organization(db, caller.org)).default_ceiling
    ceiling = usual if body.ceiling is None else tuple(body.ceiling)
    _check_ceiling(services, ceiling, within=None if user.is_administrator else usual)
    jwks = None if body.jwks is None else msgspec.json.encode(body.jwks).decode()
    agent, secret = await services.enroll.agent(body.name, by=user, ceiling=ceiling, jwks=jwks)
    return shown(agent) | ({"secret": secret.reveal()} if secret is not None else {})


async def agents(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    if isinstance(caller.principal, Agent):
        return listed([shown(caller.principal)])  # by itself an agent reads itself, and nobody else
    caller.may("agents:read")
    async with services.database.read() as db:
        found = await store.agents_of(db, caller.org, owner=None if caller.sees_all else caller.principal.id)
    return listed([shown(agent) for agent in found])


async def agent(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    found = await named(services, caller, request.path_params["id"])
    if isinstance(caller.principal, Agent):
        if found.id != caller.principal.id:
            raise NotFound("There is no such agent, or it is not yours.")
        return shown(found)
    caller.may("agents:read")
    owned(caller, found)
    return shown(found)


async def set_status(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    caller.may("agents:write")
    found = await named(services, caller, request.path_params["id"])
    owned(caller, found)
    status = Status.SUSPENDED if request.path_params["verb"] == "suspend" else Status.ACTIVE
    await services.enroll.set_agent_status(found, status, by=caller.principal.id)
    return shown(found) | {"status": status.value}


async def rotate(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    found = await named(services, caller, request.path_params["id"])
    owned(caller, found)
    return {"id": found.id, "secret": (await services.enroll.rotate_agent(found, by=caller.user())).reveal()}


async def set_ceiling(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    body = await body_of(request, Ceiling)
    user = caller.user()
    found = await named(services, caller, request.path_params["id"])
    owned(caller, found)
    _check_ceiling(services, tuple(body.ceiling), within=None if user.is_administrator else found.ceiling)
    await services.enroll.set_agent_ceiling(found, tuple(body.ceiling), by=user)
    return shown(found) | {"ceiling": body.ceiling}


async def named(services: Services, caller: Caller, text: str) -> Agent:
    """The agent of this organization with that id or name, or `NotFound`."""
    async with services.database.read() as db:
        found = await store.agent(db, text) or await store.agent_by_name(db, caller.org, text)
    return same_org(found, caller, "agent")


def owned(caller: Caller, agent: Agent) -> None:
    """The owner or somebody who sees everything; for others it does not exist."""
    owns = isinstance(caller.principal, User) and caller.principal.id == agent.owner
    if not owns and not caller.sees_all:
        raise NotFound("There is no such agent, or it is not yours.")


def _check_ceiling(services: Services, ceiling: tuple[str, ...], *, within: tuple[str, ...] | None) -> None:
    grants = parse_grants(ceiling)
    for grant in grants:
        if grant.connection:
            raise InvalidRequest("A ceiling is over every connection; name none.")
        integration = services.catalogue.get(grant.integration)
        unknown = grant.scopes - set(integration.scopes) if integration is not None else grant.scopes
        if unknown:
            raise InvalidRequest(f"{grant.integration} has no scope {', '.join(sorted(unknown))}.")
    if within is not None and grants:
        try:
            narrowed(parse_grants(within), grants, services.catalogue)
        except Denied as error:
            raise Denied("Only an administrator raises a ceiling.", reason="above_ceiling") from error


def routes(services: Services) -> list[Route]:
    return [
        route(services, "/v1/agents", "POST", create, status=201),
        route(services, "/v1/agents", "GET", agents),
        route(services, "/v1/agents/{id}", "GET", agent),
        route(services, "/v1/agents/{id}/ceiling", "PUT", set_ceiling),
        route(services, "/v1/agents/{id}/rotate", "POST", rotate),
        route(services, "/v1/agents/{id}/{verb:status}", "POST", set_status),
    ]
