"""/v1/initial-access-tokens: what an administrator hands to whoever may register clients."""

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from valetkey.server.api import answers
from valetkey.server.api.door import Caller, route
from valetkey.server.errors import Conflict
from valetkey.server.oauth.clients.register import LONGEST_TOKEN_SECONDS, MOST_USES
from valetkey.server.services import Services


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    uses: Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1, "maximum": MOST_USES})] = 1
    seconds: Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1, "maximum": LONGEST_TOKEN_SECONDS})] = 3_600


async def create(services: Services, caller: Caller, request: Request, body: NewToken) -> answers.InitialAccessToken:
    by = caller.administrator()
    if services.settings.dynamic_registration == "off":
        raise Conflict("Clients do not register themselves here.", hint="Set dynamic_registration to token or open.")
    token = await services.register.initial_token(by=by, uses=body.uses, seconds=body.seconds)
    return {"initial_access_token": token.reveal(), "uses": body.uses, "expires_in": body.seconds}


def routes(services: Services) -> list[Route]:
    return [
        route(
            services,
            "/v1/initial-access-tokens",
            "POST",
            create,
            status=201,
            summary="A token with which clients register",
            body=NewToken,
            answer=answers.InitialAccessToken,
            refuses=(Conflict,),
        ),
    ]
