"""A wire to a database on this machine that counts how often a session waits for an answer: what its distance costs."""

import asyncio
import contextlib
from types import TracebackType

_WAITS = frozenset(b"QSH")
"""Query, Sync, Flush: after each of these a session waits for what the server says (protocol, "message flow")."""


class Counted:
    """Listens on a port of its own, passes everything on, and counts. `sessions` are those that were opened."""

    def __init__(self, place: str) -> None:
        self._host, _, self._port = place.partition(":")
        self._passing: set[asyncio.Task[None]] = set()
        self.round_trips = 0
        self.sessions = 0
        self.answered = 0  # bytes
        self.place = ""

    async def __aenter__(self) -> "Counted":
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.place = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self.sessions += 1
        answers = asyncio.create_task(self._answers(there, writer))
        asks = asyncio.create_task(self._asks(reader, back))
        self._passing |= {answers, asks}
        try:
            await asyncio.wait({answers, asks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answers.cancel()
            asks.cancel()
            for end in (back, writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _asks(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            size = await reader.readexactly(4)  # the first message has no kind
            back.write(size + await reader.readexactly(int.from_bytes(size) - 4))
            while kind := await reader.readexactly(1):
                size = await reader.readexactly(4)
                back.write(kind + size + await reader.readexactly(int.from_bytes(size) - 4))
                self.round_trips += kind[0] in _WAITS

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await there.read(65_536):
                self.answered += len(data)
                writer.write(data)
                await writer.drain()
