"""A breaker: after some failures in a row nobody asks for a while, then one asks, and by its answer the rest go on.

Pure. One for each app at an API, so that neither a slow API nor the limit of one organization's app slows others; and
one for each place that calls are sent to (`reachable`).
"""

from dataclasses import dataclass, replace
from typing import Final

FAILURES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """`closed_at`: from when one may ask again; `probed_until`: until then the one who asks is waited for."""

    failures: int = 0
    closed_at: float = 0.0
    probed_until: float = 0.0
    first_seconds: float = 30.0
    longest_seconds: float = 600.0
    probe_seconds: float = 30.0

    def seconds_left(self, now: float) -> float:
        """How long not to ask; 0 when one may."""
        return max(0.0, self.closed_at - now, self.probed_until - now)

    def asked(self, now: float) -> "Breaker":
        """Somebody asks now. After failures nobody else does until it is known how that went."""
        is_probe = self.failures >= FAILURES or self.closed_at > 0
        return replace(self, probed_until=now + self.probe_seconds) if is_probe else self

    def answered(self) -> "Breaker":
        """The API answered, whatever it said."""
        return replace(self, failures=0, closed_at=0.0, probed_until=0.0)

    def given_up(self) -> "Breaker":
        """Who asked left before it was known how it went: the next one asks in its place."""
        return replace(self, probed_until=0.0)

    def failed(self, now: float, *, retry_after: int = 0) -> "Breaker":
        """The API did not answer, or said not to ask for so long."""
        closed_at, failures = max(self.closed_at, now + retry_after if retry_after else 0.0), self.failures
        if now >= self.closed_at:  # those who asked together fail together: that is one more failure in a row, not many
            failures += 1
        if failures >= FAILURES and now >= self.closed_at:
            pause = min(self.first_seconds * 2 ** min(failures - FAILURES, 16), self.longest_seconds)
            closed_at = max(closed_at, now + pause)
        return replace(self, failures=failures, closed_at=closed_at, probed_until=0.0)
