"""Time, as an argument: everything that decides by time is given a `Clock`, and tests drive it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time in whole seconds decides expiry; monotonic seconds decide waiting."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class DrivenClock:
    """A clock that stands still until it is told to move; for tests, the demo's expiry step never uses it."""

    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self._at = at
        self._ticks = 0.0

    def now(self) -> float:
        return self._at

    def monotonic(self) -> float:
        return self._ticks

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        self._at += seconds
        self._ticks += seconds
