"""Telling people that a call waits: after the commit, in the background, out by `egress` alone.

1. who may answer has addresses, 2. each address takes its turn, at most one notice in a pause over all nodes, 3. what
waits by then is told at once. What cannot be delivered is counted, shown to its person, and tried twice more.
Refuses to decide anything: a notice that is lost leaves a call that waits, and a link the agent has.
"""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Final

from valetkey.server.approvals import store as approvals
from valetkey.server.approvals.answer import Approvals
from valetkey.server.approvals.model import Approval, State, answerers
from valetkey.server.approvals.notices import store
from valetkey.server.approvals.notices.model import (
    MOST_ADDRESSES,
    PAUSE_SECONDS,
    TRIED,
    Kind,
    Notice,
    NoticeAddress,
    Waiting,
    address_of,
    said,
)
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.egress import Egress, Url
from valetkey.server.errors import Conflict, InvalidRequest, NotFound, TooMany, UpstreamFailed
from valetkey.server.ids import new_id
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing

TIMEOUT_SECONDS: Final = 10.0
LARGEST_ANSWER: Final = 65_536
LOOK_SECONDS: Final = 1.0
TRIES: Final = 3
MOST_DUE: Final = 10_000
MOST_AT_ONCE: Final = 64

log = logging.getLogger("valetkey")


@dataclass(slots=True)
class _Due:
    """What one address is to be told."""

    address: NoticeAddress
    approvals: dict[str, Approval] = field(default_factory=dict)
    tries: int = 0


