"""The second port: alive, ready, and a few numbers. Says nothing about anybody."""

from typing import TYPE_CHECKING, Any

from valetkey.server.db import fence

if TYPE_CHECKING:
    from valetkey.server.app import App


class Health:
    """An ASGI application for /healthz, /readyz and /metrics."""

    def __init__(self, app: "App") -> None:
        self._app = app

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
        try:
            async with self._app.database.read() as db:
                await fence.newest(db)
        except Exception as error:  # whatever keeps us from deciding keeps us from being ready
            return 503, f"database: {type(error).__name__}\n".encode()
        if self._app.witness.failure is not None:
            return 503, f"checkpoints: {self._app.witness.failure}\n".encode()
        return 200, b"ready\n"

    def _metrics(self) -> bytes:
        numbers = {
            "valetkey_open_calls": len(self._app.streams),
            "valetkey_change_seq": self._app.authorities.seq,
            "valetkey_records_since_checkpoint": self._app.journal.since_checkpoint,
            "valetkey_calls_ended_unknown_at_start": self._app.unknown,
        }
        return "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in numbers.items()).encode()
