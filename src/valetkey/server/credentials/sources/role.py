"""Sessions of a role at AWS: narrow by the policy put on them, which also ends them. Nothing else does."""

from collections.abc import Sequence

from valetkey.server.connections.assume import Assume
from valetkey.server.connections.borrow import Borrow
from valetkey.server.connections.installation import Minted
from valetkey.server.credentials.lease import Lease, Narrowing, State
from valetkey.server.credentials.sources.model import LOST_AFTER_SECONDS, RUNS_OUT, Ended, Holder
from valetkey.server.integrations.model import Integration
from valetkey.server.integrations.role import TAGS, account_of
from valetkey.server.secret import Secret


class RoleSource:
    """One per process."""

    ends_by_itself = True
    runs_out = True
    lost_after_seconds = LOST_AFTER_SECONDS

    def __init__(self, borrow: Borrow, assume: Assume) -> None:
        self._borrow = borrow
        self._assume = assume

    async def ready(self, connection: str) -> None:
        await self._borrow.role(connection)

    async def obtain(self, lease: Lease, narrow: Narrowing, integration: Integration, _holder: Holder) -> Minted:
        """A session whose policy is what was decided, under names that lead from AWS's own trail to ours."""
        role = integration.role
        assert role is not None
        opened = await self._borrow.role(lease.connection)
        policy = role.policy(
            narrow.scopes, narrow.resource_ids, account=account_of(opened.role.arn), ends_at=lease.ends_at
        )
        return await self._assume.assume(
            role,
            opened,
            policy=policy,
            name=lease.id,
            tags=dict(zip(TAGS, (lease.user, lease.agent, lease.task), strict=True)),
            source=lease.user,
            ends_at=lease.ends_at,
        )

    async def shut(self, _leases: Sequence[Lease]) -> int:
        return 0

    async def revoke(self, _lease: Lease, credential: Secret | None, _integration: Integration) -> Ended:
        return Ended(state=State.LOST) if credential is None else Ended(problem=RUNS_OUT)
