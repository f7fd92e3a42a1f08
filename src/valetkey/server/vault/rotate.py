"""Changes the versions of the data key, and moves sealed records from an old version to the current one.

Each function takes rows and returns rows; the caller stores them in one transaction on condition that the generation
it read is still the newest, so of two nodes that rotate at once one wins and the other reads again.
"""

from collections.abc import Sequence
from dataclasses import replace

from valetkey.server.errors import Conflict
from valetkey.server.secret import SecretBytes
from valetkey.server.vault.aad import Place, length_prefixed
from valetkey.server.vault.blob import parse
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.kms.root import RootKey
from valetkey.server.vault.mac import pepper_of
from valetkey.server.vault.open import open_sealed_bytes
from valetkey.server.vault.ring import KeyRing, KeyState, WrappedKey, check_rows, new_key, rewrapped, unwrap
from valetkey.server.vault.seal import seal


def first(*, root: RootKey, deployment: str, now: float) -> tuple[WrappedKey, ...]:
    """Return the rows of a new deployment: one primary key."""
    return (new_key(root=root, deployment=deployment, generation=1, state=KeyState.PRIMARY, now=now),)


def prepare(rows: Sequence[WrappedKey], *, root: RootKey, deployment: str, now: float) -> tuple[WrappedKey, ...]:
    """Add a pending key of the next generation. Every node must have read it before it is promoted."""
    check_rows(rows)
    if not all(root.wrapped_here(row.wrapped) for row in rows if row.state is not KeyState.DESTROYED):
        raise Conflict(
            "The root key was changed since this server started.", hint="Start it again with the new root key first."
        )
    if any(row.state is KeyState.PENDING for row in rows):
        raise Conflict("A data key is already waiting to be promoted.")
    generation = max(row.generation for row in rows) + 1
    pending = new_key(root=root, deployment=deployment, generation=generation, state=KeyState.PENDING, now=now)
    return (*rows, pending)


def promote(rows: Sequence[WrappedKey]) -> tuple[WrappedKey, ...]:
    """Make the pending key the primary one; the primary one only opens from now on."""
    check_rows(rows)
    if not any(row.state is KeyState.PENDING for row in rows):
        raise Conflict("No data key is waiting to be promoted.")
    after = {KeyState.PENDING: KeyState.PRIMARY, KeyState.PRIMARY: KeyState.DECRYPT_ONLY}
    return tuple(replace(row, state=after.get(row.state, row.state)) for row in rows)


def rotate(rows: Sequence[WrappedKey], *, root: RootKey, deployment: str, now: float) -> tuple[WrappedKey, ...]:
    """Make a fresh key primary at once: for a single node, or when the old key may have leaked."""
    return promote(prepare(rows, root=root, deployment=deployment, now=now))


def destroy(rows: Sequence[WrappedKey], key_id: str, *, references: int) -> tuple[WrappedKey, ...]:
    """Forget a decrypt-only key for good. A backup has a row of its own for each key it needs, and needs none of these.

    Raises `Conflict` while a scan still finds `references` to it.
    """
    check_rows(rows)
    if not any(row.id == key_id and row.state is KeyState.DECRYPT_ONLY for row in rows):
        raise Conflict("Only a key that no longer seals can be destroyed.")
    if references != 0:
        raise Conflict("Something is still sealed under this key.")
    return tuple(replace(row, state=KeyState.DESTROYED, wrapped=b"") if row.id == key_id else row for row in rows)


def rewrap(row: WrappedKey, *, root: RootKey, previous_roots: Sequence[RootKey], deployment: str) -> WrappedKey | None:
    """Return `row` under the current root key, or nothing if it already is. Safe to repeat after a crash."""
    if row.state is KeyState.DESTROYED or root.wrapped_here(row.wrapped):
        return None
    key = unwrap(row, deployment=deployment, roots=(root, *previous_roots))
    return replace(row, wrapped=rewrapped(row, key, root=root, deployment=deployment))


def open_pepper(carried: bytes | None, *, root: RootKey, deployment: str) -> SecretBytes:
    """The pepper of a deployment: carried over from an earlier root key, or this one's own. Raises `VaultError`."""
    if carried is None:
        return pepper_of(root, deployment=deployment)
    pepper = root.unwrap(carried, _pepper_context(deployment))
    if pepper is None:
        raise VaultError(detail="the root key does not unwrap the pepper")
    return pepper


def rewrap_pepper(carried: bytes | None, *, old: RootKey, new: RootKey, deployment: str) -> bytes:
    """Return the pepper under another root key, so that no handle has to be made anew."""
    return new.wrap(open_pepper(carried, root=old, deployment=deployment), _pepper_context(deployment))


def _pepper_context(deployment: str) -> bytes:
    return length_prefixed(b"valetkey carried pepper 1", deployment.encode())


def reseal(ring: KeyRing, blob: bytes, place: Place) -> bytes | None:
    """Return what `blob` holds sealed under the primary key, or nothing if it already is.

    The place stays the same. Safe to repeat after a crash. Raises `VaultError` if `blob` does not open in `place`.
    """
    opened = open_sealed_bytes(ring, blob, place)
    return None if sealed_under(blob) == ring.primary[0].hex() else seal(ring, opened, place)


def sealed_under(blob: bytes) -> str | None:
    """Return the id of the data key a blob names, for the scan before `destroy`. Proves nothing."""
    parts = parse(blob)
    return None if parts is None else parts.key_id.hex()
