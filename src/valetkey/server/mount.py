"""One ASGI application on the public port: the gateway by its prefix, the rest by Starlette's routes."""

from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from valetkey.server.api.services import Services
from valetkey.server.errors import InvalidRequest, NotFound
from valetkey.server.gateway.http import PREFIX, GatewayDoor
from valetkey.server.ids import new_id
from valetkey.server.oauth.errors import oauth_error
from valetkey.server.oauth.form import LARGEST_FORM, client_proof, parse_form
from valetkey.server.oauth.metadata import metadata
from valetkey.server.oauth.token import USER_CREDENTIAL, TokenEndpoint
from valetkey.server.principals.authenticate import ASSERTION_TYPE
from valetkey.server.problems import headers_of, log_bug, problem, status_of
from valetkey.server.tokens.keys import JWKS_MAX_AGE_SECONDS

_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache", "content-type": "application/json"}


class Mount:
    """The application the listener serves."""

    def __init__(
        self, *, gateway: GatewayDoor, endpoint: TokenEndpoint, services: Services, routes: list[Route]
    ) -> None:
        self._gateway = gateway
        self._endpoint = endpoint
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
        elif scope["raw_path"] == b"/oauth/token" and scope["method"] == "POST":
            await self._token(scope, receive, send)
        else:
            await self._pages(scope, receive, send)

    async def _token(self, scope: Any, receive: Any, send: Any) -> None:
        headers = scope["headers"]
        tried_basic = any(name == b"authorization" for name, _ in headers)
        extra: list[tuple[bytes, bytes]] = []
        try:
            body = await _received(receive)
            kinds = [value for name, value in headers if name == b"content-type"]
            form = parse_form(kinds[0].decode("latin-1") if len(kinds) == 1 else "", body)
            open_door = form.get("grant_type") == USER_CREDENTIAL
            proof = None if open_door else client_proof(headers, form, ASSERTION_TYPE)
            status, answer = 200, await self._endpoint.answer(form, proof)
        except Exception as error:
            status, extra, answer = oauth_error(error, tried_basic=tried_basic)
            if status == 500:
                log_bug(error, new_id("aud"))
        content = msgspec.json.encode(answer)
        sent = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"pragma", b"no-cache"),
            (b"content-length", str(len(content)).encode()),
            *extra,
        ]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": content})

    async def _jwks(self, request: Request) -> Response:
        await self._services.keys.reload_if_due()
        return Response(
            msgspec.json.encode(self._services.keys.jwks()),
            headers={"cache-control": f"public, max-age={JWKS_MAX_AGE_SECONDS}"},
            media_type="application/jwk-set+json",
        )

    async def _metadata(self, request: Request) -> Response:
        return Response(
            msgspec.json.encode(metadata(self._services.settings.issuer)),
            headers={"cache-control": "public, max-age=300"},
            media_type="application/json",
        )


async def _received(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The request ended in the middle.")
        body += bytes(message.get("body", b""))
        if len(body) > LARGEST_FORM:
            raise InvalidRequest(f"The body is larger than {LARGEST_FORM} bytes.")
        if not message.get("more_body", False):
            return body


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
