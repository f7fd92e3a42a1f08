"""What a name means at a MariaDB server now: tables by their names, and `database.*` by the database's."""

from valetkey.server.connections.databases.mariadb import store
from valetkey.server.connections.databases.mariadb.admin import MariaAdmins
from valetkey.server.connections.databases.mariadb.model import OURS, names
from valetkey.server.delegations.model import Resource
from valetkey.server.errors import NotFound
from valetkey.server.integrations.model import ResourceFacts, ResourceRef
from valetkey.server.policy.model import ConnectionFacts


class MariaTables:
    """One per process."""

    def __init__(self, admins: MariaAdmins) -> None:
        self._admins = admins

    async def resource(self, facts: ConnectionFacts, ref: ResourceRef) -> ResourceFacts | None:
        """The table, as it is now. Nothing is remembered: the server is asked each time.

        NOTE: its name is its id. A table that was dropped and made again is the same to MariaDB, whose own grants stay.
        """
        try:
            database, name = names(ref.id or ref.name or "")
        except ValueError:
            return None
        if not name or database.lower() in OURS:
            return None
        async with self._admins.session(facts.id) as db:
            found = await store.table(db, database, name)
        if found is None:
            return None
        whole = f"{found.database}.{found.name}"
        return ResourceFacts("table", name=whole, id=whole, owner_id=found.database)

    async def bound(self, facts: ConnectionFacts, resource: Resource) -> Resource:
        """The name bound to what it is now. Raises `NotFound` where there is no such table or database."""
        if resource.is_whole:
            database = resource.name.removesuffix(".*")
            if await self._has(facts, database):
                return Resource(name=resource.name, owner=database, kind="table")
        else:
            found = await self.resource(facts, ResourceRef("table", name=resource.name))
            if found is not None:
                return Resource(name=found.name, id=found.id, owner=found.owner_id, kind="table")
        raise NotFound(
            f"{facts.name} has no {resource.name}.",
            hint="Write database.table, or database.* for all tables of a database.",
        )

    async def is_still(self, facts: ConnectionFacts, resource: Resource) -> bool:
        """Whether the database that was bound is there."""
        return await self._has(facts, resource.owner)

    async def _has(self, facts: ConnectionFacts, database: str) -> bool:
        if database.lower() in OURS:
            return False
        try:
            names(f"{database}.*")
        except ValueError:
            return False
        async with self._admins.session(facts.id) as db:
            return await store.has_database(db, database)
