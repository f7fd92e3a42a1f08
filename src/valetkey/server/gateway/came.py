"""A call as it came: what its client sent, and, where it has to be kept or was read, the exact bytes to send.

Refuses to know what is allowed. The body is read at most once, however often the call is decided.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from valetkey.server.approvals.model import LARGEST_BODY, Kept
from valetkey.server.gateway.headers import outgoing
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.recognise import Recognised
from valetkey.server.policy.model import Authority, Call

Headers = Sequence[tuple[bytes, bytes]]

_WAIT: Final = re.compile(rb"(?:^|[,;\s])wait=([0-9]{1,3})(?:$|[,;\s])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A call as it arrived. `raw_path` is what follows `/p/{integration}`, undecoded; nothing here is trusted."""

    method: str
    raw_path: bytes
    query: bytes
    headers: Headers
    body: AsyncIterator[bytes] | None
    left: Callable[[], Awaitable[None]] | None = None  # returns when its client has left
    opens: bool = False  # a WebSocket, by its handshake

    @property
    def patience(self) -> int:
        """How many seconds it would wait for an answer (RFC 7240 section 4.3)."""
        found = [_WAIT.search(value) for name, value in self.headers if name.lower() == b"prefer"]
        return next((int(one[1]) for one in found if one is not None), 0)


class Came:
    """One call as it came and was understood; its body is read at most once."""

    def __init__(self, attempt: Attempt, asked: Recognised, as_it_is: bool) -> None:
        self.attempt = attempt
        self.asked = asked
        self.as_it_is = as_it_is
        self.is_proven = False  # its proof was spent when it began to wait
        self.is_read = False
        self._body: bytes | None = None

    async def kept(self, door: Prepared, authority: Authority, calls: Sequence[Call]) -> Kept | None:
        """The exact bytes that will be sent; None when they are too many to be kept."""
        asked = self.asked.under(ids_of(calls))
        headers = outgoing(
            self.attempt.headers,
            agent=authority.agent.name,
            task=authority.task.id,
            credential_headers=door.credential_headers,
        )
        headers = [(name, value) for name, value in headers if name != b"prefer"]
        if asked.rewritten is not None:
            return Kept(
                method=asked.target.method,
                path=asked.target.path_bytes,
                query=asked.target.query_bytes,
                headers=tuple(asked.rewritten.headers(headers)),
                body=asked.rewritten.body,
            )
        if not self.is_read:
            self.is_read = True
            self._body = await _whole(self.attempt.body)
        if self._body is None:
            return None
        return Kept(
            method=asked.target.method,
            path=asked.target.path_bytes,
            query=asked.target.query_bytes,
            headers=_with_length(headers, self._body, had_body=self.attempt.body is not None),
            body=self._body,
        )


async def _whole(body: AsyncIterator[bytes] | None) -> bytes | None:
    """The whole body; None when it is too large to be kept."""
    pieces, size = [], 0
    if body is not None:
        async for piece in body:
            size += len(piece)
            if size > LARGEST_BODY:
                return None
            pieces.append(piece)
    return b"".join(pieces)


def _with_length(headers: Headers, body: bytes, *, had_body: bool) -> tuple[tuple[bytes, bytes], ...]:
    """The headers to send with a body that is kept whole."""
    others = [(name, value) for name, value in headers if name not in (b"content-length", b"transfer-encoding")]
    return (*others, *([(b"content-length", b"%d" % len(body))] if had_body else []))


def ids_of(calls: Sequence[Call]) -> list[str]:
    """The id of the thing each part is about; nothing where it is about none."""
    return ["" if call.actual is None else call.actual.id for call in calls]
