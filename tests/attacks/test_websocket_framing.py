"""Handshakes and frames of a WebSocket through the gateway, as bytes over sockets: GW-05, GW-20."""

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.http import read_reply
from tests.support.spoken import Spoken, open_spoken

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 section 1.3
UPGRADE = "upgrade: websocket"
CONNECTION = "connection: keep-alive, Upgrade"
VERSION = "sec-websocket-version: 13"
HANDSHAKE = (UPGRADE, CONNECTION, VERSION, f"sec-websocket-key: {KEY}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def spoken(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Spoken]:
    async with open_spoken(tmp_path_factory.mktemp("spoken")) as opened:
        yield opened


def head(spoken: Spoken, *lines: str, path: str = "/live", first: str = "GET {} HTTP/1.1") -> bytes:
    lines = (first.format("/p/feed" + path), "host: x", f"authorization: Bearer {spoken.token}", *lines)
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode: int, data: bytes, *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    assert len(data) < 126
    start = bytes([fin << 7 | rsv << 4 | opcode, masked << 7 | len(data)])
    return start + (b"\0\0\0\0" if masked else b"") + data


async def dialled(spoken: Spoken) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", spoken.house.settings.port)


async def refused(spoken: Spoken, said: bytes) -> tuple[int, bytes]:
    before = len(spoken.heard)
    reader, writer = await dialled(spoken)
    writer.write(said)
    async with asyncio.timeout(10):
        reply = await read_reply(reader)
    writer.close()
    assert len(spoken.heard) == before
    return reply.status, reply.body


async def test_the_handshake_and_a_frame_right_behind_it(spoken: Spoken) -> None:
    reader, writer = await dialled(spoken)
    writer.write(head(spoken, *HANDSHAKE, "sec-websocket-extensions: permessage-deflate") + frame(1, b"early"))
    async with asyncio.timeout(10):
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-accept: " + ACCEPT in answer
        assert b"extensions" not in answer.lower()
        assert await reader.readexactly(7) == frame(1, b"early", masked=False)
        writer.write(frame(9, b"you?") + frame(8, struct.pack("!H", 1000)))
        assert await reader.read() == frame(10, b"you?", masked=False) + frame(8, b"\x03\xe8", masked=False)
    writer.close()


@pytest.mark.parametrize("path", ["/list", "/nowhere", "/live/", "/live/more", "/../feed/live", "//live"])
async def test_only_an_operation_that_opts_in_upgrades(spoken: Spoken, path: str) -> None:
    status, body = await refused(spoken, head(spoken, *HANDSHAKE, path=path))
    assert (status, b"tunnels, traces and upgrades are not offered" in body) == (400, True)


@pytest.mark.parametrize(
    "lines",
    [
        (UPGRADE, UPGRADE, *HANDSHAKE[1:]),
        ("upgrade: h2c", *HANDSHAKE),
        ("upgrade: websocket, h2c", *HANDSHAKE[1:]),
        (UPGRADE, "connection: keep-alive", *HANDSHAKE[2:]),
        (UPGRADE, *HANDSHAKE[2:]),
        (*HANDSHAKE[:2], "sec-websocket-version: 8", HANDSHAKE[3]),
        (*HANDSHAKE[:2], HANDSHAKE[3]),
        (*HANDSHAKE, VERSION),
        HANDSHAKE[:3],
        (*HANDSHAKE[:3], "sec-websocket-key: c2hvcnQ="),
        (*HANDSHAKE, HANDSHAKE[3]),
        (*HANDSHAKE, "content-length: 0"),
        (*HANDSHAKE, "transfer-encoding: chunked"),
        (*HANDSHAKE, "expect: 100-continue"),
        (*HANDSHAKE, "http2-settings: AAMAAABkAAQAAP__"),
        (*HANDSHAKE, "sec-websocket-protocol: a, a"),
        (*HANDSHAKE, "sec-websocket-protocol: a b"),
        (*HANDSHAKE, "host: y"),
    ],
)
async def test_a_handshake_that_is_not_plain_is_not_read(spoken: Spoken, lines: tuple[str, ...]) -> None:
    assert (await refused(spoken, head(spoken, *lines)))[0] == 400


async def test_a_program_that_names_the_address_it_asks_is_no_page(spoken: Spoken) -> None:
    for origin in ("http://x", "https://x", "HTTPS://X"):
        reader, writer = await dialled(spoken)
        writer.write(head(spoken, *HANDSHAKE, f"origin: {origin}") + frame(8, struct.pack("!H", 1000)))
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            await _all(reader)
        writer.close()
        assert spoken.heard[-1].request is not None
        assert "origin" not in spoken.heard[-1].request.headers


@pytest.mark.parametrize(
    "origins",
    [
        ("https://evil.example",),
        ("null",),
        ("",),
        ("x",),
        ("https://x.evil.example",),
        ("https://x:8443",),
        ("https://x/",),
        ("wss://x",),
        ("https://x", "https://x"),
        ("https://x", "https://evil.example"),
        ("https://x, https://evil.example",),
    ],
)
async def test_a_page_of_another_place_opens_nothing(spoken: Spoken, origins: tuple[str, ...]) -> None:
    status, body = await refused(spoken, head(spoken, *HANDSHAKE, *(f"origin: {origin}" for origin in origins)))
    assert (status, b"a page of another place" in body) == (400, True)


@pytest.mark.parametrize("first", ["GET {} HTTP/1.0", "POST {} HTTP/1.1", "HEAD {} HTTP/1.1"])
async def test_only_a_get_of_http_1_1_opens(spoken: Spoken, first: str) -> None:
    reader, writer = await dialled(spoken)
    writer.write(head(spoken, *HANDSHAKE, first=first))
    async with asyncio.timeout(10):
        assert (await reader.readline()).split()[1] == b"400"
    writer.close()


async def test_nothing_is_opened_behind_a_request_that_is_still_answered(spoken: Spoken) -> None:
    before = len(spoken.heard)
    reader, writer = await dialled(spoken)
    writer.write(head(spoken, path="/list") + head(spoken, *HANDSHAKE))
    async with asyncio.timeout(10):
        assert b" 101 " not in await _all(reader)
    writer.close()
    assert len(spoken.heard) == before


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(1, b"x", masked=False), 1002),
        (frame(1, b"x", rsv=4), 1002),
        (frame(3, b"x"), 1002),
        (frame(11, b"x"), 1002),
        (frame(0, b"x"), 1002),
        (frame(1, b"x", fin=False) + frame(1, b"y"), 1002),
        (frame(9, b"x", fin=False), 1002),
        (frame(8, b"x"), 1002),
        (frame(8, struct.pack("!H", 1005)), 1002),
        (frame(1, b"\xff"), 1007),
        (frame(1, b"\xc3", fin=False) + frame(0, b"("), 1007),
        (frame(8, struct.pack("!H", 1000) + b"\xff"), 1007),
        (b"\x82\xff" + struct.pack("!Q", (1 << 20) + 1) + b"\0\0\0\0", 1009),
        (b"\x82\xff" + struct.pack("!Q", 1 << 62) + b"\0\0\0\0", 1009),
    ],
)
async def test_frames_that_are_none_end_it_and_never_arrive(spoken: Spoken, said: bytes, code: int) -> None:
    spoken.gone.clear()
    spoken.closed.clear()
    reader, writer = await dialled(spoken)
    writer.write(head(spoken, *HANDSHAKE) + said)
    async with asyncio.timeout(10):
        await reader.readuntil(b"\r\n\r\n")
        last = await _all(reader)
        writer.close()
        await spoken.gone.wait()
    assert last[0] == 0x88
    assert struct.unpack("!H", last[2:4]) == (code,)
    assert [closed for closed, _ in spoken.closed] == [1001]


async def _all(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_table_that_asks_for_what_cannot_be_is_refused(tmp_path: Path) -> None:
    from tests.support import spoken as support
    from valetkey.server.integrations.catalogue import load_file
    from valetkey.server.integrations.catalogue.typed import Misdescribed

    (tmp_path / "feed.toml").write_text(
        support._TOML.format(url="https://feed.acme.example", place="feed.acme.example:443")
    )
    table = tmp_path / "feed.operations.tsv"
    table.write_text(support.TABLE)
    assert "websocket" in load_file(tmp_path / "feed.toml").operations["live/follow"].tags
    table.write_text(support.TABLE.replace("GET\t/live", "POST\t/live"))
    with pytest.raises(Misdescribed):
        load_file(tmp_path / "feed.toml")
    table.write_text(support.TABLE)
    text = (tmp_path / "feed.toml").read_text()
    table.write_text(support.TABLE.replace("read\taccount\t\t", "read\taccount\ttext\t"))
    (tmp_path / "feed.toml").write_text(text)
    with pytest.raises(Misdescribed):
        load_file(tmp_path / "feed.toml")
