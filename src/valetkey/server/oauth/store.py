"""The only SQL of authorization requests, what was agreed with which client, and codes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import authorization_codes, authorization_requests, consents
from valetkey.server.db.schema import delegations as delegation_rows
from valetkey.server.delegations import store as delegations
from valetkey.server.delegations.consent import Given
from valetkey.server.oauth.agreed import Code
from valetkey.server.oauth.form import Form

_MOST_CANDIDATES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A request as the server keeps it. `session` is whose browser it is, `answer` the delegation agreed to for it."""

    kind: str
    client: str
    form: Form
    session: str | None
    answer: str | None
    created_at: int
    expires_at: int
    used_at: int | None


async def add_request(
    tx: AsyncConnection, mac: bytes, *, kind: str, client: str, form: Form, now: int, expires_at: int
) -> None:
    parameters = msgspec.json.encode({"single": form.single, "repeated": form.repeated}).decode()
    await tx.execute(
        insert(authorization_requests).values(
            mac=mac, kind=kind, client=client, parameters=parameters, created_at=now, expires_at=expires_at
        )
    )


async def drop_requests_before(tx: AsyncConnection, time: int) -> None:
    """Forget what ended long ago. Nothing waits for this: whether a request is over is compared when it is used."""
    await tx.execute(delete(authorization_requests).where(authorization_requests.c.expires_at < time))


async def request(connection: AsyncConnection, mac: bytes) -> Kept | None:
    row = (await connection.execute(select(authorization_requests).where(authorization_requests.c.mac == mac))).first()
    if row is None:
        return None
    kept: Mapping[str, Any] = msgspec.json.decode(row.parameters)
    return Kept(
        kind=row.kind,
        client=row.client,
        form=Form(kept["single"], {name: tuple(values) for name, values in kept["repeated"].items()}),
        session=row.session,
        answer=row.answer,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )


async def open_pushed(tx: AsyncConnection, mac: bytes, *, now: int, until: int) -> None:
    """A pushed request that a browser brought in time lives as long as any other from now on."""
    await tx.execute(
        update(authorization_requests)
        .where(
            authorization_requests.c.mac == mac,
            authorization_requests.c.kind == "pushed",
            authorization_requests.c.expires_at > now,
        )
        .values(kind="opened", expires_at=until)
    )


async def claim_request(tx: AsyncConnection, mac: bytes, *, session: str) -> bool:
    """Give the request to this session for good; False when it is another's."""
    r = authorization_requests.c
    claimed = await tx.execute(
        update(authorization_requests)
        .where(r.mac == mac, r.session.is_(None) | (r.session == session))
        .values(session=session)
    )
    return claimed.rowcount == 1


async def answer_request(tx: AsyncConnection, mac: bytes, *, session: str, delegation: str, now: int) -> bool:
    """Note what was agreed to for it, once."""
    r = authorization_requests.c
    noted = await tx.execute(
        update(authorization_requests)
        .where(r.mac == mac, r.session == session, r.answer.is_(None), r.used_at.is_(None), r.expires_at > now)
        .values(answer=delegation)
    )
    return noted.rowcount == 1


async def finish_request(tx: AsyncConnection, mac: bytes, *, session: str, now: int) -> bool:
    """It is answered: with a code, or declined. Once."""
    r = authorization_requests.c
    finished = await tx.execute(
        update(authorization_requests)
        .where(r.mac == mac, r.session == session, r.used_at.is_(None), r.expires_at > now)
        .values(used_at=now)
    )
    return finished.rowcount == 1


async def add_consent(tx: AsyncConnection, *, delegation: str, client: str, digest: str, asked: str, now: int) -> None:
    await tx.execute(
        insert(consents).values(delegation=delegation, client=client, digest=digest, asked=asked, created_at=now)
    )


