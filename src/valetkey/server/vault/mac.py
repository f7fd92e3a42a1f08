"""Turns a handle into the one thing the store may keep of it, and authenticates cursors.

HMAC-SHA256 under a pepper derived from the root key, so that whoever reads the store cannot test guesses and whoever
writes it cannot plant a handle. One HKDF label per purpose: a value made for one is worth nothing for another.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.aad import length_prefixed
from valetkey.server.vault.kms.root import RootKey

_PEPPER: Final = b"valetkey mac pepper 1"
_PURPOSE: Final = b"valetkey mac purpose 1"
_NAME: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_MOST_PURPOSES: Final = 64


class Mac:
    """Authenticates under the current root key, and recognises what an earlier one authenticated.

    A purpose is a constant of the code ("agent-secret", "cursor"), never taken from a request.
    """

    __slots__ = ("_keys", "_peppers")

    def __init__(self, root: RootKey, *, deployment: str, previous_roots: Sequence[RootKey] = ()) -> None:
        label = length_prefixed(_PEPPER, deployment.encode())
        self._peppers = tuple(each.derive(label) for each in (root, *previous_roots))
        self._keys: dict[str, tuple[SecretBytes, ...]] = {}

    def __repr__(self) -> str:
        return f"Mac(peppers={len(self._peppers)})"

    def mac(self, purpose: str, kind: str, handle: Secret) -> bytes:
        """Return the 32 bytes to store for `handle`."""
        return self.candidates(purpose, kind, handle)[0]

    def candidates(self, purpose: str, kind: str, handle: Secret) -> tuple[bytes, ...]:
        """Return what may be stored for `handle`, the current value first: look the row up by any of these."""
        return self._all(purpose, kind, handle.reveal().encode("utf-8", "surrogatepass"))

    def matches(self, purpose: str, kind: str, handle: Secret, stored: bytes) -> bool:
        """Whether `stored` was made for this handle, in constant time."""
        return _any_equal(self.candidates(purpose, kind, handle), stored)

    def mac_of(self, purpose: str, kind: str, value: bytes) -> bytes:
        """Return the 32 bytes that authenticate a public value, such as a cursor."""
        return self._all(purpose, kind, value)[0]

    def vouches_for(self, purpose: str, kind: str, value: bytes, mac: bytes) -> bool:
        """Whether `mac` was made here for this value, in constant time."""
        return _any_equal(self._all(purpose, kind, value), mac)

    def _all(self, purpose: str, kind: str, value: bytes) -> tuple[bytes, ...]:
        keys = self._keys.get(purpose) or self._derive(purpose)
        message = length_prefixed(kind.encode(), value)
        return tuple(hmac.digest(key.reveal(), message, hashlib.sha256) for key in keys)

    def _derive(self, purpose: str) -> tuple[SecretBytes, ...]:
        if _NAME.fullmatch(purpose) is None or len(self._keys) >= _MOST_PURPOSES:
            raise ValueError("a purpose is one of a few constant names")
        info = length_prefixed(_PURPOSE, purpose.encode())
        keys = tuple(SecretBytes(HKDFExpand(SHA256(), 32, info).derive(pepper.reveal())) for pepper in self._peppers)
        self._keys[purpose] = keys
        return keys


def _any_equal(known: tuple[bytes, ...], offered: bytes) -> bool:
    # A sum, not any(): every one is compared, whichever matches.
    return sum(hmac.compare_digest(each, offered) for each in known) > 0
