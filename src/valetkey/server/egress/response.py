"""An upstream's answer: a head known to be well framed, and raw body bytes, bounded in size and in silence."""

from collections.abc import AsyncIterator, Callable

from pyreqwest.exceptions import PyreqwestError
from pyreqwest.response import Response as Answer

from valetkey.server.egress.framing import Headers
from valetkey.server.errors import UpstreamFailed


class Response:
    """One answer. `body` is read once, as sent (never decompressed), and only as fast as it is asked for."""

    def __init__(self, answer: Answer, headers: Headers, *, place: str, max_bytes: int, broken: "Broken") -> None:
        self.status = answer.status
        self.headers = headers  # lower-case names, in the order received
        self.body: AsyncIterator[bytes] = self._chunks()  # all that `next_chunk` returns
        self._reader = answer.body_reader
        self._place = place
        self._left = max_bytes
        self._broken = broken
        self._is_closed = False

    def close(self) -> None:
        """Want no more: the next chunk raises `UpstreamFailed`. Leaving `send`'s block drops what is unread."""
        self._is_closed = True

    async def next_chunk(self) -> bytes | None:
        """The next piece of the body, None at its end. Raises `UpstreamFailed`."""
        try:
            chunk = None if self._is_closed else await self._reader.read_chunk()  # `pool.new_client` bounds the silence
        except PyreqwestError as error:
            raise self._broken(error) from None
        if self._is_closed:
            raise UpstreamFailed(detail=f"{self._place}: closed while being read")
        if chunk is None:
            return None
        self._left -= len(chunk)
        if self._left < 0:
            raise UpstreamFailed(detail=f"{self._place}: the answer is larger than agreed")
        return bytes(chunk)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self.next_chunk()) is not None:
            yield chunk


Broken = Callable[[Exception], UpstreamFailed]
"""Told why reading failed, drops the connections concerned and returns what to raise."""


def head_of(answer: Answer) -> Headers:
    """Return the headers in order. A value the client cannot show (not ASCII) is left out, its siblings are kept."""
    try:
        return [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    except ValueError:
        readable: Headers = []
        for name in dict.fromkeys(answer.headers.keys()):
            try:
                readable += [(name.encode(), value.encode()) for value in answer.headers.getall(name)]
            except ValueError:
                continue
        return readable