async def given(connection: AsyncConnection, *, user: str, client: str, now: int) -> list[Given]:
    """What this person agreed to with this client and what has not expired, the newest first."""
    query = (
        select(consents)
        .join(delegation_rows, delegation_rows.c.id == consents.c.delegation)
        .where(delegation_rows.c.user == user, delegation_rows.c.expires_at > now, consents.c.client == client)
        .order_by(consents.c.delegation.desc())
        .limit(_MOST_CANDIDATES)
    )
    return [g for row in await connection.execute(query) if (g := await _given(connection, row)) is not None]


async def given_as(connection: AsyncConnection, delegation: str) -> Given | None:
    """One delegation and the client it was agreed with."""
    row = (await connection.execute(select(consents).where(consents.c.delegation == delegation))).first()
    return None if row is None else await _given(connection, row)


async def _given(connection: AsyncConnection, row: Any) -> Given | None:
    found = await delegations.delegation(connection, row.delegation)
    return None if found is None else Given(delegation=found, client=row.client, digest=row.digest, asked=row.asked)


async def add_code(tx: AsyncConnection, mac: bytes, code: Code, *, now: int, expires_at: int) -> None:
    agreed = code.agreed
    await tx.execute(
        insert(authorization_codes).values(
            mac=mac,
            id=code.id,
            client=agreed.client,
            org=agreed.org,
            user=agreed.user,
            agent=agreed.agent,
            delegation=agreed.delegation,
            facts=msgspec.json.encode(code).decode(),
            created_at=now,
            expires_at=expires_at,
        )
    )


_code = msgspec.json.Decoder(Code)


@dataclass(frozen=True, slots=True)
class KeptCode:
    """A code as it is kept. `task` is the one it opened; `answered_at` when what it opened was ready to be sent."""

    code: Code
    task: str | None
    expires_at: int
    used_at: int | None
    answered_at: int | None


async def code(connection: AsyncConnection, mac: bytes) -> KeptCode | None:
    return (await codes(connection, [mac])).get(mac)


async def codes(connection: AsyncConnection, macs: Collection[bytes]) -> dict[bytes, KeptCode]:
    """These codes, by their MACs."""
    rows = await connection.execute(select(authorization_codes).where(authorization_codes.c.mac.in_(macs)))
    return {
        row.mac: KeptCode(_code.decode(row.facts), row.task, row.expires_at, row.used_at, row.answered_at)
        for row in rows
    }


@dataclass(frozen=True, slots=True)
class CodeUse:
    """A code, known by its MAC, and the task it opens; None when it is spent for nothing."""

    mac: bytes
    task: str | None
    now: int


async def use_codes(tx: AsyncConnection, uses: Sequence[CodeUse]) -> list[bool]:
    """Spend each, once; False for what was spent before or has expired."""
    c = authorization_codes.c
    macs, now = [use.mac for use in uses], max(use.now for use in uses)
    if tx.dialect.name == "postgresql":
        # Two nodes that spend several of the same at once take them in one order, and neither waits for ever.
        await tx.execute(select(c.mac).where(c.mac.in_(macs)).order_by(c.mac).with_for_update())
    claimed = await tx.execute(
        update(authorization_codes)
        .where(c.mac.in_(macs), c.used_at.is_(None), c.expires_at > now)
        .values(used_at=now)
        .returning(c.mac)
    )
    free = {row.mac for row in claimed}
    won = []
    for use in uses:
        won.append(use.mac in free)
        free.discard(use.mac)
    opens = [{"of": use.mac, "opens": use.task} for use, is_first in zip(uses, won, strict=True) if is_first]
    if opens:
        await tx.execute(_NOTE_TASK, opens)
    return won


_NOTE_TASK = (
    update(authorization_codes).where(authorization_codes.c.mac == bindparam("of")).values(task=bindparam("opens"))
)


async def answer_code(tx: AsyncConnection, mac: bytes, *, now: int) -> None:
    """What it opened is ready to be sent."""
    await tx.execute(update(authorization_codes).where(authorization_codes.c.mac == mac).values(answered_at=now))