class Notices:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        ring: KeyRing,
        clock: Clock,
        egress: Egress,
        approvals: Approvals,
        base: str,
        never: frozenset[str],
    ) -> None:
        self._database = database
        self._journal = journal
        self._ring = ring
        self._clock = clock
        self._egress = egress
        self._approvals = approvals
        self._base = base
        self._never = never
        self._new: list[Approval] = []
        self._due: dict[str, _Due] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._is_looking = False

    async def of(self, person: User) -> list[NoticeAddress]:
        """Where this person is told."""
        async with self._database.read() as db:
            return await store.of_people(db, [person.id])

    async def add(self, person: User, kind: str, text: str) -> NoticeAddress:
        """Tell this person there, too. Raises `InvalidRequest`, `Conflict`."""
        if kind not in [one.value for one in Kind]:
            raise InvalidRequest("This is no kind of address.", hint=f"One of: {', '.join(Kind)}.")
        url = address_of(Kind(kind), text.strip())
        try:
            await self._prove(url)
        except UpstreamFailed as error:
            raise InvalidRequest(
                "This is not a public https address, or nobody knows its name.", detail=error.detail
            ) from error
        made = NoticeAddress(
            id=new_id("ntf"),
            org=person.org,
            user=person.id,
            kind=Kind(kind),
            place=url.place.removesuffix(":443"),
            created_at=int(self._clock.now()),
            told_at=None,
            failures=0,
            problem="",
        )
        async with self._journal.change() as change:
            if await store.count(change.tx, person.id) >= MOST_ADDRESSES:
                raise Conflict(f"You have {MOST_ADDRESSES} addresses.", hint="Remove one first.")
            await store.add(change.tx, made, Secret(url.text), ring=self._ring)
            said = {"address": made.id, "user": person.id, "kind": made.kind.value, "place": made.place}
            change.record(Event.NOTICE_ADDRESS_ADDED, person.org, **said)
        return made

    async def remove(self, person: User, address_id: str) -> None:
        """Tell this person there no more. Raises `NotFound`."""
        async with self._journal.change() as change:
            if not await store.remove(change.tx, person.id, address_id):
                raise NotFound("There is no such address, or it is not yours.")
            change.record(Event.NOTICE_ADDRESS_REMOVED, person.org, address=address_id, user=person.id)

    async def try_out(self, person: User, address_id: str) -> None:
        """Send a notice that says so; how it went stands with the address. Raises `NotFound`, `TooMany`."""
        found = next((one for one in await self.of(person) if one.id == address_id), None)
        if found is None:
            raise NotFound("There is no such address, or it is not yours.")
        if not await self._claim(found):
            raise TooMany("This address was written to a moment ago.", retry_after=PAUSE_SECONDS)
        await self._deliver(found, TRIED, f"{self._base}/approvals", ())

    def soon(self, approval: Approval) -> None:
        """It was recorded that this waits: tell who may answer, without holding up anybody."""
        if len(self._new) < MOST_DUE:
            self._new.append(approval)
        if not self._is_looking:
            self._is_looking = True
            self._begin(self._look())

    async def watch(self) -> None:
        """Look again for as long as the server runs: a pause is over, or a try failed."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._new or self._due:
                await self.round()

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def close(self) -> None:
        """Tell nobody any more."""
        for task in set(self._under_way):
            task.cancel()
        await self.settle()

    async def round(self) -> None:
        """Begin every notice whose turn it is."""
        new, self._new = self._new, []
        for approval in new:
            await self._spread(approval)
        for due in list(self._due.values()):
            if len(self._under_way) >= MOST_AT_ONCE:
                return
            waiting = [a for a in list(due.approvals.values()) if await self._is_pending(a)]
            if not waiting or not await self._is_there(due.address):
                self._due.pop(due.address.id, None)
            elif await self._claim(due.address) and self._due.pop(due.address.id, None) is due:
                self._begin(self._tell(due, waiting))

    async def _look(self) -> None:
        try:
            while self._new:
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
        except Exception as error:  # a notice decides nothing: whoever is not told sees it on the page
            log.warning("a notice was not sent: %s", type(error).__name__)

    async def _spread(self, approval: Approval) -> None:
        """Note it for every address of everybody who may answer and is still somebody."""
        people = await self._approvals.active(answerers(approval.user, approval.facts))
        async with self._database.read() as db:
            found = await store.of_people(db, people)
        for address in found:
            if len(self._due) < MOST_DUE:
                self._due.setdefault(address.id, _Due(address)).approvals[approval.id] = approval

    async def _tell(self, due: _Due, waiting: Sequence[Approval]) -> None:
        async with self._database.read() as db:
            known = {a.user: await principals.user(db, a.user) for a in waiting}
        emails = {user: found.email for user, found in known.items() if found is not None}
        told = [Waiting(agent=a.facts.agents[0], user=emails.get(a.user, "somebody")) for a in waiting]
        link = self._approvals.link(waiting[0].id) if len(waiting) == 1 else f"{self._base}/approvals"
        words = Notice(waiting=told, link=link).words
        if await self._deliver(due.address, words, link, [a.id for a in waiting]):
            return
        if due.tries + 1 < TRIES:
            again = self._due.setdefault(due.address.id, _Due(due.address))
            again.tries = due.tries + 1
            again.approvals |= {a.id: a for a in waiting}

    async def _deliver(self, address: NoticeAddress, words: str, link: str, ids: Sequence[str]) -> bool:
        """Send one notice, and keep how it went."""
        async with self._database.read() as db:
            opened = await store.opened(db, address, ring=self._ring)
        if opened is None:
            return True
        problem = await self._sent(address, opened, words, link, max(1, len(ids)))
        async with self._database.write() as tx:
            if problem:
                await store.missed(tx, address.id, problem)
            else:
                await store.reached(tx, address.id, ids, now=int(self._clock.now()))
        return not problem

    async def _sent(self, address: NoticeAddress, opened: Secret, words: str, link: str, count: int) -> str:
        """Nothing when it arrived, else why not, in words for its person."""
        try:
            # SECURITY: judged again as it is sent: what was public when it was saved may lead inward by now.
            # Guarded by tests/attacks/test_notices.py::test_ss_07_a_place_that_turned_private_is_not_told
            url, body = said(address.kind, address_of(address.kind, opened.reveal()), words, link, count)
            await self._prove(url)
            headers = [
                (b"content-type", b"application/json"),
                (b"user-agent", b"valetkey"),
                (b"content-length", str(len(body)).encode()),
            ]
            status, _, _ = await self._egress.fetch(
                "POST", url, headers, max_bytes=LARGEST_ANSWER, timeout=TIMEOUT_SECONDS, body=body
            )
        except (UpstreamFailed, InvalidRequest):
            return "it does not answer, or may not be asked"
        return "" if 200 <= status < 300 else f"it answers {status}"

    async def _prove(self, url: Url) -> None:
        # SECURITY: what administrators opened for databases is not open to whoever types an address.
        # Guarded by tests/attacks/test_notices.py::test_a_database_of_ours_is_no_address
        if url.place in self._never:
            raise UpstreamFailed(detail=f"{url.place}: not for notices")
        await self._egress.prove(url)

    async def _claim(self, address: NoticeAddress) -> bool:
        now = int(self._clock.now())
        async with self._database.write() as tx:
            return await store.claim(tx, address.id, now=now, not_since=now - PAUSE_SECONDS)

    async def _is_there(self, address: NoticeAddress) -> bool:
        async with self._database.read() as db:
            return await store.is_there(db, address.id)

    async def _is_pending(self, approval: Approval) -> bool:
        async with self._database.read() as db:
            found = await approvals.by_id(db, approval.id)
        return found is not None and found.now(self._clock.now()) is State.PENDING
