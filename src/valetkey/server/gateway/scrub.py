"""An injected credential that the upstream echoes never reaches the client, in whatever form it comes back.

Responsible for finding the known spellings of a secret in a stream of bytes and writing a mark instead: plain, base64
in all three alignments (so also inside `user:secret` of Basic), hexadecimal, percent-encoded and JSON-escaped. Refuses
to know responses, headers and where the secret came from. The length changes: the caller drops `Content-Length`.
Compressed bodies cannot be read here; the gateway asks for `identity` and refuses others.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import quote, quote_plus

MARK: Final = b"[valetkey:redacted]"
_SHORTEST_SPELLING: Final = 4  # bytes; shorter pieces of a short secret would match everywhere


class Scrubber:
    """The spellings of some secrets; made once per credential, used for any number of bodies and header values."""

    __slots__ = ("_letters", "_needles", "_shortest")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """Raises `ValueError` for an empty secret: replacing nothing by a mark would fill the body with marks."""
        if not all(secrets):
            raise ValueError("an empty secret cannot be scrubbed")
        needles = {spelling for secret in secrets for spelling in _spellings(secret)}
        # The longest first: where two spellings begin at one place, the longer one is replaced.
        self._needles = tuple(sorted(needles, key=lambda needle: (-len(needle), needle)))
        self._shortest = min(map(len, needles))
        self._letters = frozenset(b"".join(needles))

    def __repr__(self) -> str:
        return "Scrubber(…)"

    @property
    def needles(self) -> tuple[bytes, ...]:
        """The spellings, the longest first."""
        return self._needles

    def scrub(self, data: bytes) -> bytes:
        """Return `data`, complete in itself (a header value, a buffered body), without the secrets."""
        if len(data) < self._shortest:
            return data
        clean, _ = _scrubbed(data, self._needles, is_last=True)
        return clean

    def stream(self) -> "ScrubbedStream":
        """Return the scrubber of one body."""
        return ScrubbedStream(self._needles, self._letters)


class ScrubbedStream:
    """Scrubs one body, chunk by chunk; the result does not depend on where the chunks end.

    Holds back only a tail that is the beginning of a spelling, so at most one byte less than the longest of them.
    """

    __slots__ = ("_held", "_letters", "_needles")

    def __init__(self, needles: tuple[bytes, ...], letters: frozenset[int]) -> None:
        self._needles = needles
        self._letters = letters  # every byte that occurs in one of them
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Return what can be sent on, now that `chunk` has arrived."""
        data = self._held + chunk if self._held else chunk
        ends_apart = not data or data[-1] not in self._letters  # then no spelling can have begun at the end
        clean, self._held = _scrubbed(data, self._needles, is_last=ends_apart)
        return clean

    def finish(self) -> bytes:
        """Return what was held back: the body has ended."""
        clean, self._held = _scrubbed(self._held, self._needles, is_last=True) if self._held else (b"", b"")
        return clean


def _scrubbed(data: bytes, needles: tuple[bytes, ...], *, is_last: bool) -> tuple[bytes, bytes]:
    """Replace from the left, the longest spelling at each place; return the clean part and the undecided tail."""
    end = len(data) if is_last else min(_begun_at(data, needle) for needle in needles)
    nexts = {needle: at for needle in needles if (at := data.find(needle)) >= 0}
    if not nexts:
        return data[:end], data[end:]
    parts: list[bytes] = []
    position = 0
    while nexts:
        needle = min(nexts, key=lambda found: (nexts[found], -len(found)))
        start = nexts[needle]
        if start >= end:  # a longer spelling may begin here or before: wait for the next chunk
            break
        parts += (data[position:start], MARK)
        position = start + len(needle)
        if position > end:  # the tail began inside what was just replaced
            end = len(data) if is_last else min(_begun_at(data, needle, position) for needle in needles)
        nexts = dict(_moved(data, nexts, position))
    return b"".join(parts) + data[position:end], data[end:]


def _moved(data: bytes, nexts: dict[bytes, int], position: int) -> Iterable[tuple[bytes, int]]:
    for needle, at in nexts.items():
        found = at if at >= position else data.find(needle, position)
        if found >= 0:
            yield needle, found


def _begun_at(data: bytes, needle: bytes, position: int = 0) -> int:
    """Return where the end of `data` is the beginning of `needle`, or the length of `data`."""
    start = max(position, len(data) - len(needle) + 1)
    while (start := data.find(needle[:1], start)) >= 0:
        if needle.startswith(data[start:]):
            return start
        start += 1
    return len(data)


def _spellings(secret: bytes) -> Iterable[bytes]:
    bases = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for alignment in range(3):
        core = _base64_core(secret, alignment)
        bases |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    spellings = set(bases)
    for base in bases:
        percent = {quote(base, safe="").encode(), quote_plus(base).encode(), quote(base).encode()}
        spellings |= percent | {_lower_hex(form) for form in percent}
        spellings |= set(_json_forms(base))
    for escape in ("%{:02X}", "%{:02x}", "\\u00{:02x}", "\\u00{:02X}", "\\x{:02x}"):
        spellings.add("".join(escape.format(byte) for byte in secret).encode())
    return {spelling for spelling in spellings if len(spelling) >= _SHORTEST_SPELLING or spelling == secret}


def _base64_core(secret: bytes, alignment: int) -> bytes:
    """Return the base64 characters that depend on `secret` alone, when `alignment` other bytes stand before it.

    NOTE: a character shared with a neighbouring byte stays: at most four bits of the first and of the last byte.
    """
    encoded = base64.b64encode(bytes(alignment) + secret)
    first = (0, 2, 3)[alignment]
    whole = (alignment + len(secret)) * 8 // 6
    return encoded[first:whole]


def _json_forms(text: bytes) -> Iterable[bytes]:
    """Return how JSON encoders write `text`: ASCII only or not, with `/` escaped or not, with HTML made harmless."""
    decoded = text.decode("utf-8", "replace")
    for is_ascii in (True, False):
        form = json.dumps(decoded, ensure_ascii=is_ascii)[1:-1]
        html = form.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        for written in (form, form.replace("/", "\\/"), html, html.replace("/", "\\/")):
            yield written.encode("utf-8")


def _lower_hex(quoted: bytes) -> bytes:
    head, *rest = quoted.split(b"%")
    return b"%".join([head, *(part[:2].lower() + part[2:] for part in rest)])
