"""A software authenticator: makes passkeys and answers challenges as a browser would hand them on.

Each field can be changed, so that a test can lie about exactly one thing.
"""

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def encoded(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """The bytes of base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """One device with one resident key."""

    origin: str
    rp_id: str = "localhost"
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    user_handle: bytes = b""
    sign_count: int = 1
    flags: int = PRESENT | VERIFIED

    def create(self, options: dict[str, Any], **lies: Any) -> str:
        """The browser's answer to `navigator.credentials.create`."""
        self.user_handle = decoded(options["user"]["id"])
        point = self.key.public_key().public_numbers()
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")})
        attested = bytes(16) + len(self.credential).to_bytes(2, "big") + self.credential + cose
        data = self._data(lies, ATTESTED, attested)
        response = {
            "clientDataJSON": encoded(self._client_data("webauthn.create", options, lies)),
            "attestationObject": encoded(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
        }
        return self._spelled(response)

    def get(self, options: dict[str, Any], **lies: Any) -> str:
        """The browser's answer to `navigator.credentials.get`."""
        self.sign_count += 1
        client_data = self._client_data("webauthn.get", options, lies)
        data = self._data(lies, 0, b"")
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ECDSA(SHA256()))
        response = {
            "clientDataJSON": encoded(client_data),
            "authenticatorData": encoded(data),
            "signature": encoded(lies.get("signature", signature)),
            "userHandle": encoded(lies.get("user_handle", self.user_handle)),
        }
        return self._spelled(response)

    def _client_data(self, kind: str, options: dict[str, Any], lies: dict[str, Any]) -> bytes:
        said = {
            "type": lies.get("type", kind),
            "challenge": lies.get("challenge", options["challenge"]),
            "origin": lies.get("origin", self.origin),
            "crossOrigin": False,
        }
        return json.dumps(said).encode()

    def _data(self, lies: dict[str, Any], more: int, rest: bytes) -> bytes:
        host = hashlib.sha256(lies.get("rp_id", self.rp_id).encode()).digest()
        flags = lies.get("flags", self.flags) | more
        return host + bytes([flags]) + lies.get("sign_count", self.sign_count).to_bytes(4, "big") + rest

    def _spelled(self, response: dict[str, str]) -> str:
        name = encoded(self.credential)
        return json.dumps(
            {"id": name, "rawId": name, "type": "public-key", "clientExtensionResults": {}, "response": response}
        )
