"""Passing part of a task on to a sub-agent: every check of it, whichever door asks.

Given to an agent by name (`/v1/tasks/{id}/children`), or taken by one that was handed a token (token exchange).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.delegations import store
from valetkey.server.delegations.model import Grant, Task
from valetkey.server.delegations.open_task import OpenTask
from valetkey.server.errors import Denied, NotFound, Revoked
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, Status, User
from valetkey.server.revocation import store as revocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """The child, and everybody in it: `chain` starts with the sub-agent."""

    task: Task
    chain: tuple[Agent, ...]
    user: User
    may_act: tuple[Agent, ...]


class PassOn:
    """One per process."""

    def __init__(self, database: Database, open_task: OpenTask, clock: Clock) -> None:
        self._database = database
        self._open_task = open_task
        self._clock = clock

    async def part(
        self, parent_id: str, *, acting: str, to: Agent, asked: Sequence[Grant], seconds: int, received: str = ""
    ) -> Passed:
        """Open a child of the task that `acting` runs. `received` is the id of the token that was handed over for it.

        A task that does not exist, or is another agent's or organization's, is `NotFound`.
        """
        async with self._database.read() as db:
            lineage = await store.lineage(db, parent_id)
            delegation = await store.delegation(db, lineage[0].delegation) if lineage else None
            if not lineage or delegation is None or lineage[0].agent != acting or delegation.org != to.org:
                raise NotFound("There is no such task, or it is not yours.")
            # NOTE: whoever authenticated may be remembered from before its ceiling changed.
            to = await principals.agent(db, to.id) or to
            user = await principals.user(db, delegation.user)
            known = [await principals.agent(db, task.agent) for task in lineage]
            chain = tuple(a for a in known if a is not None)
            if user is None or len(chain) != len(lineage):
                raise NotFound("There is no such task, or it is not yours.")
            agents = {node for a in chain for node in (a.id, a.owner)}
            nodes = {delegation.id, user.id, user.org, *(t.id for t in lineage), *agents}
            stopped = await revocation.among(db, nodes | ({received} if received else set()))
            ended = await revocation.among(db, {to.id, to.owner})
            named = [await principals.agent(db, one) for one in sorted(delegation.share_with)]
        now = self._clock.now()
        if stopped or not delegation.is_live(now) or not all(t.is_live(now) for t in lineage):
            raise Revoked("This task has ended.")
        if ended:
            raise Denied("An agent of the chain is revoked.", reason="revoked")
        if user.status is not Status.ACTIVE or any(a.status is not Status.ACTIVE for a in (*chain, to)):
            raise Denied("The user, or an agent of the chain, is suspended.", reason="suspended")
        child = await self._open_task.child(lineage[0], delegation, to, asked=asked, seconds=seconds, received=received)
        others = tuple(a for a in named if a is not None and a.id != to.id)
        return Passed(task=child, chain=(to, *chain), user=user, may_act=others)
