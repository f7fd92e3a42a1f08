"""Turns a handle into the one thing the store may keep of it, and authenticates cursors.

HMAC-SHA256 under a pepper derived from the root key, so that whoever reads the store cannot test guesses and whoever
writes it cannot plant a handle. One HKDF label per purpose: a value made for one is worth nothing for another.
"""

import hashlib
import hmac
import re
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


def pepper_of(root: RootKey, *, deployment: str) -> SecretBytes:
    """What this root key gives a new deployment to authenticate handles with."""
    return root.derive(length_prefixed(_PEPPER, deployment.encode()))


class Mac:
    """Authenticates under one pepper. It outlives the root key it came from: no handle could be made anew.

    A purpose is a constant of the code ("agent-secret", "cursor"), never taken from a request.
    """

    __slots__ = ("_keys", "_pepper")

    def __init__(self, pepper: SecretBytes) -> None:
        self._pepper = pepper
        self._keys: dict[str, SecretBytes] = {}

    def __repr__(self) -> str:
        return f"Mac(purposes={len(self._keys)})"

    def mac(self, purpose: str, kind: str, handle: Secret) -> bytes:
        """Return the 32 bytes to store for `handle`."""
        return self.mac_of(purpose, kind, handle.reveal().encode("utf-8", "surrogatepass"))

    def matches(self, purpose: str, kind: str, handle: Secret, stored: bytes) -> bool:
        """Whether `stored` was made for this handle, in constant time."""
        return hmac.compare_digest(self.mac(purpose, kind, handle), stored)

    def mac_of(self, purpose: str, kind: str, value: bytes) -> bytes:
        """Return the 32 bytes that authenticate a public value, such as a cursor."""
        key = self._keys.get(purpose) or self._derive(purpose)
        return hmac.digest(key.reveal(), length_prefixed(kind.encode(), value), hashlib.sha256)

    def vouches_for(self, purpose: str, kind: str, value: bytes, mac: bytes) -> bool:
        """Whether `mac` was made here for this value, in constant time."""
        return hmac.compare_digest(self.mac_of(purpose, kind, value), mac)

    def _derive(self, purpose: str) -> SecretBytes:
        if _NAME.fullmatch(purpose) is None or len(self._keys) >= _MOST_PURPOSES:
            raise ValueError("a purpose is one of a few constant names")
        info = length_prefixed(_PURPOSE, purpose.encode())
        key = SecretBytes(HKDFExpand(SHA256(), 32, info).derive(self._pepper.reveal()))
        self._keys[purpose] = key
        return key
