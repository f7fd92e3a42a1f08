"""A WebSocket to an API: dialled at a proven address under its name, for one caller alone, and never lent to another.

The same guard as for HTTP: every address of the name must be of the kind expected of it, the proven one is dialled, the
certificate is verified for the name. No extension is offered: what is compressed could not be scrubbed. RFC 6455
section 4.1. Failures are `UpstreamFailed`, whose detail names the place alone.
"""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from valetkey.server.egress.framing import Headers, outgoing
from valetkey.server.egress.send import Egress
from valetkey.server.egress.url import Url
from valetkey.server.errors import UpstreamFailed

MOST_BYTES: Final = 1 << 20
"""The longest message, in either direction."""
LINGER_SECONDS: Final = 2.0
_READ_BYTES: Final = 64 * 1024

# SECURITY: apart from every other logger: the library would tell a talkative log each header and each frame.
# Guarded by tests/flows/test_websocket.py::test_not_even_the_most_talkative_log_says_what_is_said
SILENT: Final = logging.Logger("websocket", level=logging.CRITICAL + 1)
SILENT.disabled = True


class Dialled:
    """One WebSocket to an API, and what its handshake was answered with; 101 is the one that opened it."""

    def __init__(
        self, protocol: ClientProtocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int
    ) -> None:
        self.protocol = protocol
        self.status = status
        self._reader = reader
        self._writer = writer
        self.early = [event for event in protocol.events_received() if isinstance(event, Frame)]
        """Frames that came with the answer."""

    async def read(self) -> bytes:
        """What has come; empty at the end."""
        try:
            return await self._reader.read(_READ_BYTES)
        except OSError:
            return b""

    def write(self, data: bytes) -> None:
        """Say it; `drain` waits until there is room for more."""
        self._writer.write(data)

    async def drain(self) -> None:
        """Wait for an API that reads slower than it is told."""
        with suppress(OSError):
            await self._writer.drain()

    async def finish(self) -> None:
        """Half-close where that is possible, and read on for a moment, so that no reset overtakes the close frame."""
        try:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    if self._writer.can_write_eof():
                        self._writer.write_eof()
                    while await self._reader.read(_READ_BYTES):
                        pass
                    self._writer.close()
                    await self._writer.wait_closed()
        finally:
            self.abort()

    def abort(self) -> None:
        """Let go at once."""
        self._writer.transport.abort()


async def dial(egress: Egress, url: Url, headers: Headers, *, subprotocols: Sequence[str], timeout: float) -> Dialled:
    """Ask for a WebSocket there. The caller looks at the status, and finishes or aborts what it was given.

    `subprotocols`: what the client offered; any other the API chooses is a failure. `timeout`: seconds until the
    handshake is answered.
    """
    ready = outgoing(headers)
    path, _, query = url.target.decode("ascii").partition("?")
    host = url.literal or url.host
    protocol = ClientProtocol(
        WebSocketURI(url.scheme == "https", host, url.port, path, query),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=MOST_BYTES,
        logger=SILENT,
    )
    request = protocol.connect()
    request.path = url.target.decode("ascii")
    for name, value in ready:
        request.headers[name] = value
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connected(egress, url)
            protocol.send_request(request)
            writer.write(b"".join(protocol.data_to_send()))
            while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
                if data := await reader.read(_READ_BYTES):
                    protocol.receive_data(data)
                else:
                    protocol.receive_eof()
        return Dialled(protocol, reader, writer, _status(url, protocol))
    except (OSError, TimeoutError) as error:
        raise _failed(url, error, was_reached=writer is not None) from None
    finally:
        if writer is not None and protocol.state is not State.OPEN:
            writer.transport.abort()


def _status(url: Url, protocol: ClientProtocol) -> int:
    """What the handshake was answered with. Raises `UpstreamFailed` when it was not answered properly."""
    match protocol.handshake_exc:
        case None:
            return 101
        case InvalidStatus() as answered:
            return answered.response.status_code
        case wrong:
            raise UpstreamFailed(detail=f"{url.place}: bad WebSocket handshake, {type(wrong).__name__}")


async def _connected(egress: Egress, url: Url) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first proven address that answers."""
    refused: OSError = ConnectionRefusedError()
    named = (url.literal or url.host) if url.scheme == "https" else None
    context = _context(egress.roots) if named else None
    for address in await egress.addresses(url):
        try:
            return await asyncio.open_connection(
                address, url.port, ssl=context, server_hostname=named, limit=_READ_BYTES
            )
        except OSError as error:
            refused = error
    raise refused


def _context(roots: Sequence[bytes]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for root in roots:
        context.load_verify_locations(cadata=root.decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _failed(url: Url, error: Exception, *, was_reached: bool) -> UpstreamFailed:
    failed = UpstreamFailed(detail=f"{url.place}: {type(error).__name__}")
    failed.is_unreached = not was_reached
    failed.is_silent = was_reached and isinstance(error, TimeoutError)
    return failed
