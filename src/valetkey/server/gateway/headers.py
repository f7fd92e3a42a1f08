"""Which headers cross the gateway, in both directions, and where the client may put our token.

Responsible for dropping what belongs to one hop, what carries somebody's credential, what claims an origin, and what
would let an upstream's answer act on our origin; and for refusing what could split a message. Refuses to know policy,
integrations and how credentials are injected: the caller adds those after `outgoing`. RFC 9110 sections 5.5, 7.6.1 and
11.6; RFC 9112 section 6.3; Fetch metadata.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from valetkey.server.errors import InvalidRequest, NotAuthenticated, UpstreamFailed
from valetkey.server.gateway.header_names import is_dropped_from_answers, is_dropped_from_calls, overrides_the_method

Headers = Sequence[tuple[bytes, bytes]]

_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}={0,2}")
_COMMENT_UNSAFE: Final = re.compile(r"[^!-'*-\[\]-~]")  # all but visible ASCII without `(`, `)` and backslash
_SINGLE: Final = frozenset({b"content-length", b"content-type", b"content-encoding", b"user-agent"})


class Presented(NamedTuple):
    """A token as it was shown; `under_dpop` when its scheme promises a proof of its key."""

    token: str
    under_dpop: bool = False


def presented_token(headers: Headers, positions: Sequence[str]) -> Presented:
    """Return the token from the one filled position among `positions`.

    A position is `bearer`, `token` or `basic` (the password) in `Authorization`, or the lower-case name of a header
    whose whole value is the token; such a name also belongs into `credential_headers` of `outgoing`. The scheme `DPoP`
    is taken at every API, since only clients of ours can hold a token that is bound to a key.

    Raises `NotAuthenticated` when no listed position is filled, `InvalidRequest` when it is ambiguous or malformed.
    """
    names = _names_of(tuple(positions))
    filled = [(lower, value) for name, value in headers if (lower := name.lower()) in names]
    if not filled:
        raise NotAuthenticated("The request has no credential.", hint=f"Put it into one of: {', '.join(positions)}.")
    if len(filled) > 1:
        raise InvalidRequest("The request has more than one credential; send exactly one.", detail="two positions")
    [(name, value)] = filled
    text = value.decode("latin-1").strip(" \t")
    presented = _authorization(text, positions) if name == b"authorization" else Presented(text)
    if not _TOKEN.fullmatch(presented.token):
        raise InvalidRequest("The credential has characters a token cannot have.", detail="token syntax")
    return presented


@lru_cache(maxsize=256)
def _names_of(positions: tuple[str, ...]) -> frozenset[bytes]:
    """The lower-case names of the headers in which a token may stand."""
    named = {position.encode("ascii") for position in positions} - {b"bearer", b"token", b"basic"}
    return frozenset(named | {b"authorization"})


def _authorization(text: str, positions: Sequence[str]) -> Presented:
    scheme, _, rest = text.partition(" ")
    match scheme.lower():
        case "dpop":
            return Presented(rest, under_dpop=True)
        case "bearer" | "token" as position if position in positions:
            return Presented(rest)
        case "basic" if "basic" in positions:
            return Presented(_password(rest))
    raise NotAuthenticated("The authorization scheme is not one this address takes.")


def _password(encoded: str) -> str:
    try:
        pair = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError, ValueError):
        raise InvalidRequest("The Basic credential is not valid base64.", detail="basic") from None
    _, colon, password = pair.partition(":")
    if not colon:
        raise InvalidRequest("The Basic credential has no `:`.", detail="basic")
    return password


def outgoing(
    headers: Headers, *, agent: str, task: str, credential_headers: frozenset[bytes] = frozenset()
) -> list[tuple[bytes, bytes]]:
    """Return the headers to send upstream, lower-case, without any credential: the caller injects exactly one.

    `credential_headers` are further lower-case names under which this API reads a credential. `Content-Length` is kept.

    Raises `InvalidRequest` for a method override, an upgrade, repeated singletons, and names or values that could split
    a message.
    """
    named_by_connection = _named_by_connection(headers)
    kept: list[tuple[bytes, bytes]] = []
    user_agent = b""
    seen: set[bytes] = set()
    for raw_name, value in headers:
        name = _checked(raw_name, value)
        if name in _SINGLE and name in seen:
            raise InvalidRequest(f"The header {name.decode()} occurs twice.", detail="repeated header")
        seen.add(name)
        # NOTE: `X_Api_Key` and `X-Api-Key` are one name to CGI-shaped servers, so they are one name here.
        dashed = name.replace(b"_", b"-")
        if overrides_the_method(dashed):
            raise InvalidRequest("A header must not override the method.", detail=f"override {name!r}")
        if name == b"upgrade" and value.strip().lower() != b"h2c":  # h2c: the offer is dropped, never passed on
            raise InvalidRequest("This address does not upgrade connections.", detail="upgrade")
        if name == b"user-agent":
            user_agent = value.strip(b" \t") + b" "
        elif not (name in named_by_connection or dashed in credential_headers or is_dropped_from_calls(dashed)):
            kept.append((name, value))
    if b"content-length" in seen and b"transfer-encoding" in seen:
        raise InvalidRequest("The body has two lengths.", detail="content-length and transfer-encoding")
    kept.append((b"accept-encoding", b"identity"))  # what cannot be read cannot be scrubbed
    kept.append((b"user-agent", user_agent + _signature(agent, task)))
    return kept


def incoming(headers: Headers, *, keep_length: bool = False) -> list[tuple[bytes, bytes]]:
    """Return the headers to hand to the client, lower-case, unable to act on our origin or to stay in a shared cache.

    Addresses in `Link` and `Location` are rewritten elsewhere. `keep_length` only when the body's bytes cannot change.

    Raises `UpstreamFailed` for names or values that could split a message.
    """
    named_by_connection = _named_by_connection(headers)
    kept: list[tuple[bytes, bytes]] = []
    for raw_name, value in headers:
        name = raw_name.lower()
        if not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
            raise UpstreamFailed(detail=f"header {name[:40]!r} could split a message")
        if name == b"content-length" and not keep_length:
            continue
        if name not in named_by_connection and not is_dropped_from_answers(name):
            kept.append((name, value))
    kept.append((b"content-security-policy", b"sandbox; default-src 'none'"))
    kept.append((b"x-content-type-options", b"nosniff"))
    # NOTE: not `no-store`: clients keep an ETag and ask again, and every time they ask, the call is decided again.
    kept.append((b"cache-control", b"private, no-cache"))
    return kept


def is_encoded(headers: Headers) -> bool:
    """Whether the body is compressed, though `identity` was asked for: then nothing in it can be scrubbed."""
    values = [value.strip().lower() for name, value in headers if name.lower() == b"content-encoding"]
    return any(value not in {b"", b"identity"} for value in values)


def refuse_navigation(headers: Headers) -> None:
    """Raise `InvalidRequest` when a browser would show the answer as a page of our origin."""
    for name, value in headers:
        if name.lower() == b"sec-fetch-mode" and b"navigate" in value.lower():
            raise InvalidRequest("This address is for programs, not for a browser's address bar.", detail="navigate")


def safe_value(value: bytes) -> bytes:
    """Return `value`, about to be injected into a header, or raise `InvalidRequest` if it could split a message."""
    if _BAD_VALUE.search(value):
        raise InvalidRequest(
            "The stored credential cannot be sent in a header.", detail="control byte in injected value"
        )
    return value


def _checked(raw_name: bytes, value: bytes) -> bytes:
    name = raw_name.lower()
    if not _NAME.fullmatch(name):
        raise InvalidRequest("A header name has a character it cannot have.", detail=f"name {name[:40]!r}")
    if _BAD_VALUE.search(value):
        raise InvalidRequest("A header value has a control character.", detail=f"value of {name[:40]!r}")
    if name == b"content-length" and not (value.isdigit() and len(value) < 19):
        raise InvalidRequest("The content length is not a number.", detail="content-length")
    return name


def _named_by_connection(headers: Headers) -> set[bytes]:
    values = (value for name, value in headers if name.lower() == b"connection")
    return {option.strip(b" \t").lower() for value in values for option in value.split(b",")}


@lru_cache(maxsize=1_024)
def _signature(agent: str, task: str) -> bytes:
    names = (_COMMENT_UNSAFE.sub("?", text)[:100] for text in (agent, task))
    return "valetkey (agent {}; task {})".format(*names).encode("ascii")
