"""The journal: the one way anything is written that must be known later. The only SQL of the audit trail.

`record` appends one entry in a group commit under the revocation fence; `change` gives a transaction whose entries
are appended to the chain in the same commit, so a state change without a record cannot happen. A writer is claimed
when the process starts; what an earlier process of that writer left unfinished is closed as unknown.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, insert, select, text, tuple_
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.audit.chain import Chain, read_record
from valetkey.server.audit.model import NO_DIGEST, AuditRecord, Event, Unrecordable
from valetkey.server.audit.recent import Recent
from valetkey.server.clock import Clock
from valetkey.server.db import fence
from valetkey.server.db.effects import Effect, carry_out
from valetkey.server.db.engine import Database
from valetkey.server.db.group import GroupCommit
from valetkey.server.db.schema import audit_records, audit_writers
from valetkey.server.db.sqlite_writer import writer_of
from valetkey.server.errors import Unavailable, ValetkeyError
from valetkey.server.ids import new_id

_WRITER_LOCKS = 0x7661
_MOST_WRITERS = 4_096
_CLOSE_AT_ONCE = 500
CLAIM_SECONDS = 1.0

# Written by hand, for every call and every token passes here. Both drivers take rows as tuples.
_COLUMNS = "writer, seq, id, event, refers, digest, body"
_INSERT_SQLITE = f"INSERT INTO audit_records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - all ours
_INSERT_POSTGRESQL = f"INSERT INTO audit_records ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What happened, before it has a place in the chain. `also` runs in the same transaction and may refuse.

    `after` is what happened before it in the same transaction: recorded with it, or not at all.
    """

    event: Event
    org: str
    members: Mapping[str, Any]
    refers: str | None = None
    also: Effect | None = None
    after: tuple["Entry", ...] = ()
    id: str = field(default_factory=lambda: new_id("aud"))


def must_be_recorded(entry: Entry, recorded: object) -> str:
    """The id the journal answered, which must be the entry's: anything else is no proof that it was written."""
    if recorded != entry.id:
        raise Unavailable(detail="the journal did not confirm the record")
    return entry.id


class Change:
    """A transaction and the entries that will be appended when it commits."""

    def __init__(self, tx: AsyncConnection) -> None:
        self.tx = tx
        self.entries: list[Entry] = []
        self.has_touched = False

    def record(self, event: Event, org: str, *, refers: str | None = None, **members: Any) -> str:
        """Note what happened; it is appended to the chain in this transaction. Returns the record's id.

        `refers` is the thing it is found by from other records.
        """
        entry = Entry(event=event, org=org, members=members, refers=refers)
        self.entries.append(entry)
        return entry.id

    async def touches(self, *nodes: str) -> int:
        """Announce that facts about these nodes changed: whoever decided on older knowledge decides again."""
        self.has_touched = True
        return await fence.raise_fence(self.tx, nodes)


