"""The only SQL of device and backchannel requests, and the one place that opens what a notification needs."""

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import case, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import attempts, decoupled_requests, users
from valetkey.server.oauth.agreed import Agreed
from valetkey.server.oauth.decoupled.model import OPEN, DecoupledRequest, Kind, Status
from valetkey.server.oauth.form import Form
from valetkey.server.secret import Secret
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now

_agreed = msgspec.json.Decoder(Agreed)
_d = decoupled_requests.c
_OPEN = [status.value for status in OPEN]


def _request(row: Any) -> DecoupledRequest:
    kept = msgspec.json.decode(row.parameters)
    return DecoupledRequest(
        id=row.id,
        kind=Kind(row.kind),
        client=row.client,
        user=row.user,
        form=Form(kept["single"], {name: tuple(values) for name, values in kept["repeated"].items()}),
        message=kept["message"],
        status=Status(row.status),
        outcome=None if row.outcome is None else _agreed.decode(row.outcome),
        interval=row.interval,
        polled_at=row.polled_at,
        origin=row.origin,
        created_at=row.created_at,
        expires_at=row.expires_at,
        task=row.task,
        used_at=row.used_at,
        answered_at=row.answered_at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a notification needs: the request's own handle, and what proves us to the client."""

    handle: Secret
    token: Secret


async def add(
    tx: AsyncConnection,
    request: DecoupledRequest,
    mac: bytes,
    *,
    user_code_mac: bytes | None = None,
    notice: Notice | None = None,
    ring: KeyRing | None = None,
) -> None:
    kept = {"single": request.form.single, "repeated": request.form.repeated, "message": request.message}
    sealed = None
    if notice is not None and ring is not None:
        both = Secret(f"{notice.handle.reveal()} {notice.token.reveal()}")
        sealed = await seal_now(tx, ring, both, _place(ring, request))
    await tx.execute(
        insert(decoupled_requests).values(
            mac=mac,
            id=request.id,
            kind=request.kind.value,
            user_code_mac=user_code_mac,
            client=request.client,
            user=request.user,
            parameters=msgspec.json.encode(kept).decode(),
            status=request.status.value,
            interval=request.interval,
            polled_at=request.polled_at,
            origin=request.origin,
            created_at=request.created_at,
            expires_at=request.expires_at,
            sealed=sealed,
        )
    )


async def drop_before(tx: AsyncConnection, time: int) -> None:
    """Forget what ended long ago. Nothing waits for this: whether a request is over is compared when it is used."""
    await tx.execute(delete(decoupled_requests).where(_d.expires_at < time))


async def by_mac(connection: AsyncConnection, mac: bytes) -> DecoupledRequest | None:
    row = (await connection.execute(select(decoupled_requests).where(_d.mac == mac))).first()
    return None if row is None else _request(row)


async def by_user_code(connection: AsyncConnection, mac: bytes) -> DecoupledRequest | None:
    row = (await connection.execute(select(decoupled_requests).where(_d.user_code_mac == mac))).first()
    return None if row is None else _request(row)


async def by_id(connection: AsyncConnection, request_id: str) -> DecoupledRequest | None:
    row = (await connection.execute(select(decoupled_requests).where(_d.id == request_id))).first()
    return None if row is None else _request(row)


async def notice_of(connection: AsyncConnection, request: DecoupledRequest, *, ring: KeyRing) -> Notice | None:
    """Open what its notification needs; None where the client did not ask to be notified."""
    row = (await connection.execute(select(_d.sealed).where(_d.id == request.id))).first()
    if row is None or row.sealed is None:
        return None
    await renew_for(ring, connection, row.sealed)
    handle, _, token = open_sealed(ring, row.sealed, _place(ring, request)).reveal().partition(" ")
    return Notice(handle=Secret(handle), token=Secret(token))


async def open_for(connection: AsyncConnection, user: str, *, now: int) -> list[DecoupledRequest]:
    """What waits for this person, the newest first."""
    rows = await connection.execute(
        select(decoupled_requests)
        .where(_d.user == user, _d.status.in_(_OPEN), _d.expires_at > now)
        .order_by(_d.created_at.desc(), _d.id.desc())
        .limit(50)
    )
    return [_request(row) for row in rows]


async def open_between(connection: AsyncConnection, user: str, client: str, *, now: int) -> int:
    """How many backchannel requests of this client wait for this person."""
    query = select(func.count()).where(
        _d.user == user,
        _d.client == client,
        _d.kind == Kind.BACKCHANNEL.value,
        _d.status.in_(_OPEN),
        _d.expires_at > now,
    )
    return int((await connection.execute(query)).scalar_one())


async def poll(tx: AsyncConnection, mac: bytes, *, seen_at: int, now: int, interval: int) -> bool:
    """Note that its client asked; False when somebody asked with the same handle in between."""
    noted = await tx.execute(
        update(decoupled_requests)
        .where(_d.mac == mac, _d.polled_at == seen_at)
        .values(polled_at=now, interval=case((_d.interval > interval, _d.interval), else_=interval))
    )
    return noted.rowcount == 1


async def claim(tx: AsyncConnection, request_id: str, *, user: str, now: int) -> bool:
    """Give a device request to whoever typed its code first, for good."""
    claimed = await tx.execute(
        update(decoupled_requests)
        .where(_d.id == request_id, _d.status.in_(_OPEN), _d.expires_at > now, _d.user.is_(None) | (_d.user == user))
        .values(user=user)
    )
    return claimed.rowcount == 1


async def move(
    tx: AsyncConnection,
    request_id: str,
    *,
    user: str,
    to: Status,
    now: int,
    among: tuple[Status, ...],
    outcome: Agreed | None = None,
) -> bool:
    """Let its person take it a step further, once. `outcome` is what she agreed to."""
    moved = await tx.execute(
        update(decoupled_requests)
        .where(_d.id == request_id, _d.user == user, _d.status.in_([one.value for one in among]), _d.expires_at > now)
        .values(status=to.value, outcome=None if outcome is None else msgspec.json.encode(outcome).decode())
    )
    return moved.rowcount == 1


async def redeem(tx: AsyncConnection, mac: bytes, *, client: str, task: str, now: int) -> bool:
    """Spend what was approved, once, for its own client. `task` is the one it opens."""
    redeemed = await tx.execute(
        update(decoupled_requests)
        .where(_d.mac == mac, _d.client == client, _d.status == Status.APPROVED.value, _d.expires_at > now)
        .values(status=Status.REDEEMED.value, sealed=None, task=task, used_at=now)
    )
    return redeemed.rowcount == 1


async def answer(tx: AsyncConnection, mac: bytes, *, now: int) -> None:
    """What its redemption opened is ready to be sent."""
    await tx.execute(update(decoupled_requests).where(_d.mac == mac).values(answered_at=now))


async def count(tx: AsyncConnection, key: str, *, now: int, window: int) -> tuple[int, int]:
    """Count one more under this key; return how many there were in its window, and the seconds it has left."""
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    is_over = attempts.c.began_at <= now - window
    row = (
        await tx.execute(
            dialect.insert(attempts)
            .values(key=key, began_at=now, count=1)
            .on_conflict_do_update(
                index_elements=["key"],
                set_={
                    "count": case((is_over, 1), else_=attempts.c.count + 1),
                    "began_at": case((is_over, now), else_=attempts.c.began_at),
                },
            )
            .returning(attempts.c.count, attempts.c.began_at)
        )
    ).one()
    tries, began_at = row  # by place: a row has a method called count
    return int(tries), int(began_at) + window - now


async def left(tx: AsyncConnection, key: str, *, now: int, window: int) -> int:
    """The seconds its window has left, or 0: nothing is counted."""
    began_at = (await tx.execute(select(attempts.c.began_at).where(attempts.c.key == key))).scalar()
    return 0 if began_at is None else max(0, int(began_at) + window - now)


async def hold(tx: AsyncConnection, user: str) -> None:
    """Where several nodes write at once, whoever counts for a person waits for whoever counted before."""
    await tx.execute(select(users.c.id).where(users.c.id == user).with_for_update())


async def uncount(tx: AsyncConnection, keys: list[str]) -> None:
    """What was counted was no failure."""
    await tx.execute(
        update(attempts).where(attempts.c.key.in_(keys), attempts.c.count > 0).values(count=attempts.c.count - 1)
    )


def _place(ring: KeyRing, request: DecoupledRequest) -> Place:
    return Place(
        deployment=ring.deployment,
        organization=None,
        table="decoupled_requests",
        column="sealed",
        row=request.id,
        owner=request.user,
        integration=None,
        allowed_hosts=frozenset(),
        generation=0,
    )


SEALED = SealedColumn(
    rows=select(decoupled_requests), key=_d.id, blob=_d.sealed, place=lambda ring, row: _place(ring, _request(row))
)
