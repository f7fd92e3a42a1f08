"""The second port: alive, ready, and a few numbers. Says nothing about anybody."""

from collections.abc import Callable, Mapping
from typing import Any

from valetkey.server.audit.witness import Witness
from valetkey.server.db import fence
from valetkey.server.db.engine import Database


class Health:
    """An ASGI application for /healthz, /readyz and /metrics; `numbers` are the gauges, read anew each time."""

    def __init__(
        self,
        database: Database,
        witness: Witness,
        numbers: Callable[[], Mapping[str, int]],
        is_sealed: Callable[[], bool],
    ) -> None:
        self._is_sealed = is_sealed
        self._database = database
        self._witness = witness
        self._numbers = numbers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, body = await self._answer(scope["path"])
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, path: str) -> tuple[int, bytes]:
        match path:
            case "/healthz":
                return 200, b"alive\n"
            case "/readyz":
                return await self._ready()
            case "/metrics":
                return 200, self._metrics()
            case _:
                return 404, b"nothing here\n"

    async def _ready(self) -> tuple[int, bytes]:
        if self._is_sealed():
            return 503, b"sealed: the key service does not answer\n"
        try:
            async with self._database.read() as db:
                await fence.newest(db)
        except Exception as error:  # whatever keeps us from deciding keeps us from being ready
            return 503, f"database: {type(error).__name__}\n".encode()
        if self._witness.failure is not None:
            return 503, f"checkpoints: {self._witness.failure}\n".encode()
        return 200, b"ready\n"

    def _metrics(self) -> bytes:
        return "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in self._numbers().items()).encode()
