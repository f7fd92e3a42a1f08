"""An engine: a proxy such as nginx or Envoy that asks our decision door. Not a principal: it acts for nobody. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from valetkey.server.errors import InvalidRequest

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Bound to one organization and one integration. `address` is where agents reach the API through it."""

    id: str
    org: str
    name: str
    integration: str
    address: str

    @property
    def base_path(self) -> bytes:
        """What stands before an operation's path in the addresses agents call."""
        return urlsplit(self.address).path.encode()

    def below(self, raw_path: bytes) -> bytes:
        """The path below the engine's address. Raises `InvalidRequest` for one that is not below it."""
        rest = raw_path.removeprefix(self.base_path)
        if not raw_path.startswith(self.base_path) or not rest.startswith(b"/"):
            raise InvalidRequest("The engine asked about an address that is not below its own.")
        return rest


def checked(name: str, address: str) -> str:
    """The address in its one spelling. Raises `InvalidRequest` for a poor name or address."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest("An engine's name has lower-case letters, digits, dots, dashes and underscores.")
    try:
        parts = urlsplit(address)
        bad = parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.port == 0
    except ValueError:
        bad = True
    path = "" if bad else parts.path.rstrip("/")
    if bad or parts.query or parts.fragment or not _PATH.fullmatch(path) or {".", ".."} & {*path.split("/")}:
        raise InvalidRequest("An engine's address is http(s)://HOST[:PORT][/PATH].")
    return f"{parts.scheme}://{parts.netloc.lower()}{path}"
