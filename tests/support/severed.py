"""A wire to a place on this machine that is cut when certain bytes come along it, delivered or not."""

import asyncio
import contextlib
from types import TracebackType


class Severed:
    """Listens on a port of its own and passes everything on, until it is told to cut."""

    def __init__(self, place: str) -> None:
        self._host, _, self._port = place.partition(":")
        self._mark = b""
        self._is_delivered = False
        self._passing: set[asyncio.Task[None]] = set()
        self.was_cut = False
        self.place = ""

    def cut_at(self, mark: bytes, *, is_delivered: bool) -> None:
        """Cut once, when these bytes come from the client; no answer to them comes back, delivered or not."""
        self._mark, self._is_delivered = mark, is_delivered

    async def down(self) -> None:
        """Nobody gets through, and whoever was through is cut off, until it is `up`."""
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def shut(self) -> None:
        """Nobody else gets through until it is `up`; whoever was through stays."""
        self._server.close()

    async def up(self) -> None:
        """As before, at the same place."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", int(self.place.partition(":")[2]))

    async def __aenter__(self) -> "Severed":
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.place = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port))
        is_mute, has_answered = asyncio.Event(), asyncio.Event()
        answers = asyncio.create_task(self._answers(there, writer, is_mute, has_answered))
        asks = asyncio.create_task(self._asks(reader, back, is_mute, has_answered))
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
