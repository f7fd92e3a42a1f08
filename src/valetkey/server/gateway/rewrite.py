"""Addresses of the integration become addresses of the gateway, so that a client that follows them stays inside.

Responsible for `Link` and `Location` headers and for JSON string values whose member name is `url` or ends in `_url`,
at any depth, in a stream. Refuses to know policy, sockets and which bodies are JSON: the caller rewrites what is.

How a value is found without parsing. In JSON every unescaped quote opens or closes a string, and outside strings no `l`
stands before a quote. So `url"`, then a colon, then a quote, is always the end of a member name and the start of its
value: one regular expression sees exactly the members a parser would. What it does not recognise passes unchanged, and
so does a body that does not begin like JSON. RFC 8259; RFC 8288 section 3; RFC 3986 section 5.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urljoin

_MAX_SPACES: Final = 64  # on each side of the colon; more than that is nobody's JSON, and memory stays bounded
_SPACES: Final = rb"[ \t\n\r]{0,%d}" % _MAX_SPACES
_NAME_END: Final = rb'url(?<=[_"]url)(?<!\\"url)"'
_LONGEST_ATOM: Final = 36  # bytes: a colon and five digits, each as a six-byte escape
_CONTEXT: Final = 2  # bytes before `url` that decide whether it ends a member name
_LINK_PART: Final = re.compile(r'<([^<>]*)>|"(?:[^"\\]|\\.)*"')
_ABSOLUTE: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<rest>(?:[/?#{].*)?)",
    re.IGNORECASE,
)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class Landing:
    """Where a `Location` leads: `inside` has a gateway address, `listed` is passed as it is, `foreign` is removed."""

    kind: Literal["inside", "listed", "foreign"]
    address: str | None


class Addresses:
    """The pair of base addresses of one integration, compiled once; holds no state of any response."""

    def __init__(self, upstream: str, gateway: str) -> None:
        """`upstream` as in `https://api.github.com`, `gateway` as in `http://localhost:8470/p/github`."""
        parsed = _ABSOLUTE.fullmatch(upstream.rstrip("/"))
        if parsed is None or not parsed["rest"].startswith(("/", "")) or re.search(r"[?#{\\\s\"]", parsed["rest"]):
            raise ValueError(f"not a base address: {upstream!r}")
        if re.search(r"[\\\"\s<>]", gateway) or not gateway.isascii():
            raise ValueError(f"not a base address: {gateway!r}")
        self._scheme, self._host, self._path = parsed["scheme"].lower(), parsed["host"].lower(), parsed["rest"]
        self._port = parsed["port"] or _DEFAULT_PORTS[self._scheme]
        self.gateway = gateway.rstrip("/")
        self._gateway_bytes = self.gateway.encode("ascii")
        self._atoms = [re.compile(atom) for atom in (_NAME_END[-1:], _SPACES, b":", _SPACES, b'"')]
        self._atoms += [re.compile(atom) for atom in self._origin_atoms()]
        usual = re.escape(f"{self._scheme}://{parsed['host'].lower()}{_port_text(parsed)}{self._path}").encode("ascii")
        origin = b"(?:" + usual + b'(?=[/?#{"])|' + b"".join(self._origin_atoms()) + b")"
        self._member = re.compile(_NAME_END + b"(" + _SPACES + b":" + _SPACES + b'")' + origin)

    def address(self, value: str, *, at: str = "/") -> str | None:
        """Return the gateway's form of an address of this integration, or None for any other.

        A relative reference is resolved against `at`, the path and query that was called upstream.
        """
        if not value.isascii() or not value.isprintable() or "\\" in value or " " in value:
            return None
        base = f"{self._scheme}://{self._host}:{self._port}"
        parsed = _ABSOLUTE.fullmatch(value) or _ABSOLUTE.fullmatch(urljoin(base + at, value))
        if parsed is None or not self._is_ours(parsed):
            return None
        rest = parsed["rest"]
        if self._path and not re.match(re.escape(self._path) + r"(?:[/?#{]|\Z)", rest):
            return None
        return self.gateway + rest[len(self._path) :]

    def link(self, value: str, *, at: str = "/") -> str:
        """Return a `Link` header value with the integration's targets rewritten; quoted parameters are left alone."""

        def rewritten(part: re.Match[str]) -> str:
            address = None if part[1] is None else self.address(part[1], at=at)
            return part[0] if address is None else f"<{address}>"

        return _LINK_PART.sub(rewritten, value)

    def landing(self, location: str, *, status: int, at: str, redirect_hosts: Sequence[str] = ()) -> Landing:
        """Say where a `Location` leads. Nothing here follows it.

        A host outside passes only on a redirect, over https at its default port, and when the profile lists it.
        """
        address = self.address(location, at=at)
        if address is not None:
            return Landing("inside", address)
        parsed = _ABSOLUTE.fullmatch(location) if location.isascii() and location.isprintable() else None
        if parsed is None or " " in location or "\\" in location or not 300 <= status < 400:
            return Landing("foreign", None)
        is_listed = parsed["host"].lower() in redirect_hosts and parsed["scheme"].lower() == "https"
        if is_listed and parsed["port"] in {None, "443"}:
            return Landing("listed", location)
        return Landing("foreign", None)

    def rewritten(self, body: bytes) -> bytes:
        """Rewrite a JSON body that is there as a whole."""
        if not _begins_like_json(body):
            return body
        pieces = self._member.split(body)
        pieces[1::2] = [b'url"' + between + self._gateway_bytes for between in pieces[1::2]]
        return b"".join(pieces)

    def stream(self) -> "AddressStream":
        """Return the rewriter of one JSON body."""
        return AddressStream(self._member, self._gateway_bytes, self._atoms)

    def _is_ours(self, parsed: re.Match[str]) -> bool:
        scheme = parsed["scheme"].lower()
        port = parsed["port"] or _DEFAULT_PORTS[scheme]
        return (scheme, parsed["host"].lower(), port) == (self._scheme, self._host, self._port)

    def _origin_atoms(self) -> list[bytes]:
        """One pattern per character of the base address, each in every spelling a JSON string allows."""
        atoms = [_spelled(character, any_case=True) for character in f"{self._scheme}://{self._host}"]
        port = b"".join(_spelled(digit) for digit in f":{self._port}")
        is_default = _DEFAULT_PORTS[self._scheme] == self._port
        atoms.append(b"(?:" + port + (b")?" if is_default else b")"))
        atoms += [_spelled(character) for character in self._path]
        return [*atoms, b"(?=" + b"|".join([_spelled(character) for character in "/?#{"] + [b'"']) + b")"]


