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
    ended = await revocation.among(db, {*nodes_of(delegation, agent), *also})
    check_openable(delegation, agent, user, has_ended=bool(ended), now=now)
    return agent, user


def nodes_of(delegation: Delegation, agent: Agent) -> frozenset[str]:
    """What must not have been revoked for a task to be opened under it."""
    return frozenset({delegation.id, delegation.user, delegation.org, agent.id, agent.owner})


def check_openable(delegation: Delegation, agent: Agent, user: User, *, has_ended: bool, now: float) -> None:
    """Raises `Revoked` or `Denied`. `has_ended` says that one of its nodes was revoked."""
    if has_ended or not delegation.is_live(now):
        raise Revoked("This delegation has ended.")
    if agent.status is not Status.ACTIVE or user.status is not Status.ACTIVE:
        raise Denied("The agent or the user is suspended.", reason="suspended")
