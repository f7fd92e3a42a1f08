"""The rows of the data keys. The only SQL of the vault."""

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import vault_keys
from valetkey.server.vault.kms.root import RootKey
from valetkey.server.vault.ring import KeyRing, KeyState, WrappedKey
from valetkey.server.vault.rotate import first


async def load_ring(tx: AsyncConnection, *, root: RootKey, deployment: str, now: float) -> KeyRing:
    """Read the ring, creating the first data key in a new deployment. Raises `VaultError` with the wrong root."""
    rows = await _rows(tx)
    if not rows:
        rows = list(first(root=root, deployment=deployment, now=now))
        await tx.execute(insert(vault_keys), [_stored(row) for row in rows])
    return KeyRing(rows, root=root, deployment=deployment)


async def _rows(connection: AsyncConnection) -> list[WrappedKey]:
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


def _stored(row: WrappedKey) -> dict[str, object]:
    return {
        "id": row.id,
        "state": row.state.value,
        "generation": row.generation,
        "wrapped": row.wrapped,
        "created_at": int(row.created_at),
    }
