"""The only SQL of signing in. One-time-password secrets are sealed here and opened here, nowhere else."""

from typing import Any

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import (
    attempts,
    external_identities,
    one_time_passwords,
    passkeys,
    passwords,
    recovery_codes,
    sessions,
    sign_in_steps,
    users,
)
from valetkey.server.errors import Conflict
from valetkey.server.principals.login.model import Identity, Passkey, Ways
from valetkey.server.principals.model import User
from valetkey.server.secret import SecretBytes
from valetkey.server.vault.aad import Place
from valetkey.server.vault.open import open_sealed_bytes
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now

FAILED = "failed"
"""The one row of `attempts` that only counts: every sign-in that failed, for the operator."""


# Passwords
async def password(connection: AsyncConnection, user: str) -> str | None:
    row = (await connection.execute(select(passwords.c.hash).where(passwords.c.user == user))).first()
    return None if row is None else str(row.hash)


async def set_password(tx: AsyncConnection, user: str, hashed: str, *, now: int) -> bool:
    """Store the hash; True when it replaces an earlier password."""
    changed = await tx.execute(
        update(passwords).where(passwords.c.user == user).values(hash=hashed, set_at=now).returning(passwords.c.user)
    )
    if changed.first() is not None:
        return True
    await tx.execute(insert(passwords).values(user=user, hash=hashed, set_at=now))
    return False


async def rehash_password(tx: AsyncConnection, user: str, old: str, new: str) -> None:
    """The same password under newer parameters, unless it was changed meanwhile."""
    await tx.execute(update(passwords).where(passwords.c.user == user, passwords.c.hash == old).values(hash=new))


async def remove_password(tx: AsyncConnection, user: str) -> bool:
    return await _gone(tx, delete(passwords).where(passwords.c.user == user).returning(passwords.c.user))


# One-time passwords
async def begin_one_time(tx: AsyncConnection, user: User, secret: SecretBytes, *, ring: KeyRing) -> None:
    """Store a secret that is not asked for yet. Raises `Conflict` when a confirmed one is there."""
    unconfirmed = one_time_passwords.c.user == user.id, one_time_passwords.c.confirmed_at.is_(None)
    sealed = await seal_now(tx, ring, secret, _place(ring, user.id, user.org))
    await tx.execute(delete(one_time_passwords).where(*unconfirmed))
    try:
        async with tx.begin_nested():
            await tx.execute(
                insert(one_time_passwords).values(user=user.id, sealed=sealed, confirmed_at=None, last_step=0)
            )
    except IntegrityError as error:
        raise Conflict(
            "You already have an authenticator app.", hint="Remove it first, then set up the new one."
        ) from error


async def one_time(connection: AsyncConnection, user: User, *, ring: KeyRing) -> tuple[SecretBytes, int, bool] | None:
    """The secret, the last step used, and whether it was confirmed."""
    row = (await connection.execute(select(one_time_passwords).where(one_time_passwords.c.user == user.id))).first()
    if row is None:
        return None
    await renew_for(ring, connection, row.sealed)
    return (
        open_sealed_bytes(ring, row.sealed, _place(ring, user.id, user.org)),
        row.last_step,
        row.confirmed_at is not None,
    )


async def use_one_time(tx: AsyncConnection, user: str, step: int, *, confirm_at: int | None) -> bool:
    """Spend a step: False when it, or a later one, was used before."""
    table = one_time_passwords
    values: dict[str, int] = {"last_step": step} | ({} if confirm_at is None else {"confirmed_at": confirm_at})
    state = table.c.confirmed_at.is_not(None) if confirm_at is None else table.c.confirmed_at.is_(None)
    spent = await tx.execute(
        update(table)
        .where(table.c.user == user, table.c.last_step < step, state)
        .values(**values)
        .returning(table.c.user)
    )
    return spent.first() is not None


async def remove_one_time(tx: AsyncConnection, user: str) -> bool:
    table = one_time_passwords
    return await _gone(tx, delete(table).where(table.c.user == user).returning(table.c.user))


def _place(ring: KeyRing, user: str, org: str) -> Place:
    return Place(
        deployment=ring.deployment,
        organization=org,
        table="one_time_passwords",
        column="sealed",
        row=user,
        owner=user,
        integration=None,
        allowed_hosts=frozenset(),
        generation=1,
    )


