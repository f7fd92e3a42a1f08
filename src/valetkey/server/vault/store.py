"""The rows of the data keys, and the cells that are sealed under them. The only SQL of the vault.

Who seals holds the keys' lock shared until its transaction ends; who changes the keys holds it exclusively. So nothing
is ever sealed under a key that stopped sealing, on any node, however late that node hears of it. SQLite needs no lock:
its single writer is one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, LargeBinary, Select, Table, delete, func, insert, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import vault_keys, vault_pepper
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.aad import Place
from valetkey.server.vault.blob import parse
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms.root import RootKey
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.ring import KeyRing, KeyState, WrappedKey
from valetkey.server.vault.rotate import first, open_pepper
from valetkey.server.vault.seal import seal

_LOCK: Final = 0x76616C6B  # an application-wide advisory lock number


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedColumn:
    """One column of sealed records: how its rows are read, and where each of them belongs."""

    rows: Select[Any]
    key: Column[str]
    blob: Column[bytes]
    place: Callable[[KeyRing, Any], Place]

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def table(self) -> Table:
        assert isinstance(self.blob.table, Table)
        return self.blob.table


async def load_ring(tx: AsyncConnection, *, root: RootKey, deployment: str, now: float) -> KeyRing:
    """Read the ring, creating the first data key in a new deployment. Raises `RootKeyRefused` with the wrong root."""
    rows = await key_rows(tx)
    if rows and not any(root.wrapped_here(row.wrapped) for row in rows):
        raise RootKeyRefused(
            f"This is root key {root.id}, and the data keys are wrapped by {named_in(rows)}.",
            hint="Put that root key back, or end what was begun by running `valetkey keys rotate-root` again.",
        )
    if not rows:
        rows = list(first(root=root, deployment=deployment, now=now))
        await tx.execute(insert(vault_keys), [_stored(row) for row in rows])
    return KeyRing(rows, root=root, deployment=deployment)


async def load_mac(connection: AsyncConnection, *, root: RootKey, deployment: str) -> Mac:
    """What authenticates handles, also after the root key was changed. Raises `VaultError` with the wrong root."""
    return Mac(open_pepper(await carried_pepper(connection), root=root, deployment=deployment))


async def seal_now(tx: AsyncConnection, ring: KeyRing, plaintext: Secret | SecretBytes | bytes, place: Place) -> bytes:
    """Return `plaintext` sealed under the key that seals now, for a row this transaction writes."""
    await hold_sealing(tx, ring)
    return seal(ring, plaintext, place)


async def hold_sealing(tx: AsyncConnection, ring: KeyRing) -> None:
    """Know the key that seals, and keep it sealing until the transaction ends."""
    if tx.dialect.name == "postgresql":
        await tx.execute(text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK})
    sealing = select(vault_keys.c.id).where(vault_keys.c.state == KeyState.PRIMARY.value)
    if (await tx.execute(sealing)).scalar() != ring.primary[0].hex():
        await renew(ring, tx)


async def renew_for(ring: KeyRing, connection: AsyncConnection, *blobs: bytes | None) -> None:
    """Read the keys again when one of these was sealed under a key that is not known here: another node rotated."""
    parts = [parse(blob) for blob in blobs if blob is not None]
    if any(part is not None and ring.dek(part.key_id) is None for part in parts):
        await renew(ring, connection)


async def renew(ring: KeyRing, connection: AsyncConnection) -> None:
    """Bring the ring up to date. Raises `VaultError` when it cannot be."""
    ring.renew(await key_rows(connection))


async def hold_keys(tx: AsyncConnection) -> list[WrappedKey]:
    """Keep everybody from sealing and from changing keys until the transaction ends; return the keys."""
    if tx.dialect.name == "postgresql":
        await tx.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    return await key_rows(tx)


async def key_rows(connection: AsyncConnection) -> list[WrappedKey]:
    """Every version of the data key, the oldest first."""
    rows = await connection.execute(select(vault_keys).order_by(vault_keys.c.generation))
    return [
        WrappedKey(
            id=row.id,
            state=KeyState(row.state),
            generation=row.generation,
            wrapped=row.wrapped,
            created_at=row.created_at,
        )
        for row in rows
    ]


async def put_keys(tx: AsyncConnection, rows: Sequence[WrappedKey]) -> None:
    """Replace all key rows; only under `hold_keys`."""
    await tx.execute(delete(vault_keys))
    await tx.execute(insert(vault_keys), [_stored(row) for row in rows])


async def carried_pepper(connection: AsyncConnection) -> bytes | None:
    """The wrapped pepper, once the root key it came from was changed."""
    return (await connection.execute(select(vault_pepper.c.wrapped))).scalar()


async def put_pepper(tx: AsyncConnection, wrapped: bytes) -> None:
    await tx.execute(delete(vault_pepper))
    await tx.execute(insert(vault_pepper).values(one=1, wrapped=wrapped))


async def sealed_otherwise(
    connection: AsyncConnection, column: SealedColumn, *, primary: bytes, after: str, limit: int
) -> list[tuple[str, bytes, Any]]:
    """The next rows of a column that another key than `primary` sealed: key, blob, row."""
    query = column.rows.where(column.blob.is_not(None), column.key > after, _key_id(column) != _bytes(primary))
    # A room may read its rows under names of its own.
    query = query.add_columns(column.key.label("_sealed_key"), column.blob.label("_sealed_blob"))
    found = await connection.execute(query.order_by(column.key).limit(limit))
    return [(row._sealed_key, row._sealed_blob, row) for row in found]


async def put_blob(tx: AsyncConnection, column: SealedColumn, key: str, *, old: bytes, new: bytes) -> bool:
    """Replace a blob, unless somebody wrote another one meanwhile."""
    done = await tx.execute(
        update(column.table).where(column.key == key, column.blob == old).values({column.blob.name: new})
    )
    return done.rowcount == 1


async def how_many(connection: AsyncConnection, column: SealedColumn, *, under: bytes | None, other_than: bytes) -> int:
    """How many rows a key sealed, or any key but one."""
    query = select(func.count()).select_from(column.table).where(column.blob.is_not(None))
    query = query.where(_key_id(column) != _bytes(other_than))
    if under is not None:
        query = query.where(_key_id(column) == _bytes(under))
    return int((await connection.execute(query)).scalar_one())


def named_in(rows: Sequence[WrappedKey]) -> str:
    """The public names of the root keys that wrapped these rows."""
    return " and ".join(sorted({row.wrapped[:8].hex() for row in rows if row.wrapped}))


def _key_id(column: SealedColumn) -> Any:
    """The key id inside a blob: after magic, format and algorithm."""
    return func.substr(column.blob, 7, 16, type_=LargeBinary)


def _bytes(value: bytes) -> Any:
    return literal(value, LargeBinary)


def _stored(row: WrappedKey) -> dict[str, object]:
    return {
        "id": row.id,
        "state": row.state.value,
        "generation": row.generation,
        "wrapped": row.wrapped,
        "created_at": int(row.created_at),
    }
