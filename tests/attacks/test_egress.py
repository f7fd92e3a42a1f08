"""What leaves, byte for byte, and what is believed of the answer. GW-02, GW-08, GW-17, GW-18, GW-21, DO-02, DO-04."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest

from tests.support.scripts import chunked, endless, gated, held
from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire, reply
from valetkey.server.egress import Egress, Url
from valetkey.server.errors import InvalidRequest, UpstreamFailed

SECRET = b"Bearer ghp_very-secret"
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


@pytest.mark.parametrize(
    "target",
    [
        b"/%41%2f%2F%2e%2E.",
        b"/a;p=1/b:c@d!$&'()*+,=~-._",
        b"//a//",
        b"/a/.../..b/%252e%252e",
        b"/a?",
        b"/a?&&q=%41+%20&x=a/b?c:@!$()*;,",
        b"/%00%zz%",
        b"/%C3%A4",
    ],
)
async def test_a_canonical_target_arrives_byte_for_byte(egress: Egress, upstream: Upstream, target: bytes) -> None:
    upstream.raw_answer(reply(200))

    await get(egress, at(upstream, target))

    assert upstream.last.target == target


@pytest.mark.parametrize(
    "target",
    [b"", b"a", b"*", b"http://evil/", b"/a b", b"/a\r\nX: y", b"/a\x00", b"/\xc3\xa4", b"/a#b", b"/a?b#c", b"/a?b'c"]
    + [b"/a" + bytes([byte]) for byte in b'"<>\\^`{|}']
    + [b"/a?" + bytes([byte]) for byte in b'"<>\\^`{|}']
    + [b"/.", b"/..", b"/a/../b", b"/a/./b", b"/a/%2e%2e/b", b"/a/.%2E", b"/%2e", b"/a/%2E./b?c"],
)
def test_a_target_the_client_would_rewrite_is_refused(target: bytes) -> None:
    with pytest.raises(InvalidRequest):
        Url(host="api.example.com", target=target)


async def test_headers_keep_their_bytes_and_the_order_among_equals(egress: Egress, upstream: Upstream) -> None:
    upstream.raw_answer(reply(200, [("X-One", "1"), ("Set-Cookie", "a"), ("X-Two", "2"), ("Set-Cookie", "b")]))
    sent = [(b"x-b", b"1"), (b"accept", b"a/b"), (b"x-b", b"2"), (b"x-name", "Zoë".encode()), (b"user-agent", b"me")]

    _, received, _ = await egress.fetch("GET", at(upstream), sent, max_bytes=10, timeout=5)

    seen = [(name.lower(), value) for name, value in upstream.last.headers]
    assert sorted(seen) == sorted([*sent, (b"host", f"127.0.0.1:{upstream.port}".encode())])
    assert [value for name, value in seen if name == b"x-b"] == [b"1", b"2"]
    assert [value for name, value in received if name == b"set-cookie"] == [b"a", b"b"]
    await get(egress, at(upstream, b"/again"))
    assert upstream.last.header("Cookie") is None


async def test_an_answer_header_that_is_not_ascii_hides_no_other(egress: Egress, upstream: Upstream) -> None:
    upstream.raw_answer(reply(200, [("X-A", "1"), ("X-Bad", b"\xff\xe4"), ("X-C", "3")], b"body"))

    _, received, body = await get(egress, at(upstream))

    assert body == b"body"
    assert {name: value for name, value in received if name.startswith(b"x-")} == {b"x-a": b"1", b"x-c": b"3"}


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\nX: y", b"\x00", b"\x7f", b"\xff"])
async def test_a_credential_with_control_bytes_is_refused_unsaid(
    egress: Egress, upstream: Upstream, end: bytes
) -> None:
    """GW-17"""
    with pytest.raises(InvalidRequest) as refused:
        await egress.fetch("GET", at(upstream), [(b"authorization", SECRET + end)], max_bytes=10, timeout=5)

    assert b"secret" not in str(refused.value).encode()
    assert upstream.seen == []


@pytest.mark.parametrize(
    "name",
    [
        b"host",
        b"Connection",
        b"transfer-encoding",
        b"Upgrade",
        b"expect",
        b"te",
        b"trailer",
        b"x y",
        b"x:",
        b"",
        b"x\n",
    ],
)
async def test_headers_that_steer_the_connection_are_not_the_callers(
    egress: Egress, upstream: Upstream, name: bytes
) -> None:
    with pytest.raises(InvalidRequest):
        await egress.fetch("GET", at(upstream), [(name, b"1")], max_bytes=10, timeout=5)

    assert upstream.seen == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_never_followed(egress: Egress, upstream: Upstream, status: int) -> None:
    """GW-18"""
    upstream.raw_answer(reply(status, {"Location": f"{upstream.url}/next"}))

    assert (await egress.fetch("GET", at(upstream), [(b"authorization", SECRET)], max_bytes=9, timeout=5))[0] == status

    assert len(upstream.seen) == 1


async def test_a_packed_body_stays_packed(egress: Egress, upstream: Upstream) -> None:
    """DO-02"""
    bomb = gzip.compress(b"0" * 1_000_000)
    upstream.raw_answer(reply(200, {"Content-Encoding": "gzip"}, bomb))

    assert (await egress.fetch("GET", at(upstream), [], max_bytes=len(bomb), timeout=5))[2] == bomb
    assert upstream.last.header("Accept-Encoding") is None


async def test_an_answer_without_end_is_read_no_further_than_agreed(egress: Egress, upstream: Upstream) -> None:
    """DO-04"""
    left = asyncio.Event()
    upstream.answers("GET", "/", script=endless(left))

    with pytest.raises(UpstreamFailed, match="larger"):
        await egress.fetch("GET", at(upstream), [], max_bytes=100_000, timeout=5)

    async with asyncio.timeout(5):
        await left.wait()


async def test_the_first_bytes_are_there_before_the_last(egress: Egress, upstream: Upstream) -> None:
    gate = asyncio.Event()
    upstream.answers("GET", "/", script=gated(b"first", gate, b"rest"))

    async with egress.send("GET", at(upstream), [], None, timeout=5) as response:
        assert await anext(response.body) == b"first"
        gate.set()
        assert b"".join([chunk async for chunk in response.body]) == b"rest"


async def test_leaving_early_ends_the_connection(egress: Egress, upstream: Upstream) -> None:
    left = asyncio.Event()
    upstream.answers("GET", "/", script=endless(left))

    async with egress.send("GET", at(upstream), [], None, timeout=5) as response:
        await anext(response.body)
        response.close()
        with pytest.raises(UpstreamFailed, match="closed"):
            await anext(response.body)

    async with asyncio.timeout(5):
        await left.wait()


async def test_a_cancelled_reader_ends_the_connection(egress: Egress, upstream: Upstream) -> None:
    left, began = asyncio.Event(), asyncio.Event()

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.say(reply(200, {"Content-Length": "100"}, b"first", framed=False))
        await wire.peer_left()
        left.set()

    async def read() -> None:
        async with egress.send("GET", at(upstream), [], None, timeout=5) as response:
            async for _ in response.body:
                began.set()

    upstream.raw_answer(script)
    reading = asyncio.create_task(read())
    await began.wait()

    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
    async with asyncio.timeout(5):
        await left.wait()


async def test_a_silent_upstream_is_given_up(egress: Egress, upstream: Upstream) -> None:
    gate = asyncio.Event()
    upstream.answers("GET", "/", script=held(gate))

    with pytest.raises(UpstreamFailed, match="Timeout"):
        async with egress.send("GET", at(upstream), [], None, timeout=0.05):
            pass


async def test_a_body_that_falls_silent_is_given_up(upstream: Upstream) -> None:
    upstream.answers("GET", "/", script=gated(b"first", asyncio.Event(), b""))
    egress = Egress(allow_loopback_hosts=frozenset({f"127.0.0.1:{upstream.port}"}), silence_seconds=0.05)
    await egress.open()

    with pytest.raises(UpstreamFailed, match="Timeout"):
        await get(egress, at(upstream))

    await egress.close()


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_an_upload_keeps_its_declared_length(egress: Egress, upstream: Upstream) -> None:
    upstream.raw_answer(reply(200))

    async with egress.send("PUT", at(upstream), [(b"content-length", b"5")], pieces(b"ab", b"cde"), timeout=5):
        pass

    assert upstream.last.body == b"abcde"
    assert upstream.last.header("Content-Length") == b"5"
    assert upstream.last.header("Transfer-Encoding") is None
    assert upstream.last.oddities == []


async def test_an_upload_without_a_length_is_chunked(egress: Egress, upstream: Upstream) -> None:
    upstream.raw_answer(reply(200))

    async with egress.send("PUT", at(upstream), [], pieces(b"ab", b"cde"), timeout=5):
        pass

    assert (upstream.last.body, upstream.last.header("Transfer-Encoding")) == (b"abcde", b"chunked")


@pytest.mark.parametrize("body", [None, b""])
async def test_a_post_without_a_body_says_so(egress: Egress, upstream: Upstream, body: bytes | None) -> None:
    upstream.raw_answer(reply(200))

    await egress.fetch("POST", at(upstream), [], max_bytes=10, timeout=5, body=body)

    assert upstream.last.header("Content-Length") == b"0"


@pytest.mark.parametrize("length", [b"4", b"6"])
async def test_an_upload_of_another_length_than_declared_is_broken_off(
    egress: Egress, upstream: Upstream, length: bytes
) -> None:
    upstream.raw_answer(reply(200))

    with pytest.raises((InvalidRequest, UpstreamFailed)):
        async with egress.send("PUT", at(upstream), [(b"content-length", length)], pieces(b"ab", b"cde"), timeout=5):
            pass

    assert (await get(egress, at(upstream, b"/next")))[2] == b"next"


async def test_an_upload_that_fails_halfway_never_arrives_whole(egress: Egress, upstream: Upstream) -> None:
    upstream.raw_answer(reply(200))

    async def failing() -> AsyncIterator[bytes]:
        yield b"ab"
        raise UpstreamFailed(detail="the agent left")

    with pytest.raises(UpstreamFailed):
        async with egress.send("PUT", at(upstream), [], failing(), timeout=5):
            pass

    assert "ended inside the body" in (await upstream.saw()).oddities


async def test_a_failure_names_the_place_and_nothing_else(egress: Egress, upstream: Upstream) -> None:
    async def script(seen: Seen, wire: Wire) -> None:
        wire.break_off()

    upstream.raw_answer(script)

    with pytest.raises(UpstreamFailed) as failed:
        await egress.fetch(
            "GET", at(upstream, b"/private?q=hunter2"), [(b"authorization", SECRET)], max_bytes=9, timeout=5
        )

    assert f"127.0.0.1:{upstream.port}" in failed.value.detail
    assert not any(word in failed.value.detail for word in ("private", "hunter2", "secret"))


async def test_a_closed_egress_sends_nothing(egress: Egress, upstream: Upstream) -> None:
    upstream.raw_answer(chunked(b"x"))
    await egress.close()

    with pytest.raises(UpstreamFailed, match="closed"):
        await get(egress, at(upstream))

    assert upstream.seen == []


async def test_nobody_waits_for_a_head_on_behalf_of_a_caller_who_left(upstream: Upstream) -> None:
    """DO-03: the client lets go of such a connection after `silence_seconds`, not before."""
    left = asyncio.Event()

    async def script(seen: Seen, wire: Wire) -> None:
        await wire.peer_left()
        left.set()

    upstream.raw_answer(script)
    egress = Egress(allow_loopback_hosts=frozenset({f"127.0.0.1:{upstream.port}"}), silence_seconds=0.2)
    await egress.open()
    asking = asyncio.create_task(get(egress, at(upstream)))
    await upstream.saw()

    asking.cancel()

    async with asyncio.timeout(5):
        await left.wait()
    await egress.close()
