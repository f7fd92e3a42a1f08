"""A command line signs in by a browser: she says yes on a page, the program redeems the code that brings back.

1. allow: a code for this program alone (its challenge, its address), a minute, recorded; or five minutes, shown to her,
   where the program is on a computer without a browser: she carries it there, and it is as bound to that program;
2. redeem: the code is spent and the credential made in one transaction, over all nodes;
3. a code shown with a wrong verifier is in the wrong hands and is spent; one shown again ends what it opened.
"""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Change, Journal
from valetkey.server.clock import Clock
from valetkey.server.db import fence
from valetkey.server.db.engine import Database
from valetkey.server.errors import NotAuthenticated
from valetkey.server.ids import is_handle, new_handle, new_id
from valetkey.server.principals import handed
from valetkey.server.principals import store as principals
from valetkey.server.principals.cli_login import store
from valetkey.server.principals.cli_login.model import Asked, Code, CommandLine
from valetkey.server.principals.enroll import CREDENTIAL_SECONDS
from valetkey.server.principals.model import Status, User
from valetkey.server.principals.sessions.model import Session
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac

_NO_CODE = "This code is not valid, was used, or has expired."
_NEXT = "Start again: valetkey login"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedInLine:
    """A command line that is signed in, and whose it is."""

    line: CommandLine
    user: User


