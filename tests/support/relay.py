"""A wire to a place on this machine, for tests that watch it, cut it or wrap it."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self


class Relay(ABC):
    """Listens on a port of its own, named by `place`. What it does with a connection is `_accepted`'s."""

    def __init__(self, place: str) -> None:
        self._host, _, self._port = place.partition(":")
        self._passing: set[asyncio.Task[None]] = set()
        self.place = ""

    async def down(self) -> None:
        """Nobody gets through, and whoever was through is cut off."""
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.place = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    @abstractmethod
    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection to its end."""

    async def _there(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, int(self._port))

    async def _both(self, *ways: Coroutine[Any, Any, None]) -> None:
        """Both ways, until one of them ends."""
        tasks = {asyncio.create_task(way) for way in ways}
        self._passing |= tasks
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()


async def closed(*ends: asyncio.StreamWriter) -> None:
    """End them, whatever state they are in."""
    for end in ends:
        end.close()
        with contextlib.suppress(OSError):
            await end.wait_closed()
