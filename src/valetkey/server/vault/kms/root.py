"""The root key: wraps data keys, and never leaves the object that holds it.

`RootKey` is all the vault asks for; an outside key service would be another class of that shape. Two are real here:
a key in a private file here, and one that a passphrase locks in `passphrase`.
"""

import os
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from valetkey.server.secret import SecretBytes
from valetkey.server.vault.errors import RootKeyRefused
from valetkey.server.vault.kms.private_file import create_once, read_private

ROOT_BYTES: Final = 32
_NONCE: Final = 12
_ID: Final = 8
_WRAPPING: Final = b"valetkey root wrapping 1"
_NAMING: Final = b"valetkey root name 1"
_DERIVING: Final = b"valetkey root derived 1 "


class RootKey(Protocol):
    """What wraps data keys. `context` must be the same bytes at both ends."""

    @property
    def id(self) -> str:
        """A public name for this root key: 16 hexadecimal digits that differ between keys."""
        ...

    def wrap(self, key: SecretBytes, context: bytes) -> bytes:
        """Return `key` wrapped for `context`."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> SecretBytes | None:
        """Return the wrapped key, or nothing if this root key did not wrap it for this context."""
        ...

    def wrapped_here(self, wrapped: bytes) -> bool:
        """Whether `wrapped` names this root key. Proves nothing."""
        ...

    def derive(self, label: bytes) -> SecretBytes:
        """Return 32 bytes that are always the same for this root key and `label`."""
        ...


class HeldRoot:
    """A root key in this process's memory. AES-256-GCM-SIV (RFC 8452): a nonce repeated by a restored snapshot of the
    machine tells at most that two wrapped keys are equal.
    """

    __slots__ = ("_derived_from", "_wrapping", "id")

    def __init__(self, key: SecretBytes) -> None:
        if len(key.reveal()) != ROOT_BYTES or len(set(key.reveal())) == 1:
            raise RootKeyRefused(
                f"A root key is {ROOT_BYTES} random bytes; this one is cut short or was never written."
            )
        self.id = _expand(key, _NAMING).reveal()[:_ID].hex()
        self._wrapping = AESGCMSIV(_expand(key, _WRAPPING).reveal())
        self._derived_from = key

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id})"

    def wrap(self, key: SecretBytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return bytes.fromhex(self.id) + nonce + self._wrapping.encrypt(nonce, key.reveal(), context)

    def unwrap(self, wrapped: bytes, context: bytes) -> SecretBytes | None:
        if not self.wrapped_here(wrapped) or len(wrapped) < _ID + _NONCE + 16:
            return None
        nonce, ciphertext = wrapped[_ID : _ID + _NONCE], wrapped[_ID + _NONCE :]
        try:
            return SecretBytes(self._wrapping.decrypt(nonce, ciphertext, context))
        except InvalidTag:
            return None

    def wrapped_here(self, wrapped: bytes) -> bool:
        return wrapped[:_ID] == bytes.fromhex(self.id)

    def derive(self, label: bytes) -> SecretBytes:
        return _expand(self._derived_from, _DERIVING + label)


class FileRoot(HeldRoot):
    """A root key that lies open in a file: whoever can read the file can open everything. For one machine."""

    __slots__ = ()

    @classmethod
    def load(cls, path: Path) -> "FileRoot":
        """Return the root key in `path`. Raises `RootKeyRefused` for a file others could read, or of another size."""
        return cls(read_private(path, at_most=ROOT_BYTES))

    @classmethod
    def load_or_create(cls, path: Path) -> "FileRoot":
        """Return the root key in `path`, creating it if there is none. Of many who create at once, one wins."""
        create_once(path, lambda: SecretBytes(os.urandom(ROOT_BYTES)))
        return cls.load(path)


def proves_decrypt(root: RootKey) -> None:
    """Show that `root` unwraps what it wraps, and refuses it in another context. Raises `RootKeyRefused`.

    That it is the right root key is shown by building the `KeyRing`.
    """
    probe = SecretBytes(os.urandom(ROOT_BYTES))
    wrapped = root.wrap(probe, b"valetkey self test")
    if root.unwrap(wrapped, b"valetkey self test") != probe:
        raise RootKeyRefused("The root key does not unwrap what it has just wrapped.")
    if root.unwrap(wrapped, b"valetkey other test") is not None or probe.reveal() in wrapped:
        raise RootKeyRefused("The root key does not protect what it wraps.")


def _expand(key: SecretBytes, info: bytes) -> SecretBytes:
    return SecretBytes(HKDFExpand(SHA256(), 32, info).derive(key.reveal()))