class CliLogins:
    """One per process."""

    def __init__(self, journal: Journal, database: Database, mac: Mac, clock: Clock) -> None:
        self._journal = journal
        self._database = database
        self._mac = mac
        self._clock = clock

    def ends_at(self) -> int:
        """When a command line that is signed in now will have to sign in again."""
        return int(self._clock.now()) + CREDENTIAL_SECONDS

    async def allow(self, user: User, session: Session, asked: Asked) -> Secret:
        """She said yes: a code for the program that asked."""
        now = int(self._clock.now())
        handle = new_handle("lc")
        code = Code(
            id=new_id("tok"),
            org=user.org,
            user=user.id,
            session=session.id,
            name=asked.unverified_name,
            redirect_uri=asked.redirect_uri,
            challenge=asked.challenge,
            expires_at=now + asked.seconds,
        )
        async with self._journal.change() as change:
            # What a code opened lives so long, and is ended when the code is shown again.
            await store.drop_before(change.tx, now - CREDENTIAL_SECONDS)
            await store.add(change.tx, self._hidden(handle), code, now=now)
            change.record(
                Event.CODE_ISSUED, user.org, code=code.id, user=user.id, session=session.id, command_line=code.name
            )
        return handle

    async def decline(self, user: User, session: Session, asked: Asked) -> None:
        """She said no."""
        async with self._journal.change() as change:
            change.record(
                Event.CONSENT_DECLINED,
                user.org,
                user=user.id,
                session=session.id,
                command_line=asked.unverified_name,
            )

    async def redeem(self, handle: Secret, *, verifier: str, redirect_uri: str) -> tuple[User, Secret]:
        """The user and a CLI credential, shown once. Raises `NotAuthenticated`, with one sentence for every failure."""
        # SECURITY: what is not even a code never reaches the store.
        # Guarded by tests/flows/test_cli_login.py::test_what_is_no_code_is_refused
        if not is_handle(handle.reveal(), "lc"):
            raise _refused("not a code")
        mac, now = self._hidden(handle), int(self._clock.now())
        credential, credential_id = new_handle("cl"), new_id("tok")
        async with self._journal.change() as change:
            code = await store.code(change.tx, mac)
            if code is None:
                raise _refused("unknown code")
            user = await self._spent(change, mac, code, verifier=verifier, redirect_uri=redirect_uri, now=now)
            if user is not None:
                await store.opened(change.tx, mac, credential=credential_id)
                await handed.add_user_credential(
                    change.tx,
                    self._mac.mac("user-credential", "cl", credential),
                    id=credential_id,
                    user=user,
                    now=now,
                    expires_at=now + CREDENTIAL_SECONDS,
                    name=code.name,
                )
                change.record(
                    Event.LOGIN_SUCCEEDED,
                    user.org,
                    user=user.id,
                    credential=credential_id,
                    code=code.id,
                    command_line=code.name,
                )
        if user is None:  # after the transaction: what a wrong use ended stays ended
            raise _refused("used, expired, ended, or not this program's")
        return user, credential

    async def live_of(self, user: User) -> list[CommandLine]:
        """The command lines signed in as this person, the latest first."""
        async with self._database.read() as db:
            return await store.signed_in(db, org=user.org, user=user.id, now=int(self._clock.now()))

    async def live_in(self, administrator: User) -> list[SignedInLine]:
        """Every command line signed in to the administrator's organization, with whose it is."""
        if not administrator.is_administrator:
            return []
        async with self._database.read() as db:
            people = {user.id: user for user in await principals.users_of(db, administrator.org)}
            found = await store.signed_in(db, org=administrator.org, user=None, now=int(self._clock.now()))
        return [
            SignedInLine(line=line, user=user)
            for line in found
            if (user := people.get(line.user)) is not None and user.status is Status.ACTIVE
        ]

    async def is_one(self, credential_id: str) -> bool:
        """Whether this is the id of a command line's credential, whoever's."""
        async with self._database.read() as db:
            return await handed.credential_owner(db, credential_id) is not None

    async def end_all_by_browser(self, user: User) -> None:
        """End every command line this person signed in by a browser, and the codes on their way to one.

        For when how she signs in may have been known to somebody else: what it opened goes with it.
        """
        now = int(self._clock.now())
        async with self._journal.change() as change:
            await store.spend_all_of(change.tx, user.id, now=now)
            found = await store.signed_in(change.tx, org=user.org, user=user.id, now=now, by_browser_only=True)
            if not found:
                return
            seq = await change.touches(*(line.id for line in found))
            for line in found:
                await revocation.mark(change.tx, line.id, seq=seq, by=user.id, reason="password changed", now=now)
                change.record(Event.NODE_REVOKED, user.org, node=line.id, by=user.id, reason="password changed")

    async def _spent(
        self, change: Change, mac: bytes, code: Code, *, verifier: str, redirect_uri: str, now: int
    ) -> User | None:
        """Spend the code, whoever shows it; the user it signs in, or None where it signs nobody in."""
        if not await store.use(change.tx, mac, now=now):
            await self._reused(change, mac, code, now=now)
            return None
        user = None
        if now < code.expires_at and code.is_bound_to(verifier, redirect_uri):
            await fence.hold_shared(change.tx)  # a session or a person that was ended is seen to be, from here on
            user = await _standing(change.tx, code)
        if user is None:
            change.record(Event.LOGIN_FAILED, code.org, user=code.user, code=code.id, reason="code")
        return user

    async def _reused(self, change: Change, mac: bytes, code: Code, *, now: int) -> None:
        """End what the code opened."""
        used = await store.code(change.tx, mac)  # as it is now: another node may have been first
        opened = used.credential if used is not None else None
        # SECURITY: once: who shows it again and again does not make the audit trail grow.
        # Guarded by tests/flows/test_cli_login.py::test_a_code_shown_again_ends_what_it_opened
        if opened is None or await revocation.among(change.tx, {opened}):
            return
        seq = await change.touches(opened)
        if await revocation.mark(change.tx, opened, seq=seq, by=code.user, reason="code reused", now=now):
            change.record(Event.CODE_REUSED, code.org, code=code.id, user=code.user, ended=[opened])

    def _hidden(self, handle: Secret) -> bytes:
        return self._mac.mac("cli-login-code", "lc", handle)


async def _standing(tx: AsyncConnection, code: Code) -> User | None:
    """The user of a code, while they and the browser they allowed it in are what they were."""
    user = await principals.user(tx, code.user)
    if user is None or user.status is not Status.ACTIVE:
        return None
    return None if await revocation.among(tx, {code.session, user.id, user.org}) else user


def _refused(detail: str) -> NotAuthenticated:
    return NotAuthenticated(_NO_CODE, hint=_NEXT, detail=detail)
