"""Addresses of databases: a URL with a login and its password, in parts that have one reading. Pure."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from valetkey.server.errors import InvalidRequest
from valetkey.server.secret import Secret

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_$-]{0,62}")
"""What a login may be called."""
_HOST: Final = re.compile(r"[a-z0-9.:-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server is, and the login. `path` is what follows, unread."""

    host: str
    port: int
    login: str
    password: Secret
    tls: bool
    path: str


def read_address(url: str, *, schemes: Collection[str], port: int, wrong: InvalidRequest) -> Address:
    """Read it; `port` is the usual one. Raises `wrong`, or `InvalidRequest` for TLS that is less than verified."""
    try:
        parts = urlsplit(url.strip())
        host, at = parts.hostname or "", parts.port or port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise wrong from None
    login, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme not in schemes or parts.fragment or not password or "\0" in password:
        raise wrong
    if not _HOST.fullmatch(host) or not NAME.fullmatch(login):
        raise wrong
    # SECURITY: TLS is verified in full, or there is none and the place is on this machine: nothing in between.
    # Guarded by tests/attacks/test_database_address.py::test_a_weaker_sslmode_is_refused
    if options not in ({}, {"sslmode": "verify-full"}, {"sslmode": "disable"}):
        raise InvalidRequest(
            "Only sslmode=verify-full is offered, and sslmode=disable for a database on this machine.",
            hint="Leave sslmode out: the certificate is always verified.",
        )
    return Address(
        host=f"[{host}]" if ":" in host else host,
        port=at,
        login=login,
        password=Secret(password),
        tls=options.get("sslmode") != "disable",
        path=parts.path,
    )
