"""The `/p/{integration}/…` door: raw ASGI in, one `Attempt`; one `Answer`, raw ASGI out. Decides nothing."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from valetkey.server.errors import NotFound, Revoked
from valetkey.server.gateway.call import Attempt, Calls
from valetkey.server.gateway.errors import refusal
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.streams import Streams
from valetkey.server.ids import new_id
from valetkey.server.listen import CutStream

PREFIX = b"/p/"


class GatewayDoor:
    """An ASGI application for everything below `/p/`."""

    def __init__(self, calls: Calls, streams: Streams, doors: Mapping[str, Prepared]) -> None:
        self._calls = calls
        self._streams = streams
        self._doors = {name.encode(): door for name, door in doors.items()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        started = False
        with self._streams.enter() as stream:
            try:
                async with AsyncExitStack() as opened:
                    door, attempt = self._attempt(scope, receive)
                    answer = await self._calls.handle(attempt, door, stream, opened)
                    body = answer.body
                    opened.push_async_callback(body.aclose)  # type: ignore[attr-defined] # it is a generator
                    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
                    started = True
                    async for chunk in body:
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            except asyncio.CancelledError:
                if not stream.was_cut:
                    raise
                stream.task.uncancel()
                if started:
                    raise CutStream from None
                await _refuse(send, Revoked("This was revoked or has ended while the call was under way."))
            except Exception as error:
                if started:
                    raise CutStream from error
                await _refuse(send, error)

    def _attempt(self, scope: Any, receive: Any) -> tuple[Prepared, Attempt]:
        # SECURITY: raw_path is the bytes as they came; `path` was decoded and judges nothing (GW-03).
        name, slash, rest = scope["raw_path"][len(PREFIX) :].partition(b"/")
        door = self._doors.get(name)
        if door is None:
            raise NotFound("No API of that name is served here.")
        headers = scope["headers"]
        has_body = any(key in (b"content-length", b"transfer-encoding") for key, _ in headers)
        return door, Attempt(
            method=scope["method"],
            raw_path=slash + rest,
            query=scope["query_string"],
            headers=headers,
            body=_received(receive) if has_body else None,
        )


async def _received(receive: Any) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError("the client went away in the middle of its request")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


async def _refuse(send: Any, error: Exception) -> None:
    status, headers, document = refusal(error, request_id=new_id("aud"))
    body = msgspec.json.encode(document)
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
