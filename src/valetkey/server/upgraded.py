"""The bytes of a connection that has left HTTP: read and written by its application, in bounds both ways.

Refuses to know what they mean. The connection keeps its own deadline for a peer that does not read.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

_MOST_UNREAD: Final = 64 * 1024


class Upgraded:
    """One per connection, from the head of the handshake on. Nothing is written before `begin`."""

    def __init__(
        self,
        transport: asyncio.Transport,
        flow: FlowControl,
        begun: Callable[[], None],
        finished: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._flow = flow
        self._begun = begun
        self._finished = finished
        self._unread = bytearray()
        self._is_over = False  # the peer says nothing more
        self._news = asyncio.Event()
        self._gone = asyncio.Event()
        self.is_open = False
        self.leaving = asyncio.Event()
        """Set when the server stops."""

    def begin(self) -> None:
        """The handshake is answered by the application, and so is all that follows."""
        self.is_open = True
        self._begun()

    async def read(self) -> bytes:
        """What has come; empty at the end."""
        while not self._unread and not self._is_over:
            self._news.clear()
            await self._news.wait()
        data = bytes(self._unread)
        self._unread.clear()
        self._flow.resume_reading()
        return data

    def write(self, data: bytes) -> None:
        """Say it; `drain` waits until there is room for more."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait for a peer that reads slower than it is told."""
        await self._flow.drain()

    async def finish(self) -> None:
        """Half-close, and wait until the peer has closed too, or has had its time."""
        self._unread.clear()
        if not self._gone.is_set():
            self._finished()
        await self._gone.wait()

    def feed(self, data: bytes) -> None:
        """These bytes came: the connection's to call."""
        self._unread += data
        if len(self._unread) > _MOST_UNREAD:
            self._flow.pause_reading()
        self._news.set()

    def end(self) -> None:
        """Nothing more comes."""
        self._is_over = True
        self._news.set()

    def lost(self) -> None:
        """The connection is gone."""
        self.end()
        self._gone.set()
