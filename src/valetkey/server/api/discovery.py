"""The documents by which a stranger finds its way: who issues, with which keys, and what each address asks for.

Only these are open to pages of any origin. Everything in them is public and the same for everyone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from valetkey.server.errors import NotFound
from valetkey.server.oauth.metadata import assembled, protected_resource
from valetkey.server.principals.model import AGENT_SCOPES, MANAGEMENT_SCOPES
from valetkey.server.services import Services
from valetkey.server.tokens.doors import api_audience, gateway_address
from valetkey.server.tokens.keys import JWKS_MAX_AGE_SECONDS

Document = Callable[[Request], Any]
_OPEN = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET",
    "access-control-allow-headers": "mcp-protocol-version",
}


def routes(services: Services, *, served: Sequence[str], contributed: Sequence[Mapping[str, Any]]) -> list[Route]:
    """Every document. `served` are the addresses of this server, `contributed` what modules say of themselves."""
    settings = services.settings
    own = {"authorization_details_types_supported": sorted(services.catalogue.built_in)}
    server = assembled(settings.issuer, served=served, contributed=(own, *contributed))
    # RFC 8414 section 3.1: the well-known part is inserted before the issuer's path. OpenID Connect appends it.
    path = urlsplit(settings.issuer).path
    at = {f"/.well-known/{name}{end}" for name in _SERVER for end in ("", path)}
    resource = "/.well-known/oauth-protected-resource"
    below = {"", urlsplit(settings.gateway).path}
    return [
        _route("/.well-known/jwks.json", lambda _: services.keys.jwks(), "application/jwk-set+json", services),
        *(_route(one, lambda _: server) for one in sorted(at)),
        *(_route(f"{resource}{end}/p/{{integration}}", lambda r: _gateway(services, r)) for end in sorted(below)),
        *(_route(f"{resource}{end}", lambda _: _whole(services)) for end in sorted(below)),
        _route(f"{resource}{path}/v1", lambda _: _api(services)),
    ]


_SERVER = ("oauth-authorization-server", "openid-configuration")


def _gateway(services: Services, request: Request) -> dict[str, Any]:
    integration = services.catalogue.built_in.get(request.path_params["integration"])
    if integration is None:
        raise NotFound("There is nothing at this address.")
    return protected_resource(
        gateway_address(services.settings.gateway, integration.name),
        services.settings.issuer,
        name=integration.title,
        scopes=integration.scopes,
        authorization_details_types_supported=[integration.name],
    )


def _api(services: Services) -> dict[str, Any]:
    issuer = services.settings.issuer
    scopes = AGENT_SCOPES | MANAGEMENT_SCOPES
    return protected_resource(api_audience(issuer), issuer, name="Valetkey", scopes=scopes)


def _whole(services: Services) -> dict[str, Any]:
    """The gateway as a whole, for clients that look at the root; a token is asked for one API of it."""
    return protected_resource(services.settings.gateway, services.settings.issuer, name="Valetkey gateway")


def _route(path: str, document: Document, media_type: str = "application/json", keys: Services | None = None) -> Route:
    async def endpoint(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_OPEN)
        if keys is not None:
            await keys.keys.reload_if_due()
        try:
            found = document(request)
        except NotFound as error:
            return Response(msgspec.json.encode({"detail": error.public}), 404, headers=_OPEN, media_type=media_type)
        headers = {"cache-control": f"public, max-age={JWKS_MAX_AGE_SECONDS}", **_OPEN}
        return Response(msgspec.json.encode(found), headers=headers, media_type=media_type)

    return Route(path, endpoint, methods=["GET", "OPTIONS"])
