"""How a call is read whose path does not say all it does: its query and its body have one reading, or it is refused.

Responsible for the shape of that reading. What goes out is built from it, so the API is told what was judged and
nothing else. Refuses to know sockets, headers besides the content type, users, and what is allowed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from valetkey.server.integrations.model import Match

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A call as it came, its target already canonical. `content_type` is the header's value, empty without one."""

    method: str
    segments: tuple[str, ...]
    query: Pairs
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the call does, and how it is sent. Every one of `matches` must be allowed; each counts as a call."""

    matches: Sequence[Match]
    query: Pairs
    content_type: str
    body: bytes


class Reader(Protocol):
    """Reads the calls of one API. Pure: the same call has the same reading for ever."""

    @property
    def most_bytes(self) -> int:
        """Bodies that are longer are refused unread."""
        ...

    def __call__(self, said: Said) -> Reading | None:
        """None for what is no operation, which is denied; raises `InvalidRequest` for what has two readings."""
        ...
