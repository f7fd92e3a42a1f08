"""The only SQL of approvals, and the one place that opens the call that was kept."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.approvals.model import TABLE, Approval, Facts, Kept, State, Step, before
from valetkey.server.db.schema import approval_answers, approvals, standing_answers, users
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed_bytes
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now

_facts = msgspec.json.Decoder(Facts)
_kept = msgspec.msgpack.Decoder(Kept)
_a = approvals.c
_s = standing_answers.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An answer that holds for all calls like one, until its task ends or it is taken back."""

    id: str
    org: str
    user: str
    task: str
    like: str
    words: str
    created_at: int


def _approval(row: Any) -> Approval:
    return Approval(
        id=row.id,
        org=row.org,
        user=row.user,
        agent=row.agent,
        task=row.task,
        key=row.key,
        state=State(row.state),
        facts=_facts.decode(row.facts),
        message=row.message,
        seen_at=row.seen_at,
        created_at=row.created_at,
        expires_at=row.expires_at,
        decision=row.decision,
        told_at=row.told_at,
    )


async def add(tx: AsyncConnection, a: Approval, kept: Kept, *, instead_of: str | None, ring: KeyRing) -> bool:
    """Keep a call; False when the same call is being asked about already. `instead_of` is a finished one, set aside."""
    if instead_of is not None:
        await tx.execute(update(approvals).where(_a.id == instead_of).values(current=None))
    sealed = await seal_now(tx, ring, msgspec.msgpack.encode(kept), _place(ring, a))
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    added = await tx.execute(
        dialect.insert(approvals)
        .values(
            id=a.id,
            org=a.org,
            user=a.user,
            agent=a.agent,
            task=a.task,
            key=a.key,
            current=f"{a.task}:{a.key}",
            state=a.state.value,
            facts=msgspec.json.encode(a.facts).decode(),
            sealed=sealed,
            message="",
            created_at=a.created_at,
            expires_at=a.expires_at,
            decision="",
        )
        .on_conflict_do_nothing(index_elements=["current"])
    )
    return bool(added.rowcount == 1)


async def current(connection: AsyncConnection, task: str, key: str) -> Approval | None:
    """What is known of this very call."""
    row = (await connection.execute(select(approvals).where(_a.current == f"{task}:{key}"))).first()
    return None if row is None else _approval(row)


async def by_id(connection: AsyncConnection, approval_id: str) -> Approval | None:
    row = (await connection.execute(select(approvals).where(_a.id == approval_id))).first()
    return None if row is None else _approval(row)


async def kept_of(connection: AsyncConnection, a: Approval, *, ring: KeyRing) -> Kept | None:
    """Open the call that was kept; None once it was forgotten. Raises `VaultError` when it is another row's."""
    row = (await connection.execute(select(_a.sealed).where(_a.id == a.id))).one()
    if row.sealed is None:
        return None
    await renew_for(ring, connection, row.sealed)
    return _kept.decode(open_sealed_bytes(ring, row.sealed, _place(ring, a)).reveal())


async def forget(tx: AsyncConnection, *, ended_before: int, at_most: int) -> int:
    """Remove the kept calls of approvals that are over; what another node removes right now is left to it."""
    old = select(_a.id).where(_a.sealed.is_not(None), _a.expires_at <= ended_before)
    old = old.order_by(_a.expires_at).limit(at_most).with_for_update(skip_locked=True)
    return int((await tx.execute(update(approvals).where(_a.id.in_(old)).values(sealed=None))).rowcount)


async def move(
    tx: AsyncConnection, approval_id: str, step: Step, *, now: int, message: str = "", decision: str = ""
) -> bool:
    """Take a step, once: of many at the same moment one gets True."""
    to = {TABLE[state, step] for state in before(step)}
    [state] = to
    values: dict[str, Any] = {"state": state.value, "answered_at": now}
    if message:
        values["message"] = message
    if decision:
        values["decision"] = decision
    is_over = step in (Step.LAPSE, Step.MISS)
    moved = await tx.execute(
        update(approvals)
        .where(
            _a.id == approval_id,
            _a.state.in_([one.value for one in before(step)]),
            _a.expires_at <= now if is_over else _a.expires_at > now,
        )
        .values(**values)
    )
    return bool(moved.rowcount == 1)


async def unuse(tx: AsyncConnection, approval_id: str) -> None:
    """Undo the use in the very transaction that made it: nothing was sent."""
    await tx.execute(update(approvals).where(_a.id == approval_id).values(state=State.APPROVED.value, decision=""))


async def is_pending(tx: AsyncConnection, approval_id: str, *, now: int) -> bool:
    """Whether it can still be answered. Asked after `agree`, whose lock nobody passes before the transaction ends."""
    pending = select(_a.id).where(_a.id == approval_id, _a.state == State.PENDING.value, _a.expires_at > now)
    return (await tx.execute(pending)).first() is not None


