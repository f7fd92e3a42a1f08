"""The yardstick of the gateway: the same server and HTTP client as ours, passing through and setting one header.

A program: `python -m bench.bare_proxy UPSTREAM`. No check, no record, no rewriting, no limit. Prints its address.
"""

import sys
from collections.abc import AsyncIterator
from typing import Any

import uvloop

from valetkey.server import listen
from valetkey.server.egress.pool import new_client
from valetkey.server.egress.url import Url

_HOP = frozenset({b"host", b"connection", b"authorization", b"transfer-encoding", b"content-length"})


class BareProxy:
    """The ASGI application."""

    def __init__(self, upstream: str) -> None:
        host, port = upstream.removeprefix("http://").split(":")
        url = Url(scheme="http", host=host, port=int(port), target=b"/")
        self._client = new_client(url, host, extra_roots=(), silence_seconds=60)
        self._upstream = upstream

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in _HOP]
        headers.append(("authorization", "Bearer of-the-bench"))
        address = self._upstream + (scope["raw_path"] + query).decode()
        asking = self._client.request(scope["method"], address)
        if length := [(name.decode(), value.decode()) for name, value in scope["headers"] if name == b"content-length"]:
            headers += length
            asking = asking.body_stream(_body(receive))
        async with asking.headers(headers).build_streamed() as answer:
            kept = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
            kept = [(name, value) for name, value in kept if name not in _HOP]
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            while (chunk := await answer.body_reader.read_chunk()) is not None:
                await send({"type": "http.response.body", "body": bytes(chunk), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _body(receive: Any) -> AsyncIterator[bytes]:
    while (message := await receive())["type"] == "http.request":
        if message["body"]:
            yield message["body"]
        if not message.get("more_body"):
            return


async def main() -> None:
    """Serve until SIGTERM."""
    proxy = BareProxy(sys.argv[1])
    await listen.serve(
        proxy, host="127.0.0.1", port=0, ready=lambda port: print(f"http://127.0.0.1:{port}", flush=True)
    )


if __name__ == "__main__":
    uvloop.run(main())
