"""What it means that an answer is redeemed a second time: a lost race, or a copy of it. One rule for every way to ask.

RFC 6749 sections 4.1.2 and 10.5 ask that a second use is refused and that it ends what the first one opened. A client
that sends one request many times at once must not lose what one of them won. The answer's own row tells the two apart,
so it is the same on every node and after a restart:

1. Whoever found the answer unused and came second in the transaction that spends it began before it was spent: a race.
2. Whoever finds it spent while the first is still being answered (`answered_at` is not set yet) is of the same herd, if
   it proves all that a redemption proves. That lasts ten seconds at most: what was not answered by then never will be.
3. Everybody else holds a copy: refused, and what was opened ends on every node.

`answered_at` is durable before the tokens leave. So nobody who comes after they were seen can pass for the herd.
"""

from dataclasses import dataclass
from typing import Final

from valetkey.server.audit.store import Change
from valetkey.server.oauth.grants import store
from valetkey.server.revocation import store as revocation

ANSWER_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Spent:
    """When an answer was spent, and when what it opened was ready to be sent."""

    used_at: int
    answered_at: int | None

    def is_being_answered(self, now: float) -> bool:
        """Whether nobody can have seen yet what it opened.

        >>> [Spent(100, None).is_being_answered(109), Spent(100, None).is_being_answered(110)]
        [True, False]
        >>> Spent(100, 100).is_being_answered(100)
        False
        """
        return self.answered_at is None and now < self.used_at + ANSWER_SECONDS


async def end_opened(change: Change, task: str | None, *, by: str, reason: str, now: int) -> list[str]:
    """End the task, its refresh tokens and the tasks those opened. What ended just now; nothing the second time."""
    if task is None:
        return []
    families = await store.families_of(change.tx, task)
    nodes = {task, *families, *[later for family in families for later in await store.tasks_of(change.tx, family)]}
    ending = sorted(nodes - await revocation.among(change.tx, nodes))
    if ending:
        seq = await change.touches(*ending)
        for node in ending:
            await revocation.mark(change.tx, node, seq=seq, by=by, reason=reason, now=now)
    return ending
