"""Framing on both sides of the gateway, over sockets: GW-05, GW-06, GW-07, GW-08, GW-20, DO-02, DO-04."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support import scripts
from tests.support.behind import ALLOWED, BOBS, STREAMED, Behind, open_behind
from tests.support.house import REAL
from tests.support.http import read_reply
from tests.support.malformed import BAD_CHUNKS, CHUNKED, REFUSED_HEADS
from tests.support.upstream import Script, reply

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    async with open_behind(tmp_path_factory.mktemp("framing"), upstream_timeout_seconds=2) as opened:
        yield opened


@pytest.fixture
def behind(shared: Behind) -> Behind:
    shared.forget()
    return shared


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broken(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    """A deployment of its own for bodies that break off: the upstream records such a one only when it notices."""
    async with open_behind(tmp_path_factory.mktemp("broken")) as opened:
        yield opened


def through(behind: Behind, request: bytes) -> bytes:
    """The malformed request, but for an operation the credential allows: nothing else may refuse it."""
    path = STREAMED if request.startswith(b"POST") else ALLOWED
    aimed = request.replace(b" /a HTTP", f" /p/github{path} HTTP".encode(), 1)
    first, line_break, rest = aimed.partition(b"\n")
    return (
        first + line_break + f"Authorization: Bearer {behind.token}".encode() + b"\r" * (b"\r" in aimed) + b"\n" + rest
    )


@pytest.mark.parametrize("request_bytes", REFUSED_HEADS.values(), ids=REFUSED_HEADS)
async def test_gw_05_gw_06_gw_20_what_two_readers_could_frame_differently_never_leaves(
    behind: Behind, request_bytes: bytes
) -> None:
    async with behind.opened() as (reader, writer):
        writer.write(through(behind, request_bytes))
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 4") == 1
    assert behind.up.seen == []


async def test_gw_06_the_plain_request_beside_them_arrives_once(behind: Behind) -> None:
    answer = await behind.say(through(behind, CHUNKED) + b"3\r\nabc\r\n0\r\n\r\n")
    assert answer.status == 200
    assert [(seen.body, seen.oddities) for seen in behind.calls] == [(b"abc", [])]


@pytest.mark.parametrize("rest", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_gw_07_a_body_with_malformed_chunks_never_arrives_whole(broken: Behind, rest: bytes) -> None:
    async with broken.opened() as (reader, writer):
        writer.write(through(broken, CHUNKED) + rest)
        answer = await reader.read()
    await broken.house.app.calls.settle()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 4") == 1
    assert all("ended inside the body" in seen.oddities for seen in broken.calls)


WEBSOCKET = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
UPGRADES = {
    "websocket": "upgrade: websocket",
    "h2c": "upgrade: h2c\r\nconnection: upgrade, http2-settings",
    "a whole WebSocket handshake": WEBSOCKET + "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",  # RFC 6455 section 1.3
    "a handshake without its key": WEBSOCKET + "origin: https://example.com",
    "a key without an upgrade": "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize("header", UPGRADES.values(), ids=UPGRADES)
async def test_gw_20_nothing_upgrades(behind: Behind, header: str) -> None:
    answer = await behind.say(behind.head("GET", ALLOWED, header))
    assert answer.status == 400
    assert behind.calls == []


@pytest.mark.parametrize("method", ["OPTIONS", "PROPFIND", "PURGE", "LINK", "TRACE", "CONNECT"])
async def test_gw_20_only_the_six_methods_are_read(behind: Behind, method: str) -> None:
    assert (await behind.say(behind.head(method))).status == 400
    assert behind.up.seen == []


FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
BAD_ANSWERS = {
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + FORGED,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\nabc" + FORGED,
    "other coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc" + FORGED,
    "length no number": b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc" + FORGED,
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + FORGED,
    "garbage": b"\x16\x03\x01 not http\r\n\r\n" + FORGED,
    "nothing but a line": b"HTTP/1.1 banana\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Len",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_gw_08_a_badly_framed_answer_is_upstream_failed_and_lends_nobody_its_connection(
    behind: Behind, answer: bytes
) -> None:
    await behind.call()
    behind.up.answers("GET", "/repos/acme/pub/pulls", script=scripts.in_turn(answer))
    bad = await behind.call(path="/repos/acme/pub/pulls")
    assert (bad.status, bad.code) == (502, "upstream_failed")
    tainted = behind.calls[-1].connection
    outcome = await behind.outcome(bad.json()["decision"])
    assert outcome["ended"] == "upstream_failed"
    for _ in range(3):
        good = await behind.call()
        assert (good.status, good.body) == (200, b"[]")
        assert behind.calls[-1].connection != tainted


async def test_gw_08_bytes_after_an_answer_are_never_the_answer_to_somebody_else(behind: Behind) -> None:
    """An upstream that says more than it announced: the surplus dies with the connection, whoever calls next."""
    house = behind.house
    bob = await house.person("bob@acme.com")
    await house.connect(bob, credential=BOBS)
    bobs = await behind.another("bobs-agent", bob)
    behind.up.answers("GET", "/repos/acme/pub/pulls", script=scripts.in_turn(reply(200, (), b"mine") + FORGED))
    assert (await behind.call(path="/repos/acme/pub/pulls")).body == b"mine"
    for _ in range(3):
        answer = await house.gateway(bobs, "GET", ALLOWED)
        assert (answer.status, answer.body) == (200, b"[]")
        assert behind.calls[-1].values("authorization") == [b"Bearer " + BOBS.encode()]


LATE = {
    "a checksum": b"X-Sum: abc\r\n",
    "a length": b"Content-Length: 3\r\n",
    "a cookie": b"Set-Cookie: a=b\r\n",
    "the credential": f"X-Echo: {REAL}\r\nAuthorization: Bearer {REAL}\r\n".encode(),
    "nothing": b"",
}


@pytest.mark.parametrize("trailer", LATE.values(), ids=LATE)
async def test_gw_07_what_an_api_says_after_its_body_is_read_and_left_behind(behind: Behind, trailer: bytes) -> None:
    """The agent gets the body whole, and no trailer, though it said it would read them."""
    announced = [("Content-Type", "text/plain"), ("Trailer", "X-Sum")]
    script = scripts.chunked(b"bo", b"dy", headers=announced, trailer=trailer)
    behind.up.answers("GET", ALLOWED, script=script)
    async with behind.opened() as (reader, writer):
        writer.write(behind.head("GET", ALLOWED, "te: trailers", "connection: close"))
        raw = await reader.read()
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert (b"trailer" in head.lower(), b"transfer-encoding: chunked" in head.lower()) == (False, True)
    assert rest.endswith(b"\r\n0\r\n\r\n")
    assert b"".join(rest.split(b"\r\n")[1:-3:2]) == b"body"
    assert [seen.values("te") + seen.values("trailer") for seen in behind.calls] == [[]]
    assert (await behind.call()).body == b"body"


@pytest.mark.parametrize(
    "trailer", [b"no colon\r\n", FORGED, b"X: a\0b\r\n", b"X : 1\r\n", b"X: " + b"a" * 200_000 + b"\r\n"]
)
async def test_gw_07_a_malformed_trailer_of_an_api_breaks_the_answer_off(behind: Behind, trailer: bytes) -> None:
    headers = [("Content-Type", "text/plain")]
    behind.up.answers("GET", ALLOWED, script=scripts.chunked(b"body", headers=headers, trailer=trailer))
    answer = await behind.call()
    assert (answer.status, answer.is_whole) in ((200, False), (502, True))
    tainted = behind.calls[-1].connection
    behind.up.answers("GET", ALLOWED, body=b"[]")
    assert (await behind.call()).body == b"[]"
    assert behind.calls[-1].connection != tainted


async def test_gw_08_an_early_answer_to_a_half_sent_upload_ends_its_connection(behind: Behind) -> None:
    """0.CL: were the connection lent again, the rest of this body would be read as the next caller's request."""
    behind.up.answers("POST", STREAMED, 413, body=b"too much", before_body=True)
    smuggled = b"GET /repos/acme/sec HTTP/1.1\r\nHost: x\r\n\r\n"
    async with behind.opened() as (reader, writer):
        writer.write(behind.head("POST", STREAMED, "content-length: 2000"))
        writer.write(smuggled)
        answer = await read_reply(reader)
    assert (answer.status, answer.body) == (413, b"too much")
    first = behind.calls[0].connection
    assert (await behind.call()).status == 200
    assert behind.calls[-1].connection != first
    smuggled_ones = [seen for seen in behind.up.seen if seen.path == b"/repos/acme/sec"]
    assert all(seen.connection == first and seen.values("authorization") == [] for seen in smuggled_ones)


