"""How often the OAuth endpoints may be asked, on this node, in bounded memory: token buckets, the longest unused go.

These keep one node responsive and make guessing slow. What must hold over all nodes (one use, tries at a user code, one
open request per person and client) is counted in the database instead, by whoever needs it; docs/architecture.md lists
both.

An address is the peer's, or what a trusted proxy says it is (`server/sender`, GW-11). Behind any other proxy all
clients share the proxy's, so failures are counted for an address and a client id together: a stranger's noise holds up
nobody who uses another client id.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from valetkey.server.clock import Clock
from valetkey.server.errors import TooMany

REMEMBERED: Final = 10_000
NEVER_LIMITED: Final = frozenset({b"/oauth/revoke"})
"""Whoever wants to end something is let through, however much went wrong before."""
BEGINNING: Final = frozenset(
    {b"/oauth/authorize", b"/oauth/par", b"/oauth/device_authorization", b"/oauth/backchannel"}
)
"""Each request to one of these leaves something behind to be kept. Registrations are counted in the database."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Buckets:
    """So many in a minute for each key, also all at once. The keys used last are remembered."""

    def __init__(self, per_minute: int, clock: Clock, *, remembered: int = REMEMBERED) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._remembered = remembered
        self._known: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def take(self, key: str) -> int:
        """Take one; return 0, or the seconds after which there is one to take. A limit of 0 is none."""
        wait = self.wait(key)
        if wait == 0 and self._most >= 1:
            self._filled(key).left -= 1
        return wait

    def wait(self, key: str) -> int:
        """The seconds until there is one to take, without taking it."""
        if not self._most or key not in self._known:
            return 0
        lacking = 1 - self._filled(key).left
        return 0 if lacking <= 0 else max(1, -int(-lacking * 60 // self._most))

    def _filled(self, key: str) -> _Bucket:
        now = self._clock.monotonic()
        bucket = self._known.get(key)
        if bucket is None:
            bucket = self._known[key] = _Bucket(self._most, now)
            while len(self._known) > self._remembered:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        bucket.left = min(self._most, bucket.left + (now - bucket.at) * self._most / 60)
        bucket.at = now
        return bucket


class Limits:
    """One per process. `refused` counts what was turned away, for /metrics."""

    def __init__(self, clock: Clock, *, failures_per_minute: int, begun_per_minute: int) -> None:
        self._failures = Buckets(failures_per_minute, clock)
        self._begun_by_address = Buckets(begun_per_minute, clock)
        self._begun_by_client = Buckets(begun_per_minute, clock)
        self._seen_by_user = Buckets(begun_per_minute, clock)
        self.refused = 0

    def admit(self, path: bytes, address: str, unverified_client: str) -> None:
        """Before anything of a request is looked up. Raises `TooMany`."""
        if path in NEVER_LIMITED:
            return
        if unverified_client:
            self._refuse(self._failures.wait(f"{address} {unverified_client}"))
        if path in BEGINNING:
            self._refuse(self._begun_by_address.take(address))

    def failed(self, path: bytes, address: str, unverified_client: str) -> None:
        """The request was refused for what it said: after so many of those its sender waits."""
        if unverified_client and path not in NEVER_LIMITED:
            self._failures.take(f"{address} {unverified_client}")

    def begin(self, client: str) -> None:
        """A client that has proven itself leaves a request here. Raises `TooMany`."""
        self._refuse(self._begun_by_client.take(client))

    def seen(self, user: str) -> None:
        """Somebody who is signed in looks at a request, from whatever address. Raises `TooMany`."""
        self._refuse(self._seen_by_user.take(user), "Your browser opened too many requests.")

    def _refuse(self, wait: int, words: str = "Too many requests came from there.") -> None:
        if wait:
            self.refused += 1
            raise TooMany(words, retry_after=wait, detail="limits")