SEALED = SealedColumn(
    rows=select(one_time_passwords, users.c.org).join(users, users.c.id == one_time_passwords.c.user),
    key=one_time_passwords.c.user,
    blob=one_time_passwords.c.sealed,
    place=lambda ring, row: _place(ring, row.user, row.org),
)


# Recovery codes
async def replace_recovery_codes(tx: AsyncConnection, user: str, macs: list[bytes], *, now: int) -> None:
    await drop_recovery_codes(tx, user)
    await tx.execute(insert(recovery_codes), [{"mac": mac, "user": user, "created_at": now} for mac in macs])


async def drop_recovery_codes(tx: AsyncConnection, user: str) -> None:
    await tx.execute(delete(recovery_codes).where(recovery_codes.c.user == user))


async def use_recovery_code(tx: AsyncConnection, user: str, mac: bytes, *, now: int) -> bool:
    """Spend it: True once."""
    table = recovery_codes
    spent = await tx.execute(
        update(table)
        .where(table.c.mac == mac, table.c.user == user, table.c.used_at.is_(None))
        .values(used_at=now)
        .returning(table.c.user)
    )
    return spent.first() is not None


# Passkeys
async def add_passkey(tx: AsyncConnection, passkey: Passkey) -> None:
    """Raises `Conflict` when this credential is known: it is one person's, and once."""
    try:
        async with tx.begin_nested():
            await tx.execute(
                insert(passkeys).values(
                    credential=passkey.credential,
                    user=passkey.user,
                    name=passkey.name,
                    public_key=passkey.public_key,
                    sign_count=passkey.sign_count,
                    created_at=passkey.created_at,
                )
            )
    except IntegrityError as error:
        raise Conflict("This passkey is already registered.") from error


async def passkey(connection: AsyncConnection, credential: bytes) -> Passkey | None:
    row = (await connection.execute(select(passkeys).where(passkeys.c.credential == credential))).first()
    return None if row is None else _passkey(row)


async def use_passkey(tx: AsyncConnection, known: Passkey, *, sign_count: int, now: int) -> bool:
    """Note the use: False when the passkey was removed or used since it was read."""
    used = await tx.execute(
        update(passkeys)
        .where(passkeys.c.credential == known.credential, passkeys.c.sign_count == known.sign_count)
        .values(sign_count=sign_count, last_used_at=now)
        .returning(passkeys.c.user)
    )
    return used.first() is not None


async def remove_passkey(tx: AsyncConnection, user: str, credential: bytes) -> bool:
    query = delete(passkeys).where(passkeys.c.credential == credential, passkeys.c.user == user)
    return await _gone(tx, query.returning(passkeys.c.user))


def _passkey(row: Any) -> Passkey:
    return Passkey(
        credential=row.credential,
        user=row.user,
        name=row.name,
        public_key=row.public_key,
        sign_count=row.sign_count,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
    )


# External identities
async def link(tx: AsyncConnection, identity: Identity) -> None:
    """Raises `Conflict` when this identity is somebody's already."""
    try:
        async with tx.begin_nested():
            await tx.execute(
                insert(external_identities).values(
                    issuer=identity.issuer,
                    subject=identity.subject,
                    user=identity.user,
                    created_at=identity.created_at,
                )
            )
    except IntegrityError as error:
        raise Conflict("This identity is already linked to an account here.") from error


async def linked(connection: AsyncConnection, issuer: str, subject: str) -> str | None:
    """The user an identity belongs to."""
    table = external_identities
    row = await connection.execute(select(table.c.user).where(table.c.issuer == issuer, table.c.subject == subject))
    found = row.first()
    return None if found is None else str(found.user)


async def unlink(tx: AsyncConnection, user: str, issuer: str) -> bool:
    table = external_identities
    return await _gone(tx, delete(table).where(table.c.issuer == issuer, table.c.user == user).returning(table.c.user))


