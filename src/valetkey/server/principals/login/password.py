"""Passwords: Argon2id, few at a time, and the same work whether or not there is such a person (UI-07, DO-07)."""

import asyncio
import secrets
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import TooMany
from valetkey.server.principals import store as principals
from valetkey.server.principals.login import store
from valetkey.server.principals.login.model import checked_password
from valetkey.server.principals.model import Status, User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret

AT_ONCE = 2
MOST_WAITING = 64

_T = TypeVar("_T")


class Passwords:
    """One per process."""

    def __init__(self, database: Database, journal: Journal, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        # OWASP's and RFC 9106's small profile: 19 MiB, two passes. Each hash carries the parameters it was made with.
        self._argon = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._nobodys = self._argon.hash(secrets.token_urlsafe(32))
        self._room = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def matches(self, user: User | None, password: Secret) -> bool:
        """Whether this is the user's password. Without a user, or without a password, the same work finds nothing."""
        async with self._database.read() as db:
            kept = await store.password(db, user.id if user is not None else "")
        hashed = kept or self._nobodys
        right = await self._in_turn(lambda: self._verified(hashed, password))
        if not right or kept is None or user is None:
            return False
        if self._argon.check_needs_rehash(kept):
            renewed = await self._in_turn(lambda: self._argon.hash(password.reveal()))
            async with self._database.write() as tx:
                await store.rehash_password(tx, user.id, kept, renewed)
        return True

    async def set(self, user: User, text: str) -> bool:
        """Set or change it; True when there was one before. Raises `InvalidRequest` for one too short or too long."""
        password = checked_password(text)
        hashed = await self._in_turn(lambda: self._argon.hash(password.reveal()))
        async with self._journal.change() as change:
            changed = await store.set_password(change.tx, user.id, hashed, now=int(self._clock.now()))
            change.record(Event.LOGIN_WAY_ADDED, user.org, user=user.id, way="password", again=changed)
        return changed

    def _verified(self, hashed: str, password: Secret) -> bool:
        try:
            return self._argon.verify(hashed, password.reveal())
        except (VerificationError, InvalidHashError):
            return False

    async def _in_turn(self, work: Callable[[], _T]) -> _T:
        # SECURITY: each hash takes 19 MiB and a core; a flood of sign-ins must not take all of either.
        # Guarded by tests/attacks/test_sign_in.py::test_do_07_few_passwords_are_hashed_at_once
        if self._waiting >= MOST_WAITING:
            raise TooMany("Too many people are signing in right now.", retry_after=2, detail="argon2 queue")
        self._waiting += 1
        try:
            async with self._room:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


class People:
    """Finds who an address belongs to. Suspended and revoked people are nobody."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_email(self, email: str) -> User | None:
        """The one user with this address; None when there is none, or one in each of several organizations."""
        async with self._database.read() as db:
            found = await principals.users_named(db, email)
            user = found[0] if len(found) == 1 else None
            ended = await revocation.among(db, {user.id, user.org} if user is not None else {""})
        return None if user is None or ended or user.status is not Status.ACTIVE else user

    async def by_id(self, user_id: str) -> User | None:
        """The user, if active."""
        async with self._database.read() as db:
            user = await principals.user(db, user_id)
            ended = await revocation.among(db, {user.id, user.org} if user is not None else {""})
        return None if user is None or ended or user.status is not Status.ACTIVE else user
