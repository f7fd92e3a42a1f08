"""The listening socket: runs one application inside the caller's event loop, with this house's limits.

Responsible for opening the port, starting and stopping; `connection` reads the requests. Refuses to know what the
application does. Only HTTP/1.1 without TLS: a public address needs a proxy in front that ends TLS. Forwarded headers
are not believed here: scope["client"] is the peer.

Stopping: (1) no new connections, (2) idle ones closed, (3) answers under way may end within the grace, (4) the rest is
cut, (5) the application's own end.
"""

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final

import uvicorn
from uvicorn.lifespan.off import LifespanOff
from uvicorn.lifespan.on import LifespanOn

from valetkey.server.connection import CutStream, StrictConnection
from valetkey.server.room import Room

__all__ = ["CutStream", "Listener", "serve"]

GRACE_SECONDS: Final = 10.0
KEEP_ALIVE_SECONDS: Final = 30
MAX_CALLS: Final = 2000  # under way; more are answered 503
MAX_CONNECTIONS: Final = 12_000  # with one more, the one that has been idle for longest is closed
BACKLOG: Final = 1024


class Listener:
    """One application behind one port, for the length of an `async with` block.

    `port=0` takes a free one; `port` and `url` tell which. `lifespan`: whether the application has start-up and
    shut-down of its own to run; one that fails to start raises `RuntimeError` here. Fewer connections than
    `max_connections` are held where the process may not open so many files.
    """

    def __init__(
        self,
        app: Any,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        grace_seconds: float = GRACE_SECONDS,
        lifespan: bool = False,
        max_connections: int = MAX_CONNECTIONS,
        max_calls: int = MAX_CALLS,
    ) -> None:
        self.host = host
        self.port = port
        self._grace_seconds = grace_seconds
        self._config = uvicorn.Config(
            app,
            interface="asgi3",
            http=StrictConnection,
            ws="none",
            lifespan="on" if lifespan else "off",
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._state = Room(max_connections=max_connections, max_calls=max_calls)

    @property
    def url(self) -> str:
        """The base address, without a final slash."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    async def __aenter__(self) -> "Listener":
        self._config.load()
        self._lifespan: LifespanOn | LifespanOff = self._config.lifespan_class(self._config)
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        listening = socket.create_server((self.host, self.port), family=family, backlog=BACKLOG)
        try:
            await self._lifespan.startup()
            if self._lifespan.should_exit:
                raise RuntimeError("the application did not start")
            self._clock = asyncio.create_task(self._tell_time())
            self._server = await asyncio.get_running_loop().create_server(
                self._connection, sock=listening, backlog=BACKLOG
            )
        except BaseException:
            listening.close()
            raise
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks), timeout=self._grace_seconds)
        under_way = set(self._state.tasks)
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)
        for connection in list(self._state.connections):
            connection.transport.close()
        self._clock.cancel()
        await self._lifespan.shutdown()

    def _connection(self) -> StrictConnection:
        return StrictConnection(self._config, self._state, self._lifespan.state)

    async def _tell_time(self) -> None:
        while True:
            self._state.default_headers = [(b"date", formatdate(time.time(), usegmt=True).encode())]
            await asyncio.sleep(1)


async def serve(
    app: Any,
    *,
    host: str,
    port: int,
    ready: Callable[[int], None] | None = None,
    grace_seconds: float = GRACE_SECONDS,
    lifespan: bool = False,
    until: asyncio.Event | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop gracefully; a second signal stops at once.

    `ready` is called with the bound port once requests are accepted. `until` stops it too.
    """
    loop = asyncio.get_running_loop()
    asked, me = asyncio.Event(), asyncio.current_task()

    def stop() -> None:
        if asked.is_set() and me is not None:
            me.cancel()
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        async with Listener(app, host=host, port=port, grace_seconds=grace_seconds, lifespan=lifespan) as listener:
            if ready is not None:
                ready(listener.port)
            waits = [asyncio.ensure_future(event.wait()) for event in (asked, until) if event is not None]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
    except asyncio.CancelledError:
        if not asked.is_set():
            raise
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
