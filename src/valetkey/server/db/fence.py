"""The revocation fence and the change feed: one number says how new a node's knowledge is.

Whatever narrows or ends something takes the fence exclusively and raises the number; whatever acts on knowledge takes
it shared, in the transaction that records the decision, and compares. So a decision made on older knowledge than an
acknowledged revocation can not be recorded, and what is not recorded does not happen.
"""

from collections.abc import Iterable

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import changes, fence
from valetkey.server.db.sqlite_writer import writer_of

_LOCK = 0x76616C6574  # an application-wide advisory lock number
_NEWEST = "SELECT seq FROM fence"  # by hand, for it runs in every transaction of the journal
CHANNEL = "valetkey_changes"
"""Where a change is announced on PostgreSQL. Who listens hears sooner; nobody relies on it."""


async def hold_shared(tx: AsyncConnection) -> int:
    """Hold the fence shared until the transaction ends; return the newest sequence number."""
    if (writer := writer_of(tx)) is not None:
        return int(await writer.value(_NEWEST))
    await tx.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK})
    return await newest(tx)


async def raise_fence(tx: AsyncConnection, nodes: Iterable[str]) -> int:
    """Take the fence exclusively and announce that facts about `nodes` changed; return the new number.

    SQLite needs no lock of its own: the single writer is the fence.
    """
    if tx.dialect.name == "postgresql":
        await tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    seq = (await tx.execute(update(fence).values(seq=fence.c.seq + 1).returning(fence.c.seq))).scalar_one()
    await tx.execute(insert(changes), [{"seq": seq, "node": node} for node in set(nodes)])
    if tx.dialect.name == "postgresql":
        await tx.execute(text("SELECT pg_notify(:channel, :seq)"), {"channel": CHANNEL, "seq": str(seq)})
    return int(seq)


async def newest(connection: AsyncConnection) -> int:
    """The number of the newest change."""
    return int((await connection.exec_driver_sql(_NEWEST)).scalar_one())


async def changed_since(connection: AsyncConnection, seq: int) -> tuple[int, frozenset[str]]:
    """The newest number, and the nodes whose facts changed after `seq`."""
    rows = (await connection.execute(select(changes.c.seq, changes.c.node).where(changes.c.seq > seq))).all()
    return max((row.seq for row in rows), default=seq), frozenset(row.node for row in rows)


async def prepare(tx: AsyncConnection) -> None:
    """Create the one row of the fence in a new database."""
    if (await tx.execute(select(func.count()).select_from(fence))).scalar_one() == 0:
        await tx.execute(insert(fence).values(one=1, seq=0))
