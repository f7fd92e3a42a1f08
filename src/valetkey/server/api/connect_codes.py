"""/v1/connect-codes: connecting an account where no browser is, begun by its person."""

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api import connections as room
from valetkey.server.api.door import Caller, route
from valetkey.server.connections import store
from valetkey.server.connections.by_code.model import CODE_SECONDS, POLL_SECONDS, why
from valetkey.server.connections.status import statuses
from valetkey.server.errors import NotFound, TooMany
from valetkey.server.principals.user_codes import spelled
from valetkey.server.services import Services


class NewConnectCode(msgspec.Struct, forbid_unknown_fields=True):
    """`scopes` are those of the integration: what is asked for at the API follows from them; none leaves the choice to
    the page. `connection` is one to be connected again."""

    integration: str
    scopes: list[str] = []
    connection: str | None = None
    shared: bool = False


async def create(services: Services, caller: Caller, request: Request, body: NewConnectCode) -> answers.NewConnectCode:
    begun = await services.connect_codes.begin(
        body.integration, body.scopes, connection=body.connection, shared=body.shared, by=caller.user()
    )
    return {
        "id": begun.code.id,
        "code": spelled(begun.shown),
        "page": begun.page,
        "page_with_code": begun.page_with_code,
        "expires_in": CODE_SECONDS,
        "interval": POLL_SECONDS,
    }


async def read(services: Services, caller: Caller, request: Request) -> answers.ConnectCode:
    code = await services.connect_codes.of(request.path_params["id"], by=caller.user())
    told = code.told(services.clock.now())
    if told == "pending":
        request.state.retry_after = POLL_SECONDS
    linked = None
    if told == "linked" and code.linked is not None:
        async with services.database.read() as db:
            found = await store.connection(db, code.linked)
            status = await statuses(db, [code.linked])
        linked = None if found is None else room.shown(found.facts, status=status[code.linked])
    return {
        "id": code.id,
        "status": told,
        "reason": code.reason,
        "detail": why(code, told),
        "connection": linked,
        "interval": POLL_SECONDS,
    }


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/connect-codes",
            "POST",
            create,
            status=201,
            summary="Begin to connect an account: a short code for its person, good once for ten minutes",
            body=NewConnectCode,
            answer=answers.NewConnectCode,
            refuses=(NotFound, TooMany),
        ),
        route(
            services,
            "/v1/connect-codes/{id}",
            "GET",
            read,
            summary="What became of it: ask again after `interval` seconds while it is pending",
            answer=answers.ConnectCode,
            refuses=(NotFound,),
        ),
    ]
