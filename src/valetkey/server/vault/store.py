"""The rows of the data keys. The only SQL of the vault."""

from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.schema import vault_keys, vault_pepper
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms.root import RootKey
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.ring import KeyRing, KeyState, WrappedKey
from valetkey.server.vault.rotate import first, open_pepper


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
    carried = (await connection.execute(select(vault_pepper.c.wrapped))).scalar()
    return Mac(open_pepper(carried, root=root, deployment=deployment))


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


def _stored(row: WrappedKey) -> dict[str, object]:
    return {
        "id": row.id,
        "state": row.state.value,
        "generation": row.generation,
        "wrapped": row.wrapped,
        "created_at": int(row.created_at),
    }


def named_in(rows: Sequence[WrappedKey]) -> str:
    """The public names of the root keys that wrapped these rows."""
    return " and ".join(sorted({row.wrapped[:8].hex() for row in rows if row.wrapped}))
