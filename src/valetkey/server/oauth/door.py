"""The door of the OAuth endpoints that programs POST forms to: one way to read, one way to refuse, never cached."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from valetkey.server.errors import InvalidRequest, TooMany
from valetkey.server.ids import new_id
from valetkey.server.oauth.errors import oauth_error
from valetkey.server.oauth.form import LARGEST_FORM, Form, Headers, parse_form, unverified_client
from valetkey.server.oauth.limits import Limits
from valetkey.server.problems import log_bug


@dataclass(frozen=True, slots=True)
class Typed:
    """An answer that is not JSON."""

    content: bytes
    media_type: str


Endpoint = Callable[[Form, Headers], Awaitable[Mapping[str, Any] | Typed]]

_NO_FAILURE = frozenset({"authorization_pending", "slow_down"})  # RFC 8628 section 3.5: asking again is how it works


class FormDoor:
    """An ASGI application: the raw path chooses the endpoint. Other methods than POST are not its business."""

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        limits: Limits,
        *,
        nonce: Callable[[], str],
        creating: Collection[str] = (),
    ) -> None:
        self._nonce = nonce
        self._endpoints = {path.encode(): endpoint for path, endpoint in endpoints.items()}
        self._limits = limits
        self._creating = frozenset(path.encode() for path in creating)  # those that answer 201

    @property
    def paths(self) -> set[str]:
        """Where they are."""
        return {path.decode() for path in self._endpoints}

    def serves(self, scope: Any) -> bool:
        """Whether this request is for one of the endpoints."""
        return scope["method"] == "POST" and scope["raw_path"] in self._endpoints

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers, path = scope["headers"], scope["raw_path"]
        address, claimed = scope["client"][0] if scope.get("client") else "", ""
        answer: Mapping[str, Any] | Typed
        extra: list[tuple[bytes, bytes]] = []
        try:
            form = parse_form(_content_type(headers), await _received(receive), sender=address)
            claimed = unverified_client(headers, form)
            self._limits.admit(path, address, claimed)
            answer = await self._endpoints[path](form, headers)
            status = 201 if path in self._creating else 200
        except Exception as error:
            tried_basic = any(name == b"authorization" for name, _ in headers)
            status, extra, refusal = oauth_error(error, tried_basic=tried_basic)
            answer = refusal
            if status < 500 and not isinstance(error, TooMany) and refusal["error"] not in _NO_FAILURE:
                self._limits.failed(path, address, claimed)
            if status == 500:
                log_bug(error, new_id("aud"))
        names = {name for name, _ in extra}
        if b"dpop-nonce" not in names and any(name == b"dpop" for name, _ in headers):
            extra.append((b"dpop-nonce", self._nonce().encode()))  # in time for the next proof (RFC 9449, 8.2)
        if not isinstance(answer, Typed):
            answer = Typed(msgspec.json.encode(answer), "application/json")
        content = answer.content
        sent = [
            (b"content-type", answer.media_type.encode()),
            (b"cache-control", b"no-store"),
            (b"pragma", b"no-cache"),
            (b"content-length", str(len(content)).encode()),
            *extra,
        ]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": content})


def _content_type(headers: Headers) -> str:
    kinds = [value for name, value in headers if name == b"content-type"]
    return kinds[0].decode("latin-1") if len(kinds) == 1 else ""


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
