"""Whether a task may be opened under a delegation now: every door that opens one asks here.

What bounds the task's every use is looked at again when a credential is issued, under the fence.
"""

from collections.abc import Collection

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.delegations.model import Delegation
from valetkey.server.errors import Denied, NotFound, Revoked
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, Status, User
from valetkey.server.revocation import store as revocation


async def openable(
    db: AsyncConnection, delegation: Delegation, *, now: float, also: Collection[str] = ()
) -> tuple[Agent, User]:
    """The agent and the user of a delegation that has not ended. `also` are further nodes that must not be revoked."""
    agent = await principals.agent(db, delegation.agent)
    user = await principals.user(db, delegation.user)
    if agent is None or user is None:
        raise NotFound("There is no such delegation, or it is not yours.")
    nodes = {delegation.id, user.id, delegation.org, agent.id, agent.owner, *also}
    if await revocation.among(db, nodes) or not delegation.is_live(now):
        raise Revoked("This delegation has ended.")
    if agent.status is not Status.ACTIVE or user.status is not Status.ACTIVE:
        raise Denied("The agent or the user is suspended.", reason="suspended")
    return agent, user
