"""What names mean in a database: the same for every kind."""

from typing import Protocol

from valetkey.server.delegations.model import Resource
from valetkey.server.integrations.model import ResourceFacts, ResourceRef
from valetkey.server.policy.model import ConnectionFacts


class Tables(Protocol):
    """What names mean in one kind of database."""

    async def resource(self, facts: ConnectionFacts, ref: ResourceRef, /) -> ResourceFacts | None:
        """The table, as it is now; None where there is none."""
        ...

    async def bound(self, facts: ConnectionFacts, resource: Resource, /) -> Resource:
        """The name bound to what it is now. Raises `NotFound` where there is no such table or schema."""
        ...

    async def is_still(self, facts: ConnectionFacts, resource: Resource, /) -> bool:
        """Whether a bound schema is still the one it was."""
        ...
