"""`multipart/form-data` (RFC 7578) as far as Slack's methods need it: short texts, no files.

Strict: the boundary is where it belongs and nothing stands around the parts; a part has a name and nothing else that
could give it a second meaning. It is written again under a boundary of ours.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from valetkey.server.errors import InvalidRequest

_NAMED: Final = re.compile(rb'content-disposition: *form-data; *name="?([a-z][a-z0-9_]{0,63})"?', re.IGNORECASE)
_PLAIN: Final = re.compile(rb"content-type: *text/plain(?:; *charset=\"?utf-8\"?)?", re.IGNORECASE)


def parts(body: bytes, boundary: str) -> tuple[tuple[str, str], ...]:
    """Name and text of each part. Raises `InvalidRequest`."""
    line = b"\r\n--" + boundary.encode()
    before, *pieces = (b"\r\n" + body).split(line)
    if before or len(pieces) < 2 or pieces[-1] not in (b"--", b"--\r\n"):
        raise _unclear("its boundary is not where it belongs")
    return tuple(_part(piece) for piece in pieces[:-1])


def _part(piece: bytes) -> tuple[str, str]:
    head, blank, text = piece.partition(b"\r\n\r\n")
    begin, *lines = head.split(b"\r\n")
    if begin or not blank:
        raise _unclear("a part does not begin as it must")
    named = [found for line in lines if (found := _NAMED.fullmatch(line))]
    plain = [line for line in lines if _PLAIN.fullmatch(line)]
    if len(named) != 1 or len(plain) > 1 or len(lines) != len(named) + len(plain):
        raise _unclear("a part is a file, or says more than its name")
    try:
        value = text.decode()
    except UnicodeDecodeError:
        raise _unclear("a part is no valid UTF-8") from None
    if "\x00" in value:
        raise _unclear("a part has a NUL character")
    return named[0][1].decode(), value


def written(texts: Sequence[tuple[str, str]]) -> tuple[str, bytes]:
    """Content type and bytes. The boundary follows from what is said, and is nowhere in it."""
    everything = "\n".join(f"{name}={value}" for name, value in texts)
    boundary = "valetkey"
    while boundary in everything:
        boundary = f"valetkey-{hashlib.sha256(f'{boundary}{everything}'.encode()).hexdigest()[:32]}"
    said = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in texts
    )
    return f"multipart/form-data; boundary={boundary}", f"{said}--{boundary}--\r\n".encode()


def _unclear(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The multipart body is not read here: {why}.",
        hint="Send application/json or application/x-www-form-urlencoded; files go up by files.getUploadURLExternal.",
    )
