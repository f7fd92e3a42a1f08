"""What may be asked for: an address in parts, already canonical. Pure; refuses to repair anything.

The HTTP client follows the WHATWG URL rules, which rewrite some bytes and some host names. Whatever they would touch
is refused here, so the bytes on the wire are the bytes that were judged (RFC 3986 sections 3.2.2 and 3.3).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Literal

from valetkey.server.errors import InvalidRequest

_PATH: Final = re.compile(rb"(?:/[A-Za-z0-9\-._~%!$&'()*+,;=:@]*)+")
_QUERY: Final = re.compile(rb"[A-Za-z0-9\-._~%!$&()*+,;=:@/?]*")  # an apostrophe must arrive as %27
_DOTS: Final = re.compile(rb"/(?:\.|%2[eE]){1,2}(?=/|$)")
_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """Where to send and what to ask for. Raises `InvalidRequest` unless every part is in its one canonical form."""

    scheme: Literal["http", "https"] = "https"
    host: str
    port: int = 443
    target: bytes
    """Path and query exactly as they go on the wire, from the first slash."""

    def __post_init__(self) -> None:
        if self.scheme not in ("http", "https") or not 1 <= self.port <= 65535:
            raise InvalidRequest(detail="scheme or port cannot be dialled")
        if not (is_name(self.host) or self.literal is not None):
            raise InvalidRequest(detail="host is not a canonical name or address")
        path, _, query = self.target.partition(b"?")
        if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query) or _DOTS.search(path):
            raise InvalidRequest(detail="target is not canonical")

    @property
    def literal(self) -> str | None:
        """The address itself, if the host is one (IPv6 in brackets)."""
        return _literal(self.host)

    @property
    def place(self) -> str:
        """`host:port`, the form in which local upstreams are configured."""
        return f"{self.host}:{self.port}"

    @property
    def text(self) -> str:
        """The whole address; it may hold what the caller put into the query, so it is not for logs."""
        default = {"http": 80, "https": 443}[self.scheme]
        authority = self.host if self.port == default else self.place
        return f"{self.scheme}://{authority}{self.target.decode('ascii')}"


_WHOLE: Final = re.compile(r"(https?)://([^/?#@\\]+?)(?::([1-9][0-9]{0,4}))?(/[^#]*)")


def parsed(text: str) -> Url:
    """The address `text` spells, in its one canonical spelling. Raises `InvalidRequest`.

    >>> parsed("https://app.example.com/client.json").place
    'app.example.com:443'
    """
    found = _WHOLE.fullmatch(text) if text.isascii() else None
    if found is None:
        raise InvalidRequest("This is not an https address with a path.", detail="address cannot be read")
    scheme, host, port, target = found.groups()
    default = 443 if scheme == "https" else 80
    number = int(port) if port else default
    url = Url(scheme="https" if scheme == "https" else "http", host=host, port=number, target=target.encode())
    if url.text != text:
        raise InvalidRequest("This address is not in its canonical spelling.", detail="address is not canonical")
    return url


@lru_cache(maxsize=256)
def _literal(host: str) -> str | None:
    bracketed = host.startswith("[") and host.endswith("]")
    text = host[1:-1] if bracketed else host
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return text if str(address) == text and "%" not in text and (address.version == 6) == bracketed else None


@lru_cache(maxsize=256)
def is_name(host: str) -> bool:
    """Whether `host` is a lower-case DNS name that no parser could read as a number.

    >>> is_name("api.github.com"), is_name("127.1"), is_name("0x7f000001"), is_name("A.example"), is_name("a.example.")
    (True, False, False, False, False)
    """
    if len(host) > 253 or not _NAME.fullmatch(host):
        return False
    return _NUMBER.fullmatch(host.rpartition(".")[2]) is None
