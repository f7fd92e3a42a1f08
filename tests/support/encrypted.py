"""A front before a database on this machine that speaks TLS, with a certificate of choice, and counts what it hears.

What it hears before and after the handshake is counted: whoever is not shown the right certificate says nothing.
"""

import asyncio
import contextlib
import ssl

from tests.support.relay import Relay, closed


class Encrypted(Relay):
    """`tls` may be another one for those who come later."""

    def __init__(self, place: str, tls: ssl.SSLContext) -> None:
        super().__init__(place)
        self.tls = tls
        self.came = 0
        self.heard = 0  # bytes within TLS, from those who came since it was what it is

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
                there, back = await self._there()
                ends.append(back)
                await self._both(self._on(reader, back, tls), self._on(there, writer))
        finally:
            await closed(*ends)

    async def _on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, came_by: ssl.SSLContext | None = None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                self.heard += len(data) if came_by is self.tls else 0
                writer.write(data)
                await writer.drain()
