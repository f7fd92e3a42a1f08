"""The push service of a browser, and the browser behind it: keeps the raw bytes, and decrypts as a browser would.

Written from RFC 8291 section 3 and RFC 8188 section 2 by hand, so that it shares no line with what it checks.
"""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.seen import Seen
from tests.support.upstream import Upstream


def b64(octets: bytes) -> str:
    return urlsafe_b64encode(octets).decode().rstrip("=")


def octets(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class PushService:
    """Browsers subscribe here, under a path of their own."""

    def __init__(self, up: Upstream) -> None:
        self.up = up
        self._browsers: dict[str, tuple[ec.EllipticCurvePrivateKey, bytes]] = {}

    def subscription(self, path: str = "/push/alice") -> str:
        """What a page gets from `pushManager.subscribe`, as JSON."""
        key, auth = ec.generate_private_key(ec.SECP256R1()), hashlib.sha256(path.encode()).digest()[:16]
        self._browsers[path] = key, auth
        self.up.answers("POST", path, status=201)
        keys = {"p256dh": b64(point(key)), "auth": b64(auth)}
        return json.dumps({"endpoint": f"{self.up.url}{path}", "expirationTime": None, "keys": keys})

    def ends(self, path: str = "/push/alice", status: int = 410) -> None:
        """The browser unsubscribed."""
        self.up.answers("POST", path, status=status)

    @property
    def pushed(self) -> list[Seen]:
        return [seen for seen in self.up.seen if seen.method == "POST"]

    def read(self, seen: Seen) -> Any:
        """What the browser's worker gets."""
        key, auth = self._browsers[seen.path.decode()]
        return json.loads(decrypted(seen.body, key, auth))


def decrypted(body: bytes, key: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """The message in a body of the coding aes128gcm."""
    salt, size, length = body[:16], int.from_bytes(body[16:20], "big"), body[20]
    sender, record = body[21 : 21 + length], body[21 + length :]
    assert len(record) <= size
    shared = key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), sender))
    material = _mac(_mac(auth, shared), b"WebPush: info\x00" + point(key) + sender + b"\x01")
    pseudo = _mac(salt, material)
    content = _mac(pseudo, b"Content-Encoding: aes128gcm\x00\x01")[:16]
    nonce = _mac(pseudo, b"Content-Encoding: nonce\x00\x01")[:12]
    padded = AESGCM(content).decrypt(nonce, record, None).rstrip(b"\x00")
    assert padded.endswith(b"\x02")
    return padded[:-1]


def _mac(key: bytes, value: bytes) -> bytes:
    return hmac.digest(key, value, "sha256")


@asynccontextmanager
async def push_service() -> AsyncIterator[PushService]:
    async with Upstream() as up:
        yield PushService(up)
