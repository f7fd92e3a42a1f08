"""How many pages of the trail one person may have looked up at once: a page that follows the trail asks often."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from valetkey.server.errors import TooMany

MOST: Final = 4


class AtOnce:
    """One per process."""

    def __init__(self) -> None:
        self._looking: Counter[str] = Counter()

    @contextmanager
    def one(self, person: str) -> Iterator[None]:
        """A place for one look. Raises `TooMany`."""
        if self._looking[person] >= MOST:
            raise TooMany("You are looking at the trail in too many places at once.")
        self._looking[person] += 1
        try:
            yield
        finally:
            self._looking[person] -= 1
            if not self._looking[person]:
                del self._looking[person]
