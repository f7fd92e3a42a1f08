"""What somebody can sign in with, and taking one of it away; never the last."""

from typing import Literal

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.db.engine import Database
from valetkey.server.errors import Conflict, NotFound
from valetkey.server.principals.login import store
from valetkey.server.principals.login.model import Ways
from valetkey.server.principals.login.providers import store as providers
from valetkey.server.principals.model import User

Way = Literal["passkey", "password", "totp", "sso"]


class KnownWays:
    """One per process."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal

    async def of(self, user: User) -> Ways:
        """Everything `user` can sign in with now."""
        async with self._database.read() as db:
            return await _ways(db, user)

    async def remove(self, user: User, way: Way, named: str | bytes = "") -> None:
        """Take one away. Raises `Conflict` for the last that opens the door, `NotFound` for what is not there."""
        async with self._journal.change() as change:
            # SECURITY: the fence first: of two removals at once the second must see what the first left.
            # Guarded by tests/flows/test_passkeys.py::test_the_last_way_in_cannot_be_removed
            await change.touches(user.id)
            before = await _ways(change.tx, user)
            if not await _removed(change.tx, user, way, named):
                raise NotFound("There is no such way to sign in, or it is not yours.")
            after = await _ways(change.tx, user)
            if after.count == 0 and before.count > 0:
                raise Conflict(
                    "This is the last way you can sign in.", hint="Add another one first, then remove this one."
                )
            if not after.has_one_time:
                await store.drop_recovery_codes(change.tx, user.id)
            change.record(Event.LOGIN_WAY_REMOVED, user.org, user=user.id, way=way)


async def _ways(db: AsyncConnection, user: User) -> Ways:
    issuers = frozenset(provider.issuer for provider in await providers.of_org(db, user.org))
    return await store.ways(db, user.id, issuers=issuers)


async def _removed(tx: AsyncConnection, user: User, way: Way, named: str | bytes) -> bool:
    match way, named:
        case "passkey", bytes():
            return await store.remove_passkey(tx, user.id, named)
        case "password", _:
            return await store.remove_password(tx, user.id)
        case "totp", _:
            return await store.remove_one_time(tx, user.id)
        case "sso", str():
            return await store.unlink(tx, user.id, named)
        case _:
            return False
