"""Ways for the scripted upstream to behave well or badly: each returns a `Script` for `Upstream.answers(script=…)`.

"Slow" is an event the test sets, never a sleep.
"""

import asyncio
import gzip as gzip_format
from collections.abc import Sequence

from tests.support.seen import Seen
from tests.support.upstream import Headers, Script, Wire, reply


def chunked(*pieces: bytes, headers: Headers = (), trailer: bytes = b"") -> Script:
    """Answer 200 in these chunks."""

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(reply(200, [*_pairs(headers), ("Transfer-Encoding", "chunked")], framed=False))
        for piece in pieces:
            await wire.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        await wire.say(b"0\r\n" + trailer + b"\r\n")

    return script


def gated(first: bytes, gate: asyncio.Event, rest: bytes, *, headers: Headers = ()) -> Script:
    """Send the head and `first` at once, as a chunk; `rest` when the test opens the gate."""

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(reply(200, [*_pairs(headers), ("Transfer-Encoding", "chunked")], framed=False))
        await wire.say(b"%x\r\n%b\r\n" % (len(first), first))
        await gate.wait()
        await wire.say(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))

    return script


def held(gate: asyncio.Event, answer: bytes | None = None) -> Script:
    """Say nothing until the test opens the gate."""

    async def script(seen: Seen, wire: Wire) -> None:
        await gate.wait()
        await wire.say(answer or reply(200))

    return script


def endless(left: asyncio.Event, piece: bytes = b"x" * 65536) -> Script:
    """Stream chunks without end; set `left` when the peer is gone. Back-pressure holds it when nobody reads."""

    async def script(seen: Seen, wire: Wire) -> None:
        try:
            await wire.say(reply(200, {"Transfer-Encoding": "chunked"}, framed=False))
            while True:
                await wire.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        finally:
            left.set()

    return script


def watched(left: asyncio.Event, first: bytes = b"data: 1\n\n") -> Script:
    """Stream one chunk, then nothing; set `left` when the peer closes its side."""

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(reply(200, {"Transfer-Encoding": "chunked"}, framed=False))
        await wire.say(b"%x\r\n%b\r\n" % (len(first), first))
        await wire.peer_left()
        left.set()
        wire.hang_up()

    return script


def truncated(body: bytes, *, promised: int, headers: Headers = ()) -> Script:
    """Promise more bytes than are sent, then close."""

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(reply(200, [*_pairs(headers), ("Content-Length", str(promised))], body, framed=False))
        wire.hang_up()

    return script


def truncated_chunks(*pieces: bytes) -> Script:
    """Send whole chunks but no last one, then close."""

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(reply(200, {"Transfer-Encoding": "chunked"}, framed=False))
        for piece in pieces:
            await wire.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        wire.hang_up()

    return script


def closing(data: bytes) -> Script:
    """Say exactly these bytes, then close: bad framing, garbage, half a head."""

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(data)
        wire.hang_up()

    return script


def reset() -> Script:
    """Break the connection instead of answering."""

    async def script(seen: Seen, wire: Wire) -> None:
        wire.break_off()

    return script


def redirect(location: str, status: int = 302) -> Script:
    """Point elsewhere."""
    return reply(status, {"Location": location})


def echo() -> Script:
    """Answer with the request itself: the worst upstream for whoever injects secrets into headers."""

    async def script(seen: Seen, wire: Wire) -> None:
        echoed = [(b"X-Echo-" + name, value) for name, value in seen.headers]
        await wire.say(reply(200, [*echoed, (b"Content-Type", b"text/plain")], seen.raw))

    return script


def gzip(body: bytes, headers: Headers = ()) -> Script:
    """Answer gzip-compressed. `gzip(bytes(10**9))` is a small bomb."""
    return reply(200, [*_pairs(headers), ("Content-Encoding", "gzip")], gzip_format.compress(body, mtime=0))


def huge(size: int, *, piece: bytes = b"0" * 65536) -> Script:
    """Answer 200 with `size` bytes of body, never held in memory as one."""

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(reply(200, {"Content-Length": str(size)}, framed=False))
        for start in range(0, size, len(piece)):
            await wire.say(piece[: size - start])

    return script


def in_turn(*answers: bytes) -> Script:
    """Give each answer once, in order; the last one for ever."""
    waiting = list(answers)

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(waiting.pop(0) if len(waiting) > 1 else waiting[0])

    return script


def _pairs(headers: Headers) -> Sequence[tuple[str | bytes, str | bytes]]:
    return list(headers.items()) if not isinstance(headers, Sequence) else headers
