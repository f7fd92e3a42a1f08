"""A right that everybody has in a database without being granted it, and what an administrator may say to it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from valetkey.server.errors import Conflict

Everybody = Literal["refuse", "revoke", "keep"]
MOST_LISTED: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """One right of everybody, in words, and the statement that takes it away."""

    kind: str
    what: str
    statement: str


def left_open(found: Sequence[Open], words: str) -> Conflict:
    """The refusal that lists them."""
    return Conflict(
        words,
        hint="Look at `statements`; then connect with --everybody revoke, have a superuser run them, or accept what "
        "there is with --everybody keep.",
        reason="open_to_everybody",
        statements=[one.statement for one in found][:MOST_LISTED],
    )
