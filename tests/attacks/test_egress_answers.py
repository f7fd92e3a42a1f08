"""Answers that must not be believed, and connections that are never lent again after one. GW-08."""

from collections.abc import AsyncIterator

import pytest

from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire, reply
from valetkey.server.egress import Egress, Url
from valetkey.server.errors import UpstreamFailed

POISON = reply(200, body=b"poison")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as up:
        up.answers("GET", "/next", body="next")
        yield up


@pytest.fixture
async def egress(upstream: Upstream) -> AsyncIterator[Egress]:
    way_out = Egress(allow_loopback_hosts=frozenset({f"127.0.0.1:{upstream.port}"}), silence_seconds=5)
    await way_out.open()
    yield way_out
    await way_out.close()


def at(upstream: Upstream, target: bytes = b"/") -> Url:
    return Url(scheme="http", host="127.0.0.1", port=upstream.port, target=target)


async def get(egress: Egress, url: Url) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    return await egress.fetch("GET", url, [], max_bytes=1000, timeout=5)


OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 2\r\n"
CODING = b"Transfer-Encoding: chunked\r\n"
BAD_ANSWERS = {
    "length and coding": OK + LENGTH + CODING + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "coding and length": OK + CODING + LENGTH + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "two same lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "two codings": b"HTTP/1.1 200 OK\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n2\r\nok\r\n0\r\n\r\n",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "coding in a coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\x00\r\nContent-Length: 2\r\n\r\nok",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "bad chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "leaves HTTP": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + POISON,
    "status 999": b"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\nok",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "no HTTP at all": b"<html>hello</html>\r\n\r\n",
    "HTTP/2 in words": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "head too large": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 150 + b"Content-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_a_connection_with_bad_framing_is_never_lent_again(
    egress: Egress, upstream: Upstream, answer: bytes
) -> None:
    """GW-08"""
    upstream.raw_answer(answer)

    with pytest.raises(UpstreamFailed):
        await get(egress, at(upstream))

    assert (await get(egress, at(upstream, b"/next")))[2] == b"next"
    assert [seen.connection for seen in upstream.seen] == [1, 2]


@pytest.mark.parametrize(
    "answer",
    [
        reply(200, body=b"ok") + POISON,
        b"HTTP/1.1 204 OK\r\nContent-Length: 6\r\n\r\npoison",
        b"HTTP/1.1 304 OK\r\nContent-Length: 6\r\n\r\npoison",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + POISON,
    ],
    ids=["after a length", "after 204", "after 304", "after chunks"],
)
async def test_bytes_beyond_an_answer_are_never_the_next_answer(
    egress: Egress, upstream: Upstream, answer: bytes
) -> None:
    """GW-08"""
    upstream.raw_answer(answer)

    await get(egress, at(upstream))

    assert (await get(egress, at(upstream, b"/next")))[2] == b"next"
    assert [seen.connection for seen in upstream.seen] == [1, 2]


@pytest.mark.parametrize("early", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n"])
async def test_a_well_framed_answer_keeps_its_connection(egress: Egress, upstream: Upstream, early: bytes) -> None:
    upstream.raw_answer(early + reply(200, body=b"ok"))

    assert (await get(egress, at(upstream)))[::2] == (200, b"ok")

    assert (await get(egress, at(upstream, b"/next")))[2] == b"next"
    assert [seen.connection for seen in upstream.seen] == [1, 1]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
    ids=["length", "inside a chunk", "between chunks"],
)
async def test_a_truncated_answer_is_a_failure_not_an_end(egress: Egress, upstream: Upstream, answer: bytes) -> None:
    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(answer)
        wire.hang_up()

    upstream.raw_answer(script)

    with pytest.raises(UpstreamFailed):
        await get(egress, at(upstream))
