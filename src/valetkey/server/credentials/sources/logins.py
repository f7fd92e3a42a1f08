"""What the sources of database logins have in common: when they give up, and that nobody else ends a login."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

from valetkey.server.clock import Clock
from valetkey.server.connections.databases.model import DatabaseKey, role_of
from valetkey.server.connections.databases.steps import Step, onward
from valetkey.server.connections.installation import Minted
from valetkey.server.credentials.lease import Lease, Narrowing
from valetkey.server.credentials.sources.model import Ended, Holder
from valetkey.server.errors import UpstreamFailed, ValetkeyError
from valetkey.server.integrations.model import Integration
from valetkey.server.secret import Secret

_OBTAIN_SECONDS: Final = 30.0
_LOST_AFTER_SECONDS: Final = 45
"""Nothing that is made later than that is kept: so what a process left behind that was killed is gone in a minute."""
log = logging.getLogger("valetkey")


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

    async def shut(self, leases: Sequence[Lease]) -> int:
        """None of them lets anybody in from now on; how many open sessions were ended."""
        by_connection: dict[str, list[str]] = defaultdict(list)
        for lease in leases:
            by_connection[lease.connection].append(role_of(self._deployment, lease.id))
        ended = 0
        for connection, names in by_connection.items():
            try:
                ended += await self._shut(connection, names)
            except ValetkeyError as error:
                log.warning("the logins of %s could not be shut at once: %s", connection, error.code)
        return ended

    @abstractmethod
    async def _shut(self, connection: str, names: Sequence[str], /) -> int:
        """The same, for the logins of one connection by their names."""

    async def revoke(self, lease: Lease, _credential: Secret | None, _integration: Integration) -> Ended:
        return await self.drop(lease.connection, role_of(self._deployment, lease.id))

    @abstractmethod
    async def drop(self, connection: str, name: str, /) -> Ended:
        """End one login, whatever is known of its lease. May be repeated."""
