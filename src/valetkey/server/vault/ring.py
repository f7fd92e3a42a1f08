"""The versions of the data key, unlocked. Holds keys; seals, opens and stores nothing.

A key moves one way: pending (opens only, so that every node knows it first) → primary (seals) → decrypt-only →
destroyed. Generations only grow and the states follow them, so a row turned back into an earlier state is refused.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from valetkey.server.secret import SecretBytes
from valetkey.server.vault.aad import length_prefixed
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.kms.root import RootKey

_LABEL: Final = b"valetkey data key 1"
_DEK_BYTES: Final = 32


class KeyState(StrEnum):
    PENDING = "pending"
    PRIMARY = "primary"
    DECRYPT_ONLY = "decrypt-only"
    DESTROYED = "destroyed"


_RANK: Final = {KeyState.DESTROYED: 0, KeyState.DECRYPT_ONLY: 0, KeyState.PRIMARY: 1, KeyState.PENDING: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """One version of the data key as it is stored: its id (32 hexadecimal digits), and itself under the root key."""

    id: str
    state: KeyState
    generation: int
    wrapped: bytes
    created_at: int  # seconds since the epoch


class KeyRing:
    """Every data key that still opens something, and the one that seals.

    Raises `VaultError` if the rows contradict each other or the root key does not unwrap them. The whole process shares
    one ring; `renew` brings it up to date.
    """

    __slots__ = ("_deks", "_is_sealed", "_primary", "_roots", "deployment", "generation")

    def __init__(
        self, rows: Sequence[WrappedKey], *, root: RootKey, deployment: str, previous_roots: Sequence[RootKey] = ()
    ) -> None:
        check_rows(rows)
        self.deployment = deployment
        self._is_sealed = False
        self._roots: tuple[RootKey, ...] = (root, *previous_roots)
        self.generation = max(row.generation for row in rows)
        self._primary = next(bytes.fromhex(row.id) for row in rows if row.state is KeyState.PRIMARY)
        self._deks = {
            bytes.fromhex(row.id): unwrap(row, deployment=deployment, roots=self._roots)
            for row in rows
            if row.state is not KeyState.DESTROYED
        }

    def renew(self, rows: Sequence[WrappedKey]) -> None:
        """Take over what another node changed. A key already known is not unwrapped again, whoever wrapped it now.

        Raises `VaultError`, and stays as it was, for rows older than these or wrapped by a root key that is not here.
        """
        if self._is_sealed:
            raise VaultError(detail="sealed")
        check_rows(rows)
        generation = max(row.generation for row in rows)
        if generation < self.generation:
            raise VaultError(detail="the data keys were turned back to an earlier generation")
        deks = {}
        for row in rows:
            if row.state is not KeyState.DESTROYED:
                key_id = bytes.fromhex(row.id)
                known = self._deks.get(key_id)
                deks[key_id] = known or unwrap(row, deployment=self.deployment, roots=self._roots)
        self._primary = next(bytes.fromhex(row.id) for row in rows if row.state is KeyState.PRIMARY)
        self._deks, self.generation = deks, generation

    def forget(self) -> None:
        """Open and seal nothing any more, for the rest of this process."""
        self._deks, self._roots, self._is_sealed = {}, (), True

    def __repr__(self) -> str:
        return f"KeyRing(generation={self.generation}, keys={len(self._deks)})"

    @property
    def primary(self) -> tuple[bytes, SecretBytes]:
        """The key that seals, with its id. Raises `VaultError` once the ring is sealed."""
        if self._is_sealed:
            raise VaultError(detail="sealed")
        return self._primary, self._deks[self._primary]

    def dek(self, key_id: bytes) -> SecretBytes | None:
        """Return the key with that id, if it still opens anything. Not knowing it may mean the ring is stale."""
        return self._deks.get(key_id)


def new_key(*, root: RootKey, deployment: str, generation: int, state: KeyState, now: float) -> WrappedKey:
    """Return a fresh data key, wrapped."""
    key_id = os.urandom(16).hex()
    wrapped = root.wrap(SecretBytes(os.urandom(_DEK_BYTES)), _context(deployment, key_id, generation))
    return WrappedKey(id=key_id, state=state, generation=generation, wrapped=wrapped, created_at=int(now))


def unwrap(row: WrappedKey, *, deployment: str, roots: Sequence[RootKey]) -> SecretBytes:
    """Return the data key of `row`. Raises `VaultError` if none of the root keys wrapped it, as this row."""
    context = _context(deployment, row.id, row.generation)
    for root in roots:
        key = root.unwrap(row.wrapped, context)
        if key is not None and len(key.reveal()) == _DEK_BYTES:
            return key
    raise VaultError(detail=f"no root key here unwraps data key {row.id}")


def rewrapped(row: WrappedKey, key: SecretBytes, *, root: RootKey, deployment: str) -> bytes:
    """Return `key`, the data key of `row`, wrapped under another root key."""
    return root.wrap(key, _context(deployment, row.id, row.generation))


def check_rows(rows: Sequence[WrappedKey]) -> None:
    """Refuse rows that no sequence of rotations leaves behind. Raises `VaultError`."""
    ranks = [_RANK[row.state] for row in sorted(rows, key=lambda row: row.generation)]
    if [row.state for row in rows].count(KeyState.PRIMARY) != 1:
        raise VaultError(detail="there must be exactly one primary data key")
    if len({row.generation for row in rows}) != len(rows) or len({row.id for row in rows}) != len(rows):
        raise VaultError(detail="two data keys share an id or a generation")
    # SECURITY: whoever can write rows could otherwise make an old, leaked key the primary again.
    # Guarded by tests/attacks/test_vault.py::test_a_retired_key_cannot_be_made_primary_again
    if ranks != sorted(ranks):
        raise VaultError(detail="the states of the data keys do not follow their generations")


def _context(deployment: str, key_id: str, generation: int) -> bytes:
    return length_prefixed(_LABEL, deployment.encode(), bytes.fromhex(key_id), generation.to_bytes(8, "big"))