async def ways(connection: AsyncConnection, user: str, *, issuers: frozenset[str]) -> Ways:
    """Everything `user` can sign in with; identities count where their provider is still there."""
    keys = await connection.execute(
        select(passkeys).where(passkeys.c.user == user).order_by(passkeys.c.created_at, passkeys.c.credential)
    )
    known = await connection.execute(select(external_identities).where(external_identities.c.user == user))
    confirmed = await connection.execute(
        select(one_time_passwords.c.user).where(
            one_time_passwords.c.user == user, one_time_passwords.c.confirmed_at.is_not(None)
        )
    )
    left = await connection.execute(
        select(func.count()).where(recovery_codes.c.user == user, recovery_codes.c.used_at.is_(None))
    )
    return Ways(
        passkeys=tuple(_passkey(row) for row in keys),
        has_password=await password(connection, user) is not None,
        has_one_time=confirmed.first() is not None,
        identities=tuple(
            Identity(issuer=row.issuer, subject=row.subject, user=row.user, created_at=row.created_at)
            for row in known
            if row.issuer in issuers
        ),
        recovery_codes_left=left.scalar_one(),
    )


# Steps
async def add_step(
    tx: AsyncConnection, mac: bytes, *, kind: str, user: str | None, facts: dict[str, Any], now: int, expires_at: int
) -> None:
    """Remember a step of signing in; those that ended are forgotten."""
    await tx.execute(delete(sign_in_steps).where(sign_in_steps.c.expires_at <= now))
    text = msgspec.json.encode(facts).decode()
    await tx.execute(insert(sign_in_steps).values(mac=mac, kind=kind, user=user, facts=text, expires_at=expires_at))


async def step(
    connection: AsyncConnection, mac: bytes, *, kind: str, now: int
) -> tuple[str | None, dict[str, Any]] | None:
    """A step that is open: its user and facts."""
    table = sign_in_steps
    row = (await connection.execute(select(table).where(*_open(mac, kind, now)))).first()
    return None if row is None else (row.user, msgspec.json.decode(row.facts))


async def use_step(tx: AsyncConnection, mac: bytes, *, kind: str, now: int) -> tuple[str | None, dict[str, Any]] | None:
    """Spend a step: its user and facts, once."""
    table = sign_in_steps
    spent = await tx.execute(
        update(table).where(*_open(mac, kind, now)).values(used_at=now).returning(table.c.user, table.c.facts)
    )
    row = spent.first()
    return None if row is None else (row.user, msgspec.json.decode(row.facts))


def _open(mac: bytes, kind: str, now: int) -> tuple[Any, ...]:
    table = sign_in_steps
    return table.c.mac == mac, table.c.kind == kind, table.c.used_at.is_(None), table.c.expires_at > now


# Attempts
async def failures(tx: AsyncConnection, keys: list[str]) -> dict[str, tuple[int, int]]:
    """For every key when it last failed and how often, held until the transaction ends."""
    dialect: Any = postgresql if tx.dialect.name == "postgresql" else sqlite
    for key in sorted(keys):
        await tx.execute(
            dialect.insert(attempts).values(key=key, began_at=0, count=0).on_conflict_do_nothing(index_elements=["key"])
        )
    query = select(attempts.c.key, attempts.c.began_at, attempts.c.count).where(attempts.c.key.in_(keys))
    rows = await tx.execute(query.order_by(attempts.c.key).with_for_update())
    return {key: (began_at, count) for key, began_at, count in rows}


async def set_failures(tx: AsyncConnection, key: str, *, at: int, count: int) -> None:
    await tx.execute(update(attempts).where(attempts.c.key == key).values(began_at=at, count=count))


async def take_back(tx: AsyncConnection, keys: list[str]) -> None:
    """What was counted beforehand was no failure."""
    await tx.execute(
        update(attempts).where(attempts.c.key.in_(keys), attempts.c.count > 0).values(count=attempts.c.count - 1)
    )


async def count_of(connection: AsyncConnection, key: str) -> int:
    return int((await connection.execute(select(attempts.c.count).where(attempts.c.key == key))).scalar() or 0)


async def forget_failures(tx: AsyncConnection, *, before: int) -> None:
    await tx.execute(delete(attempts).where(attempts.c.began_at < before, attempts.c.key != FAILED))


async def was_here(connection: AsyncConnection, user: str, address: str, *, since: int) -> bool:
    """Whether this user signed in from this address lately."""
    row = await connection.execute(
        select(sessions.c.id)
        .where(sessions.c.user == user, sessions.c.address == address, sessions.c.created_at >= since)
        .limit(1)
    )
    return row.first() is not None


async def _gone(tx: AsyncConnection, statement: Any) -> bool:
    return (await tx.execute(statement)).first() is not None
