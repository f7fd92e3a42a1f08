"""Finding records: by token, and the newest of an organization. Reads the lines as they were written."""

from collections.abc import Collection
from dataclasses import dataclass

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.chain import read_record
from valetkey.server.audit.model import AuditRecord, Event
from valetkey.server.db.schema import audit_records

_SCAN = 2_000


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


async def newest(db: AsyncConnection, org: str, *, before: str = "", limit: int = 50) -> list[AuditRecord]:
    """The newest records of an organization, the last first; `before` is the id of a record already seen."""
    found: list[AuditRecord] = []
    cursor = before or "z"
    while len(found) < limit:
        rows = (
            await db.execute(
                select(audit_records.c.id, audit_records.c.body)
                .where(audit_records.c.id < cursor)
                .order_by(audit_records.c.id.desc())
                .limit(_SCAN)
            )
        ).all()
        records = [read_record(row.body) for row in rows]
        found.extend(r for r in records if r.org in (org, ""))
        if len(rows) < _SCAN:
            break
        cursor = rows[-1].id
    return found[:limit]


async def by_id(db: AsyncConnection, org: str, record: str) -> AuditRecord | None:
    """One record of an organization."""
    body = (await db.execute(select(audit_records.c.body).where(audit_records.c.id == record))).scalar()
    found = None if body is None else read_record(body)
    return found if found is not None and found.org == org else None


async def count(db: AsyncConnection) -> int:
    """How many records there are, of all writers and organizations."""
    return int((await db.execute(select(func.count()).select_from(audit_records))).scalar_one())
