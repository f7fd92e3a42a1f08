"""The door of the OAuth endpoints that programs POST forms to: one way to read, one way to refuse, never cached."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from valetkey.server.errors import InvalidRequest, TooMany
from valetkey.server.ids import new_id
from valetkey.server.oauth.errors import oauth_error
from valetkey.server.oauth.form import LARGEST_FORM, Form, Headers, parse_form, unverified_client
from valetkey.server.oauth.limits import Limits
from valetkey.server.problems import log_bug

Endpoint = Callable[[Form, Headers], Awaitable[Mapping[str, Any]]]

_NO_FAILURE = frozenset({"authorization_pending", "slow_down"})  # RFC 8628 section 3.5: asking again is how it works


class FormDoor:
    """An ASGI application: the raw path chooses the endpoint. Other methods than POST are not its business."""

    def __init__(self, endpoints: Mapping[str, Endpoint], limits: Limits, *, creating: Collection[str] = ()) -> None:
        self._endpoints = {path.encode(): endpoint for path, endpoint in endpoints.items()}
        self._limits = limits
        self._creating = frozenset(path.encode() for path in creating)  # those that answer 201

    def serves(self, scope: Any) -> bool:
        """Whether this request is for one of the endpoints."""
        return scope["method"] == "POST" and scope["raw_path"] in self._endpoints

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers, path = scope["headers"], scope["raw_path"]
        address, claimed = scope["client"][0] if scope.get("client") else "", ""
        extra: list[tuple[bytes, bytes]] = []
        try:
            form = replace(parse_form(_content_type(headers), await _received(receive)), sender=address)
            claimed = unverified_client(headers, form)
            self._limits.admit(path, address, claimed)
            answer = await self._endpoints[path](form, headers)
            status = 201 if path in self._creating else 200
        except Exception as error:
            tried_basic = any(name == b"authorization" for name, _ in headers)
            status, extra, answer = oauth_error(error, tried_basic=tried_basic)
            if status < 500 and not isinstance(error, TooMany) and answer["error"] not in _NO_FAILURE:
                self._limits.failed(path, address, claimed)
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
