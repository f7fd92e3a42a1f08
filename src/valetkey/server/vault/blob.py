"""The layout of a sealed record, and the key and commitment derived for it.

    magic "VKSB" · format 1 · algorithm 1 · key id 16 · salt 32 · nonce 12 · commitment 32 · ciphertext and tag

HKDF-SHA256 (RFC 5869) over the data key gives every record its own AES-256-GCM key, so no key meets enough messages
for a nonce to repeat, and a commitment to key, header and place, which GCM alone does not give. Draws no randomness.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from valetkey.server.secret import SecretBytes
from valetkey.server.vault.aad import Place, length_prefixed

MAGIC: Final = b"VKSB"
FORMAT: Final = 1
AES_256_GCM: Final = 1
LARGEST_PLAINTEXT: Final = 1 << 20  # bytes

_HEADER: Final = struct.Struct(">4sBB16s32s12s")
_COMMITMENT: Final = 32
_TAG: Final = 16
_LABEL: Final = b"valetkey sealed record 1"

OVERHEAD: Final = _HEADER.size + _COMMITMENT + _TAG


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A sealed record, taken apart. Holding one proves nothing."""

    key_id: bytes
    salt: bytes
    nonce: bytes
    commitment: bytes
    ciphertext: bytes

    @property
    def header(self) -> bytes:
        return header(key_id=self.key_id, salt=self.salt, nonce=self.nonce)

    def encode(self) -> bytes:
        return self.header + self.commitment + self.ciphertext


def header(*, key_id: bytes, salt: bytes, nonce: bytes) -> bytes:
    """Return the part of a blob that is written before anything is derived."""
    return _HEADER.pack(MAGIC, FORMAT, AES_256_GCM, key_id, salt, nonce)


def parse(blob: bytes) -> Blob | None:
    """Return the parts of `blob`, or nothing if it is not of this format and within its limits."""
    if not OVERHEAD <= len(blob) <= OVERHEAD + LARGEST_PLAINTEXT:
        return None
    magic, version, algorithm, key_id, salt, nonce = _HEADER.unpack_from(blob)
    if (magic, version, algorithm) != (MAGIC, FORMAT, AES_256_GCM):
        return None
    body = _HEADER.size + _COMMITMENT
    return Blob(
        key_id=key_id, salt=salt, nonce=nonce, commitment=blob[_HEADER.size : body], ciphertext=bytes(blob[body:])
    )


def context(header: bytes, place: Place) -> bytes:
    """Return what a record is bound to: both its derived key and its authentication tag depend on all of it."""
    return length_prefixed(_LABEL, header, place.encode())


def derive(dek: SecretBytes, *, salt: bytes, bound_to: bytes) -> tuple[AESGCM, bytes]:
    """Return the record's own cipher and the commitment that must stand in its blob."""
    info = _LABEL + hashlib.sha256(bound_to).digest()
    okm = HKDF(algorithm=SHA256(), length=64, salt=salt, info=info).derive(dek.reveal())
    return AESGCM(okm[:32]), okm[32:]
