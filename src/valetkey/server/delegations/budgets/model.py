"""Budgets of a line: how much it may be used in one task. Pure.

Calls and writes are counted when a call is decided. Bytes are what a call sends and is answered with: some are set
aside when it is decided, more while it runs, and what was not needed is given back at its end.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum


class Measure(StrEnum):
    """What is counted."""

    CALLS = "calls"
    WRITES = "writes"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """At most so much in one task, in all or for each resource; None: no such limit."""

    max_calls: int | None = None
    max_writes: int | None = None
    max_bytes: int | None = None
    max_calls_per_resource: int | None = None
    max_writes_per_resource: int | None = None
    max_bytes_per_resource: int | None = None

    @property
    def limits(self) -> Iterator[tuple[Measure, bool, int]]:
        """Every limit there is: what is counted, whether for each resource by itself, and how much of it."""
        for measure in Measure:
            for each, ending in ((False, ""), (True, "_per_resource")):
                most = getattr(self, f"max_{measure}{ending}")
                if most is not None:
                    yield measure, each, most

    @property
    def is_counted(self) -> bool:
        """Whether anything is counted on it: whoever cannot count cannot serve it."""
        return next(self.limits, None) is not None

    @property
    def counts_bytes(self) -> bool:
        """Whether bytes are: whoever does not see them cannot serve it."""
        return self.max_bytes is not None or self.max_bytes_per_resource is not None

    @property
    def words(self) -> list[str]:
        """Each limit, for people.

        >>> Limits(max_calls=3, max_writes_per_resource=1, max_bytes=2_000_000).words
        ['at most 3 calls', 'at most 1 write on each resource', 'at most 2 MB']
        """
        return [
            f"at most {_amount(most) if measure is Measure.BYTES else _times(most, measure)}"
            + (" on each resource" if each else "")
            for measure, each, most in self.limits
        ]


NAMES = tuple(field.name for field in fields(Limits))


def strictest(all_of: Iterable[Limits]) -> dict[str, int | None]:
    """The smallest of each limit, by its name: under all of them at once."""
    found: Sequence[Limits] = tuple(all_of)
    return {
        name: min((most for one in found if (most := getattr(one, name)) is not None), default=None) for name in NAMES
    }


def _times(most: int, measure: Measure) -> str:
    return f"{most} {measure.value.removesuffix('s') if most == 1 else measure.value}"


def _amount(size: int) -> str:
    """A number of bytes, exactly: a round one in the unit it is round in."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} byte{'' if size == 1 else 's'}"
