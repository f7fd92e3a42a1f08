"""The door of `/oauth/register`: JSON in, JSON out, bounded, never cached; refusals in the shape of RFC 7591."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NotRequired, TypedDict

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from valetkey.server.errors import InvalidRequest, NotAuthenticated
from valetkey.server.ids import new_id
from valetkey.server.oauth.clients.register import Register
from valetkey.server.oauth.described import DescribedEndpoint, Text
from valetkey.server.oauth.errors import oauth_error
from valetkey.server.problems import log_bug
from valetkey.server.secret import Secret
from valetkey.verify.json import MalformedJson, parse_object

LARGEST_BODY: Final = 32 * 1024
_SENT: Final = {"cache-control": "no-store", "pragma": "no-cache"}


def routes(register: Register) -> list[Route]:
    """The addresses, when clients may register themselves."""

    async def create(request: Request) -> Any:
        token = _bearer(request)
        address = request.client.host if request.client is not None else ""
        return await register.create(await _object(request), token, address=address)

    async def read(request: Request) -> Any:
        return await register.read(request.path_params["id"], _must(_bearer(request)))

    async def change(request: Request) -> Any:
        token = _must(_bearer(request))
        return await register.replace(request.path_params["id"], token, await _object(request))

    async def remove(request: Request) -> Any:
        await register.remove(request.path_params["id"], _must(_bearer(request)))

    return [
        Route("/oauth/register", _answering(create, 201), methods=["POST"]),
        Route("/oauth/register/{id}", _answering(read, 200), methods=["GET"]),
        Route("/oauth/register/{id}", _answering(change, 200), methods=["PUT"]),
        Route("/oauth/register/{id}", _answering(remove, 204), methods=["DELETE"]),
    ]


def _answering(work: Callable[[Request], Awaitable[Any]], status: int) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            answer = await work(request)
        except Exception as error:  # the one translation of this door
            return _refused(error)
        if status == 204:
            return Response(None, 204, headers=_SENT)
        return Response(msgspec.json.encode(answer), status, headers=_SENT, media_type="application/json")

    return endpoint


def _refused(error: Exception) -> Response:
    status, extra, body = oauth_error(error, tried_basic=False)
    if status == 500:
        log_bug(error, new_id("aud"))
    headers = dict(_SENT) | {name.decode(): value.decode() for name, value in extra}
    if isinstance(error, NotAuthenticated):  # here it is a token that fails, not a client (RFC 6750 section 3.1)
        body["error"] = "invalid_token"
        headers["www-authenticate"] = 'Bearer realm="valetkey", error="invalid_token"'
    return Response(msgspec.json.encode(body), status, headers=headers, media_type="application/json")


def _bearer(request: Request) -> Secret | None:
    values = request.headers.getlist("authorization")
    if not values:
        return None
    scheme, _, token = values[0].partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("Present one bearer token.")
    return Secret(token.strip())


def _must(token: Secret | None) -> Secret:
    if token is None:
        raise NotAuthenticated("Present the registration access token.")
    return token


async def _object(request: Request) -> dict[str, object]:
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise InvalidRequest("The body must be application/json.", reason="client_metadata")
    received = b""
    async for chunk in request.stream():
        received += chunk
        if len(received) > LARGEST_BODY:
            raise InvalidRequest(f"The body is larger than {LARGEST_BODY} bytes.", reason="client_metadata")
    try:
        return parse_object(received)
    except MalformedJson as error:
        raise InvalidRequest(
            "The body is not one plain JSON object.", detail=str(error), reason="client_metadata"
        ) from (error)


class Registration(msgspec.Struct):
    """What a client says of itself (RFC 7591 section 2)."""

    redirect_uris: list[str] | msgspec.UnsetType = msgspec.UNSET
    client_name: Text = msgspec.UNSET
    client_uri: Text = msgspec.UNSET
    token_endpoint_auth_method: Text = msgspec.UNSET
    application_type: Text = msgspec.UNSET
    grant_types: list[str] | msgspec.UnsetType = msgspec.UNSET
    response_types: list[str] | msgspec.UnsetType = msgspec.UNSET
    scope: Text = msgspec.UNSET
    jwks: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    jwks_uri: Text = msgspec.UNSET


class RegisteredClient(TypedDict):
    """RFC 7591 section 3.2.1, RFC 7592 section 3; the secret is shown this once."""

    client_id: str
    client_id_issued_at: int
    redirect_uris: list[str]
    token_endpoint_auth_method: str
    registration_access_token: str
    registration_client_uri: str
    client_secret: NotRequired[str]
    client_secret_expires_at: NotRequired[int]


DESCRIBED = DescribedEndpoint(
    path="/oauth/register",
    summary="A client registers itself, with an initial access token where one is asked for",
    status=201,
    media="application/json",
    client=False,
    form=Registration,
    answer=RegisteredClient,
    errors={
        400: ("invalid_request", "invalid_client_metadata", "invalid_redirect_uri", "invalid_software_statement"),
        401: ("invalid_token",),
        429: ("temporarily_unavailable",),
        503: ("temporarily_unavailable",),
    },
)
