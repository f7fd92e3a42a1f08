"""The members of a record as JSON, in exactly one spelling, with nothing in them that acts on who reads them.

UTF-8, no spaces, names of every object sorted by code point, integers within 2^53 - 1, no float and no null. Control
characters, line and paragraph separators, and the invisible characters that reorder or hide text are written as
escapes, so a line is one line and a terminal shows what is there. Refuses secrets by type; what only looks like one
of our own secrets is replaced by its fingerprint. Knows nothing of chains.
Specs: RFC 8259, RFC 7493.
"""

import re
import types
from collections.abc import Callable, Mapping
from enum import StrEnum
from math import isfinite
from typing import Annotated, Any, Final

import msgspec

from valetkey.server.audit.model import MAX_INTEGER, Unrecordable, fingerprint
from valetkey.server.ids import HANDLE_PATTERN
from valetkey.server.secret import Secret

MAX_DEPTH: Final = 6  # the decoder below grows with 2 to this power, and no record nests deeper than 3
HEAD_NAMES: Final = frozenset({"v", "writer", "seq", "prev", "id", "time", "event", "org"})

# Delete and C1 (a terminal obeys U+009B), soft hyphen, separators, zero-width, bidirectional and tag characters.
_ACTS_ON_THE_READER: Final = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_LOOKS_SECRET: Final = re.compile(HANDLE_PATTERN + r"|eyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]{20,}", re.ASCII)
_SEVERAL: Final = (dict, list, tuple)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _any_value(depth: int) -> Any:
    """The type of a value: no float, no null, no depth without end."""
    plain: Any = str | Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)] | bool
    kind = plain
    for _ in range(depth):
        items: Any = types.GenericAlias(list, (kind,))
        kind = plain | items | _named(kind)
    return kind


def _named(kind: Any) -> Any:
    return types.GenericAlias(dict, (str, kind))


_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_decode: Final[Callable[[bytes], dict[str, Any]]] = msgspec.json.Decoder(_named(_any_value(MAX_DEPTH))).decode


def encoded(members: Mapping[str, Any]) -> bytes:
    """Return `members` as the JSON object a record holds. Raises `Unrecordable`."""
    if not HEAD_NAMES.isdisjoint(members):
        raise Unrecordable(f"the names {sorted(HEAD_NAMES & members.keys())} belong to the record itself")
    for name, value in members.items():
        if type(value) is not str:  # most are, and this runs on every call
            _check(value, name, MAX_DEPTH)
    try:
        text = _encode(members)
    except UnicodeEncodeError:  # half a surrogate pair, which came in through someone's JSON
        return encoded(_cleaned(members))
    # SECURITY: callers pass a Secret, which is refused above; this catches the one that was already revealed.
    # Guarded by tests/rules/test_audit_members.py::test_what_looks_like_our_own_secret_is_replaced_by_its_fingerprint
    if (b"vk" in text or b"eyJ" in text) and _LOOKS_SECRET.search(text.decode()):
        text = _encode(_cleaned(members))
    return _inert(text)


def decoded(text: bytes) -> dict[str, Any]:
    """Return the members `text` spells. Raises `ValueError` for any spelling `encoded` would not have produced."""
    try:
        members = _decode(text)
        canonical = _inert(_encode(members)) == text
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ValueError("its members are not JSON of this format") from None
    if not canonical:
        raise ValueError("its members are not in the one spelling: order, a name twice, spaces or escapes")
    if not HEAD_NAMES.isdisjoint(members):
        raise ValueError("a name appears twice")
    return members


def from_outside(value: object) -> object:
    """Return a JSON value somebody sent us in a form a record can hold: what has no place becomes its JSON text.

    >>> from_outside([1, 1.5, None, {"x": 2**60}])
    [1, '1.5', 'null', {'x': '1152921504606846976'}]
    """
    match value:
        case None:
            return "null"
        case float():
            return repr(value) if isfinite(value) else "not a number"
        case int() if not isinstance(value, bool) and not -MAX_INTEGER <= value <= MAX_INTEGER:
            return str(value) if value.bit_length() < 256 else "an enormous number"
        case list() | tuple():
            return [from_outside(item) for item in value]
        case dict():
            return {str(name): from_outside(item) for name, item in value.items()}
    return value


def _check(value: object, name: str, depth: int) -> None:
    """Refuse what has no place in a record. Plain parts of a list or an object are looked at where they stand."""
    if type(value) is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise Unrecordable(f"{name}: an integer beyond 2^53 - 1")
    elif type(value) in _SEVERAL or not (type(value) is str or type(value) is bool or isinstance(value, StrEnum)):
        if depth == 0:
            raise Unrecordable(f"{name}: nested deeper than {MAX_DEPTH}")
        if isinstance(value, dict):
            for key in value:
                if type(key) is not str:
                    raise Unrecordable(f"{name}: a name that is not text")
            value = value.values()
        elif not isinstance(value, (list, tuple)):
            raise Unrecordable(f"{name}: {type(value).__name__} has no place in a record")
        for item in value:
            if type(item) is str or (type(item) is int and -MAX_INTEGER <= item <= MAX_INTEGER):
                continue
            _check(item, name, depth - 1)


def _inert(text: bytes) -> bytes:
    if text.isascii() and b"\x7f" not in text:
        return text
    return _ACTS_ON_THE_READER.sub(_escaped, text.decode()).encode()


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return _LOOKS_SECRET.sub(_fingerprinted, _SURROGATE.sub("\ufffd", value))
        case list() | tuple():
            return [_cleaned(item) for item in value]
        case Mapping():
            return {_cleaned(name): _cleaned(item) for name, item in value.items()}
    return value


def _fingerprinted(match: re.Match[str]) -> str:
    return fingerprint(Secret(match[0]))
