"""The coding of bodies in clients of AWS: read to the letter, or refused."""

from collections.abc import AsyncIterator

import pytest

from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.aws_chunked import Unchunked
from valetkey.server.gateway.payload import MOST_WHOLE, payload

CRC = "x-amz-checksum-crc32"
SIGNATURE = b";chunk-signature=" + b"0" * 64
PLAIN = b"3\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
SIGNED = b"5" + SIGNATURE + b"\r\nabcde\r\n0" + SIGNATURE + b"\r\n\r\n"


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


async def read(body: bytes, *, size: int = 7, length: int = 5, is_signed: bool = False, trailer: str = CRC) -> bytes:
    unchunked = Unchunked(pieces(body, size), length=length, is_signed=is_signed, trailer=trailer)
    return b"".join([piece async for piece in unchunked.pieces()])


async def test_it_is_read_the_same_wherever_the_pieces_end() -> None:
    for size in range(1, len(PLAIN) + 1):
        assert await read(PLAIN, size=size) == b"abcde"
        assert await read(SIGNED, size=size, is_signed=True, trailer="") == b"abcde"


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.replace(b"3\r\n", b"4\r\n", 1),
        PLAIN.replace(b"3\r\n", b"+3\r\n", 1),
        PLAIN.replace(b"3\r\n", b"0x3\r\n", 1),
        PLAIN.replace(b"3\r\n", b"3;a=b\r\n", 1),
        PLAIN.replace(b"3\r\n", b"3\n", 1),
        PLAIN.replace(b"0\r\n", b"", 1),
        PLAIN.replace(b"AAAAAA==", b"AAAA"),
        PLAIN.replace(b"crc32:", b"sha1:"),
        PLAIN.replace(b"AAAAAA==\r\n", b"AAAAAA==\r\nx-amz-acl:public-read\r\n"),
        PLAIN + b"PUT /acme-payroll/x HTTP/1.1\r\n",
        PLAIN[:-2],
        PLAIN[:10],
        b"",
        SIGNED,
        b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        b"ffffffff\r\nabc",
    ],
)
async def test_what_is_not_exactly_that_coding_is_refused(body: bytes) -> None:
    assert await read(PLAIN) == b"abcde"
    with pytest.raises(InvalidRequest):
        await read(body)


def about(length: int, **more: str) -> dict[str, str]:
    return {"content-length": str(length), **more}


async def test_a_long_body_streams_by_its_hash_and_without_one_over_tls_alone() -> None:
    long = MOST_WHOLE + 1
    by_hash = await payload(about(long, **{"x-amz-content-sha256": "a" * 64}), pieces(b"", 1), over_tls=False)
    assert by_hash.says == "a" * 64
    assert (await payload(about(long), pieces(b"", 1), over_tls=True)).says == "UNSIGNED-PAYLOAD"
    with pytest.raises(InvalidRequest):
        await payload(about(long), pieces(b"", 1), over_tls=False)


@pytest.mark.parametrize(
    "headers",
    [
        about(5, **{"x-amz-content-sha256": "b" * 64}),
        about(4),
        {},
        about(5, **{"content-encoding": "aws-chunked"}),
        about(5, **{"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}),
        about(5, **{"x-amz-content-sha256": "STREAMING-OTHER", "content-encoding": "aws-chunked"}),
        about(5, **{"x-amz-content-sha256": "soon"}),
    ],
)
async def test_a_body_that_is_unclear_is_refused(headers: dict[str, str]) -> None:
    assert (await payload(about(5), pieces(b"abcde", 2), over_tls=False)).body == b"abcde"
    with pytest.raises(InvalidRequest):
        await payload(headers, pieces(b"abcde", 2), over_tls=False)


async def test_a_long_body_with_a_checksum_at_its_end_is_encoded_anew() -> None:
    body = b"x" * (MOST_WHOLE + 1)
    coded = b"%x" % len(body) + SIGNATURE + b"\r\n" + body + b"\r\n0" + SIGNATURE
    coded += b"\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:" + b"0" * 64 + b"\r\n\r\n"
    headers = {
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "content-encoding": "gzip,aws-chunked",
        "x-amz-decoded-content-length": str(len(body)),
        "x-amz-trailer": CRC,
    }
    sent = await payload(headers, pieces(coded, 65_536), over_tls=True)
    assert sent.says == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    assert isinstance(sent.body, AsyncIterator)
    arrived = b"".join([piece async for piece in sent.body])
    assert await read(arrived, size=65_536, length=len(body)) == body
    assert b"signature" not in arrived
