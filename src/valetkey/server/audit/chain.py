"""The chain: one record is one line of JSON, and names the SHA-256 of the line before it of the same writer.

`Chain` turns what happened into the next line; `read_record` turns a line back. Pure: time and ids are given, nothing
is stored here. docs/audit-format.md is the specification.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from valetkey.server.audit.members import decoded, encoded
from valetkey.server.audit.model import FORMAT, MAX_INTEGER, MAX_LINE, NO_DIGEST, AuditRecord, Event, Unrecordable

NAME: Final = r"[A-Za-z0-9_.-]{1,64}"
TIME: Final = r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\.[0-9]{3}Z"
_WORDS: Final = "[a-z]+(?:-[a-z]+)*"
_OPENING: Final = b'{"v":%d,"writer":"%%b","seq":%%d,"prev":"%%b","id":"' % FORMAT
_PLAIN: Final = re.compile(NAME)
_FROM_TIME: Final = rf'","time":"({TIME})","event":"({_WORDS}\.{_WORDS})","org":"((?:{NAME})?)"(?:,(.+))?}}'
LINE: Final = re.compile(
    rf'{{"v":{FORMAT},"writer":"({NAME})","seq":([1-9][0-9]{{0,15}}),"prev":"([0-9a-f]{{64}})","id":"({NAME}){_FROM_TIME}'.encode(),
    re.DOTALL,
)
"""Groups: writer, seq, prev, id, time, event, org, members without their braces. Use `fullmatch`."""

FROM_ID: Final = re.compile(f"({NAME}){_FROM_TIME}".encode(), re.DOTALL)
"""The same from the value of `id` on, for who has compared what stands before. Groups: id and those that follow."""


def opening(writer: bytes, seq: int, prev: bytes) -> bytes:
    """Return how the line of a record begins, up to the value of `id`; `prev` in hexadecimal."""
    return _OPENING % (writer, seq, prev)


class Line(NamedTuple):
    """One appended record: `digest` is the SHA-256 of `body`, and `body` holds no newline."""

    seq: int
    digest: bytes
    body: bytes


class Chain:
    """The end of one writer's chain. `seq` and `head` are the newest record's; a new writer has 0 and `NO_DIGEST`."""

    __slots__ = ("_opening", "_second", "_second_text", "head", "seq", "writer")

    def __init__(self, writer: str, seq: int = 0, head: bytes = NO_DIGEST) -> None:
        if _PLAIN.fullmatch(writer) is None or not 0 <= seq < MAX_INTEGER or len(head) != 32:
            raise ValueError("a writer is a plain name, seq a position, head a SHA-256 digest")
        if (seq == 0) != (head == NO_DIGEST):
            raise ValueError("only a chain without records has no head")
        self.writer = writer
        self.seq = seq
        self.head = head
        self._opening = f'{{"v":{FORMAT},"writer":"{writer}","seq":'
        self._second = -1
        self._second_text = ""

    def copy(self) -> "Chain":
        """Return a chain that ends here and goes on by itself: append to it, keep it if the commit succeeds."""
        copy = Chain(self.writer, self.seq, self.head)
        copy._second, copy._second_text = self._second, self._second_text
        return copy

    def append(self, *, id: str, event: Event, org: str, members: Mapping[str, Any], time: float) -> Line:  # noqa: A002
        """Return the next line and move the head to it; `time` in seconds since the epoch. Raises `Unrecordable`.

        After an error the chain is where it was. `org` is empty for what concerns the whole deployment.
        """
        if _PLAIN.fullmatch(id) is None or (org and _PLAIN.fullmatch(org) is None):
            raise Unrecordable("id and org are plain names")
        rest = encoded(members)
        seq = self.seq + 1
        head = (
            f'{self._opening}{seq},"prev":"{self.head.hex()}","id":"{id}","time":"{self._time(time)}",'
            f'"event":"{event}","org":"{org}"'
        ).encode()
        body = head + b"," + rest[1:] if members else head + b"}"
        if len(body) > MAX_LINE:
            raise Unrecordable(f"{event}: a record of {len(body)} bytes; the longest has {MAX_LINE}")
        self.seq = seq
        self.head = hashlib.sha256(body).digest()
        return Line(seq, self.head, body)

    def _time(self, time: float) -> str:
        second, millisecond = divmod(round(time * 1000), 1000)
        if second != self._second:  # most records share their second with the one before
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second
        return f"{self._second_text}.{millisecond:03d}Z"


def spelled_time(time: float) -> str:
    """Return `time`, seconds since the epoch, as records and checkpoints write it.

    >>> spelled_time(1_795_478_279.123)
    '2026-11-23T23:57:59.123Z'
    """
    return Chain("w")._time(time)


def read_record(line: bytes) -> AuditRecord:
    """Return the record `line` spells. Proves nothing about its place. Raises `ValueError` with a sentence."""
    if len(line) > MAX_LINE:
        raise ValueError(f"it is longer than {MAX_LINE} bytes")
    match = LINE.fullmatch(line)
    if match is None:
        raise ValueError("it does not start with the members of a record in their order, or is not one JSON object")
    writer, seq, prev, id_, time, event, org, rest = match.groups()
    return AuditRecord(
        writer=writer.decode(),
        seq=int(seq),
        prev=bytes.fromhex(prev.decode()),
        id=id_.decode(),
        time=time.decode(),
        event=event.decode(),
        org=org.decode(),
        members=decoded(b"{" + rest + b"}") if rest is not None else {},
    )
