"""Finding records: by token, by id, by what they are about. Reads the lines as they were written.

Every look is bounded: by the index where something is looked for, by a number of records where not.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.chain import read_record
from valetkey.server.audit.model import AuditRecord, Event
from valetkey.server.audit.sight import OUTCOMES, Seen, follows, mark, names
from valetkey.server.db.schema import audit_indexed, audit_marks, audit_records, audit_writers

MOST_UNNOTED: Final = 1_000
"""Records the index has not come to that one look reads, the newest of them."""
_RARE_ENOUGH: Final = 2_000
_STAND_INS: Final = 3
_MANY_STAND_INS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """Whose token an id is, from the record of its issue."""

    org: str
    user: str
    agents: tuple[str, ...]


async def issued_token(db: AsyncConnection, token: str) -> IssuedToken | None:
    """The issue of a token, found by the id it was recorded under."""
    row = (
        await db.execute(
            select(audit_records.c.body).where(
                audit_records.c.refers == token, audit_records.c.event == Event.TOKEN_ISSUED.value
            )
        )
    ).first()
    if row is None:
        return None
    members = msgspec.json.decode(row.body)
    return IssuedToken(org=members["org"], user=members["user"], agents=tuple(members["chain"]))


async def said(db: AsyncConnection, events: Collection[Event]) -> list[AuditRecord]:
    """Every record of these events, of all writers, in the order of their times. Reads the whole trail."""
    query = select(audit_records.c.body).where(audit_records.c.event.in_([event.value for event in events]))
    found = [read_record(body) for body in (await db.execute(query)).scalars()]
    return sorted(found, key=lambda record: (record.time, record.writer, record.seq))


async def line(db: AsyncConnection, record_id: str) -> bytes | None:
    """The line of one record, as it was written."""
    query = select(audit_records.c.body).where(audit_records.c.id == record_id)
    return (await db.execute(query)).scalar()


async def outcome(db: AsyncConnection, decision: str) -> AuditRecord | None:
    """How an allowed call ended."""
    query = select(audit_records.c.body).where(
        audit_records.c.refers == decision, audit_records.c.event.in_(sorted(OUTCOMES))
    )
    body = (await db.execute(query.limit(1))).scalar()
    return None if body is None else read_record(body)


async def issue_of(db: AsyncConnection, thing: str) -> str:
    """The id of the record of a token's issue, or of a lease; empty if there is none."""
    query = select(audit_records.c.id).where(
        audit_records.c.refers == thing, audit_records.c.event == Event.TOKEN_ISSUED.value
    )
    return (await db.execute(query.limit(1))).scalar() or ""


async def referring(db: AsyncConnection, thing: str, events: Collection[Event]) -> list[str]:
    """The ids of the records of these events about an approval, or a version of a policy; the oldest first."""
    query = select(audit_records.c.id).where(
        audit_records.c.refers == thing, audit_records.c.event.in_([event.value for event in events])
    )
    return list((await db.execute(query.order_by(audit_records.c.id).limit(20))).scalars())


async def newest(db: AsyncConnection, before: str, limit: int) -> tuple[list[AuditRecord], str]:
    """The newest records before this id, the last first; of every organization: whoever shows one asks `may_see`.

    Also the id the next look begins before; empty when there is nothing further.
    """
    query = select(audit_records.c.id, audit_records.c.body).where(audit_records.c.id < before)
    rows = list(await db.execute(query.order_by(audit_records.c.id.desc()).limit(limit)))
    return _read(row.body for row in rows), rows[-1].id if len(rows) == limit else ""


async def marked(
    db: AsyncConnection, groups: Sequence[Sequence[int]], before: str, limit: int
) -> tuple[list[AuditRecord], str]:
    """The newest records before this id, at most `limit`, that have a mark of the rarest of these groups.

    Also the id the next look begins before; empty when there is nothing further. Whether one has a mark of every group
    is for its own line to say: asking the index for pairs takes PostgreSQL seconds before it has counted the table.
    """
    counted = [(await _count(db, group, before), number) for number, group in enumerate(groups)]
    rarest = groups[min(counted)[1]]
    ids: set[str] = set()
    cut = ""
    for number in rarest:
        query = select(audit_marks.c.id).where(audit_marks.c.mark == number, audit_marks.c.id < before)
        found = list((await db.execute(query.order_by(audit_marks.c.id.desc()).limit(limit))).scalars())
        ids |= set(found)
        if len(found) == limit:
            cut = max(cut, found[-1])  # what this mark has beyond was not looked at: nothing older may be shown
    candidates = sorted((i for i in ids if i >= cut), reverse=True)
    if len(candidates) > limit:
        candidates, cut = candidates[:limit], candidates[limit - 1]
    return await _records(db, candidates), cut


async def _count(db: AsyncConnection, group: Sequence[int], before: str) -> int:
    query = select(audit_marks.c.id).where(audit_marks.c.mark.in_(group), audit_marks.c.id < before)
    inner = query.limit(_RARE_ENOUGH).subquery()
    return (await db.execute(select(func.count()).select_from(inner))).scalar_one()


async def _records(db: AsyncConnection, ids: Collection[str]) -> list[AuditRecord]:
    """These records, the newest first."""
    if not ids:
        return []
    query = select(audit_records.c.body).where(audit_records.c.id.in_(ids)).order_by(audit_records.c.id.desc())
    return _read((await db.execute(query)).scalars())


