"""Renewing a credential: one call to the API for each expiry, however many workers on however many nodes need it.

1. look at the row  2. take the hold, by replacing exactly the row that was read: that is the intent, and it is durable
3. ask the API, for less than a third of the time the hold lasts  4. keep the answer, once for each generation
5. if the connection ended meanwhile, end what came at the API  6. let everybody who waits look at the row again. Who
finds it held looks again, a little later each time; on one node all of them share one such wait. Nobody waits for ever,
and nobody is told anything but what the row says.
"""

import asyncio
import contextlib
import logging
import random
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event, fingerprint
from valetkey.server.audit.store import Entry, Journal, must_be_recorded
from valetkey.server.clock import Clock
from valetkey.server.connections.apps import store as apps
from valetkey.server.connections.ending import store as ending
from valetkey.server.connections.ending.end import EndThere
from valetkey.server.connections.model import Connection
from valetkey.server.connections.refreshing import store
from valetkey.server.connections.refreshing.breaker import Breaker
from valetkey.server.connections.refreshing.model import Refreshing, Step
from valetkey.server.connections.token_calls import NoAnswer, ask, named
from valetkey.server.db.effects import Effect
from valetkey.server.db.engine import Database
from valetkey.server.db.gathered import Gathered
from valetkey.server.egress import Egress
from valetkey.server.errors import ConnectionRequired, Unavailable
from valetkey.server.ids import new_id
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.token_endpoint import Granted, Refused
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.vault.ring import KeyRing

AT_ONCE: Final = 16
"""Calls under way to one integration, on one node."""
_MOST_UNDER_WAY: Final = 4_096
_FIRST_PAUSE_SECONDS: Final = 0.01
_KEEP_AGAIN_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
_TAKE_AGAIN_SECONDS: Final = (0.1, 0.5, 1.0)
"""Few: the hold's time runs while it is not known whether it is written."""
_SLOWER: Final = 1.5
_LONG_PAUSE_SECONDS: Final = 0.25
_SOON_SECONDS: Final = 2.0
"""Until then nobody waits much longer than the API takes; after it, looking every second is often enough."""

log = logging.getLogger("valetkey")

Key = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """No later credential for now; when to come back."""

    seconds: int


Outcome = Refreshing | PutOff


