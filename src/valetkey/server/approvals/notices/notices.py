"""Telling people that a call waits: owed in the commit that opens the approval, sent by whichever node comes to it.

1. whoever may answer is owed a notice at each of their addresses (`owe`, in that commit), 2. each address takes its
turn, at most one notice in a pause over all nodes, 3. what still waits by then is told at once, 4. what arrived is owed
no longer. A node that stops between 2 and 4 leaves it owed: the next turn tells it, perhaps twice, never not at all.
What cannot be delivered is counted, shown to its person, and tried twice more. What is over is told to nobody.
Refuses to decide anything: a notice that is lost leaves a call that waits, and a link the agent has.
"""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.approvals import store as approvals
from valetkey.server.approvals.answer import Approvals
from valetkey.server.approvals.model import Approval, State
from valetkey.server.approvals.notices import store
from valetkey.server.approvals.notices.model import PAUSE_SECONDS, TRIED, Message, Notice, NoticeAddress, Waiting
from valetkey.server.approvals.notices.send import Gone, Send
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import TooMany
from valetkey.server.principals import store as principals
from valetkey.server.revocation import store as revocation
from valetkey.server.vault.ring import KeyRing

LOOK_SECONDS: Final = 1.0
MOST_AT_ONCE: Final = 64

log = logging.getLogger("valetkey")


class Notices:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        ring: KeyRing,
        clock: Clock,
        send: Send,
        approvals: Approvals,
        base: str,
    ) -> None:
        self._database = database
        self._journal = journal
        self._ring = ring
        self._clock = clock
        self._send = send
        self._approvals = approvals
        self._base = base
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_looking = False
        self._look_again = False

    async def owe(self, tx: AsyncConnection, approval: Approval, people: Collection[str]) -> None:
        """In the transaction that opens an approval: these people, who may answer it, are to be told."""
        await store.owe(tx, approval.id, people)

    async def try_out(self, address: NoticeAddress) -> None:
        """Send a notice that says so; how it went stands with the address. Raises `TooMany`."""
        if not await self._claim(address):
            raise TooMany("This address was written to a moment ago.", retry_after=PAUSE_SECONDS)
        message = Message(words=TRIED, link=f"{self._base}/approvals", count=0, seconds=60)
        await self._deliver(address, message, ())

    def soon(self) -> None:
        """Something is owed since now: look, without holding up anybody."""
        self._look_again = True
        if not self._is_looking:
            self._is_looking = True
            self._begin(self._look())

    async def watch(self) -> None:
        """Look for as long as the server runs: a pause is over, a try failed, another node stopped."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.round()

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def close(self) -> None:
        """Tell nobody any more; what is still owed, another node tells, or this one when it starts again."""
        for task in set(self._under_way):
            task.cancel()
        await self.settle()

    async def round(self) -> None:
        """Begin every notice whose turn it is."""
        room = MOST_AT_ONCE - len(self._under_way)
        if room <= 0:
            return
        async with self._database.read() as db:
            found = await store.turns(db, not_since=int(self._clock.now()) - PAUSE_SECONDS, limit=room)
        for address in found:
            waiting = await self._waiting(address)
            if waiting and await self._claim(address):
                self._begin(self._tell(address, waiting))

    async def _look(self) -> None:
        try:
            while self._look_again:
                self._look_again = False
                await self.round()
        finally:
            self._is_looking = False

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(self._kept_in(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _kept_in(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception as error:  # it is still owed, and told when the next turn comes
            log.warning("a notice was not sent: %s", type(error).__name__)

    async def _waiting(self, address: NoticeAddress) -> list[Approval]:
        """What this address is owed and still waits for its person; the rest is owed no longer."""
        async with self._database.read() as db:
            owed = await store.owed(db, address.id)
            found = [await approvals.by_id(db, approval_id) for approval_id in owed]
            ended = await revocation.among(db, {node for a in found if a is not None for node in a.facts.nodes})
        # SECURITY: who was suspended since it was asked is not told of it.
        # Guarded by tests/attacks/test_notices.py::test_who_was_suspended_meanwhile_is_not_told
        is_somebody = bool(await self._approvals.active({address.user}))
        now = self._clock.now()
        waiting = [
            a
            for a in found
            if a is not None and is_somebody and a.now(now) is State.PENDING and not ended & set(a.facts.nodes)
        ]
        if over := set(owed) - {a.id for a in waiting}:
            async with self._database.write() as tx:
                await store.settled(tx, address.id, over)
        return waiting

    async def _tell(self, address: NoticeAddress, waiting: Sequence[Approval]) -> None:
        async with self._database.read() as db:
            known = {a.user: await principals.user(db, a.user) for a in waiting}
        emails = {user: found.email for user, found in known.items() if found is not None}
        told = [Waiting(agent=a.facts.agents[0], user=emails.get(a.user, "somebody")) for a in waiting]
        link = self._approvals.link(waiting[0].id) if len(waiting) == 1 else f"{self._base}/approvals"
        seconds = int(max(a.expires_at for a in waiting) - self._clock.now())
        message = Message(words=Notice(waiting=told, link=link).words, link=link, count=len(told), seconds=seconds)
        await self._deliver(address, message, [a.id for a in waiting])

    async def _deliver(self, address: NoticeAddress, message: Message, ids: Sequence[str]) -> None:
        """Send one notice, and keep how it went."""
        async with self._database.read() as db:
            opened = await store.opened(db, address, ring=self._ring)
        if opened is None:
            return
        try:
            problem = await self._send(address.kind, opened, message)
        except Gone:
            await self._forget(address)
            return
        async with self._database.write() as tx:
            if problem:
                await store.missed(tx, address.id, ids, problem)
            else:
                await store.reached(tx, address.id, ids, now=int(self._clock.now()))

    async def _forget(self, address: NoticeAddress) -> None:
        async with self._journal.change() as change:
            if await store.remove(change.tx, address.user, address.id):
                said = {"address": address.id, "user": address.user, "why": "its push service no longer knows it"}
                change.record(Event.NOTICE_ADDRESS_REMOVED, address.org, **said)

    async def _claim(self, address: NoticeAddress) -> bool:
        now = int(self._clock.now())
        async with self._database.write() as tx:
            return await store.claim(tx, address.id, now=now, not_since=now - PAUSE_SECONDS)