async def origins(
    db: AsyncConnection, records: Iterable[AuditRecord], unnoted: Sequence[AuditRecord] | None = None
) -> dict[str, AuditRecord]:
    """For each record that says only what it follows: the record that says whose that is, by the id of the first.

    What the index has not come to is looked for among the `unnoted`, which are read where they are not given.
    """
    wanted = {r.id: (r.org, found) for r in records if (found := follows(r)) is not None}
    decisions = {value for _, (kind, value) in wanted.values() if kind == "record"}
    known = {record.id: record for record in await _records(db, decisions)}
    nodes = {(org, kind, value) for org, (kind, value) in wanted.values() if kind != "record"}
    first: dict[tuple[str, str, str], str] = {}
    for node in nodes:
        query = select(func.min(audit_marks.c.id)).where(audit_marks.c.mark == mark(*node))
        first[node] = (await db.execute(query)).scalar() or ""
    known |= {record.id: record for record in await _records(db, {i for i in first.values() if i} - known.keys())}
    if not all(first.values()):
        recent = unnoted if unnoted is not None else (await read_unnoted(db))[0]
        for record in sorted(recent, key=lambda one: one.id):
            for org, kind, value in nodes:
                if not first[org, kind, value] and record.org == org and names(record, kind, value):
                    first[org, kind, value] = record.id
                    known[record.id] = record
    return {
        one: origin
        for one, (org, (kind, value)) in wanted.items()
        if (origin := known.get(value if kind == "record" else first[org, kind, value])) is not None
        and origin.id != one
        and (kind == "record" or value in origin.members.values())  # the line decides, not the index
    }


async def seen(
    db: AsyncConnection, records: Sequence[AuditRecord], unnoted: Sequence[AuditRecord] | None = None
) -> list[Seen]:
    """Each with its origin."""
    known = await origins(db, records, unnoted)
    return [Seen(record, known.get(record.id)) for record in records]


async def read_unnoted(db: AsyncConnection) -> tuple[list[AuditRecord], int]:
    """The newest records the index has not come to, within bounds, and how many more there are."""
    found: list[AuditRecord] = []
    left = 0
    for writer, (noted, last) in (await behind(db)).items():
        query = select(audit_records.c.body).where(audit_records.c.writer == writer, audit_records.c.seq > noted)
        query = query.order_by(audit_records.c.seq.desc()).limit(MOST_UNNOTED - len(found))
        lines = list((await db.execute(query)).scalars()) if len(found) < MOST_UNNOTED else []
        found += _read(lines)
        left += last - noted - len(lines)
    return found, max(left, 0)


def readable(line: bytes) -> AuditRecord | None:
    """The record of a stored line; None for one that somebody wrote who does not know the format."""
    try:
        return read_record(line)
    except ValueError:
        return None


def _read(lines: Iterable[bytes]) -> list[AuditRecord]:
    """Those that can be read: one line that was written over must not keep anybody from looking at the others."""
    return [record for line in lines if (record := readable(line)) is not None]


async def at_time(db: AsyncConnection, moment: str) -> str:
    """An id that no record from `moment` on is below, found by halving each chain. Empty: none is that late."""
    lowest = ""
    for writer in (await db.execute(select(audit_writers.c.writer))).scalars().all():
        last = select(func.max(audit_records.c.seq)).where(audit_records.c.writer == writer)
        low, high = 1, ((await db.execute(last)).scalar() or 0) + 1
        found = ""
        while low < high:
            middle = (low + high) // 2
            row = await _first_readable(db, writer, middle, high)
            if row is None:
                high = middle
            elif row.time < moment:
                low = row.seq + 1
            else:
                high, found = middle, row.id
        if found and (not lowest or found < lowest):
            lowest = found
    return lowest


async def _first_readable(db: AsyncConnection, writer: str, start: int, end: int) -> AuditRecord | None:
    """The first record of a chain from `start` on and before `end` that is there and can be read, however far it is."""
    limit = _STAND_INS
    while start < end:
        query = select(audit_records.c.seq, audit_records.c.body).where(
            audit_records.c.writer == writer, audit_records.c.seq >= start, audit_records.c.seq < end
        )
        rows = (await db.execute(query.order_by(audit_records.c.seq).limit(limit))).all()
        for row in rows:
            if (record := readable(row.body)) is not None:
                return record
        if len(rows) < limit:
            return None
        start, limit = rows[-1].seq + 1, _MANY_STAND_INS
    return None


async def behind(db: AsyncConnection) -> dict[str, tuple[int, int]]:
    """The writers whose chain goes on after what was noted: how far that is, and where the chain ends."""
    last = (
        select(func.max(audit_records.c.seq))
        .where(audit_records.c.writer == audit_writers.c.writer)
        .correlate(audit_writers)
        .scalar_subquery()
    )
    query = select(audit_writers.c.writer, func.coalesce(audit_indexed.c.seq, 0), last).outerjoin(
        audit_indexed, audit_indexed.c.writer == audit_writers.c.writer
    )
    return {writer: (noted, end) for writer, noted, end in await db.execute(query) if end is not None and noted < end}


async def following(db: AsyncConnection, writer: str, seq: int, *, limit: int) -> list[bytes]:
    """The lines of a chain after this number."""
    query = select(audit_records.c.body).where(audit_records.c.writer == writer, audit_records.c.seq > seq)
    return list((await db.execute(query.order_by(audit_records.c.seq).limit(limit))).scalars())


async def by_id(db: AsyncConnection, org: str, record: str) -> AuditRecord | None:
    """One record of an organization."""
    body = (await db.execute(select(audit_records.c.body).where(audit_records.c.id == record))).scalar()
    found = None if body is None else read_record(body)
    return found if found is not None and found.org == org else None


async def count(db: AsyncConnection) -> int:
    """How many records there are, of all writers and organizations."""
    return int((await db.execute(select(func.count()).select_from(audit_records))).scalar_one())
