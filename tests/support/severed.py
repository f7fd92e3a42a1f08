"""A wire to a place on this machine that is cut when certain bytes come along it, delivered or not."""

import asyncio
import contextlib

from tests.support.relay import Relay, closed


class Severed(Relay):
    """Passes everything on, until it is told to cut."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self._mark = b""
        self._is_delivered = False
        self.was_cut = False

    def cut_at(self, mark: bytes, *, is_delivered: bool) -> None:
        """Cut once, when these bytes come from the client; no answer to them comes back, delivered or not."""
        self._mark, self._is_delivered = mark, is_delivered

    def shut(self) -> None:
        """Nobody else gets through until it is `up`; whoever was through stays."""
        self._server.close()

    async def up(self) -> None:
        """As before, at the same place."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", int(self.place.partition(":")[2]))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await self._there()
        is_mute, has_answered = asyncio.Event(), asyncio.Event()
        try:
            await self._both(
                self._answers(there, writer, is_mute, has_answered), self._asks(reader, back, is_mute, has_answered)
            )
        finally:
            await closed(back, writer)

    async def _asks(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        is_mute: asyncio.Event,
        has_answered: asyncio.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self._mark and self._mark in data:
                    self._mark, self.was_cut = b"", True
                    is_mute.set()
                    if self._is_delivered:
                        back.write(data)
                        await has_answered.wait()
                    return
                back.write(data)
                await back.drain()

    async def _answers(
        self,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        is_mute: asyncio.Event,
        has_answered: asyncio.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await there.read(65_536):
                if is_mute.is_set():
                    has_answered.set()
                    return
                writer.write(data)
                await writer.drain()
