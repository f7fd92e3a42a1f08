"""Durations as people write them: `90s`, `10m`, `2h`, `30d`. One number, one unit, nothing else."""

import re
from typing import Any, Final

_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
EXAMPLES: Final = "90s, 10m, 2h or 30d"


def seconds(text: str) -> int:
    """The seconds a duration names. Raises `ValueError` for anything else, nothing included.

    >>> seconds("10m")
    600
    """
    found = _DURATION.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is not a duration: write {EXAMPLES}")
    return int(found[1]) * _SECONDS[found[2]]


def converted(_type: Any, tokens: Any) -> int:
    """The same, for the command line library."""
    return seconds(tokens[0].value)
