"""Encryption of a message for one browser (RFC 8291, in the coding aes128gcm of RFC 8188). Pure.

Only the browser that made the subscription can read it; the push service between sees a size that is always the same.
"""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

RECORD_BYTES: Final = 4096
PADDED_BYTES: Final = 2048
"""Every message is as long as this; RFC 8291 section 4 lets a push service refuse more than 4,096 in all."""


def public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """The 65 bytes by which a P-256 key is known here."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def encrypted(
    plaintext: bytes, *, browser: bytes, auth: bytes, ours: ec.EllipticCurvePrivateKey, salt: bytes, padded: int
) -> bytes:
    """The body of the request. `ours` and `salt` (16 bytes) are made for this message alone.

    `browser` is the subscription's public key, `auth` its secret (RFC 8291 section 3.4).
    """
    if len(plaintext) > padded:
        raise ValueError("longer than what every message is padded to")
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), browser)
    sender = public_bytes(ours.public_key())
    shared = ours.exchange(ec.ECDH(), theirs)
    material = _derived(shared, salt=auth, info=b"WebPush: info\x00" + browser + sender, length=32)
    key = _derived(material, salt=salt, info=b"Content-Encoding: aes128gcm\x00", length=16)
    nonce = _derived(material, salt=salt, info=b"Content-Encoding: nonce\x00", length=12)
    record = plaintext + b"\x02" + bytes(padded - len(plaintext))  # 2 ends the last record (RFC 8188 section 2)
    head = salt + RECORD_BYTES.to_bytes(4, "big") + bytes([len(sender)]) + sender
    return head + AESGCM(key).encrypt(nonce, record, None)


def _derived(material: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(material)
