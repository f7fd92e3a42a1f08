"""/v1/engines: the proxies that may ask the decision door. They end by revoking their id."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.described import Name
from valetkey.server.api.door import Caller, listed, route
from valetkey.server.api.paging import Listing, Page
from valetkey.server.errors import Conflict, NotFound
from valetkey.server.principals.engines import store
from valetkey.server.principals.engines.model import Engine
from valetkey.server.revocation import store as revocation
from valetkey.server.services import Services

ENGINES = Listing("engines")


class NewEngine(msgspec.Struct, forbid_unknown_fields=True):
    name: Name
    integration: str
    address: str


def shown(engine: Engine, *, revoked: bool) -> answers.Engine:
    """An engine, as the API shows one."""
    return {
        "id": engine.id,
        "name": engine.name,
        "integration": engine.integration,
        "address": engine.address,
        "status": "revoked" if revoked else "active",
    }


async def create(services: Services, caller: Caller, request: Request, body: NewEngine) -> answers.Engine:
    by = caller.administrator()
    if body.integration not in services.catalogue.built_in:
        raise NotFound(f"No integration is called {body.integration[:64]}.")
    engine, secret = await services.engines.add(body.name, integration=body.integration, address=body.address, by=by)
    return shown(engine, revoked=False) | {"secret": secret.reveal()}


async def engines(services: Services, caller: Caller, request: Request, page: Page) -> answers.Listed[answers.Engine]:
    caller.administrator()
    after = ENGINES.after(services, caller, page.cursor)
    async with services.database.read() as db:
        found = await store.engines_of(db, caller.org, after=after, limit=page.limit + 1)
        gone = await revocation.among(db, {engine.id for engine in found})
    rows, cursor = ENGINES.cut(services, caller, found, page.limit)
    return listed([shown(engine, revoked=engine.id in gone) for engine in rows], cursor)


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/engines",
            "POST",
            create,
            status=201,
            summary="Let a proxy of your own ask for decisions about one API; its secret is shown this once",
            body=NewEngine,
            answer=answers.Engine,
            refuses=(Conflict, NotFound),
        ),
        route(
            services,
            "/v1/engines",
            "GET",
            engines,
            summary="The proxies that may ask for decisions",
            query=Page,
            answer=answers.Listed[answers.Engine],
        ),
    ]
