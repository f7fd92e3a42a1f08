"""A person's side of notices: the addresses they name, try out and remove. Every change is recorded."""

from valetkey.server.approvals.notices import store
from valetkey.server.approvals.notices.model import MOST_ADDRESSES, Kind, NoticeAddress, address_of
from valetkey.server.approvals.notices.notices import Notices
from valetkey.server.approvals.notices.send import Send
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.ids import new_id
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing


class NoticeAddresses:
    """One per process."""

    def __init__(
        self, *, database: Database, journal: Journal, ring: KeyRing, clock: Clock, send: Send, notices: Notices
    ) -> None:
        self._database = database
        self._journal = journal
        self._ring = ring
        self._clock = clock
        self._send = send
        self._notices = notices

    async def of(self, person: User) -> list[NoticeAddress]:
        """Where this person is told."""
        async with self._database.read() as db:
            return await store.of_people(db, [person.id])

    async def one(self, person: User, address_id: str) -> NoticeAddress:
        """One of theirs. Raises `NotFound`."""
        found = next((one for one in await self.of(person) if one.id == address_id), None)
        if found is None:
            raise NotFound("There is no such address, or it is not yours.")
        return found

    async def add(self, person: User, kind: str, text: str) -> NoticeAddress:
        """Tell this person there, too. Raises `InvalidRequest`, `Conflict`."""
        if kind not in [one.value for one in Kind]:
            raise InvalidRequest("This is no kind of address.", hint=f"One of: {', '.join(Kind)}.")
        url = address_of(Kind(kind), text.strip())
        try:
            await self._send.prove(url)
        except UpstreamFailed as error:
            raise InvalidRequest(
                "This is not a public https address, or nobody knows its name.", detail=error.detail
            ) from error
        now = int(self._clock.now())
        made = NoticeAddress(
            id=new_id("ntf"),
            org=person.org,
            user=person.id,
            kind=Kind(kind),
            place=url.place.removesuffix(":443"),
            created_at=now,
            told_at=None,
            failures=0,
            problem="",
            confirmed_at=now,
        )
        async with self._journal.change() as change:
            if len(await store.held_for(change.tx, person.id)) >= MOST_ADDRESSES:
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

    async def try_out(self, person: User, address_id: str) -> NoticeAddress:
        """Send a notice that says so; how it went stands with the address. Raises `NotFound`, `TooMany`."""
        await self._notices.try_out(await self.one(person, address_id))
        return await self.one(person, address_id)
