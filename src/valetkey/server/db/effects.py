"""What happens in the transaction of a record: one after another, or all of a kind in a group at once.

An effect may refuse: then neither it nor its record is written. Effects that are written together cost one statement
for a whole group, and take their rows in one order on every node, so that two nodes never wait for each other.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

Outcome = Exception | None
Effect = Callable[[AsyncConnection], Awaitable[Outcome]]
_Write = Callable[[AsyncConnection, Sequence[Any]], Awaitable[Sequence[Outcome]]]


@dataclass(frozen=True, slots=True)
class Together:
    """An effect that `write` carries out for many at once, with one outcome for each. Alone it is one of one."""

    write: _Write
    what: Any

    async def __call__(self, tx: AsyncConnection) -> Outcome:
        [outcome] = await self.write(tx, [self.what])
        return outcome


async def carry_out(tx: AsyncConnection, effects: Sequence[Effect | None]) -> list[Outcome]:
    """Carry them out; each one's refusal, in the order they were given."""
    outcomes: list[Outcome] = [None] * len(effects)
    kinds: dict[_Write, list[tuple[int, Together]]] = {}
    for number, effect in enumerate(effects):
        if isinstance(effect, Together):
            kinds.setdefault(effect.write, []).append((number, effect))
        elif effect is not None:
            outcomes[number] = await effect(tx)
    for write in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        found = kinds[write]
        said = await write(tx, [effect.what for _, effect in found])
        for (number, _), outcome in zip(found, said, strict=True):
            outcomes[number] = outcome
    return outcomes