@pytest.mark.parametrize(
    "before", [b"HTTP/1.1 103 Early Hints\r\nLink: </evil>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
async def test_gw_08_an_interim_answer_is_not_taken_for_the_final_one(behind: Behind, before: bytes) -> None:
    behind.up.answers("GET", ALLOWED, script=scripts.in_turn(before + reply(200, (), b"final")))
    answer = await behind.call()
    assert (answer.status, answer.body, answer.header("link")) == (200, b"final", None)


async def test_gw_08_an_expectation_is_answered_here_and_not_passed_on(behind: Behind) -> None:
    async with behind.opened() as (reader, writer):
        writer.write(behind.head("POST", STREAMED, "content-length: 3", "expect: 100-continue"))
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await read_reply(reader)).status == 200
    assert behind.calls[-1].header("expect") is None
    assert behind.calls[-1].body == b"abc"


async def test_do_02_a_compressed_answer_is_refused_because_it_cannot_be_scrubbed(behind: Behind) -> None:
    behind.up.answers("GET", ALLOWED, script=scripts.gzip(bytes(50_000_000)))
    bomb = await behind.call(headers=[("accept-encoding", "gzip")])
    assert (bomb.status, bomb.code) == (502, "upstream_failed")
    assert behind.calls[-1].header("accept-encoding") == b"identity"
    behind.up.answers("GET", ALLOWED, body=b"plain", headers={"Content-Encoding": "identity"})
    assert (await behind.call()).body == b"plain"


async def test_do_04_a_lookup_that_never_ends_is_given_up_and_nothing_is_allowed(behind: Behind) -> None:
    behind.house.clock.advance(61)
    behind.up.answers("GET", "/repos/acme/pub", script=scripts.huge(3 << 20))
    answer = await behind.call()
    assert (answer.status, answer.code) == (502, "upstream_failed")
    assert behind.calls == []
    behind.forget()
    assert (await behind.call()).status == 200


async def test_gw_08_a_silent_upstream_is_given_up(behind: Behind) -> None:
    gate = asyncio.Event()
    behind.up.answers("GET", ALLOWED, script=scripts.held(gate))
    answer = await behind.call()
    gate.set()
    assert (answer.status, answer.code) == (502, "upstream_failed")
    assert (await behind.outcome(answer.json()["decision"]))["ended"] == "upstream_failed"


@pytest.mark.parametrize("script", [scripts.reset(), scripts.closing(b"")], ids=["reset", "end without an answer"])
async def test_gw_08_a_broken_upstream_is_upstream_failed_and_not_asked_twice(behind: Behind, script: Script) -> None:
    for method, path in (("POST", ALLOWED), ("GET", ALLOWED)):
        behind.forget()
        behind.up.answers(method, path, script=script)
        answer = await behind.call(method, path, **({"json": {"title": "x"}} if method == "POST" else {}))
        assert (answer.status, answer.code) == (502, "upstream_failed")
        assert len(behind.calls) == 1
