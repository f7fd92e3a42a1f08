"""Comparing what is lent with what is there, both ways, in every connected database.

A role of ours whose lease is over, or that nobody knows, is dropped; a lease whose role is gone is ended. A group role
whose tables are gone is dropped when nobody is in it; it is made anew where it is needed. The role is
listed before its lease is read, and the lease was written before its role was made: so no role is ever too young to be
known. Refuses to know why they came apart: a crash, a restored backup, somebody's hand.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Protocol

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.connections import store as connections
from valetkey.server.connections.databases.model import lease_of, role_of
from valetkey.server.credentials import store
from valetkey.server.credentials.lease import Lease, State
from valetkey.server.credentials.sources.model import Ended
from valetkey.server.credentials.take_back import TakeBack
from valetkey.server.db.engine import Database
from valetkey.server.errors import ValetkeyError
from valetkey.server.policy.model import ConnectionFacts

EVERY_SECONDS: Final = 60.0
_OVER: Final = frozenset({State.ENDED, State.LOST})
log = logging.getLogger("valetkey")


class Logins(Protocol):
    """A source of logins that can be listed, and ended by name."""

    async def there(self, connection: str, /) -> set[str]:
        """The names of all that are there for leases of this deployment."""
        ...

    async def drop(self, connection: str, name: str, /) -> Ended:
        """End one, whatever is known of its lease. May be repeated."""
        ...


class Reconcile:
    """One per process; of several processes each may look, for everything it does may be repeated."""

    def __init__(
        self,
        *,
        database: Database,
        journal: Journal,
        logins: Mapping[str, Logins],
        take_back: TakeBack,
        deployment: str,
    ) -> None:
        self._database = database
        self._journal = journal
        self._logins = logins
        self._take_back = take_back
        self._deployment = deployment

    async def watch(self) -> None:
        """Compare for as long as the server runs, at once when it starts."""
        while True:
            await self.compare()
            await asyncio.sleep(EVERY_SECONDS)

    async def compare(self) -> int:
        """Bring every connected database into line; how many roles and leases were not."""
        async with self._database.read() as db:
            found = await connections.databases(db)
        changed = 0
        for connection in found:
            try:
                changed += await self._one(self._logins[connection.facts.integration], connection.facts)
            except ValetkeyError as error:
                log.warning("the roles of %s could not be compared: %s", connection.facts.id, error.code)
        return changed

    async def _one(self, logins: Logins, facts: ConnectionFacts) -> int:
        there = await logins.there(facts.id)
        of_role = {role: lease_of(role, self._deployment) for role in there}
        async with self._database.read() as db:
            known = {lease.id: lease for lease in await store.of_ids(db, set(of_role.values()))}
            out = await store.out_through(db, facts.id)
        strays = [role for role, lease in of_role.items() if lease not in known or known[lease].state in _OVER]
        gone = [lease for lease in out if role_of(self._deployment, lease.id) not in there]
        changed = 0
        for role in strays:
            changed += await self._dropped(logins, facts, role, known.get(of_role[role]))
        for lease in gone:
            changed += await self._take_back.end_now(lease, why="gone_there")
        return changed

    async def _dropped(self, logins: Logins, facts: ConnectionFacts, role: str, lease: Lease | None) -> bool:
        """A role that should not be there. One server may serve several connections: its own drops it."""
        if lease is not None and lease.connection != facts.id:
            return False
        ended = await logins.drop(facts.id, role)
        if ended.problem:
            return False
        async with self._journal.change() as change:
            change.record(
                Event.LEASE_ENDED, facts.org, lease=lease_of(role, self._deployment), connection=facts.id, why="stray"
            )
        return True
