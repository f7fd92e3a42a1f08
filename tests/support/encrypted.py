"""A front before a database on this machine that speaks TLS, with a certificate of choice, and counts what it hears.

What it hears before and after the handshake is counted: whoever is not shown the right certificate says nothing.
"""

import asyncio
import contextlib
import ssl
from types import TracebackType


class Encrypted:
    """Listens on a port of its own. `tls` may be another one for those who come later."""

    def __init__(self, place: str, tls: ssl.SSLContext) -> None:
        self._host, _, self._port = place.partition(":")
        self._passing: set[asyncio.Task[None]] = set()
        self.tls = tls
        self.came = 0
        self.heard = 0  # bytes within TLS, from those who came since it was what it is
        self.place = ""

    async def __aenter__(self) -> "Encrypted":
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
        self.came += 1
        ends = [writer]
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                assert await reader.readexactly(8) == b"\0\0\0\x08\x04\xd2\x16/"  # SSLRequest
                writer.write(b"S")
                await writer.drain()
                tls = self.tls
                await writer.start_tls(tls)
                there, back = await asyncio.open_connection(self._host, int(self._port))
                ends.append(back)
                both = {asyncio.create_task(self._on(reader, back, tls)), asyncio.create_task(self._on(there, writer))}
                self._passing |= both
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for one in both:
                    one.cancel()
        finally:
            for end in ends:
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, came_by: ssl.SSLContext | None = None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                self.heard += len(data) if came_by is self.tls else 0
                writer.write(data)
                await writer.drain()
