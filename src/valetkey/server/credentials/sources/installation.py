"""Credentials of an installed app: made narrow by the API, ended there with themselves."""

import logging
from collections.abc import Sequence

from valetkey.server.connections.borrow import Borrow
from valetkey.server.connections.installation import Installations, Minted
from valetkey.server.credentials.lease import Lease, Narrowing, State
from valetkey.server.credentials.sources.model import LOST_AFTER_SECONDS, Ended, Holder
from valetkey.server.errors import ValetkeyError
from valetkey.server.integrations.model import Integration
from valetkey.server.secret import Secret

log = logging.getLogger("valetkey")


class InstallationSource:
    """One per process."""

    ends_by_itself = True
    runs_out = False
    lost_after_seconds = LOST_AFTER_SECONDS

    def __init__(self, borrow: Borrow, installations: Installations) -> None:
        self._borrow = borrow
        self._installations = installations

    async def ready(self, connection: str) -> None:
        await self._borrow.opened(connection)

    async def obtain(self, lease: Lease, narrow: Narrowing, integration: Integration, _holder: Holder) -> Minted:
        how = integration.installation
        assert how is not None
        opened = await self._borrow.opened(lease.connection)
        return await self._installations.narrow(
            how,
            opened.base,
            opened.installed,
            opened.key,
            resource_ids=narrow.resource_ids,
            permissions=narrow.permissions,
        )

    async def shut(self, _leases: Sequence[Lease]) -> int:
        return 0  # each is ended by one question of its own

    async def revoke(self, lease: Lease, credential: Secret | None, integration: Integration) -> Ended:
        if credential is None:
            return Ended(state=State.LOST)
        how = integration.installation
        assert how is not None
        try:
            opened = await self._borrow.opened(lease.connection)
            done = await self._installations.end(how, opened.base, credential)
        except ValetkeyError as error:
            log.warning("a lease could not be ended yet: %s", error.code)
            return Ended(problem=error.code)
        return Ended(problem="" if done else "refused")
