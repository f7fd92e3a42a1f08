"""A table that a task was narrowed to by its name alone: bound to the table it is at first use, and to no other after.

All tables of a schema are delegated by the schema's own number, so a task may name one of them of which no number is
known. Refuses to guess: a name that is nothing, lies in another schema, or was another table at the task's earlier
leases is refused.
"""

from collections.abc import Sequence
from dataclasses import replace

from valetkey.server.connections.lookup import Lookups
from valetkey.server.credentials import store
from valetkey.server.db.engine import Database
from valetkey.server.delegations.model import Fit, Grant, Resource
from valetkey.server.errors import Denied
from valetkey.server.integrations.model import Integration, ResourceRef
from valetkey.server.policy.model import Authority, ConnectionFacts, Reason


class FirstUse:
    """One per process."""

    def __init__(self, database: Database, lookups: Lookups) -> None:
        self._database = database
        self._lookups = lookups

    async def bound(self, lines: Sequence[Grant], authority: Authority, integration: Integration) -> tuple[Grant, ...]:
        """The lines, with each such table bound. Raises `Denied` where its name is not what it was."""
        named = {r for line in lines for r in line.resources if _is_by_name(r)}
        if integration.database is None or not named:
            return tuple(lines)
        facts = authority.connections[lines[0].connection]
        async with self._database.read() as db:
            before = await store.used_by(db, {task.id for task in authority.tasks}, connection=facts.id)
        found = {resource: await self._bound(facts, resource, before) for resource in named}
        return tuple(
            replace(line, resources=tuple(found.get(resource, resource) for resource in line.resources))
            for line in lines
        )

    async def _bound(self, facts: ConnectionFacts, resource: Resource, before: Sequence[Grant]) -> Resource:
        now = await self._lookups.resource(facts, ResourceRef("table", name=resource.name), fresh=True)
        if now is not None and resource.fit(now) is Fit.YES:
            bound = replace(resource, id=now.id, kind="table")
            # SECURITY: the name was bound when this task first used it; another table of that name is another table.
            # Guarded by tests/flows/test_database_narrowing.py::test_a_name_is_bound_when_its_task_first_uses_it
            known = {r.id for line in before for r in line.resources if (r.name, r.owner) == (bound.name, bound.owner)}
            if known <= {bound.id}:
                return bound
        raise Denied(f"{resource.name} must be confirmed again.", reason=Reason.RESOURCE_CHANGED.value)


def _is_by_name(resource: Resource) -> bool:
    """Whether its schema is bound and it is not."""
    return bool(resource.owner) and not resource.id and not resource.is_whole
