"""The decision door: an engine that carries the bytes itself asks whether a call may pass, and with which credential.

It listens on a socket of its own, never on the public port, and answers 404 to whoever does not prove to be an engine.
nginx (`auth_request`), Traefik and Caddy (forward-auth) ask at `/forward-auth` and name the call in headers; Envoy
(`ext_authz` over HTTP) asks at `/ext-authz` followed by the call's own path. The target must be canonical already, for
the engine sends on what it has, not what we would write. No answer may be kept: every call asks, and is recorded.
"""

from typing import Any, Final

import msgspec

from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.came import Attempt
from valetkey.server.gateway.deciding import Deciding
from valetkey.server.gateway.errors import refusal
from valetkey.server.ids import new_id
from valetkey.server.principals.engines.model import Engine
from valetkey.server.problems import log_bug

SECRET_HEADER: Final = b"x-valetkey-engine"
FORWARD: Final = b"/forward-auth"
ENVOY: Final = b"/ext-authz"
_NAMES: Final = ((b"x-original-method", b"x-original-uri"), (b"x-forwarded-method", b"x-forwarded-uri"))
_ENGINES_OWN: Final = frozenset({SECRET_HEADER, *(name for pair in _NAMES for name in pair)})
NOT_THE_CALLS: Final = frozenset({b"content-length", b"transfer-encoding"})  # the body stays with the engine


class DecisionDoor:
    """An ASGI application for the decision port."""

    def __init__(self, deciding: Deciding) -> None:
        self._deciding = deciding

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        only_401_and_403 = any(name == b"x-original-uri" for name, _ in scope["headers"])
        with self._deciding.entered() as stream:
            try:
                proven = engine, _, _ = await self._deciding.proven(_shown(scope))
                told = await self._deciding.told(_attempt(scope, engine), stream, *proven)
                await _send(send, 200, [*told, (b"cache-control", b"no-store"), (b"content-length", b"0")], b"")
            except Exception as error:
                await _refuse(scope, send, error, only_401_and_403=only_401_and_403)


def _shown(scope: Any) -> list[bytes]:
    """The secrets a question shows."""
    path = scope["raw_path"]
    # SECURITY: one answer for no proof, a wrong one and a wrong address: whoever is no engine learns nothing.
    # Guarded by tests/attacks/test_engines.py::test_whoever_is_no_engine_finds_nothing
    if not (path == FORWARD or path.startswith(ENVOY + b"/")):
        return []
    return [value for name, value in scope["headers"] if name == SECRET_HEADER]


def _attempt(scope: Any, engine: Engine) -> Attempt:
    """The call the engine asks about, named in exactly one way."""
    if scope["raw_path"].startswith(ENVOY + b"/"):
        method, target = scope["method"], scope["raw_path"].removeprefix(ENVOY)
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        if any(name in _ENGINES_OWN - {SECRET_HEADER} for name, _ in scope["headers"]):
            raise InvalidRequest("The call is named twice.")
    else:
        method, target = _named(scope["headers"])
    path, _, query = target.partition(b"?")
    if target.endswith(b"?"):
        raise InvalidRequest("The address ends with an empty query.")
    dropped = _ENGINES_OWN | NOT_THE_CALLS
    return Attempt(
        method=method,
        raw_path=engine.below(path),
        query=query,
        headers=[(name, value) for name, value in scope["headers"] if name not in dropped],
        body=None,
    )


def _named(headers: Any) -> tuple[str, bytes]:
    for of_method, of_target in _NAMES:
        methods = [value for name, value in headers if name == of_method]
        targets = [value for name, value in headers if name == of_target]
        if len(methods) == 1 and len(targets) == 1:
            other = {name for pair in _NAMES for name in pair} - {of_method, of_target}
            if any(name in other for name, _ in headers):
                raise InvalidRequest("The call is named twice.")
            return methods[0].decode("latin-1"), targets[0]
    raise InvalidRequest("The engine did not name the call it asks about.", hint="See deploy/ for its configuration.")


async def _refuse(scope: Any, send: Any, error: Exception, *, only_401_and_403: bool) -> None:
    request_id = new_id("aud")
    status, headers, document = refusal(error, request_id=request_id, asked=scope["headers"])
    if status == 500:
        log_bug(error, request_id)
    headers.append((b"x-valetkey-code", str(document["code"]).encode()))
    if only_401_and_403 and status not in (401, 404):  # to nginx anything else is a fault of its own
        status = 403
    body = msgspec.json.encode(document)
    await _send(send, status, [*headers, (b"content-length", str(len(body)).encode())], body)


async def _send(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
