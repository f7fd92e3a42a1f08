"""The door of the OAuth endpoints that programs POST forms to: one way to read, one way to refuse, never cached."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import msgspec

from valetkey.server.errors import InvalidRequest
from valetkey.server.ids import new_id
from valetkey.server.oauth.errors import oauth_error
from valetkey.server.oauth.form import LARGEST_FORM, Form, Headers, parse_form
from valetkey.server.problems import log_bug

Endpoint = Callable[[Form, Headers], Awaitable[Mapping[str, Any]]]


class FormDoor:
    """An ASGI application: the raw path chooses the endpoint. Other methods than POST are not its business."""

    def __init__(self, endpoints: Mapping[str, Endpoint], *, creating: Collection[str] = ()) -> None:
        self._endpoints = {path.encode(): endpoint for path, endpoint in endpoints.items()}
        self._creating = frozenset(path.encode() for path in creating)  # those that answer 201

    def serves(self, scope: Any) -> bool:
        """Whether this request is for one of the endpoints."""
        return scope["method"] == "POST" and scope["raw_path"] in self._endpoints

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = scope["headers"]
        extra: list[tuple[bytes, bytes]] = []
        try:
            form = parse_form(_content_type(headers), await _received(receive))
            answer = await self._endpoints[scope["raw_path"]](form, headers)
            status = 201 if scope["raw_path"] in self._creating else 200
        except Exception as error:
            tried_basic = any(name == b"authorization" for name, _ in headers)
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
