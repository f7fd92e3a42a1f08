"""Redirect URIs: which may be registered, and which one a request means. The rules live here and nowhere else.

Exact strings (RFC 9700 section 2.1); only the port of a loopback IP literal is free, because a program on the person's
machine takes the one it gets (RFC 8252 section 7.3). `localhost` may be somebody else's name and stays exact.
"""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from valetkey.server.errors import InvalidRequest

LONGEST = 1_000
_PLAIN = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()+,;=%-]+")  # RFC 3986 without `#`, and without `*`: no wildcard
_AUTHORITY = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[::1\])(?::[1-9][0-9]{0,4})?")
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+")
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\])(?::([1-9][0-9]{0,4}))?((?:/[^#]*)?)")
_ON_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})


def check_redirect(uri: str, *, application_type: str) -> None:
    """Refuse what may not be registered: anything but https, loopback http, or, natively, a scheme with a dot."""
    scheme, colon, rest = uri.partition(":")
    if not colon or len(uri) > LONGEST or _PLAIN.fullmatch(uri) is None:
        raise _refused(uri, "it is not a plain absolute address without a fragment or a wildcard")
    if scheme in ("https", "http"):
        authority = rest.removeprefix("//").partition("/")[0].partition("?")[0]
        if not rest.startswith("//") or _AUTHORITY.fullmatch(authority) is None or _port(authority) > 65_535:
            raise _refused(uri, "its host is not plain lower-case, or it has a user name")
        if scheme == "http" and not is_loopback(uri):
            raise _refused(uri, "plain http is only for this very machine")
        return
    if application_type != "native" or _PRIVATE_SCHEME.fullmatch(scheme) is None or not rest.startswith("/"):
        raise _refused(uri, "a scheme of its own is for native applications, and is a domain name reversed")


def matching(asked: str, registered: Collection[str]) -> bool:
    """Whether a request may be answered at `asked`."""
    if asked in registered:
        return True
    found = _LOOPBACK.fullmatch(asked)
    if found is None or len(asked) > LONGEST or _PLAIN.fullmatch(asked) is None or int(found[2] or 80) > 65_535:
        return False
    others = (_LOOPBACK.fullmatch(uri) for uri in registered)
    return any(other is not None and (other[1], other[3]) == (found[1], found[3]) for other in others)


def is_loopback(uri: str) -> bool:
    """Whether it leads to a program on the machine of the browser."""
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname in _ON_THIS_MACHINE


def is_of_this_device(uri: str) -> bool:
    """Whether what answers there is whatever program of this device took the address."""
    return is_loopback(uri) or not uri.startswith("https://")


def place_of(uri: str) -> str:
    """Where it leads, for a person to read."""
    parts = urlsplit(uri)
    return parts.netloc or f"{parts.scheme}:"


def origin_of(uri: str) -> str:
    """What a Content-Security-Policy calls it."""
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme in ("https", "http") else f"{parts.scheme}:"


def _port(authority: str) -> int:
    port = authority.rpartition(":")[2] if not authority.endswith("]") and ":" in authority else "443"
    return int(port)


def _refused(uri: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The redirect URI {uri[:120]!r} cannot be registered: {why}.",
        hint="Use https, or http://127.0.0.1 for a program on the person's machine.",
        reason="redirect_uri",
    )
