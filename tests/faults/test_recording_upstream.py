"""The recording upstream tells the truth: other tests lean on what it says it saw."""

import asyncio

import pytest

from tests.support import scripts
from tests.support.upstream import Upstream, reply


async def exchanged(up: Upstream, sent: bytes) -> bytes:
    """Send bytes, close our side, return all that comes back."""
    reader, writer = await asyncio.open_connection(up.host, up.port)
    writer.write(sent)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_request_is_kept_byte_for_byte():
    sent = b"POST /a%2Fb?x=1 HTTP/1.1\r\nhOsT: u\r\nX-Two: 1\r\nx-two:  2\r\nContent-Length: 3\r\n\r\nabc"
    async with Upstream() as up:
        up.answers("POST", "/a%2Fb", 201, {"X-Y": "z"}, json={"ok": True})
        answer = await exchanged(up, sent)
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert answer.endswith(b'{"ok": true}')
    assert up.last.raw == sent
    assert up.last.target == b"/a%2Fb?x=1"
    assert up.last.headers[0] == (b"hOsT", b"u")
    assert up.last.values("x-two") == [b"1", b"2"]
    assert up.last.json is not None
    assert up.last.body == b"abc"
    assert up.last.oddities == []
    assert up.received("POST", "/a%2Fb") == 1


async def test_a_smuggled_second_request_shows_as_a_request_and_as_an_oddity():
    inner = b"GET /evil HTTP/1.1\r\nHost: u\r\n\r\n"
    both = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (len(inner) + 5)
    async with Upstream() as up:
        await exchanged(up, b"POST /fine HTTP/1.1\r\nHost: u\r\n" + both + inner)
    assert up.received("GET", "/evil") == 1
    assert "both framings" in up.seen[0].oddities


async def test_a_chunked_body_is_decoded_and_its_framing_kept():
    framing = b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    async with Upstream() as up:
        await exchanged(up, b"PUT / HTTP/1.1\r\nHost: u\r\nTransfer-Encoding: chunked\r\n\r\n" + framing)
    assert up.last.body == b"abcde"
    assert up.last.raw.endswith(framing)


async def test_a_body_that_breaks_off_is_recorded_as_broken():
    async with Upstream() as up:
        assert await exchanged(up, b"PUT / HTTP/1.1\r\nHost: u\r\nContent-Length: 9\r\n\r\nabc") == b""
    assert up.last.body == b"abc"
    assert up.last.oddities == ["ended inside the body"]


@pytest.mark.parametrize(
    ("script", "ends_with"),
    [
        (scripts.chunked(b"ab", b"cd"), b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"),
        (scripts.truncated(b"abc", promised=10), b"Content-Length: 10\r\n\r\nabc"),
        (scripts.truncated_chunks(b"abc"), b"3\r\nabc\r\n"),
        (scripts.closing(b"HTTP/1.1 200 OK\r\nContent-Le"), b"Content-Le"),
        (scripts.redirect("http://127.0.0.2/"), b"Location: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n"),
        (scripts.huge(70_000, piece=b"z"), b"zzz"),
        (scripts.echo(), b"Authorization: Bearer s3cret\r\n\r\n"),
        (scripts.in_turn(reply(204), reply(200, body=b"later")), b"204 Scripted\r\n\r\n"),
    ],
)
async def test_a_script_says_exactly_what_it_should(script, ends_with):
    async with Upstream() as up:
        up.raw_answer(script)
        answer = await exchanged(up, b"GET / HTTP/1.1\r\nHost: u\r\nAuthorization: Bearer s3cret\r\n\r\n")
    assert answer.endswith(ends_with)


async def test_a_gate_holds_the_rest_until_the_test_opens_it():
    gate = asyncio.Event()
    async with Upstream() as up:
        up.answers("GET", "/", script=scripts.gated(b"first", gate, b"rest"))
        reader, writer = await asyncio.open_connection(up.host, up.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: u\r\n\r\n")
        await reader.readuntil(b"first\r\n")
        gate.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"4\r\nrest\r\n0\r\n\r\n"
        writer.close()
        await writer.wait_closed()


async def test_an_endless_answer_ends_when_the_peer_leaves():
    left = asyncio.Event()
    async with Upstream() as up:
        up.raw_answer(scripts.endless(left))
        reader, writer = await asyncio.open_connection(up.host, up.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: u\r\n\r\n")
        await reader.readexactly(1000)
        writer.transport.abort()
        async with asyncio.timeout(10):
            await left.wait()


async def test_a_reset_is_an_error_and_not_an_end():
    async with Upstream() as up:
        up.raw_answer(scripts.reset())
        with pytest.raises(ConnectionResetError):
            await exchanged(up, b"GET / HTTP/1.1\r\nHost: u\r\n\r\n")


async def test_an_answer_may_come_before_the_body_is_read():
    async with Upstream() as up:
        up.answers("POST", "/", 413, before_body=True, script=scripts.closing(reply(413)))
        answer = await exchanged(up, b"POST / HTTP/1.1\r\nHost: u\r\nContent-Length: 99999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert up.last.body == b""
