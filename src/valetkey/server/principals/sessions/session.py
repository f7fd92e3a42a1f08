"""Beginning, recognising and ending sessions. The browser holds a handle; the store holds its MAC.

A session is a new row with a new handle at every sign-in and step-up, so that a handle somebody planted before is
worth nothing after. What ended is revoked by id and compared at use, like everything else.
"""

from dataclasses import dataclass

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import NotFound
from valetkey.server.ids import is_handle, new_handle, new_id
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Status, User
from valetkey.server.principals.sessions import store
from valetkey.server.principals.sessions.model import LONGEST_SECONDS, Session, acr_of
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.mac import Mac

TOUCH_SECONDS = 60
LONGEST_BROWSER = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A live session and its user, as known now."""

    session: Session
    user: User


class Sessions:
    """One per process."""

    def __init__(self, journal: Journal, database: Database, mac: Mac, clock: Clock) -> None:
        self._journal = journal
        self._database = database
        self._mac = mac
        self._clock = clock

    async def begin(
        self,
        user: User,
        amr: tuple[str, ...],
        *,
        browser: str,
        address: str,
        acr: str | None = None,
        auth_time: int | None = None,
        instead_of: Session | None = None,
    ) -> tuple[Session, Secret]:
        """Sign a browser in. `instead_of` is the session it had: at step-up the old one ends in the same change.

        `auth_time` is when the person proved themselves, where that was not here and now.
        """
        now = int(self._clock.now())
        handle = new_handle("se")
        session = Session(
            id=new_id("ses"),
            org=user.org,
            user=user.id,
            amr=amr,
            acr=acr or acr_of(amr),
            auth_time=now if auth_time is None else auth_time,
            created_at=now,
            last_used_at=now,
            expires_at=now + LONGEST_SECONDS,
            browser="".join(c for c in browser if c.isprintable())[:LONGEST_BROWSER],
            address=address[:64],
        )
        async with self._journal.change() as change:
            await store.add(change.tx, self._mac.mac("session", "se", handle), session)
            if instead_of is not None:
                await store.remove(change.tx, instead_of.id)
            change.record(
                Event.LOGIN_SUCCEEDED,
                user.org,
                user=user.id,
                session=session.id,
                amr=list(amr),
                acr=session.acr,
                address=session.address,
            )
        return session, handle

    async def of(self, handle: Secret) -> SignedIn | None:
        """Whose browser this is now; None for a handle that is unknown, expired, ended, or whose user is."""
        if not is_handle(handle.reveal(), "se"):
            return None
        now = self._clock.now()
        async with self._database.read() as db:
            session = await store.by_mac(db, self._mac.mac("session", "se", handle))
            if session is None or not session.is_live(now):
                return None
            user = await principals.user(db, session.user)
            ended = await revocation.among(db, {session.id, session.user, session.org})
        if user is None or ended or user.status is not Status.ACTIVE:
            return None
        if now - session.last_used_at >= TOUCH_SECONDS:
            async with self._database.write() as tx:
                await store.touch(tx, session.id, now=int(now))
        return SignedIn(session=session, user=user)

    async def live_of(self, user: User) -> list[Session]:
        """The user's browsers, the one used last first."""
        async with self._database.read() as db:
            return await store.live(db, org=user.org, user=user.id, now=int(self._clock.now()))

    async def live_in(self, administrator: User) -> list[SignedIn]:
        """Every browser signed in to the administrator's organization, with whose it is."""
        if not administrator.is_administrator:
            return []
        async with self._database.read() as db:
            people = {user.id: user for user in await principals.users_of(db, administrator.org)}
            found = await store.live(db, org=administrator.org, user=None, now=int(self._clock.now()))
        return [SignedIn(session=s, user=people[s.user]) for s in found if people[s.user].status is Status.ACTIVE]

    async def end_others(self, kept: Session, *, by: User) -> int:
        """End every session of `by` besides this one; return how many."""
        now = int(self._clock.now())
        async with self._journal.change() as change:
            found = await store.live(change.tx, org=by.org, user=by.id, now=now)
            others = [session.id for session in found if session.id != kept.id]
            if others:
                seq = await change.touches(*others)
                for ended in others:
                    await revocation.mark(change.tx, ended, seq=seq, by=by.id, reason="signed out elsewhere", now=now)
                    change.record(Event.SESSION_ENDED, by.org, session=ended, user=by.id, by=by.id)
        return len(others)

    async def end(self, session_id: str, *, by: User) -> None:
        """End one session of `by`, or of anybody in the organization for an administrator. Others do not exist."""
        async with self._journal.change() as change:
            session = await store.by_id(change.tx, session_id)
            if session is None or session.org != by.org or (session.user != by.id and not by.is_administrator):
                raise NotFound("There is no such session, or it is not yours.")
            seq = await change.touches(session.id)
            await revocation.mark(
                change.tx, session.id, seq=seq, by=by.id, reason="signed out", now=int(self._clock.now())
            )
            change.record(Event.SESSION_ENDED, session.org, session=session.id, user=session.user, by=by.id)
