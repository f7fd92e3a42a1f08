"""/v1/initial-access-tokens: what an administrator hands to whoever may register clients."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api.door import Caller, body_of, route
from valetkey.server.errors import Conflict
from valetkey.server.services import Services


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    uses: int = 1
    seconds: int = 3_600


async def create(services: Services, caller: Caller, request: Request) -> dict[str, Any]:
    by = caller.administrator()
    body = await body_of(request, NewToken)
    if services.settings.dynamic_registration == "off":
        raise Conflict("Clients do not register themselves here.", hint="Set dynamic_registration to token or open.")
    token = await services.register.initial_token(by=by, uses=body.uses, seconds=body.seconds)
    return {"initial_access_token": token.reveal(), "uses": body.uses, "expires_in": body.seconds}


def routes(services: Services) -> list[Route]:
    return [route(services, "/v1/initial-access-tokens", "POST", create, status=201)]
