"""Digests of what this process just recorded, so that whoever grows the tree need not read them back. Not stored."""

from collections.abc import Sequence
from typing import Final

MOST: Final = 65_536
"""Where nobody asks for them, the oldest are forgotten: they are in the database."""


class Recent:
    """The digests of consecutive records of one writer, the newest last."""

    def __init__(self) -> None:
        self._writer = ""
        self._after = 0  # the number of the record before the first
        self._digests: list[bytes] = []

    def add(self, writer: str, seq: int, digests: Sequence[bytes]) -> None:
        """Take in durable records, of which `seq` is the last."""
        after = seq - len(digests)
        if writer != self._writer or after != self._after + len(self._digests):  # something between is not known
            self._writer, self._after, self._digests = writer, after, []
        self._digests += digests
        if len(self._digests) > MOST:
            self._forget(self._after + len(self._digests) - MOST)

    def between(self, writer: str, start: int, end: int) -> list[bytes] | None:
        """Those of the records after `start` up to `end`, which are forgotten with it; None where some are not here.

        >>> recent = Recent()
        >>> recent.add("w1", 5, [b"4", b"5"])
        >>> recent.between("w1", 2, 5), recent.between("w1", 3, 4), recent.between("w1", 3, 5)
        (None, [b'4'], None)
        """
        if writer != self._writer or not self._after <= start <= end <= self._after + len(self._digests):
            return None
        found = self._digests[start - self._after : end - self._after]
        self._forget(end)
        return found

    def _forget(self, seq: int) -> None:
        del self._digests[: seq - self._after]
        self._after = seq
