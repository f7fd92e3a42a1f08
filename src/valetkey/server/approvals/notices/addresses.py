"""A person's side of notices: the addresses they name, try out and remove. Every change is recorded."""

import secrets

from valetkey.server.approvals.notices import store
from valetkey.server.approvals.notices.mail import mailbox
from valetkey.server.approvals.notices.model import (
    CODE_SECONDS,
    MOST_ADDRESSES,
    MOST_BROWSERS,
    MOST_CODES,
    Kind,
    NoticeAddress,
    address_of,
)
from valetkey.server.approvals.notices.notices import Notices
from valetkey.server.approvals.notices.push import subscription_of
from valetkey.server.approvals.notices.send import Send
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.egress import Url
from valetkey.server.errors import Conflict, InvalidRequest, NotFound, UpstreamFailed
from valetkey.server.ids import new_id
from valetkey.server.principals.model import User
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.ring import KeyRing


class NoticeAddresses:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        ring: KeyRing,
        mac: Mac,
        clock: Clock,
        send: Send,
        notices: Notices,
        base: str,
    ) -> None:
        self._mac = mac
        self._base = base
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

    @property
    def kinds(self) -> list[Kind]:
        """What a person can name here; a browser names itself."""
        without = {Kind.PUSH} if self._send.mail is not None else {Kind.PUSH, Kind.MAIL}
        return [kind for kind in Kind if kind not in without]

    async def add(self, person: User, kind: str, text: str) -> NoticeAddress:
        """Tell this person there, too; by mail once they have confirmed it. Raises `InvalidRequest`, `Conflict`."""
        if kind == Kind.MAIL:
            return await self._add_mail(person, mailbox(text.strip() or person.email))
        if kind not in self.kinds:
            raise InvalidRequest("This is no kind of address.", hint=f"One of: {', '.join(self.kinds)}.")
        url = address_of(Kind(kind), text.strip())
        await self._prove(url)
        made = self._made(person, Kind(kind), url.place.removesuffix(":443"), is_theirs=True)
        async with self._journal.change() as change:
            await self._keep(change, made, Secret(url.text))
        return made

    async def add_browser(self, person: User, text: str, *, browser: str) -> NoticeAddress:
        """Tell this person in the browser that made this subscription. Raises `InvalidRequest`, `Conflict`."""
        wanted = subscription_of(text)
        await self._prove(wanted.url)
        place = f"{browser}, by {wanted.url.place.removesuffix(':443')}"
        made = self._made(person, Kind.PUSH, place, is_theirs=True)
        async with self._journal.change() as change:
            for known in await store.held_for(change.tx, person.id):
                opened = await store.opened(change.tx, known, ring=self._ring) if known.kind is Kind.PUSH else None
                if opened is not None and subscription_of(opened.reveal()).url == wanted.url:  # the same one, anew
                    await store.remove(change.tx, person.id, known.id)
                    change.record(Event.NOTICE_ADDRESS_REMOVED, person.org, address=known.id, user=person.id)
            await self._keep(change, made, Secret(text))
        return made

    async def _add_mail(self, person: User, to: str) -> NoticeAddress:
        if self._send.mail is None:
            raise InvalidRequest("This server sends no mail.", hint="Ask who runs it to set VALETKEY_SMTP.")
        made = self._made(person, Kind.MAIL, to, is_theirs=False)
        code = Secret(f"{secrets.randbelow(10**8):08d}")
        async with self._journal.change() as change:
            await self._keep(change, made, Secret(to))
            # SECURITY: an address that is not theirs gets a code and no more, and nobody is sent many.
            # Guarded by tests/attacks/test_mail.py::test_nobody_fills_anothers_mailbox_with_codes
            if await store.codes_since(change.tx, person.id, made.created_at - 3600) >= MOST_CODES:
                raise Conflict(f"{MOST_CODES} codes were mailed for you in the last hour.", hint="Try again later.")
            mac = self._mac.mac("notice-code", made.id, code)
            until = made.created_at + CODE_SECONDS
            await store.add_code(change.tx, made, new_id("ntf"), mac, expires_at=until)
        try:
            await self._send.mail.ask(to, code.reveal(), f"{self._base}/account#notices")
        except UpstreamFailed as error:
            async with self._database.write() as tx:
                await store.missed(tx, made.id, (), f"the code was not sent: {error.public}")
        return made

    async def confirm(self, person: User, address_id: str, code: str) -> None:
        """It is theirs: this is the code that was mailed there. Raises `NotFound`, `InvalidRequest`."""
        await self.one(person, address_id)
        now = int(self._clock.now())
        async with self._journal.change() as change:
            found = await store.guess(change.tx, person.id, address_id, now=now)
            typed = Secret("".join(code.split()))
            is_right = found is not None and self._mac.matches("notice-code", address_id, typed, found)
            if is_right:
                await store.confirm(change.tx, address_id, now=now)
                change.record(Event.NOTICE_ADDRESS_CONFIRMED, person.org, address=address_id, user=person.id)
        if not is_right:
            hint = (
                "Look at the newest mail. After a quarter of an hour or five tries, remove the address and add it anew."
            )
            raise InvalidRequest("This is not the code, or it is worth nothing any more.", hint=hint)

    async def _prove(self, url: Url) -> None:
        try:
            await self._send.prove(url)
        except UpstreamFailed as error:
            words = "This is not a public https address, or nobody knows its name."
            raise InvalidRequest(words, detail=error.detail) from error

    def _made(self, person: User, kind: Kind, place: str, *, is_theirs: bool) -> NoticeAddress:
        now = int(self._clock.now())
        return NoticeAddress(
            id=new_id("ntf"),
            org=person.org,
            user=person.id,
            kind=kind,
            place=place,
            created_at=now,
            told_at=None,
            failures=0,
            problem="",
            confirmed_at=now if is_theirs else None,
        )

    async def _keep(self, change: Change, made: NoticeAddress, address: Secret) -> None:
        held = await store.held_for(change.tx, made.user)
        is_browser = made.kind is Kind.PUSH
        if sum((one.kind is Kind.PUSH) is is_browser for one in held) >= (
            MOST_BROWSERS if is_browser else MOST_ADDRESSES
        ):
            words = f"You have {MOST_BROWSERS} browsers." if is_browser else f"You have {MOST_ADDRESSES} addresses."
            raise Conflict(words, hint="Remove one first, under Account, Notices.")
        await store.add(change.tx, made, address, ring=self._ring)
        said = {"address": made.id, "user": made.user, "kind": made.kind.value, "place": made.place}
        change.record(Event.NOTICE_ADDRESS_ADDED, made.org, **said)

    async def remove(self, person: User, address_id: str) -> None:
        """Tell this person there no more. Raises `NotFound`."""
        async with self._journal.change() as change:
            if not await store.remove(change.tx, person.id, address_id):
                raise NotFound("There is no such address, or it is not yours.")
            change.record(Event.NOTICE_ADDRESS_REMOVED, person.org, address=address_id, user=person.id)

    async def try_out(self, person: User, address_id: str) -> NoticeAddress:
        """Send a notice that says so; how it went stands with the address. Raises `NotFound`, `InvalidRequest`,
        `TooMany`; `NotFound` too when nobody is there any more."""
        found = await self.one(person, address_id)
        if found.confirmed_at is None:
            raise InvalidRequest("This address is not confirmed yet.", hint="Type the code that was mailed there.")
        await self._notices.try_out(found)
        after = next((one for one in await self.of(person) if one.id == address_id), None)
        if after is None:
            raise NotFound("Nobody is there any more, so it was removed.", hint="Name it anew, if you want to.")
        return after
