"""Slowing down who guesses, without locking out whom they guess for.

Failures are counted per identity, per address and per the two together, in the database, so that every node sees the
same. An attempt is counted before it is judged and taken back when it succeeds: a thousand at once are a thousand. An
address one signed in from lately is not slowed by what others do elsewhere, and passkeys are never counted here.
"""

from dataclasses import dataclass

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import TooMany
from valetkey.server.principals.login import store
from valetkey.server.principals.login.model import ADDRESS, FORGET_SECONDS, IDENTITY, PAIR, Patience
from valetkey.server.principals.model import User
from valetkey.server.vault.mac import Mac

KNOWN_ADDRESS_SECONDS = 30 * 86_400
_SWEEP_EVERY = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try, already counted as a failure. `slows` when it is the one after which its identity is slowed."""

    pair: str
    others: tuple[str, ...]
    slows: bool


class Attempts:
    """One per process; what it counts is in the database."""

    def __init__(self, database: Database, journal: Journal, mac: Mac, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._mac = mac
        self._clock = clock
        self._begun = 0
        self.failed = 0  # by this process, for /metrics

    async def begin(self, identity: str, address: str, *, user: User | None, strictly: bool = False) -> Attempt:
        """Count a try. Raises `TooMany` with how long to wait when there were too many before it.

        `strictly` for what only somebody reaches who already knew the password: no address is trusted there.
        """
        now = int(self._clock.now())
        pair, of_identity, of_address = (
            self._key("p", identity, address),
            self._key("i", identity),
            self._key("a", address),
        )
        limits = {pair: PAIR, of_identity: PAIR if strictly else IDENTITY, of_address: ADDRESS}
        self._begun += 1
        async with self._database.write() as tx:
            if self._begun % _SWEEP_EVERY == 0:
                await store.forget_failures(tx, before=now - FORGET_SECONDS)
            since = now - KNOWN_ADDRESS_SECONDS
            known = await store.was_here(tx, user.id if user is not None else "", address, since=since)
            before = await store.failures(tx, list(limits))
            counts = {key: (count if now - at < FORGET_SECONDS else 0) for key, (at, count) in before.items()}
            waits = {
                key: _left(limits[key], before[key][0], counts[key], now)
                for key in limits
                if strictly or not known or key != of_identity
            }
            longest = max(waits.values())
            if longest > 0:
                raise TooMany(
                    f"Too many attempts to sign in. Try again in {spoken(longest)}.",
                    retry_after=longest,
                    detail="attempts",
                )
            for key in limits:
                await store.set_failures(tx, key, at=now, count=counts[key] + 1)
        slows = counts[of_identity] == limits[of_identity].free
        return Attempt(pair=pair, others=(of_identity, of_address), slows=slows)

    async def succeeded(self, attempt: Attempt) -> None:
        """It was no failure; this person at this address starts anew."""
        async with self._database.write() as tx:
            await store.failures(tx, [attempt.pair, *attempt.others])
            await store.set_failures(tx, attempt.pair, at=0, count=0)
            await store.take_back(tx, list(attempt.others))

    async def not_judged(self, attempt: Attempt) -> None:
        """It never came to a verdict (the server was busy): it counts for nothing."""
        async with self._database.write() as tx:
            await store.take_back(tx, [attempt.pair, *attempt.others])

    async def did_fail(self, attempt: Attempt, user: User | None) -> None:
        """Count it for the operator. The audit hears of it once per window, and only for people who exist."""
        now = int(self._clock.now())
        self.failed += 1
        async with self._database.write() as tx:
            total = (await store.failures(tx, [store.FAILED]))[store.FAILED][1]
            await store.set_failures(tx, store.FAILED, at=now, count=total + 1)
        # SECURITY: an anonymous caller must not be able to make the audit trail grow.
        # Guarded by tests/attacks/test_sign_in.py::test_failures_grow_a_counter_and_not_the_audit
        if attempt.slows and user is not None:
            members = {"user": user.id, "reason": "too many attempts"}
            await self._journal.record(Entry(event=Event.LOGIN_FAILED, org=user.org, members=members))

    def _key(self, kind: str, *parts: str) -> str:
        # An HMAC, so that the table does not tell which addresses people tried; NUL stands in neither part.
        value = "\x00".join(parts).encode("utf-8", "surrogatepass")
        return f"{kind}:{self._mac.mac_of('attempts', kind, value).hex()}"


def _left(patience: Patience, failed_at: int, failures: int, now: int) -> int:
    return max(0, failed_at + patience.wait(failures) - now)


def spoken(seconds: int) -> str:
    """A wait in words.

    >>> spoken(1), spoken(59), spoken(61)
    ('1 second', '59 seconds', '2 minutes')
    """
    if seconds < 60:
        return f"{seconds} second{'s' if seconds != 1 else ''}"
    minutes = -(-seconds // 60)
    return f"{minutes} minute{'s' if minutes != 1 else ''}"
