"""Malformed requests over real sockets, against the pinned parser. GW-04, GW-05, GW-06, GW-07, GW-11, GW-20, DO-03."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.malformed import BAD_CHUNKS, CHUNKED, GET, HOST, POST, REFUSED_HEADS
from valetkey.server import connection
from valetkey.server.framing import refuse, refuse_target
from valetkey.server.listen import CutStream, Listener


@dataclass
class Recorder:
    """An application that records what it was given and answers with the body it read."""

    heads: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.heads.append(dict(scope))
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/cut":
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise CutStream
        if scope["path"] == "/hold":
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            self.held.set()
            message = await receive()
            assert message["type"] == "http.disconnect"
            self.left.set()
            return
        await send({"type": "http.response.body", "body": b"seen:" + body})


@pytest.fixture
async def app() -> Recorder:
    return Recorder()


@pytest.fixture
async def listener(app: Recorder) -> AsyncIterator[Listener]:
    async with Listener(app, grace_seconds=0.2) as listening:
        yield listening


async def sent(listener: Listener, *data: bytes, end: bool = True) -> bytes:
    """Send, then read until the other side closes (`end`) or the first answer is whole. A reset raises."""
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1 << 21)
    try:
        async with asyncio.timeout(5):
            for piece in data:
                writer.write(piece)
                await writer.drain()
            if end:
                return await reader.read()
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.readuntil(b"0\r\n\r\n")
    finally:
        writer.close()


@pytest.mark.parametrize("request_bytes", REFUSED_HEADS.values(), ids=REFUSED_HEADS)
async def test_a_request_that_two_readers_could_frame_differently_is_refused_before_routing(
    listener: Listener, app: Recorder, request_bytes: bytes
) -> None:
    answer = await sent(listener, request_bytes)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 4") == 1, "the rest of the connection is not read as another request"
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "invalid_request"
    assert app.heads == []


async def test_the_plain_request_beside_them_is_read(listener: Listener, app: Recorder) -> None:
    assert b"seen:" in await sent(listener, GET + b"\r\n", end=False)
    assert b"seen:abc" in await sent(listener, POST + b"Content-Length: 3\r\n\r\nabc", end=False)
    assert b"seen:abc" in await sent(listener, CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", end=False)
    assert b"seen:abc" in await sent(listener, CHUNKED + b"3;name=value\r\nabc\r\n0\r\n\r\n", end=False)
    assert [head["path"] for head in app.heads] == ["/a"] * 4


@pytest.mark.parametrize("rest", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
@pytest.mark.parametrize("in_pieces", [False, True])
async def test_a_malformed_chunk_ends_the_connection_and_never_a_body(
    listener: Listener, app: Recorder, rest: bytes, in_pieces: bool
) -> None:
    pieces = [CHUNKED, *(bytes([byte]) for byte in rest)] if in_pieces else [CHUNKED + rest]

    answer = await sent(listener, *pieces)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 4") == 1
    assert app.bodies == [], "no application takes the beginning for the whole"


async def test_chunks_that_are_nearly_all_framing_are_refused(listener: Listener, app: Recorder) -> None:
    heavy = b"1;" + b"a" * 40_000 + b"\r\nx\r\n"

    answer = await sent(listener, CHUNKED, *[heavy] * 12)

    assert b"more framing than body" in answer
    assert app.bodies == []


@pytest.mark.parametrize(
    "lines",
    [b"X: " + b"a" * 70_000, b"\r\n".join(b"X%d: a" % n for n in range(120)), b"X: " + b"a" * 600_000],
    ids=["long", "many", "longer than any read"],
)
async def test_a_head_beyond_the_limits_is_refused(listener: Listener, app: Recorder, lines: bytes) -> None:
    answer = await sent(listener, GET + lines + b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 431 ")
    assert app.heads == []


async def test_a_head_within_the_limits_is_read(listener: Listener, app: Recorder) -> None:
    await sent(listener, GET + b"X: " + b"a" * 60_000 + b"\r\n\r\n", end=False)

    assert len(dict(app.heads[0]["headers"])[b"x"]) == 60_000


async def test_a_large_body_in_one_piece_is_not_mistaken_for_a_head(listener: Listener, app: Recorder) -> None:
    await sent(listener, POST + b"Content-Length: 900000\r\n\r\n" + b"x" * 900_000, end=False)

    assert len(app.bodies[0]) == 900_000


async def test_repeated_headers_reach_the_application_in_order(listener: Listener, app: Recorder) -> None:
    await sent(listener, GET + b"Authorization: A\r\nX: 1\r\nauthorization: B\r\n\r\n", end=False)

    assert app.heads[0]["headers"][1:] == [(b"authorization", b"A"), (b"x", b"1"), (b"authorization", b"B")]


async def test_the_application_sees_the_bytes_of_the_target(listener: Listener, app: Recorder) -> None:
    target = b"/a%2f..%2Fb;p=1/%41//x/./y/../z/!$&'()*+,:@|?q=%41&&?"

    await sent(listener, b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n", end=False)

    assert app.heads[0]["raw_path"] + b"?" + app.heads[0]["query_string"] == target


async def test_forwarded_headers_change_neither_peer_nor_scheme(listener: Listener, app: Recorder) -> None:
    """GW-11"""
    await sent(listener, GET + b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n", end=False)

    assert app.heads[0]["client"][0] == "127.0.0.1"
    assert app.heads[0]["scheme"] == "http"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_cut_answer_is_never_mistaken_for_a_whole_one(listener: Listener, version: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        await sent(listener, b"GET /cut HTTP/" + version + b"\r\n" + HOST + b"\r\n")


async def test_the_application_learns_that_the_client_left(listener: Listener, app: Recorder) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n")
    await app.held.wait()

    writer.close()

    async with asyncio.timeout(5):
        await app.left.wait()


async def test_a_refusal_is_never_written_into_the_answer_before_it(listener: Listener, app: Recorder) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n")
    await app.held.wait()
    await reader.readuntil(b"half\r\n")

    writer.write(b"GET http://evil/ HTTP/1.1\r\n\r\n")

    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    async with asyncio.timeout(5):
        await app.left.wait()


@pytest.mark.parametrize(
    ("phase", "seconds", "start"),
    [
        ("before the first byte", "HEAD_SECONDS", b""),
        ("inside a head", "HEAD_SECONDS", GET),
        ("blank lines only", "HEAD_SECONDS", b"\r\n\r\n"),
        ("inside a body", "BODY_SECONDS", POST + b"Content-Length: 100\r\n\r\nabc"),
        ("inside chunks", "BODY_SECONDS", CHUNKED + b"3\r\nabc\r\n"),
    ],
)
async def test_a_client_that_stalls_is_let_go(
    app: Recorder, monkeypatch: pytest.MonkeyPatch, phase: str, seconds: str, start: bytes
) -> None:
    """DO-03"""
    monkeypatch.setattr(connection, seconds, 0.05)
    async with Listener(app, grace_seconds=0.2) as listening:
        with pytest.raises(ConnectionResetError):
            await sent(listening, start)

    assert app.bodies == []


async def test_a_listener_finishes_what_is_under_way_and_cuts_the_rest() -> None:
    app = Recorder()
    async with Listener(app, grace_seconds=0.05) as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
        writer.write(b"GET /hold HTTP/1.1\r\n" + HOST + b"\r\n")
        await app.held.wait()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", listening.port)


@given(st.binary(max_size=40))
def test_only_printable_paths_are_targets(text: bytes) -> None:
    allowed = text.startswith(b"/") and all(0x21 <= byte <= 0x7E and byte != 0x23 for byte in text)

    assert (refuse_target(text) is None) == allowed


@given(st.lists(st.sampled_from([b"host", b"content-length", b"transfer-encoding", b"x"]), max_size=4), st.data())
def test_a_scope_passes_only_with_one_host_and_one_way_to_frame(names: list[bytes], data: st.DataObject) -> None:
    values = {b"host": b"a", b"content-length": b"1", b"transfer-encoding": b"chunked", b"x": b"1"}
    scope = {"type": "http", "method": "POST", "http_version": "1.1", "headers": [(n, values[n]) for n in names]}

    framed = names.count(b"content-length") + names.count(b"transfer-encoding")
    assert (refuse(scope) is None) == (names.count(b"host") == 1 and framed <= 1)
