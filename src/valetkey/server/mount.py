"""One ASGI application on the public port: the gateway by its prefix, the rest by Starlette's routes."""

from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from valetkey.server.errors import NotFound
from valetkey.server.gateway.http import PREFIX, GatewayDoor
from valetkey.server.ids import new_id
from valetkey.server.oauth.door import Endpoint, FormDoor
from valetkey.server.oauth.limits import Limits
from valetkey.server.oauth.metadata import metadata
from valetkey.server.oauth.token import TokenEndpoint
from valetkey.server.problems import headers_of, log_bug, problem, status_of
from valetkey.server.services import Services
from valetkey.server.tokens.keys import JWKS_MAX_AGE_SECONDS

_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache", "content-type": "application/json"}


class Mount:
    """The application the listener serves."""

    def __init__(
        self,
        *,
        gateway: GatewayDoor,
        token: TokenEndpoint,
        pushed: Endpoint,
        device: Endpoint,
        backchannel: Endpoint,
        limits: Limits,
        services: Services,
        routes: list[Route],
    ) -> None:
        self._gateway = gateway
        self._token = token
        forms: dict[str, Endpoint] = {
            "/oauth/token": token,
            "/oauth/par": pushed,
            "/oauth/device_authorization": device,
            "/oauth/backchannel": backchannel,
        }
        self._forms = FormDoor(forms, limits, creating=["/oauth/par"])
        self._services = services
        self._pages = Starlette(
            routes=[
                Route("/.well-known/jwks.json", self._jwks, methods=["GET"]),
                Route("/.well-known/oauth-authorization-server", self._metadata, methods=["GET"]),
                *routes,
            ],
            exception_handlers={404: _not_found, 405: _not_found, Exception: _bug},
        )
        self._pages.state.log_bug = log_bug

    @property
    def routes(self) -> list[Route]:
        """Every address besides `/p/…` and `/oauth/token`, so that a test can walk them all."""
        return [route for route in self._pages.routes if isinstance(route, Route)]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["raw_path"].startswith(PREFIX):
            await self._gateway(scope, receive, send)
        elif self._forms.serves(scope):
            await self._forms(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _jwks(self, request: Request) -> Response:
        await self._services.keys.reload_if_due()
        return Response(
            msgspec.json.encode(self._services.keys.jwks()),
            headers={"cache-control": f"public, max-age={JWKS_MAX_AGE_SECONDS}"},
            media_type="application/jwk-set+json",
        )

    async def _metadata(self, request: Request) -> Response:
        return Response(
            msgspec.json.encode(metadata(self._services.settings.issuer, grant_types=self._token.offered)),
            headers={"cache-control": "public, max-age=300"},
            media_type="application/json",
        )


async def _not_found(request: Request, error: Exception) -> Response:
    return _problem(NotFound("There is nothing at this address."))


async def _bug(request: Request, error: Exception) -> Response:
    request_id = new_id("aud")
    log_bug(error, request_id)
    return _problem(error, request_id)


def _problem(error: Exception, request_id: str = "") -> Response:
    document = problem(error, request_id=request_id or new_id("aud"))
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return Response(msgspec.json.encode(document), status_of(error), headers=headers)
