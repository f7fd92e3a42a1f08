"""How the body of a signed call goes on, and what the signature says of it.

A body of at most `MOST_WHOLE` bytes is read and signed by its own hash. A longer one streams: by the hash its client
gave, which S3 holds it to; else without one, and then only where TLS holds it. `aws-chunked` is decoded; what is read
whole goes on plainly with its checksum as a header, what streams with a trailer is encoded anew. Facts: Amazon S3 API
Reference, "x-amz-content-sha256", "Trailing headers".
"""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.aws_chunked import PLAIN_TRAILER, SIGNED, SIGNED_TRAILER, TRAILERS, Unchunked, chunked

MOST_WHOLE: Final = 1 << 20
UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_CODING: Final = "aws-chunked"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """`says` stands for the body in the signature; `headers` are about it, in place of those that came."""

    says: str
    headers: Mapping[str, str]
    body: AsyncIterator[bytes] | bytes | None


async def payload(headers: Mapping[str, str], body: AsyncIterator[bytes] | None, *, over_tls: bool) -> Payload:
    """Raises `InvalidRequest` for a body whose length or coding is unclear, and for one that cannot be signed here."""
    said = headers.get("x-amz-content-sha256", UNSIGNED)
    if body is None:
        return Payload(says=hashlib.sha256(b"").hexdigest(), headers={}, body=None)
    coding = headers.get("content-encoding", "")
    if (_CODING in coding.lower()) != said.startswith("STREAMING-"):
        raise InvalidRequest(
            "The call says in two ways whether its body is in aws-chunked.",
            hint="Set x-amz-content-sha256 and Content-Encoding as the client's own signer does.",
        )
    if said.startswith("STREAMING-"):
        return await _unchunked(headers, said, body, over_tls=over_tls)
    if said != UNSIGNED and _HASH.fullmatch(said) is None:
        raise InvalidRequest("x-amz-content-sha256 is no hash.", hint="Leave the header out.")
    length = _length(headers, "content-length")
    about = {"content-length": str(length)}
    if length <= MOST_WHOLE:
        whole = await _read(body, length)
        own = hashlib.sha256(whole).hexdigest()
        if said not in (UNSIGNED, own):
            raise InvalidRequest("The body has another hash than x-amz-content-sha256 says.")
        return Payload(says=own, headers=about, body=whole)
    # SECURITY: S3 compares the hash with what arrives, so a body that streams is still the one that was signed.
    if said == UNSIGNED and not over_tls:
        raise _too_long()
    return Payload(says=said, headers=about, body=body)


async def _unchunked(headers: Mapping[str, str], said: str, body: AsyncIterator[bytes], *, over_tls: bool) -> Payload:
    if said not in (PLAIN_TRAILER, SIGNED, SIGNED_TRAILER):
        raise InvalidRequest(f"{said[:60]} is a way of signing that is not known here.", hint="Use AWS4-HMAC-SHA256.")
    trailer = headers.get("x-amz-trailer", "").lower()
    if bool(trailer) != (said != SIGNED) or (trailer and trailer not in TRAILERS):
        raise InvalidRequest("The body promises another trailer than one checksum.", hint="Send one checksum, or none.")
    codings = [coding.strip() for coding in headers["content-encoding"].split(",")]
    if [coding.lower() for coding in codings].count(_CODING) != 1 or codings[-1].lower() != _CODING:
        raise InvalidRequest("aws-chunked is the last coding of a body, once.", hint="Write it last.")
    length = _length(headers, "x-amz-decoded-content-length")
    plain = {"content-encoding": ",".join(codings[:-1]), "content-length": str(length)}
    unchunked = Unchunked(body, length=length, is_signed=said != PLAIN_TRAILER, trailer=trailer)
    if length <= MOST_WHOLE:
        whole = b"".join([piece async for piece in unchunked.pieces()])
        about = plain | ({trailer: unchunked.checksum} if trailer else {})
        return Payload(says=hashlib.sha256(whole).hexdigest(), headers=about, body=whole)
    if not over_tls:
        raise _too_long()
    if not trailer:
        return Payload(says=UNSIGNED, headers=plain, body=unchunked.pieces())
    about = {
        "content-encoding": ",".join(codings),
        "content-length": "",  # in chunks of HTTP's own, for the trailer's sake
        "x-amz-decoded-content-length": str(length),
        "x-amz-trailer": trailer,
    }
    return Payload(says=PLAIN_TRAILER, headers=about, body=chunked(unchunked.pieces(), unchunked, trailer))


def _length(headers: Mapping[str, str], name: str) -> int:
    said = headers.get(name, "")
    if _LENGTH.fullmatch(said) is None:
        raise InvalidRequest(f"The body does not say how long it is, in {name}.", hint="S3 takes no body without it.")
    return int(said)


async def _read(body: AsyncIterator[bytes], length: int) -> bytes:
    whole = b"".join([piece async for piece in body])
    if len(whole) != length:
        raise InvalidRequest("The body has another length than it says.")
    return whole


def _too_long() -> InvalidRequest:
    return InvalidRequest(
        f"A body of more than {MOST_WHOLE} bytes without its hash is sent over TLS alone.",
        hint="Let the client sign its payload: payload_signing_enabled in the s3 section of its configuration.",
    )
