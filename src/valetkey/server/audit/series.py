"""Reads single checkpoints from a series without reading all of it: a line holds its number, and numbers only grow."""

import os
import re
from pathlib import Path
from typing import BinaryIO, Final

from valetkey.server.audit.checkpoint import MAX_CHECKPOINT

_NUMBER: Final = re.compile(rb'{"v":[0-9]+,"n":([0-9]{1,16}),')


def numbered(path: Path, n: int) -> bytes | None:
    """The line of checkpoint `n`, unverified; None where the series has none."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        low, high = 0, file.seek(0, os.SEEK_END)
        while low < high:
            middle = (low + high) // 2
            start, line = _line_from(file, middle, low)
            found = _NUMBER.match(line)
            if found is None or start >= high:
                high = middle  # no line begins here any more
                continue
            if int(found[1]) == n:
                return line.removesuffix(b"\n") if line.endswith(b"\n") else None
            if int(found[1]) < n:
                low = start + len(line)
            else:
                high = middle
    return None


def _line_from(file: BinaryIO, place: int, low: int) -> tuple[int, bytes]:
    """The first line that begins at this place or after it; `low` is where one begins."""
    if place > low:
        file.seek(place - 1)
        place += len(file.readline(MAX_CHECKPOINT + 2)) - 1
    file.seek(place)
    return place, file.readline(MAX_CHECKPOINT + 2)