class Refresh:
    """One per process. `call_seconds` bounds one call; `patience_seconds` how long somebody is kept waiting."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        egress: Egress,
        ring: KeyRing,
        clock: Clock,
        catalogue: Mapping[str, Integration],
        end_there: EndThere,
        link: Callable[[str], str],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._journal = journal
        self._egress = egress
        self._ring = ring
        self._clock = clock
        self._catalogue = catalogue
        self._end_there = end_there
        self._link = link
        self._chance = chance
        # SECURITY: the whole of what a wait is for is its key, as a tuple: joined texts could be alike (RT-11).
        # Guarded by tests/flows/test_refresh_upstream.py::test_rt_11_two_connections_never_share_a_wait
        self._rows: Gathered[str, tuple[Connection, Refreshing | None]] = Gathered(
            database, partial(store.currents, ring=ring)
        )
        self._under_way: dict[Key, asyncio.Task[Outcome]] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._busy: Counter[str] = Counter()
        self.call_seconds = 10.0
        self.patience_seconds = 20.0

    async def beyond(self, facts: ConnectionFacts, generation: int) -> None:
        """Return when there is a credential later than `generation`.

        Raises `ConnectionRequired` when only a person can bring one, `Unavailable` when there is none for now.
        """
        while True:
            outcome = await asyncio.shield(self._shared(facts, generation))
            if isinstance(outcome, PutOff):
                raise Unavailable(
                    f"{self._catalogue[facts.integration].title} gives no new credential right now.",
                    hint=f"Nothing was sent. Try again in {outcome.seconds} seconds.",
                    detail=facts.id,
                    retry_after=outcome.seconds,
                )
            if outcome.generation > generation:
                return
            if outcome.state == "needs_reconnect":
                raise self.reconnect(facts)
            # It was renewed early by somebody who does not wait, and is held by somebody else: wait for them.

    async def early(self, connection: Connection, row: Refreshing) -> None:
        """Renew a row that is due, unless somebody does already."""
        if self._key(connection.facts, row.generation) not in self._under_way:
            await asyncio.shield(self._shared(connection.facts, row.generation, waits=False))

    def reconnect(self, facts: ConnectionFacts) -> ConnectionRequired:
        """What a caller is told when the account has to be connected again."""
        link = self._link(facts.id)
        title, account = self._catalogue[facts.integration].title, facts.account or facts.name
        return ConnectionRequired(
            f"{title} needs to be connected again for {account}.",
            hint=f"Connect the account again: {link}",
            detail=facts.id,
            integration=facts.integration,
            connection=facts.id,
            link=link,
        )

    def crowded(self) -> frozenset[str]:
        """Integrations that are asked as often as one may at once: what is due there waits, and nothing else does."""
        return frozenset(name for name, count in self._busy.items() if count >= AT_ONCE)

    def resting(self) -> frozenset[str]:
        """Apps whose API did not answer lately, and is left alone for a while."""
        now = self._clock.now()
        return frozenset(app for (_, app), breaker in self._breakers.items() if breaker.seconds_left(now))

    async def settle(self) -> None:
        """Wait for what is under way; at shutdown."""
        while self._under_way:
            await asyncio.wait(self._under_way.values())

    def _key(self, facts: ConnectionFacts, generation: int) -> Key:
        return (facts.org, facts.integration, facts.id, generation)

    def _shared(self, facts: ConnectionFacts, generation: int, *, waits: bool = True) -> "asyncio.Task[Outcome]":
        key = self._key(facts, generation)
        task = self._under_way.get(key)
        if task is None:
            # RT-08: what is under way is never forgotten to make room; who comes when there is none is sent away.
            if len(self._under_way) >= _MOST_UNDER_WAY:
                raise Unavailable("Too many credentials are being renewed at once.", retry_after=2)
            task = asyncio.create_task(self._renewed(facts, generation, waits=waits))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _renewed(self, facts: ConnectionFacts, generation: int, *, waits: bool) -> Outcome:
        """The row when there is nothing more to do for it. Not getting there is a value too, for each waiter alone."""
        until, pause, waited = self._clock.monotonic() + self.patience_seconds, _FIRST_PAUSE_SECONDS, 0.0
        tried: Refreshing | None = None
        try:
            while True:
                connection, row = await self._looked(facts.id)
                if connection is None or row is None or row == tried:
                    return PutOff(seconds=2)  # it is gone, or cannot be taken: its connection was just revoked
                now = self._clock.now()
                match row.step(now, beyond=generation):
                    case Step.USE | Step.RECONNECT:
                        return row
                    case Step.WAIT:
                        assert row.due_at is not None
                        return PutOff(seconds=max(1, row.due_at - int(now)))
                    case Step.LOOK_AGAIN if not waits:
                        return row
                    case Step.TAKE:
                        turn = await self._in_turn(connection, row)
                        if isinstance(turn, PutOff):
                            return turn
                        tried = turn
                    case Step.LOOK_AGAIN:
                        await asyncio.sleep(pause)
                        waited += pause
                        pause = min(_SLOWER * pause, _LONG_PAUSE_SECONDS if waited < _SOON_SECONDS else 1.0)
                if self._clock.monotonic() >= until:
                    return PutOff(seconds=2)
        except Exception as error:
            log.warning("renewing %s failed: %s", facts.id, type(error).__name__)
            return PutOff(seconds=2)

    async def _looked(self, connection_id: str) -> tuple[Connection | None, Refreshing | None]:
        """What the row says now. All who look at one moment share one statement."""
        found = await self._rows.get(connection_id)
        return (None, None) if found is None else store.checked(*found)

    async def _in_turn(self, connection: Connection, row: Refreshing) -> PutOff | Refreshing | None:
        """Take the hold and ask, when it is this integration's turn; the time in the queue is not the hold's.

        Returns the row that was tried; None when another process was first while one waited for the turn.
        """
        name = connection.facts.integration
        breaker = (name, row.app)
        async with self._slots.setdefault(name, asyncio.Semaphore(AT_ONCE)):
            if left := self._breaker(breaker).seconds_left(self._clock.now()):
                return PutOff(seconds=int(left) + 1)
            if (await self._looked(connection.facts.id))[1] != row:
                return None
            self._busy[name] += 1
            try:
                await self._attempt(connection, row, breaker)
            finally:
                self._busy[name] -= 1
        return row

    async def _attempt(self, connection: Connection, row: Refreshing, breaker: tuple[str, str]) -> None:
        async with self._database.read() as db:
            app = await apps.app(db, row.app, self._ring)
        oauth = None if app is None else app.way(self._catalogue)
        if row.sealed is None or oauth is None or app is None or oauth.token_url != row.token_url:
            # SECURITY: never to another address than the one this refresh token was given for.
            await self._settled(connection, row, row.ended("expired" if row.sealed is None else "changed"))
            return
        token = store.open_token(row, connection, self._ring)
        held = row.taken(secrets.token_hex(16), self._clock.now())
        if not await self._took(connection, row, held):
            return
        self._breakers[breaker] = self._breaker(breaker).asked(self._clock.now())
        said = {"grant_type": "refresh_token", "refresh_token": token.reveal()}
        answer = await ask(self._egress, oauth, app, said, now=self._clock.now(), timeout=self.call_seconds)
        self._count(breaker, answer)
        await self._kept(connection, held, answer, oauth)

    async def _took(self, connection: Connection, row: Refreshing, held: Refreshing) -> bool:
        """Write the hold. A database that was too busy may have written it all the same, so it is asked."""
        for pause in (*_TAKE_AGAIN_SECONDS, None):
            was_busy = False
            try:
                if await self._written(connection, row, held):
                    return True
            except Unavailable:
                if pause is None:
                    raise
                was_busy = True
                await asyncio.sleep(pause)
            now = (await self._looked(connection.facts.id))[1]
            if now is not None and now.holder == held.holder:
                return True
            if now != row or not was_busy:
                return False
        return False

    async def _written(self, connection: Connection, row: Refreshing, held: Refreshing) -> bool:
        if row.state != "held":
            # A row by itself, in no group: two nodes that want the same ones never wait for each other in a circle.
            async with self._database.write() as tx:
                return await store.swap(tx, row, held)
        entry = _entry(Event.CONNECTION_REFRESH_FAILED, connection, row.generation, problem="unanswered")
        return await self._done(entry, partial(_swapped, row, held))

    async def _kept(
        self, connection: Connection, held: Refreshing, answer: Granted | Refused | NoAnswer, oauth: OAuth
    ) -> None:
        now = self._clock.now()
        match answer:
            case Granted():
                after = held.answered(now, lasts_seconds=answer.lasts_seconds, chance=self._chance())
                await self._surely_kept(connection, held, after, answer)
            case Refused() if answer.is_final:
                # RT-07: it is believed only of the very row that was held; if that changed meanwhile, look again.
                is_used_once = oauth.refresh == "rotating"
                await self._settled(connection, held, held.refused(named(answer.error), is_used_once=is_used_once))
            case Refused():
                after = held.put_off(now, problem=named(answer.error), unanswered=False, chance=self._chance())
                await self._settled(connection, held, after)
            case NoAnswer():
                after = held.put_off(
                    now,
                    problem=answer.problem,
                    unanswered=answer.may_have_acted,
                    chance=self._chance(),
                    retry_after=answer.retry_after,
                )
                await self._settled(connection, held, after)

    async def _surely_kept(self, connection: Connection, held: Refreshing, after: Refreshing, granted: Granted) -> None:
        """Keep the answer: there may never be another."""
        keeping = _Keeping(connection, held, after, granted, self._ring)
        known = fingerprint(granted.access)
        entry = _entry(Event.CONNECTION_REFRESHED, connection, after.generation, credential=known)
        if not await self._surely_done(entry, keeping):
            await self._end_there.unkept(connection, granted)
        elif keeping.has_ended:
            await self._end_there.again(connection)

    async def _settled(self, connection: Connection, before: Refreshing, after: Refreshing) -> None:
        """Write that it did not work, with its record, unless the row is another one by now."""
        ended = after.state == "needs_reconnect"
        event = Event.CONNECTION_NEEDS_RECONNECT if ended else Event.CONNECTION_REFRESH_FAILED
        entry = _entry(event, connection, after.generation, problem=after.problem or "")
        await self._surely_done(entry, partial(_swapped, before, after))

    async def _surely_done(self, entry: Entry, effect: Effect) -> bool:
        """The same as `_done`, again and again while the database is too busy; each try is a record of its own."""
        for pause in (*_KEEP_AGAIN_SECONDS, None):
            try:
                return await self._done(replace(entry, id=new_id("aud")), effect)
            except Unavailable:
                if pause is None:
                    raise
                log.warning("what the API said of %s is not kept yet; tried again", entry.members["connection"])
                await asyncio.sleep(pause)
        return False

    async def _done(self, entry: Entry, effect: Effect) -> bool:
        """Write a change together with its record, in a commit shared with others; False when it was too late."""
        entry = replace(entry, also=effect)
        try:
            must_be_recorded(entry, await self._journal.record(entry))
        except _TooLate:
            return False
        return True

    def _breaker(self, key: tuple[str, str]) -> Breaker:
        return self._breakers.get(key, Breaker())

    def _count(self, key: tuple[str, str], answer: Granted | Refused | NoAnswer) -> None:
        if isinstance(answer, NoAnswer):
            self._breakers[key] = self._breaker(key).failed(self._clock.now(), retry_after=answer.retry_after)
        else:
            with contextlib.suppress(KeyError):
                del self._breakers[key]


class _TooLate(Exception):
    """The row is another one by now."""


async def _swapped(before: Refreshing, after: Refreshing, tx: AsyncConnection) -> Exception | None:
    return None if await store.swap(tx, before, after) else _TooLate()


class _Keeping:
    """Stores what the API gave. `has_ended`: for a connection that has ended, so it is to be ended at the API too."""

    def __init__(
        self, connection: Connection, held: Refreshing, after: Refreshing, granted: Granted, ring: KeyRing
    ) -> None:
        self._connection = connection
        self._held = held
        self._after = after
        self._granted = granted
        self._ring = ring
        self.has_ended = False

    async def __call__(self, tx: AsyncConnection) -> Exception | None:
        if not await store.keep(tx, self._connection, self._held, self._after, self._granted, self._ring):
            return _TooLate()
        # SECURITY: in the commit that keeps it, under the fence: a revocation is seen here, or sees what is kept.
        # Guarded by tests/flows/test_ending_there.py::test_what_a_renewal_brings_after_the_end_is_ended_there_too
        self.has_ended = await ending.begin_again(tx, self._connection, now=self._after.refreshed_at)
        return None


def _entry(event: Event, connection: Connection, generation: int, **members: str) -> Entry:
    facts = connection.facts
    about = {"connection": facts.id, "integration": facts.integration, "generation": generation}
    return Entry(event=event, org=facts.org, members={**about, **members})
