"""The connected login's password, changed to one that nobody knows, in an order that no break-off locks out.

1. a lock in the database, held by the very session that will change the password, 2. of the passwords that are sealed,
the one that works there is found, 3. that one and the new one are sealed, 4. the server changes to the new one, 5. the
new one alone is sealed. Whatever ends after 3 leaves a sealed password that works; the next rotation begins at 1.
"""

import secrets
from typing import Any

import asyncpg

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.connections import store as connections
from valetkey.server.connections.databases.model import DatabaseKey
from valetkey.server.connections.databases.postgres import store
from valetkey.server.connections.databases.postgres.admin import Admins
from valetkey.server.connections.databases.postgres.model import verifier
from valetkey.server.connections.databases.steps import Step, onward
from valetkey.server.connections.databases.words import Words, opened, sealed
from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict, ConnectionRequired, Denied, NotFound
from valetkey.server.principals.model import User
from valetkey.server.revocation import store as revocation
from valetkey.server.secret import Secret
from valetkey.server.vault.ring import KeyRing


class Rotate:
    """One per process. `step` is told the name of each step before it is taken."""

    def __init__(self, journal: Journal, database: Database, admins: Admins, ring: KeyRing) -> None:
        self._journal = journal
        self._database = database
        self._admins = admins
        self._ring = ring
        self.step: Step = onward

    async def rotate(self, connection_id: str, *, by: User) -> None:
        """Give the connected login another password, known to nobody but the vault."""
        if not by.is_administrator:
            raise Denied("Only an administrator changes a shared connection.", reason="not_administrator")
        key = await self._alone_with_its_login(connection_id, by)
        fresh = Words(password=secrets.token_urlsafe(32))
        async with self._admins.session(connection_id) as session:
            try:
                # SECURITY: the lock ends with the session that changes the password, and not before: while anybody's
                # change may still arrive, nobody else reads which password works, or seals others in its place.
                # Guarded by tests/faults/test_database_rotation.py::test_of_two_rotations_at_once_one_waits
                async with session.transaction():
                    await store.take_the_turn(session)
                    generation = await self._both(connection_id, key, fresh, by)
                    await self.step("change")
                    await store.change_password(session, verifier(Secret(fresh.password), secrets.token_bytes(16)))
                    await self.step("commit")
            except asyncpg.LockNotAvailableError:
                raise Conflict("The password of this login is being changed at this moment.") from None
        await self.step("keep")
        await self._reseal(connection_id, generation, fresh, by)

    async def _alone_with_its_login(self, connection_id: str, by: User) -> DatabaseKey:
        """The database. Raises `Conflict` where another connection would be locked out."""
        async with self._database.read() as db:
            found = await connections.connection(db, connection_id)
            if found is None or found.database is None or found.facts.org != by.org:
                raise NotFound("There is no such database connection.")
            key = found.database
            others = [
                other.facts.id
                for other in await connections.databases(db)
                if other.facts.id != connection_id and other.database is not None and _same_login(other.database, key)
            ]
            live = set(others) - await revocation.among(db, set(others))
        if live:
            raise Conflict(
                "Another connection signs in by the same login, and would be locked out.",
                hint="Give each connection a login of its own, or end the other one first.",
                reason="login_shared",
            )
        return key

    async def _both(self, connection_id: str, key: DatabaseKey, fresh: Words, by: User) -> int:
        """Seal the password that works and the new one beside it; under which generation."""
        async with self._database.read() as db:
            found = await connections.with_credential(db, connection_id, self._ring)
        if found is None:
            raise NotFound("There is no such database connection.")
        words = opened(connections.open_credential(found, self._ring))
        await self.step("seal")
        # SECURITY: an earlier rotation may have ended anywhere, so what works is asked, not assumed: dropping the other
        # of two sealed passwords unasked would lock us out. Both are sealed before the server knows the new one.
        # Guarded by tests/faults/test_database_rotation.py::test_a_rotation_that_breaks_off_locks_nobody_out
        works = await self._that_works(key, words)
        both = Words(password=works, next=fresh.password)
        return await self._reseal(connection_id, found.credential_generation, both, by)

    async def _that_works(self, key: DatabaseKey, words: Words) -> str:
        if words.next is None:
            return words.password
        for word in (words.next, words.password):
            try:
                session: Any = await self._admins.try_out(key, Secret(word))
            except ConnectionRequired:
                continue
            session.terminate()
            return word
        raise ConnectionRequired(
            "The database no longer lets the connected login in.",
            hint="Ask an administrator to connect the database again.",
        )

    async def _reseal(self, connection_id: str, generation: int, words: Words, by: User) -> int:
        """Seal these in the place of what that generation was. Raises `Conflict` where somebody else was faster."""
        async with self._journal.change() as change:
            found = await connections.connection(change.tx, connection_id)
            if (
                found is None
                or found.credential_generation != generation
                or not await connections.replace_credential(change.tx, found, generation + 1, sealed(words), self._ring)
            ):
                raise Conflict("The connection was changed at this moment.", hint="Look at it, and try again.")
            if words.next is None:
                change.record(Event.CONNECTION_REFRESHED, by.org, connection=connection_id, by=by.id)
        return generation + 1


def _same_login(one: DatabaseKey, other: DatabaseKey) -> bool:
    return (one.host, one.port, one.login) == (other.host, other.port, other.login)
