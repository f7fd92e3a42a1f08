"""/v1/resource-servers: APIs of the organization's own, which verify the credentials themselves."""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.agents import named as agent_named
from valetkey.server.api.door import Caller, listed, route, same_org
from valetkey.server.api.paging import Listing, Page
from valetkey.server.api.service_accounts import named as account_named
from valetkey.server.endings import end
from valetkey.server.errors import Conflict, NotFound
from valetkey.server.integrations import store
from valetkey.server.integrations.registered import OwnScope, ResourceServer
from valetkey.server.services import Services
from valetkey.server.tokens.keys import TOKENS, algorithm_named

SERVERS = Listing("resource-servers")


class NewScope(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    sentence: str
    tier: Literal["read", "write", "danger"] = "read"


class NewResourceServer(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    audience: str
    scopes: list[NewScope]
    title: str = ""
    layout: Literal["rfc8693", "agent"] = "rfc8693"
    algorithm: str = "ES256"
    service_account: str | None = None
    agent: str | None = None


def shown(server: ResourceServer) -> answers.ResourceServer:
    """A resource server, as the API shows one."""
    return {
        "id": server.id,
        "name": server.name,
        "title": server.title,
        "audience": server.audience,
        "layout": server.layout,
        "algorithm": server.algorithm,
        "scopes": [{"name": s.name, "sentence": s.sentence, "tier": s.tier} for s in server.scopes],
        "service_account": server.service_account,
        "agent": server.agent,
    }


async def create(
    services: Services, caller: Caller, request: Request, body: NewResourceServer
) -> answers.ResourceServer:
    by = caller.administrator()
    algorithm = algorithm_named(body.algorithm)
    account = await account_named(services, caller, body.service_account) if body.service_account else None
    agent = await agent_named(services, caller, body.agent) if body.agent else None
    wish = ResourceServer(
        id="",
        org=by.org,
        name=body.name,
        title=body.title or body.name,
        audience=body.audience,
        layout=body.layout,
        algorithm=algorithm,
        scopes=tuple(OwnScope(name=s.name, sentence=s.sentence, tier=s.tier) for s in body.scopes),
        service_account=account.id if account is not None else None,
        agent=agent.id if agent is not None else None,
        created_by=by.id,
        created_at=0,
    )
    server = await services.resource_servers.resource_server(wish)
    await services.keys.ensure(TOKENS, algorithm)
    await services.caught_up()
    return shown(server)


async def servers(
    services: Services, caller: Caller, request: Request, page: Page
) -> answers.Listed[answers.ResourceServer]:
    org = caller.administrator().org
    after = SERVERS.after(services, caller, page.cursor)
    async with services.database.read() as db:
        found = [s for s in await store.resource_servers(db) if s.org == org and s.id > after]
    rows, cursor = SERVERS.cut(services, caller, found, page.limit)
    return listed([shown(s) for s in rows], cursor)


async def remove(services: Services, caller: Caller, request: Request) -> answers.ResourceServer:
    by = caller.administrator()
    text = request.path_params["id"]
    async with services.database.read() as db:
        found = next((s for s in await store.resource_servers(db) if text in (s.id, s.name) and s.org == by.org), None)
    server = same_org(found, caller, "resource server")
    report = await end(services, server.id, by=by, reason="removed")
    await services.caught_up()
    return shown(server) | {"seq": report.seq}


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/resource-servers",
            "POST",
            create,
            status=201,
            summary="Register an API of your own",
            body=NewResourceServer,
            answer=answers.ResourceServer,
            refuses=(Conflict, NotFound),
        ),
        route(
            services,
            "/v1/resource-servers",
            "GET",
            servers,
            summary="The APIs of your own",
            query=Page,
            answer=answers.Listed[answers.ResourceServer],
        ),
        route(
            services,
            "/v1/resource-servers/{id}",
            "DELETE",
            remove,
            summary="End an API of your own, by id or name, with every credential for it",
            answer=answers.ResourceServer,
        ),
    ]