class Journal:
    """One per process. `appended` is set after every durable append; `since_checkpoint` counts the records."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._chain: Chain | None = None
        self._pending: Chain | None = None
        self._group: GroupCommit[Entry] = GroupCommit(
            database, self._write, settled=self._settled, abandoned=self._left_behind
        )
        self._claim: AsyncConnection | None = None
        self.writer = ""
        self.recent = Recent()
        self._pending_digests: list[bytes] = []
        self.appended = asyncio.Event()
        self.since_checkpoint = 0
        self.attest: Callable[[], Awaitable[None]] | None = None
        """Has a checkpoint written; set by who starts the witness."""
        self._wanted = 0
        self._reached = asyncio.Event()
        self._was_outrun = False  # another process appended to this chain: nothing more may be

    async def start(self) -> int:
        """Claim a writer, read its head, close what was left open; return how many effects ended as unknown."""
        self.writer = await self._claim_writer()
        return await self._begin()

    async def watch(self) -> None:
        """Keep the claim on the writer for as long as the server runs; nothing is needed on SQLite."""
        while not self._database.is_sqlite:
            await asyncio.sleep(CLAIM_SECONDS)
            with contextlib.suppress(ValetkeyError, SQLAlchemyError, OSError):  # the next round tries again
                await self.keep_claim()

    async def keep_claim(self) -> None:
        """Claim anew when the claim was lost: the same writer if nobody took it, else another one.

        Appending meanwhile is safe: two processes can not put a record in one place of a chain, and who comes second
        appends nothing until it has a writer of its own.
        """
        if not self._was_outrun and self._claim is not None:
            with contextlib.suppress(SQLAlchemyError, OSError):
                await self._claim.execute(text("SELECT 1"))
                return
        await self._let_go()
        writer = await self._claim_writer(first=int(self.writer.removeprefix("w")))
        was_outrun, moved = self._was_outrun, writer != self.writer
        async with self._group.alone():
            self.writer, self._chain, self._was_outrun = writer, None, False
        if moved or was_outrun:
            await self._begin()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for a record to be durable: what can wait lets them go first."""
        return self._group.is_awaited

    async def close(self) -> None:
        """Write what callers left behind, and let go of the writer."""
        await self.settle()
        await self._let_go()

    async def _begin(self) -> int:
        """Close what an earlier process of this writer left open, and say that a new one starts."""
        closed = 0
        while unfinished := await self._unfinished():
            closed += len(unfinished)
            await asyncio.gather(*(self.record(_outcome_unknown(entry_id, org)) for entry_id, org in unfinished))
        await self.record(Entry(event=Event.WRITER_STARTED, org="", members={"unknown": closed}))
        return closed

    async def _let_go(self) -> None:
        if self._claim is not None:
            with contextlib.suppress(SQLAlchemyError, OSError):  # it may be what was lost
                # NOTE: a session lock outlives the return to the pool; ending the session ends it.
                await self._claim.invalidate()
                await self._claim.close()
            self._claim = None

    async def record(self, entry: Entry, *, decided_under: int | None = None) -> str:
        """Append durably and return the record's id. Raises `Stale` when `decided_under` is no longer the newest."""
        await self._group.submit(entry, decided_under=decided_under)
        return entry.id

    def note(self, entry: Entry) -> None:
        """Append soon, for nobody waits: an outcome. One that cannot be written shows as unknown at the next start."""
        self._group.leave(entry)

    async def settle(self) -> None:
        """Return when all that was noted is written or given up."""
        await self._group.settle()

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """A transaction whose records are appended when it commits.

        What touched a node is attested outside the database before the caller goes on: whoever was told that something
        is ended can rely on it, also when an older copy of the database is put back (RB-01).
        """
        async with self._group.alone() as tx:
            change = Change(tx)
            yield change
            for refused in await self._append(tx, change.entries):
                if refused is not None:
                    raise refused
        if change.has_touched and self.attest is not None:
            await self.attest()

    async def heads(self) -> list[tuple[str, int, bytes]]:
        """Every writer's newest record: writer, seq, digest."""
        async with self._database.read() as connection:
            # NOTE: one index look-up per writer; grouping or joining the records would read all of them.
            newest = (
                select(func.max(audit_records.c.seq))
                .where(audit_records.c.writer == audit_writers.c.writer)
                .correlate(audit_writers)
                .scalar_subquery()
            )
            rows = await connection.execute(
                select(audit_records.c.writer, audit_records.c.seq, audit_records.c.digest)
                .where(tuple_(audit_records.c.writer, audit_records.c.seq).in_(select(audit_writers.c.writer, newest)))
                .order_by(audit_records.c.writer)
            )
            return [(row.writer, row.seq, row.digest) for row in rows]

    async def holds(self, writer: str, seq: int, digest: bytes) -> bool:
        """Whether this very record is in the database."""
        async with self._database.read() as connection:
            there = select(audit_records.c.digest).where(audit_records.c.writer == writer, audit_records.c.seq == seq)
            return bool((await connection.execute(there)).scalar() == digest)

    async def restores(self) -> list[AuditRecord]:
        """Every record of a restore, proven or not. Reads the whole trail: asked only before a start is refused."""
        async with self._database.read() as connection:
            query = select(audit_records.c.body).where(audit_records.c.event == Event.DATABASE_RESTORED.value)
            return [read_record(body) for body in (await connection.execute(query)).scalars()]

    async def enough(self, records: int, seconds: float) -> None:
        """Wait until that many records were appended since the last checkpoint, at most so long."""
        self._wanted = records
        self._reached.clear()
        if self.since_checkpoint < records:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reached.wait(), seconds)

    async def export(self, *, after: tuple[str, int] = ("", 0)) -> AsyncIterator[bytes]:
        """Every record's line, ordered by writer and seq, in bounded memory."""
        async for batch in pages(self._database, after=after):
            for line in batch:
                yield line

    async def _write(self, tx: AsyncConnection, entries: Sequence[Entry]) -> list[Exception | None]:
        refused = await carry_out(tx, [entry.also for entry in entries])
        outcomes = dict(zip((entry.id for entry in entries), refused, strict=True))
        kept = [one for entry in entries if outcomes[entry.id] is None for one in (*entry.after, entry)]
        unrecordable = await self._append(tx, kept)
        for error in filter(None, unrecordable):
            # SECURITY: what was done without its record must not stay. Raised, it takes the transaction with it, and
            # each of the group is tried by itself.
            # Guarded by tests/faults/test_fail_closed.py::test_what_an_entry_does_is_undone_when_it_cannot_be_recorded
            if any(entry.also is not None or entry.after for entry in entries):
                raise error
        outcomes.update(zip((one.id for one in kept), unrecordable, strict=True))
        return [outcomes[entry.id] for entry in entries]

    async def _append(self, tx: AsyncConnection, entries: Sequence[Entry]) -> list[Exception | None]:
        """Append what can be recorded; one entry that cannot must not take the others with it."""
        if not entries:
            return []
        if self._was_outrun:
            raise Unavailable(detail=f"another process appends to {self.writer}")
        if self._chain is None:
            await self._load_head(tx)
        assert self._chain is not None
        chain = self._pending or self._chain.copy()
        now = self._clock.now()
        rows = []
        outcomes: list[Exception | None] = []
        for entry in entries:
            try:
                line = chain.append(id=entry.id, event=entry.event, org=entry.org, members=entry.members, time=now)
            except Unrecordable as error:
                outcomes.append(error)
                continue
            outcomes.append(None)
            rows.append((chain.writer, line.seq, entry.id, entry.event.value, entry.refers, line.digest, line.body))
        if rows:
            try:
                if (writer := writer_of(tx)) is not None:
                    await writer.add(_INSERT_SQLITE, rows)
                else:
                    await tx.exec_driver_sql(_INSERT_POSTGRESQL, rows)
            except (IntegrityError, sqlite3.IntegrityError) as error:
                # SECURITY: the place is taken, so the claim was lost. Going on after the other's head would hide it.
                # Guarded by tests/faults/test_fence.py::test_a_node_that_lost_its_writer_cannot_fork_the_chain
                self._was_outrun = True
                raise Unavailable(detail=f"another process appends to {self.writer}") from error
        self._pending = chain
        self._pending_digests += [row[5] for row in rows]
        return outcomes

    async def _settled(self, committed: bool) -> None:
        pending, self._pending = self._pending, None
        digests, self._pending_digests = self._pending_digests, []
        if pending is None:
            return
        if committed:
            self.recent.add(pending.writer, pending.seq, digests)
            before = self._chain.seq if self._chain is not None else 0
            self._chain = pending
            self.since_checkpoint += pending.seq - before
            self.appended.set()
            if self.since_checkpoint >= self._wanted:
                self._reached.set()
        else:
            self._chain = None  # whether it was written is unknown: the next append reads the head again

    def _left_behind(self, entry: Entry) -> None:
        """A durable decision nobody waits for any more has no effect: say so, or it would end as unknown."""
        if entry.event is not Event.CALL_ALLOWED:
            return
        members = {"decision": entry.id, "status": 0, "bytes": 0, "ended": "interrupted"}
        self.note(Entry(event=Event.CALL_FINISHED, org=entry.org, members=members, refers=entry.id))

    async def _load_head(self, connection: AsyncConnection) -> None:
        row = (
            await connection.execute(
                select(audit_records.c.seq, audit_records.c.digest)
                .where(audit_records.c.writer == self.writer)
                .order_by(audit_records.c.seq.desc())
                .limit(1)
            )
        ).first()
        seq, head = (row.seq, row.digest) if row is not None else (0, NO_DIGEST)
        self._chain = Chain(writer=self.writer, seq=seq, head=head)

    async def _claim_writer(self, *, first: int = 1) -> str:
        """SQLite has one process, so one writer. On PostgreSQL `first` or the lowest nobody holds, by session lock."""
        number = 1
        if not self._database.is_sqlite:
            self._claim = await self._database.hold()
            number = await self._free_number(self._claim, first)
        writer = f"w{number}"
        async with self._database.write() as tx:
            known = await tx.execute(select(audit_writers.c.writer).where(audit_writers.c.writer == writer))
            if known.first() is None:
                now = int(self._clock.now())
                await tx.execute(insert(audit_writers).values(writer=writer, number=number, claimed_at=now))
        return writer

    async def _free_number(self, claim: AsyncConnection, first: int) -> int:
        for number in [first, *range(1, _MOST_WRITERS)]:
            held = await claim.execute(
                text("SELECT pg_try_advisory_lock(:space, :number)"), {"space": _WRITER_LOCKS, "number": number}
            )
            if held.scalar_one() is True:
                return int(number)
        raise Unavailable(detail="every writer is claimed")

    async def _unfinished(self) -> list[tuple[str, str]]:
        """Allowed calls of this writer without an outcome, since it last started."""
        outcome = audit_records.alias("outcome")
        async with self._database.read() as connection:
            started = (
                await connection.execute(
                    select(func.max(audit_records.c.seq)).where(
                        audit_records.c.writer == self.writer, audit_records.c.event == Event.WRITER_STARTED.value
                    )
                )
            ).scalar()
            rows = await connection.execute(
                select(audit_records.c.id, audit_records.c.body)
                .outerjoin(outcome, outcome.c.refers == audit_records.c.id)
                .where(
                    audit_records.c.writer == self.writer,
                    audit_records.c.seq > (started or 0),
                    audit_records.c.event == Event.CALL_ALLOWED.value,
                    outcome.c.id.is_(None),
                )
                .limit(_CLOSE_AT_ONCE)
            )
            return [(row.id, org_of(row.body)) for row in rows]


def _outcome_unknown(entry_id: str, org: str) -> Entry:
    return Entry(event=Event.CALL_UNKNOWN, org=org, members={"decision": entry_id}, refers=entry_id)


async def pages(
    database: Database, *, after: tuple[str, int] = ("", 0), size: int = 2_000
) -> AsyncIterator[list[bytes]]:
    """The lines of every writer in order, `size` at a time."""
    writer, seq = after
    while True:
        async with database.read() as connection:
            rows = (
                await connection.execute(
                    select(audit_records.c.writer, audit_records.c.seq, audit_records.c.body)
                    .where(
                        (audit_records.c.writer > writer)
                        | ((audit_records.c.writer == writer) & (audit_records.c.seq > seq))
                    )
                    .order_by(audit_records.c.writer, audit_records.c.seq)
                    .limit(size)
                )
            ).all()
        if not rows:
            return
        writer, seq = rows[-1].writer, rows[-1].seq
        yield [row.body for row in rows]


def org_of(body: bytes) -> str:
    """The organization a stored line names."""
    head = body.split(b'"org":"', 1)
    return head[1].split(b'"', 1)[0].decode() if len(head) == 2 else ""
