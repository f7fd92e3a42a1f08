"""What the sources of database logins have in common: when they give up, and that nobody else ends a login."""

import asyncio
from abc import ABC, abstractmethod
from typing import Final, Generic, Protocol, TypeVar

from valetkey.server.clock import Clock
from valetkey.server.connections.databases.model import DatabaseKey
from valetkey.server.connections.databases.steps import Step, onward
from valetkey.server.connections.installation import Minted
from valetkey.server.credentials.lease import Lease, Narrowing
from valetkey.server.credentials.sources.model import Holder
from valetkey.server.errors import UpstreamFailed
from valetkey.server.integrations.model import Integration

_OBTAIN_SECONDS: Final = 30.0
_LOST_AFTER_SECONDS: Final = 45
"""Nothing that is made later than that is kept: so what a process left behind that was killed is gone in a minute."""


class Keyed(Protocol):
    """The sessions of connected logins."""

    async def key(self, connection_id: str, /) -> DatabaseKey:
        """Which database a connection is. Raises `Denied` for what is none."""
        ...


A = TypeVar("A", bound=Keyed)


class LoginSource(ABC, Generic[A]):
    """One per process and kind of database. `step` is told the name of each step before it is taken."""

    ends_by_itself = False
    runs_out = False
    lost_after_seconds = _LOST_AFTER_SECONDS

    def __init__(self, admins: A, clock: Clock, deployment: str) -> None:
        self._admins = admins
        self._clock = clock
        self._deployment = deployment
        self.step: Step = onward

    async def ready(self, connection: str) -> None:
        await self._admins.key(connection)

    async def obtain(self, lease: Lease, _narrow: Narrowing, integration: Integration, holder: Holder) -> Minted:
        try:
            async with asyncio.timeout(_OBTAIN_SECONDS):
                return await self._obtained(lease, integration, holder)
        except TimeoutError:
            raise UpstreamFailed("The database did not answer in time.") from None

    @abstractmethod
    async def _obtained(self, lease: Lease, integration: Integration, holder: Holder, /) -> Minted:
        """A login for the lease."""
