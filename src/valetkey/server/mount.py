"""One ASGI application on the public port: the gateway by its prefix, the rest by Starlette's routes.

Here, once for every door, it is said where a request came from: `scope["client"]`.
"""

import functools
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from valetkey.server.api import discovery, openapi
from valetkey.server.errors import NotFound, Unavailable
from valetkey.server.gateway.http import PREFIX, GatewayDoor
from valetkey.server.ids import new_id
from valetkey.server.oauth.door import FormDoor
from valetkey.server.oauth.server import AuthorizationServer
from valetkey.server.problems import headers_of, log_bug, problem, status_of
from valetkey.server.sender import sender
from valetkey.server.services import Services

_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache", "content-type": "application/json"}


class Shut:
    """A door that answers nothing but 503 once the server is sealed."""

    def __init__(self, app: Any, is_sealed: Callable[[], bool]) -> None:
        self._app = app
        self._is_sealed = is_sealed

    def may_open(self, path: bytes, query: bytes) -> bool:
        """Whether a WebSocket may be asked for there."""
        may_open = getattr(self._app, "may_open", None)
        return may_open is not None and not self._is_sealed() and may_open(path, query) is True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self._is_sealed():
            sealed = Unavailable("This server is sealed: its key service does not answer.", retry_after=60)
            await _problem(sealed)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class Mount:
    """The application the listener serves."""

    def __init__(
        self,
        *,
        gateway: GatewayDoor,
        oauth: AuthorizationServer,
        services: Services,
        routes: list[Route],
    ) -> None:
        self._gateway = gateway
        self._forms = FormDoor(oauth.forms, oauth.limits, nonce=services.proofs.nonce, creating=["/oauth/par"])
        self._services = services
        self._proxies = services.settings.proxies
        served = [*oauth.forms, *(route.path for route in routes)]
        self._pages = Starlette(
            routes=[
                *discovery.routes(services, served=served, contributed=oauth.metadata),
                Route(openapi.PATH, self._openapi, methods=["GET"]),
                *routes,
            ],
            exception_handlers={404: _not_found, 405: _not_found, Exception: _bug},
        )
        self._pages.state.log_bug = log_bug
        self._described = routes

    @functools.cached_property
    def document(self) -> dict[str, Any]:
        """The description at /openapi.json, made when it is first asked for: few servers are ever asked."""
        return openapi.document(self._services.settings.issuer, self._described)

    @property
    def routes(self) -> list[Route]:
        """Every address besides `/p/…` and `/oauth/token`, so that a test can walk them all."""
        return [route for route in self._pages.routes if isinstance(route, Route)]

    @property
    def form_paths(self) -> set[str]:
        """The addresses of the OAuth forms, so that a test can see that each is described."""
        return self._forms.paths

    def may_open(self, path: bytes, query: bytes) -> bool:
        """Whether a WebSocket may be asked for there: of an operation that opts in, and nowhere else."""
        return path.startswith(PREFIX) and self._gateway.may_open(path, query)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self._proxies and scope.get("client"):
            peer, port = scope["client"]
            scope["client"] = sender(peer, scope["headers"], self._proxies), port
        if scope["raw_path"].startswith(PREFIX):
            await self._gateway(scope, receive, send)
        elif self._forms.serves(scope):
            await self._forms(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _openapi(self, request: Request) -> Response:
        return Response(
            msgspec.json.encode(self.document),
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
