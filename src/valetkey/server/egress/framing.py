"""Which heads may cross the border, in either direction. Pure.

A response whose length could be read in two ways must not be believed, nor its connection lent to the next caller
(RFC 9112 section 6). Request headers that steer the connection itself are Valetkey's own to set.
"""

import re
from collections.abc import AsyncIterator, Iterable
from typing import Final

from valetkey.server.errors import InvalidRequest

Headers = list[tuple[bytes, bytes]]

MAX_HEAD_BYTES: Final = 64 * 1024
_OURS: Final = frozenset(
    {b"host", b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"transfer-encoding"}
    | {b"te", b"trailer", b"upgrade", b"expect", b"http2-settings"}
)
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def wrong_with(status: int, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Return why a response head must not be believed, or None."""
    if not 200 <= status <= 599:
        return f"status {status}"  # 101 above all: nobody asked to leave HTTP
    size = 0
    lengths: list[bytes] = []
    codings: list[bytes] = []
    for name, value in headers:
        size += len(name) + len(value) + 4
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
    if codings and (lengths or [coding.lower() for coding in codings] != [b"chunked"]):
        return "transfer-encoding beside a length, or other than chunked"
    if len(lengths) > 1 or any(not length.isdigit() for length in lengths):
        return "more than one length, or none that is a number"
    if size > MAX_HEAD_BYTES:
        return "head too large"
    return None


def outgoing(headers: Headers) -> list[tuple[str, str]]:
    """Return request headers as the client wants them: UTF-8 text that becomes the same bytes again.

    Raises `InvalidRequest` naming the header, never its value: it may be a credential.
    """
    ready = []
    for name, value in headers:
        shown = name.decode("ascii", "backslashreplace")
        if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
            raise InvalidRequest(detail=f"header {shown} is not the caller's to send")
        if _CONTROL.search(value):
            raise InvalidRequest(detail=f"header {shown} holds a control character")
        try:
            ready.append((shown, value.decode()))
        except UnicodeDecodeError:
            raise InvalidRequest(detail=f"header {shown} is not UTF-8") from None
    return ready


def declared_length(headers: list[tuple[str, str]]) -> int | None:
    """Return the one length a request declares. Raises `InvalidRequest` for two, or for none that is a number."""
    lengths = [value for name, value in headers if name.lower() == "content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
        raise InvalidRequest(detail="the request has no single content-length")
    return int(lengths[0])


async def exactly(body: AsyncIterator[bytes], length: int) -> AsyncIterator[bytes]:
    """Pass a body on if it has the length that was declared; otherwise break it off with `InvalidRequest`."""
    left = length
    async for chunk in body:
        left -= len(chunk)
        if left < 0:
            raise InvalidRequest(detail="the body is longer than its content-length")
        yield chunk
    if left:
        raise InvalidRequest(detail="the body is shorter than its content-length")
