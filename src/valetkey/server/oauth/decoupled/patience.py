"""How often a person may be asked, and how often somebody may try user codes. Counted in the database: for all nodes.

Whoever counts takes the count first and gives it back when it was no failure, so that many at once are many.
"""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import TooMany
from valetkey.server.oauth.decoupled import store
from valetkey.server.principals.model import User
from valetkey.server.vault.mac import Mac

AFTER_DECLINED_SECONDS: Final = 600
"""How long a client that was declined waits before it asks the same person again (CIBA section 8)."""
HOUR: Final = 3600
MOST_ASKED_IN_AN_HOUR: Final = 20
TRIES_WINDOW_SECONDS: Final = 600
MOST_TRIES: Final = {"s": 5, "u": 10, "a": 50}
"""Wrong user codes of one session, one person, one address (RFC 8628 section 5.1)."""


class Patience:
    """One per process; what it counts is in the database."""

    def __init__(self, journal: Journal, database: Database, mac: Mac, clock: Clock) -> None:
        self._journal = journal
        self._database = database
        self._mac = mac
        self._clock = clock

    async def check(self, tx: AsyncConnection, *, user: str, client: str) -> None:
        """Whether this client may ask this person now. Raises `TooMany`."""
        now = int(self._clock.now())
        await store.hold(tx, user)
        if await store.open_between(tx, user, client, now=now):
            raise TooMany("A request of this client already waits for this person.", retry_after=5)
        if wait := await store.left(tx, self._key("d", user, client), now=now, window=AFTER_DECLINED_SECONDS):
            raise TooMany("This person has just declined.", retry_after=wait)
        asked, left = await store.count(tx, self._key("h", user), now=now, window=HOUR)
        if asked > MOST_ASKED_IN_AN_HOUR:
            raise TooMany("This person was asked too often.", retry_after=left)

    async def declined(self, tx: AsyncConnection, *, user: str, client: str) -> None:
        """From now on this client waits."""
        now = int(self._clock.now())
        await store.count(tx, self._key("d", user, client), now=now, window=AFTER_DECLINED_SECONDS)

    async def try_code(self, user: User, *, session: str, address: str) -> list[str]:
        """Count a try at a user code; return what to give back if it fits. Raises `TooMany`."""
        now = int(self._clock.now())
        keys = {"s": self._key("s", session), "u": self._key("u", user.id), "a": self._key("a", address)}
        async with self._database.write() as tx:
            counts = {
                kind: await store.count(tx, key, now=now, window=TRIES_WINDOW_SECONDS)
                for kind, key in sorted(keys.items())
            }
        over = [(kind, left) for kind, (count, left) in counts.items() if count > MOST_TRIES[kind]]
        hers, this = counts["u"][0], counts["s"][0]
        if hers == MOST_TRIES["u"] + 1 or (this == MOST_TRIES["s"] + 1 and hers <= MOST_TRIES["u"]):
            members = {"user": user.id, "session": session}
            await self._journal.record(Entry(event=Event.USER_CODE_GUESSED, org=user.org, members=members))
        if over:
            raise TooMany(
                "Too many codes were tried. Start again on the device, or wait.",
                retry_after=max(1, *(left for _, left in over)),
                detail="user codes",
            )
        return list(keys.values())

    async def give_back(self, keys: list[str]) -> None:
        """It was no failure."""
        async with self._database.write() as tx:
            await store.uncount(tx, keys)

    def _key(self, kind: str, *parts: str) -> str:
        # An HMAC, so that the table does not tell who was asked by whom; NUL stands in neither part.
        return f"d{kind}:{self._mac.mac_of('patience', kind, chr(0).join(parts).encode()).hex()}"
