"""A wire to a database on this machine that counts how often a session waits for an answer: what its distance costs."""

import asyncio
import contextlib

from tests.support.relay import Relay, closed

_WAITS = frozenset(b"QSH")
"""Query, Sync, Flush: after each of these a session waits for what the server says (protocol, "message flow")."""


class Counted(Relay):
    """Passes everything on, and counts. `sessions` are those that were opened."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.round_trips = 0
        self.sessions = 0
        self.answered = 0  # bytes

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await self._there()
        self.sessions += 1
        try:
            await self._both(self._answers(there, writer), self._asks(reader, back))
        finally:
            await closed(back, writer)

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