class AddressStream:
    """Rewrites one body, chunk by chunk; the result does not depend on where the chunks end.

    Holds back at most one unfinished member head (some hundred bytes), nothing once it is decided.
    """

    def __init__(self, member: re.Pattern[bytes], gateway: bytes, atoms: list[re.Pattern[bytes]]) -> None:
        self._member, self._gateway, self._atoms = member, gateway, atoms
        self._head = b""
        self._context = b""
        self._held = b""
        self._is_json: bool | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be sent on, now that `chunk` has arrived."""
        if self._is_json is None:
            self._is_json = _begins_like_json(self._head + chunk)
            self._head = (self._head + chunk)[:4] if self._is_json is None else b""
        if self._is_json is False:
            return self._flushed(chunk)
        text = self._context + self._held + chunk
        cut = self._undecided(text)
        self._held = text[cut:]
        return self._rewritten(text[:cut])

    def finish(self) -> bytes:
        """Return what was held back: the body has ended."""
        return self._flushed(b"")

    def _flushed(self, chunk: bytes) -> bytes:
        held, self._held = self._held, b""
        return held + chunk

    def _rewritten(self, text: bytes) -> bytes:
        known = len(self._context)
        self._context = text[-_CONTEXT:]
        return self._member.sub(self._replacement, text)[known:]

    def _replacement(self, member: re.Match[bytes]) -> bytes:
        return b'url"' + member[1] + self._gateway

    def _undecided(self, text: bytes) -> int:
        """Return where the last member head begins that the next chunk could still complete, or the end."""
        start = text.rfind(b'url"', len(self._context))
        if start >= 0 and self._could_go_on(text, start + 3):
            return start
        for partial in (b"url", b"ur", b"u"):
            if text.endswith(partial):
                return max(len(text) - len(partial), len(self._context))
        return len(text)

    def _could_go_on(self, text: bytes, position: int) -> bool:
        for atom in self._atoms:
            found = atom.match(text, position)
            if found is None:
                rest = text[position:]  # of one character, or of the port, some bytes may still be under way
                return not rest or (len(rest) < _LONGEST_ATOM and rest[:1] in b"\\:")
            position = found.end()
        return False


def _port_text(parsed: re.Match[str]) -> str:
    return f":{parsed['port']}" if parsed["port"] else ""


def _spelled(character: str, *, any_case: bool = False) -> bytes:
    forms = {character.lower(), character.upper()} if any_case else {character}
    spellings = [re.escape(form) for form in sorted(forms, reverse=True)] + ([r"\\/"] if character == "/" else [])
    for form in sorted(forms):
        digits = "".join(digit if digit.isdigit() else f"[{digit}{digit.upper()}]" for digit in f"{ord(form):02x}")
        spellings.append(rf"\\u00{digits}")
    return ("(?:" + "|".join(spellings) + ")").encode("ascii")


def _begins_like_json(text: bytes) -> bool | None:
    """Whether the body begins like a JSON object or array; None when that is not yet clear."""
    text = text.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if not text or b"\xef\xbb\xbf".startswith(text):
        return None
    return text[:1] in b"{["
