"""What a name means in a database now: tables by oid, and `schema.*` by the schema's."""

from valetkey.server.connections.databases.postgres import store
from valetkey.server.connections.databases.postgres.admin import Admins
from valetkey.server.delegations.model import Resource
from valetkey.server.errors import NotFound
from valetkey.server.integrations.model import ResourceFacts, ResourceRef
from valetkey.server.policy.model import ConnectionFacts

_OURS = ("pg_catalog", "information_schema", "pg_toast", "valetkey")


class PostgresTables:
    """One per process."""

    def __init__(self, admins: Admins) -> None:
        self._admins = admins

    async def resource(self, facts: ConnectionFacts, ref: ResourceRef) -> ResourceFacts | None:
        """The table, as it is now. Nothing is remembered: the server is asked each time."""
        async with self._admins.session(facts.id) as db:
            if ref.id is not None:
                row = await store.table_by_oid(db, int(ref.id)) if ref.id.isdecimal() else None
            else:
                schema, _, name = (ref.name or "").partition(".")
                row = await store.table(db, schema=schema, name=name)
        if row is None or row["of"] in _OURS:
            return None
        return ResourceFacts(
            "table", name=f"{row['of']}.{row['name']}", id=str(row["oid"]), owner_id=str(row["schema"])
        )

    async def bound(self, facts: ConnectionFacts, resource: Resource) -> Resource:
        """The name bound to the oids it has now. Raises `NotFound` where there is no such table or schema."""
        schema, _, name = resource.name.partition(".")
        if resource.is_whole and schema not in _OURS:
            async with self._admins.session(facts.id) as db:
                oid = await store.schema_oid(db, schema)
            if oid is not None:
                return Resource(name=resource.name, owner=str(oid), kind="table")
        elif name:
            found = await self.resource(facts, ResourceRef("table", name=resource.name))
            if found is not None:
                return Resource(name=found.name, id=found.id, owner=found.owner_id, kind="table")
        raise NotFound(
            f"{facts.name} has no {resource.name}.", hint="Write schema.table, or schema.* for all tables of a schema."
        )

    async def is_still(self, facts: ConnectionFacts, resource: Resource) -> bool:
        """Whether a bound schema is still the one it was."""
        async with self._admins.session(facts.id) as db:
            return await store.schema_name(db, int(resource.owner)) is not None