async def pending_between(tx: AsyncConnection, user: str, agent: str, *, now: int) -> int:
    """How many calls of this agent wait for this person; nobody else counts them until the transaction ends."""
    await tx.execute(select(users.c.id).where(users.c.id == user).with_for_update())
    waiting = select(func.count()).where(
        _a.user == user, _a.agent == agent, _a.state == State.PENDING.value, _a.expires_at > now
    )
    return int((await tx.execute(waiting)).scalar_one())


async def about(
    connection: AsyncConnection, org: str, person: str, *, open_at: int | None, limit: int = 200
) -> list[Approval]:
    """The newest that may be this person's to answer; with `open_at` only those that can still be answered then."""
    # NOTE: people named by rules stand in the facts only; an id is letters and digits of ours, so it is found as text.
    theirs = or_(_a.user == person, _a.facts.contains(f'"{person}"', autoescape=True))
    query = select(approvals).where(_a.org == org, theirs).order_by(_a.created_at.desc(), _a.id.desc()).limit(limit)
    if open_at is not None:
        open_states = (State.PENDING.value, State.APPROVED.value)
        query = query.where(_a.state.in_(open_states), _a.expires_at > open_at)
    return [_approval(row) for row in await connection.execute(query)]


async def of_user(connection: AsyncConnection, user: str, *, limit: int) -> list[Approval]:
    """The newest of the calls made for this person."""
    query = select(approvals).where(_a.user == user).order_by(_a.created_at.desc(), _a.id.desc()).limit(limit)
    return [_approval(row) for row in await connection.execute(query)]


async def seen(tx: AsyncConnection, ids: Collection[str], *, now: int) -> None:
    """Somebody who may answer these has seen them."""
    await tx.execute(update(approvals).where(_a.id.in_(ids), _a.seen_at.is_(None)).values(seen_at=now))


async def agree(tx: AsyncConnection, approval_id: str, person: str, *, proof: str, now: int) -> frozenset[str]:
    """Note one person's yes, once for each; return everybody's."""
    # Where several nodes write at once, whoever answers waits for whoever answered before.
    await tx.execute(select(_a.id).where(_a.id == approval_id).with_for_update())
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    await tx.execute(
        dialect.insert(approval_answers)
        .values(approval=approval_id, user=person, proof=proof, created_at=now)
        .on_conflict_do_nothing()
    )
    return await agreed(tx, approval_id)


async def agreed(connection: AsyncConnection, approval_id: str) -> frozenset[str]:
    """Who said yes."""
    rows = await connection.execute(select(approval_answers.c.user).where(approval_answers.c.approval == approval_id))
    return frozenset(rows.scalars())


async def add_standing(tx: AsyncConnection, s: Standing) -> None:
    await tx.execute(
        insert(standing_answers).values(
            id=s.id, org=s.org, user=s.user, task=s.task, like=s.like, words=s.words, created_at=s.created_at
        )
    )


async def standing(connection: AsyncConnection, task: str, like: str) -> Standing | None:
    """The answer that holds for calls like this in this task."""
    row = (
        await connection.execute(
            select(standing_answers).where(_s.task == task, _s.like == like, _s.ended_at.is_(None)).limit(1)
        )
    ).first()
    return None if row is None else _standing(row)


async def standing_by_id(connection: AsyncConnection, standing_id: str) -> Standing | None:
    row = (await connection.execute(select(standing_answers).where(_s.id == standing_id))).first()
    return None if row is None else _standing(row)


async def standing_of(connection: AsyncConnection, user: str) -> list[Standing]:
    """What this person answered for whole tasks, and did not take back."""
    rows = await connection.execute(
        select(standing_answers).where(_s.user == user, _s.ended_at.is_(None)).order_by(_s.id.desc()).limit(100)
    )
    return [_standing(row) for row in rows]


async def end_standing(tx: AsyncConnection, standing_id: str, *, now: int) -> bool:
    ended = await tx.execute(
        update(standing_answers).where(_s.id == standing_id, _s.ended_at.is_(None)).values(ended_at=now)
    )
    return bool(ended.rowcount == 1)


def _standing(row: Any) -> Standing:
    return Standing(
        id=row.id,
        org=row.org,
        user=row.user,
        task=row.task,
        like=row.like,
        words=row.words,
        created_at=row.created_at,
    )


def _place(ring: KeyRing, a: Approval) -> Place:
    return Place(
        deployment=ring.deployment,
        organization=a.org,
        table="approvals",
        column="sealed",
        row=a.id,
        owner=a.user,
        integration=a.facts.integration,
        allowed_hosts=frozenset(),
        generation=0,
    )


SEALED = SealedColumn(
    rows=select(approvals), key=_a.id, blob=_a.sealed, place=lambda ring, row: _place(ring, _approval(row))
)
