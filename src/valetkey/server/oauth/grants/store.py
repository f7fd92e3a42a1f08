"""The only SQL of refresh tokens."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import refresh_tokens
from valetkey.server.oauth.agreed import Agreed


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A handle on a task, or on a standing delegation. All that came one from another are a family.

    `predecessor` is the MAC of the one it replaced: the only one of its family that a repetition can still be of.
    """

    id: str
    family: str
    agreed: Agreed
    task: str
    expires_at: int = 0
    replaced_at: int | None = None
    used_at: int | None = None
    replays: int = 0
    successor: bytes | None = None
    predecessor: bytes | None = None

    @property
    def is_unspent(self) -> bool:
        return self.replaced_at is None and self.used_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """A token that is to be kept, under the MAC of its handle."""

    mac: bytes
    token: RefreshToken
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """A token, known by its MAC, and what is put in its place: the handle sealed for who repeats, and the row."""

    mac: bytes
    predecessor: bytes | None
    sealed: bytes
    fresh: Fresh


_agreed = msgspec.json.Decoder(Agreed)


ALL: Final = select(refresh_tokens)
ALL_BY: Final = refresh_tokens.c.id
SUCCESSOR: Final = refresh_tokens.c.successor


def token_of(row: Any) -> RefreshToken:
    return RefreshToken(
        id=row.id,
        family=row.family,
        agreed=_agreed.decode(row.facts),
        task=row.task,
        expires_at=row.expires_at,
        replaced_at=row.replaced_at,
        used_at=row.used_at,
        replays=row.replays,
        successor=row.successor,
        predecessor=row.predecessor,
    )


async def add(tx: AsyncConnection, tokens: Sequence[Fresh]) -> None:
    if tokens:
        await tx.execute(insert(refresh_tokens), [_row(one) for one in tokens])


def _row(fresh: Fresh) -> dict[str, Any]:
    token, agreed = fresh.token, fresh.token.agreed
    return {
        "mac": fresh.mac,
        "id": token.id,
        "family": token.family,
        "client": agreed.client,
        "org": agreed.org,
        "user": agreed.user,
        "agent": agreed.agent,
        "delegation": agreed.delegation,
        "task": token.task,
        "facts": msgspec.json.encode(agreed).decode(),
        "created_at": fresh.now,
        "expires_at": token.expires_at,
        "replays": 0,
        "predecessor": token.predecessor,
    }


async def by_mac(connection: AsyncConnection, mac: bytes) -> RefreshToken | None:
    row = (await connection.execute(select(refresh_tokens).where(refresh_tokens.c.mac == mac))).first()
    return None if row is None else token_of(row)


async def by_macs(connection: AsyncConnection, macs: Collection[bytes]) -> dict[bytes, RefreshToken]:
    """These tokens, by their MACs."""
    rows = await connection.execute(select(refresh_tokens).where(refresh_tokens.c.mac.in_(macs)))
    return {row.mac: token_of(row) for row in rows}


async def rotate(tx: AsyncConnection, rotations: Sequence[Rotation]) -> list[bool]:
    """Put a successor in the place of each, once; False for whom somebody else was first.

    The use of a token ends what it replaced: from now on that is no repeated answer, it is a reuse.
    """
    r = refresh_tokens.c
    macs, before = [each.mac for each in rotations], [each.predecessor for each in rotations if each.predecessor]
    now = max(each.fresh.now for each in rotations)
    if tx.dialect.name == "postgresql":
        # Two nodes that rotate several of the same at once take them in one order, and neither waits for ever.
        await tx.execute(select(r.mac).where(r.mac.in_([*macs, *before])).order_by(r.mac).with_for_update())
    claimed = await tx.execute(
        update(refresh_tokens)
        .where(r.mac.in_(macs), r.replaced_at.is_(None), r.used_at.is_(None), r.expires_at > now)
        .values(replaced_at=now)
        .returning(r.mac)
    )
    free = {row.mac for row in claimed}
    won = []
    for each in rotations:
        won.append(each.mac in free)
        free.discard(each.mac)
    first = [each for each, is_first in zip(rotations, won, strict=True) if is_first]
    if first:
        await tx.execute(_KEEP_SUCCESSOR, [{"of": each.mac, "sealed": each.sealed} for each in first])
        await tx.execute(
            update(refresh_tokens)
            .where(r.mac.in_([each.predecessor for each in first if each.predecessor]))
            .where(r.replaced_at.is_not(None), r.used_at.is_(None))
            .values(used_at=now, successor=None)
        )
        await add(tx, [each.fresh for each in first])
    return won


_KEEP_SUCCESSOR = (
    update(refresh_tokens).where(refresh_tokens.c.mac == bindparam("of")).values(successor=bindparam("sealed"))
)


async def replay(tx: AsyncConnection, mac: bytes, *, since: int, most: int) -> RefreshToken | None:
    """Count one repetition of a replaced token whose successor nobody used, within its time and number."""
    r = refresh_tokens.c
    row = (
        await tx.execute(
            update(refresh_tokens)
            .where(r.mac == mac, r.used_at.is_(None), r.replaced_at >= since, r.replays < most)
            .values(replays=r.replays + 1)
            .returning(refresh_tokens)
        )
    ).first()
    return None if row is None else token_of(row)


async def families_of(connection: AsyncConnection, task: str) -> list[str]:
    """The families that began with this task."""
    rows = await connection.execute(
        select(refresh_tokens.c.family).where(refresh_tokens.c.task == task).distinct().limit(10)
    )
    return [row.family for row in rows]


async def tasks_of(connection: AsyncConnection, family: str) -> list[str]:
    """The tasks a family was used for."""
    rows = await connection.execute(
        select(refresh_tokens.c.task).where(refresh_tokens.c.family == family).distinct().limit(1_000)
    )
    return [row.task for row in rows]
