"""The only SQL of budgets: what is spent of each line's limits, one row for each that was ever counted on.

Whoever counts locks its rows first, all of a group in one order on every node, so that of many on the last unit one
gets it and two nodes never wait for each other.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from sqlalchemy import bindparam, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import budgets, tasks


class Key(NamedTuple):
    """One budget. `resource` is empty for the sum over all."""

    task: str
    line: int
    measure: str
    resource: str


class Used(NamedTuple):
    """`held` is set aside for calls under way, and part of `spent`."""

    spent: int
    held: int


_KEY = tuple(budgets.c[name] for name in Key._fields)
_IS = [budgets.c[name] == bindparam(f"is_{name}") for name in Key._fields]


async def lock(tx: AsyncConnection, keys: Collection[Key]) -> dict[Key, Used]:
    """What is spent of each, and nobody else counts on them until the transaction ends."""
    if not keys:
        return {}
    ordered = sorted(keys)
    insert = insert_postgresql if tx.dialect.name == "postgresql" else insert_sqlite
    rows = [{**key._asdict(), "spent": 0, "held": 0} for key in ordered]
    # NOTE: an update that changes nothing locks the row where one is there already.
    adding = insert(budgets).values(rows)
    locking = adding.on_conflict_do_update(index_elements=[*_KEY], set_={"held": budgets.c.held})
    found = (await tx.execute(locking.returning(*_KEY, budgets.c.spent, budgets.c.held))).all()
    return {Key(*row[:4]): Used(row.spent, row.held) for row in found}


async def write(tx: AsyncConnection, changed: Mapping[Key, Used]) -> None:
    """Write what is spent now, of rows that were locked."""
    if changed:
        values = [
            {**{f"is_{name}": part for name, part in key._asdict().items()}, "to_spent": u.spent, "to_held": u.held}
            for key, u in sorted(changed.items())
        ]
        statement = update(budgets).where(*_IS).values(spent=bindparam("to_spent"), held=bindparam("to_held"))
        await tx.execute(statement, values)


async def used(connection: AsyncConnection, task: str) -> dict[Key, Used]:
    """Everything that is spent in one task."""
    query = select(*_KEY, budgets.c.spent, budgets.c.held).where(budgets.c.task == task)
    return {Key(*row[:4]): Used(row.spent, row.held) for row in await connection.execute(query)}


async def sweep(tx: AsyncConnection, *, ended_before: int, at_most: int) -> int:
    """Remove what belongs to tasks that are long over; return how many rows."""
    over = (
        select(*_KEY).join(tasks, tasks.c.id == budgets.c.task).where(tasks.c.expires_at < ended_before).limit(at_most)
    )
    rows = [tuple(row) for row in await tx.execute(over)]
    if rows:
        await tx.execute(delete(budgets).where(tuple_(*_KEY).in_(rows)))
    return len(rows)
