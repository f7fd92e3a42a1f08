"""Reads the JSON of headers, claims and keys so that no two readers can see different things in it.

Refuses duplicate members, more than `MAX_MEMBERS` in one object, nesting beyond `MAX_DEPTH`, NaN and Infinity, integers
beyond 2^53 - 1, numbers written longer than they need to be, lone surrogates, and U+0000. Knows nothing of claims.
Specs: RFC 8259, RFC 7493 (I-JSON), RFC 8725 section 2.
"""

import json
import math
import re
from typing import Final, NoReturn

MAX_DEPTH: Final = 16
MAX_MEMBERS: Final = 64
MAX_INTEGER: Final = 2**53 - 1
_LONGEST_NUMBER: Final = 24  # characters; a double needs no more than 24

_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS: Final = re.compile(rb"[\[\]{}]")


class MalformedJson(ValueError):
    """Text that is not one bounded, unambiguous JSON object."""


def parse_object(data: bytes) -> dict[str, object]:
    """Return the one JSON object in `data`. The caller bounds the size. Raises `MalformedJson`."""
    # NOTE: an upper bound first, because counting is far cheaper than measuring and nearly always enough.
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _refuse_deep(data)
    try:
        text = data.decode().strip(" \t\r\n")
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise MalformedJson(str(error)) from None
    if end != len(text):
        raise MalformedJson("something follows the object")
    if type(value) is not dict:
        raise MalformedJson("not an object")
    if "\\u" in text:
        _refuse_odd_text(value)
    return value


def _refuse_deep(data: bytes) -> None:
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", data)):
        depth += 1 if bracket in b"{[" else -1
        if depth > MAX_DEPTH:
            raise MalformedJson(f"nested deeper than {MAX_DEPTH}")


def _refuse_odd_text(value: object) -> None:
    """Refuse what only an escape can smuggle in: half a surrogate pair, and U+0000 anywhere."""
    waiting: list[object] = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
                    raise MalformedJson("U+0000 or a lone surrogate")
            case dict() as members:
                waiting += members.keys()
                waiting += members.values()
            case list() as items:
                waiting += items


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedJson("a member appears twice")
    if len(pairs) > MAX_MEMBERS:
        raise MalformedJson(f"more than {MAX_MEMBERS} members")
    return members


def _integer(digits: str) -> int:
    # SECURITY: length before value, or a long number costs quadratic time.
    # Guarded by tests/attacks/test_jwt.py::test_jw_04_ambiguous_json_is_refused
    number = int(digits) if len(digits) <= _LONGEST_NUMBER else MAX_INTEGER + 1
    if not -MAX_INTEGER <= number <= MAX_INTEGER:
        raise MalformedJson("an integer beyond 2^53 - 1")
    return number


def _fraction(digits: str) -> float:
    if len(digits) > _LONGEST_NUMBER or not math.isfinite(float(digits)):
        raise MalformedJson("a number no double can hold")
    return float(digits)


def _constant(name: str) -> NoReturn:
    raise MalformedJson(f"{name} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)
