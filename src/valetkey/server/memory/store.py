"""The only SQL of what is remembered. By hand where it runs in every group of decisions."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import delete, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import memories
from valetkey.server.db.sqlite_writer import writer_of
from valetkey.server.memory.model import Key, Row

Wanted = Mapping[str, Collection[str]]
"""Resources of spans."""

_COLUMNS: Final = "span, resource, until, labels, calls, writes, rows, bytes, comments"
_MORE: Final = (
    "ON CONFLICT (span, resource, until) DO UPDATE SET labels = memories.labels | excluded.labels, "
    "calls = memories.calls + excluded.calls, writes = memories.writes + excluded.writes, "
    "rows = memories.rows + excluded.rows, bytes = memories.bytes + excluded.bytes, "
    "comments = memories.comments + excluded.comments"
)
_READ_SQLITE: Final = (
    "SELECT m.span, m.resource, m.until, m.labels, m.calls, m.writes, m.rows, m.bytes, m.comments "
    "FROM json_each(?) AS s, json_each(s.value) AS r CROSS JOIN memories AS m "
    "ON m.span = s.key AND m.resource = r.value WHERE m.until > ?"
)
_READ_POSTGRESQL: Final = (
    "SELECT m.span, m.resource, m.until, m.labels, m.calls, m.writes, m.rows, m.bytes, m.comments "
    "FROM unnest($1::text[], $2::text[]) AS k(span, resource) JOIN memories AS m "
    "ON m.span = k.span AND m.resource = k.resource WHERE m.until > $3::bigint"
)
_ADD_SQLITE: Final = f"INSERT INTO memories ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) {_MORE}"  # noqa: S608 - ours
_ADD_POSTGRESQL: Final = (
    f"INSERT INTO memories ({_COLUMNS}) SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::int[], "  # noqa: S608
    f"$5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[]) {_MORE}"
)
_LOCK: Final = text("SELECT pg_advisory_xact_lock(key) FROM unnest(CAST(:keys AS bigint[])) WITH ORDINALITY AS k(key)")


async def lock(tx: AsyncConnection, spans: Collection[str]) -> None:
    """Nobody else reads these spans to be judged by them until the transaction ends. SQLite's writer is alone."""
    if tx.dialect.name == "postgresql":
        keys = {int.from_bytes(hashlib.sha256(span.encode()).digest()[:8], signed=True) for span in spans}
        await tx.execute(_LOCK, {"keys": sorted(keys)})


async def read(connection: AsyncConnection, wanted: Wanted, *, now: float) -> Sequence[Sequence[Any]]:
    """The rows that still count of these resources of these spans: the three of a `Key`, the six of a `Row`."""
    if connection.dialect.name == "postgresql":
        spans = [span for span, resources in wanted.items() for _ in resources]
        each = [resource for resources in wanted.values() for resource in resources]
        return (await connection.exec_driver_sql(_READ_POSTGRESQL, (spans, each, int(now)))).all()
    # NOTE: one text whatever is asked for, so that SQLite has it ready.
    asked = (msgspec.json.encode(wanted).decode(), int(now))
    if (writer := writer_of(connection)) is not None:
        return await writer.rows(_READ_SQLITE, asked)
    return (await connection.exec_driver_sql(_READ_SQLITE, asked)).all()


async def add(tx: AsyncConnection, added: Mapping[Key, Row]) -> None:
    """Add to these rows, in one order on every node."""
    rows = [(*key, *row) for key, row in sorted(added.items())]
    if not rows:
        return
    if (writer := writer_of(tx)) is not None:
        await writer.add(_ADD_SQLITE, rows)
    else:
        await tx.exec_driver_sql(_ADD_POSTGRESQL, tuple(list(column) for column in zip(*rows, strict=True)))


async def sweep(tx: AsyncConnection, *, now: float, at_most: int) -> int:
    """Remove rows that no longer count; what another node removes right now is left to it."""
    key = (memories.c.span, memories.c.resource, memories.c.until)
    old = select(*key).where(memories.c.until <= int(now)).limit(at_most).with_for_update(skip_locked=True)
    done = await tx.execute(delete(memories).where(tuple_(*key).in_(old)))
    return int(done.rowcount)
