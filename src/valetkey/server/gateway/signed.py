"""A call to an API whose credential is a signature: the client's own is taken away, and the call is signed anew.

What is signed is what was judged: method, target and headers are built here from the values that were read, and the
client's spelling of none of them goes on. Pure, but for bodies that are read. Refuses to know who may do what.
Facts: AWS General Reference, "Create a signed AWS API request"; for S3 the path is encoded once.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from valetkey.server.connections.role_sessions import RoleSession
from valetkey.server.gateway.canonical import Target
from valetkey.server.gateway.payload import payload
from valetkey.server.integrations.s3_headers import COPY_SOURCE, check_headers, copied_from, copy_source
from valetkey.server.sigv4 import signed

Headers = Sequence[tuple[bytes, bytes]]

_SCHEME: Final = b"aws4-hmac-sha256 "
_UNSIGNED: Final = frozenset({"accept", "accept-encoding", "content-length", "host", "user-agent"})
_ABOUT_THE_BODY: Final = frozenset(
    {"content-length", "content-encoding", "x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer"}
)
_SERVICE: Final = "s3"


@dataclass(frozen=True, slots=True)
class SignedCall:
    """What is sent: target, headers with the signature among them, and body."""

    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: AsyncIterator[bytes] | bytes | None


def without_signature(headers: Headers) -> Headers:
    """The headers but a signature of the client's own: it was made with a placeholder, and is no credential of ours."""
    return [
        (name, value)
        for name, value in headers
        if name.lower() != b"authorization" or not value.lstrip(b" \t").lower().startswith(_SCHEME)
    ]


async def signed_call(
    target: Target,
    kept: Headers,
    body: AsyncIterator[bytes] | None,
    session: RoleSession,
    *,
    region: str,
    now: float,
) -> SignedCall:
    """Sign one call with the session. `kept` are the headers that may cross the gateway at all."""
    came = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in kept)
    about_body = {name: value.strip() for name, value in came if name in _ABOUT_THE_BODY}
    headers = {name: value for name, value in check_headers(came).items() if name not in _ABOUT_THE_BODY}
    headers["accept-encoding"] = "identity"
    if COPY_SOURCE in headers:
        headers[COPY_SOURCE] = copy_source(*copied_from(headers[COPY_SOURCE]))
    api = session.api
    over_tls = api.scheme == "https"
    sent = await payload(about_body, body, over_tls=over_tls)
    # NOTE: what these said of a checksum at the end is no longer true where the body is sent in another way.
    if "content-encoding" in about_body and "content-encoding" not in sent.headers:
        headers["content-encoding"] = about_body["content-encoding"]
    headers |= sent.headers
    headers = {name: value for name, value in headers.items() if value}
    headers |= {
        "host": api.host if api.port == (443 if over_tls else 80) else f"{api.host}:{api.port}",
        "x-amz-content-sha256": sent.says,
        "x-amz-security-token": api.value.reveal(),
    }
    # SECURITY: every byte but the unreserved is escaped, once: the target that is signed is the one that is sent.
    # Guarded by tests/flows/test_s3_gateway.py::test_what_arrives_is_signed_as_botocore_signs_it
    path = api.base_path.decode() + "".join(f"/{quote(segment, safe='-_.~')}" for segment in target.segments)
    query = target.query_bytes.decode()
    done = signed(
        target.method,
        path or "/",
        {name: value for name, value in headers.items() if name not in _UNSIGNED or name == "host"},
        b"",
        access_key=session.access_key,
        secret=session.secret,
        region=region,
        service=_SERVICE,
        now=now,
        query=query,
        payload=sent.says,
    )
    del done["host"]  # the client writes it, from the same address
    unsigned = {name: value for name, value in headers.items() if name in _UNSIGNED and name != "host"}
    names = [(name.encode("ascii"), value.encode("ascii")) for name, value in {**unsigned, **done}.items()]
    written = path.removeprefix(api.base_path.decode()).encode()
    return SignedCall(written + (b"?" + target.query_bytes if target.query_bytes else b""), names, sent.body)
