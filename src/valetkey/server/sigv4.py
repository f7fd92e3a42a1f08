"""AWS Signature Version 4 of one request whose body is at hand. Pure: time and secret come in, headers go out.

Spec: AWS General Reference, "Create a signed AWS API request": canonical request, string to sign, signing key.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from valetkey.server.secret import Secret

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


def signed(
    method: str, path: str, headers: Mapping[str, str], body: bytes, *, access_key: str, secret: Secret, region: str,
    service: str, now: float, query: str = "", payload: str | None = None,
) -> dict[str, str]:  # fmt: skip
    """Return `headers` with `x-amz-date` and `authorization`. `host` must be among them; names are lower-case.

    `path` and `query` are as they go on the wire, the query's pairs written `name=value`, percent-encoded; their order
    is the signer's business. Every header given is signed, `x-amz-security-token` of a session too. `payload` is what
    stands for the body where it is not at hand: its hash, or a word of S3's.
    """
    time = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    day, all_headers = time[:8], {**headers, "x-amz-date": time}
    names = ";".join(sorted(all_headers))
    lines = "".join(f"{name}:{' '.join(all_headers[name].split())}\n" for name in sorted(all_headers))
    pairs = "&".join(f"{name}={value}" for name, value in sorted(_pairs(query)))
    request = "\n".join((method, path, pairs, lines, names, payload or hashlib.sha256(body).hexdigest()))
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = "\n".join((_ALGORITHM, time, scope, hashlib.sha256(request.encode()).hexdigest()))
    signature = _hmac(_signing_key(secret, day, region, service), to_sign).hex()
    value = f"{_ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**all_headers, "authorization": value}


def _pairs(query: str) -> list[tuple[str, str]]:
    """Names and values as written; sorted as pairs, for `=` sorts after some characters a name may hold."""
    return [(name, value) for name, _, value in (pair.partition("=") for pair in query.split("&"))] if query else []


def _signing_key(secret: Secret, *scope: str) -> bytes:
    key = b"AWS4" + secret.reveal().encode()
    for part in (*scope, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)
