"""The coding in which clients of AWS send bodies they have not read yet (`aws-chunked`), read strictly.

Every chunk says its length; signatures of chunks were made with a placeholder's key and mean nothing here; after the
last chunk stands at most the one trailer that was promised. Refuses to know what is in the body.
Facts: Amazon S3 API Reference, "Signature calculations for the Authorization header: transferring payload in multiple
chunks", and the same with trailing headers.
"""

import re
from collections.abc import AsyncIterator
from typing import Final

from valetkey.server.errors import InvalidRequest

PLAIN_TRAILER: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER: Final = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
TRAILERS: Final = {
    "x-amz-checksum-crc32": 8,
    "x-amz-checksum-crc32c": 8,
    "x-amz-checksum-crc64nvme": 12,
    "x-amz-checksum-sha1": 28,
    "x-amz-checksum-sha256": 44,
}
"""What may follow the last chunk, and how long its base64 is."""
_LONGEST_LINE: Final = 256
_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,8})")
_SIGNED_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,8});chunk-signature=[0-9a-f]{64}")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_TRAILER_SIGNATURE: Final = re.compile(rb"x-amz-trailer-signature:[0-9a-f]{64}")


class Unchunked:
    """One body, to be read once: iterating yields what is in it, `checksum` is its trailer afterwards."""

    def __init__(self, body: AsyncIterator[bytes], *, length: int, is_signed: bool, trailer: str) -> None:
        self._body = body
        self._length = length
        self._is_signed = is_signed
        self._trailer = trailer
        self._held = b""
        self.checksum = ""

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body itself. Raises `InvalidRequest` for what is not exactly that coding, and for another length."""
        size = 0
        while left := await self._next_size():
            size += left
            if size > self._length:
                raise _unclear("is longer than x-amz-decoded-content-length says")
            while left:
                piece = await self._some(left)
                left -= len(piece)
                yield piece
            if await self._line():
                raise _unclear("has a chunk of another length than it says")
        if size != self._length:
            raise _unclear("is shorter than x-amz-decoded-content-length says")
        await self._end()

    async def _next_size(self) -> int:
        shape = _SIGNED_SIZE if self._is_signed else _SIZE
        found = shape.fullmatch(await self._line())
        if found is None:
            raise _unclear("has a chunk without a length")
        return int(found[1], 16)

    async def _end(self) -> None:
        if self._trailer:
            name, _, value = (await self._line()).partition(b":")
            if name.decode("latin-1").lower() != self._trailer or not _BASE64.fullmatch(value):
                raise _unclear("lacks the trailer it promised")
            if len(value) != TRAILERS[self._trailer]:
                raise _unclear("has a checksum of another length")
            self.checksum = value.decode("ascii")
            line = await self._line()
            if self._is_signed:
                if not _TRAILER_SIGNATURE.fullmatch(line):
                    raise _unclear("lacks the signature of its trailer")
                line = await self._line()
            if line:
                raise _unclear("has more trailers than it promised")
        elif await self._line():
            raise _unclear("has a trailer it did not promise")
        # SECURITY: what follows the end would be read as a request of somebody else's by a laxer reader.
        # Guarded by tests/rules/test_aws_chunked.py::test_what_is_not_exactly_that_coding_is_refused
        if self._held or await self._more():
            raise _unclear("goes on after its end")

    async def _line(self) -> bytes:
        while (end := self._held.find(b"\r\n")) < 0:
            if len(self._held) > _LONGEST_LINE or not await self._more():
                raise _unclear("ends in the middle of a chunk")
        if end > _LONGEST_LINE:
            raise _unclear("has a line that is too long")
        line, self._held = self._held[:end], self._held[end + 2 :]
        return line

    async def _some(self, most: int) -> bytes:
        if not self._held and not await self._more():
            raise _unclear("ends in the middle of a chunk")
        piece, self._held = self._held[:most], self._held[most:]
        return piece

    async def _more(self) -> bool:
        async for piece in self._body:
            if piece:
                self._held += piece
                return True
        return False


async def chunked(body: AsyncIterator[bytes], unchunked: Unchunked, trailer: str) -> AsyncIterator[bytes]:
    """The same body in that coding again, without signatures of chunks, its checksum at the end."""
    async for piece in body:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield f"0\r\n{trailer}:{unchunked.checksum}\r\n\r\n".encode()


def _unclear(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The body, in aws-chunked, {why}.",
        hint="Send it plainly: set request_checksum_calculation to when_required in the client.",
    )
