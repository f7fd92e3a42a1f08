"""How a call is read whose path does not say all it does: its query and its body have one reading, or it is refused.

Responsible for the shape of that reading. What goes out is built from it, so the API is told what was judged and
nothing else. Refuses to know sockets, users, and what is allowed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from valetkey.server.integrations.model import Match

Pairs = tuple[tuple[str, str], ...]


class Reads(Enum):
    """Where it stands what a call does."""

    PATH = "path"
    """Method and path say it all: the table of operations decides, the body streams through."""
    TARGET = "target"
    """The query says it too; the body streams through."""
    BODY = "body"
    """The body says it: it is read whole before anything leaves, and an engine cannot judge the call."""
    LINKS = "links"
    """Method and path say it; the body says where links lead: it is read whole, and an engine shows nothing of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A call as it came, its target already canonical. `content_type` is the header's value, empty without one.

    Body and content type are empty where only the target is read. `headers` are all of them, names in small letters.
    """

    method: str
    segments: tuple[str, ...]
    query: Pairs
    content_type: str
    body: bytes
    headers: Pairs = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the call does, and how it is sent. Every one of `matches` must be allowed; each counts as a call.

    Content type and body are what goes out where the body was read, and mean nothing where it was not.
    """

    matches: Sequence[Match]
    query: Pairs
    content_type: str = ""
    body: bytes = b""
    by_id: "Callable[[Sequence[str]], Reading] | None" = None
    """The same call with each thing under the id that was found for it: takes one for each match, empty without one."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No operation: something in the call is listed nowhere. `why` names it in a caller's words, as they came."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No operation: it does what is let through for nobody. `why` is a sentence of ours for who asked."""

    why: str


class Reader(Protocol):
    """Reads the calls of one API. Pure: the same call has the same reading for ever."""

    def reads(self, method: str, segments: Sequence[str]) -> Reads:
        """What has to be read of a call at this address. HEAD asks as itself."""
        ...

    @property
    def most_bytes(self) -> int:
        """Bodies that are longer are refused."""
        ...

    def __call__(self, said: Said) -> Reading | Unknown | Refused | None:
        """Called unless the path says it all.

        None, `Unknown` or `Refused` for what is no operation, which is denied; raises `InvalidRequest` for what has two
        readings.
        """
        ...
