"""`multipart/related` (RFC 2387) as uploads to Google have it: what is said of a file, as JSON, then the file.

Strict in what the parts are, lenient in how their lines end, and written again under a boundary of ours: whoever reads
it next finds the parts that were judged. Refuses to know what is said.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from valetkey.server.errors import InvalidRequest

_TYPE: Final = re.compile(
    r"multipart/related *(?:; *[a-z-]+=(?:\"[^\"\\]*\"|[A-Za-z0-9'()+_,./:=?-]+) *)*", re.IGNORECASE
)
_BOUNDARY: Final = re.compile(
    r"; *boundary=(?:\"([A-Za-z0-9'()+_,./:=? -]{1,70})\"|([A-Za-z0-9'()+_,./:=?-]{1,70}))", re.IGNORECASE
)
_LINE: Final = re.compile(rb"([A-Za-z-]{1,40}): *([\x20-\x7e]{1,500})")
_KNOWN: Final = frozenset({b"content-type", b"mime-version", b"content-transfer-encoding"})
_AS_IT_IS: Final = frozenset({b"binary", b"7bit", b"8bit"})
_JSON: Final = re.compile(rb'application/json(?: *; *charset="?utf-8"?)?', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Related:
    """The JSON, and the file with what it calls itself."""

    said: bytes
    kind: bytes
    media: bytes

    def written(self) -> tuple[str, bytes]:
        """Content type and bytes. The boundary follows from what is sent, and is nowhere in it."""
        boundary = hashlib.sha256(self.said + b"\0" + self.media).hexdigest()
        while boundary.encode() in self.said or boundary.encode() in self.media:
            boundary = hashlib.sha256(boundary.encode()).hexdigest()
        line = b"--" + boundary.encode()
        head = b"\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n"
        body = line + head + self.said + b"\r\n" + line + b"\r\nContent-Type: " + self.kind + b"\r\n\r\n" + self.media
        return f"multipart/related; boundary={boundary}", body + b"\r\n" + line + b"--\r\n"


def related(content_type: str, body: bytes) -> Related | None:
    """The two parts; None when the body is of another kind. Raises `InvalidRequest` for what has two readings."""
    if not content_type.lower().startswith("multipart/"):
        return None
    found = _BOUNDARY.findall(content_type)
    if not _TYPE.fullmatch(content_type) or len(found) != 1:
        raise _unclear("its type is not multipart/related with one boundary")
    # SECURITY: the boundary anywhere else, in a file too, would be a part to somebody.
    # Guarded by tests/rules/test_google_reader.py::test_an_upload_with_two_readings_is_refused
    line = b"--" + (found[0][0] or found[0][1]).encode()
    pieces = body.split(line)
    if len(pieces) != 4 or pieces[0].strip(b"\r\n") or pieces[3].rstrip(b"\r\n") != b"--":
        raise _unclear("its boundary is not where it belongs, or it has not two parts")
    json_kind, said = _part(pieces[1])
    kind, media = _part(pieces[2])
    if not _JSON.fullmatch(json_kind):
        raise _unclear("its first part is not application/json")
    return Related(said, kind, media)


def _part(piece: bytes) -> tuple[bytes, bytes]:
    end = b"\r\n" if piece.startswith(b"\r\n") else b"\n"
    head, blank, content = piece.partition(end + end)
    begin, *lines = head.split(end)
    if begin or not blank or not content.endswith(end):
        raise _unclear("a part does not begin or end as it must")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        named = _LINE.fullmatch(line)
        name = named[1].lower() if named else b""
        if named is None or name not in _KNOWN or name in headers:
            raise _unclear("a part says more of itself than what it is")
        headers[name] = named[2].strip()
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in _AS_IT_IS:
        raise _unclear("a part is encoded")
    if b"content-type" not in headers:
        raise _unclear("a part does not say what it is")
    return headers[b"content-type"], content[: -len(end)]


def _unclear(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The multipart body is not read here: {why}.",
        hint="Send what is said of the file as one application/json part, then the file as it is.",
    )
