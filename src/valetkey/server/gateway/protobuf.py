"""Protocol buffers on the wire, as far as one question and one answer need them: fields in, fields out. Pure.

Responsible for bytes, field numbers and wire types (protobuf.dev/programming-guides/encoding); refuses to know what a
message means. Unknown fields are skipped by who reads; groups, which nobody sends any more, and malformed fields are
refused.
"""

from collections.abc import Iterator
from typing import Final

Value = int | bytes
Fields = dict[int, list[Value]]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAX_FIELDS: Final = 1_024
_VARINT_BYTES: Final = 10
_NUMBERS: Final = range(1, 1 << 29)


class Malformed(ValueError):
    """These bytes are no message."""


def read(data: bytes) -> Fields:
    """Every field of one message, in order. Raises `Malformed`.

    >>> read(bytes.fromhex("089601 1201 41"))
    {1: [150], 2: [b'A']}
    """
    found: Fields = {}
    for count, (number, value) in enumerate(_fields(data)):
        if count >= MAX_FIELDS:
            raise Malformed("too many fields")
        found.setdefault(number, []).append(value)
    return found


def message(fields: Fields, number: int) -> bytes:
    """The one sub-message, text or bytes under this number, empty when it is not there.

    A reader that keeps the last of several, or merges them, would read what another reader did not: that is refused.
    """
    values = fields.get(number, [])
    if len(values) > 1:
        raise Malformed(f"field {number} is there twice")
    return _bytes(values[0], number) if values else b""


def messages(fields: Fields, number: int) -> list[bytes]:
    """All the sub-messages under this number."""
    return [_bytes(value, number) for value in fields.get(number, [])]


def write(number: int, value: Value | str) -> bytes:
    """One field: a number as a varint, anything else with its length before it.

    >>> (write(1, 150) + write(2, "A")).hex()
    '089601120141'
    """
    if isinstance(value, int):
        return _varint(number << 3 | VARINT) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | LENGTH) + _varint(len(data)) + data


def _fields(data: bytes) -> Iterator[tuple[int, Value]]:
    at, end = 0, len(data)
    while at < end:
        key, at = _read_varint(data, at)
        number, kind = key >> 3, key & 7
        if number not in _NUMBERS:
            raise Malformed("a field number out of range")
        match kind:
            case 0:
                value, at = _read_varint(data, at)
                yield number, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _read_varint(data, at)
            case 5:
                size = 4
            case _:
                raise Malformed("a wire type nobody sends")
        if size > end - at:
            raise Malformed("it ends in the middle of a field")
        yield number, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(_VARINT_BYTES):
        if at + index >= len(data):
            raise Malformed("it ends in the middle of a number")
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            if value >= 1 << 64:
                break
            return value, at + index + 1
    raise Malformed("a number too long")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(value: Value, number: int) -> bytes:
    if not isinstance(value, bytes):
        raise Malformed(f"field {number} is of another type")
    return value
