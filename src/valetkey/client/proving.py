"""A key of this process, and proofs that whoever sends a request holds it (DPoP, RFC 9449 sections 4 and 8).

ES256. The key is made in memory and dies with the process, unless it is read from a file. What a server offers as a
nonce is put into the next proof for it. Needs `cryptography`, which is imported when a key is made and not before.
"""

import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from valetkey.client.errors import InvalidRequest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


class ProofKey:
    """Signs proofs. Safe for several threads. Prints without the key."""

    def __init__(self, key: "EllipticCurvePrivateKey | None" = None, *, clock: Callable[[], float] = time.time) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self._key = key or ec.generate_private_key(ec.SECP256R1())
        self._clock = clock
        self._nonces: dict[str, str] = {}
        point = self._key.public_key().public_numbers()
        jwk = {
            "crv": "P-256",
            "kty": "EC",
            "x": _b64(point.x.to_bytes(32, "big")),
            "y": _b64(point.y.to_bytes(32, "big")),
        }
        self.jkt = _b64(sha256(_json(jwk)).digest())  # the members are in the order of RFC 7638
        self._header = _b64(_json({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}))

    def __repr__(self) -> str:
        return f"ProofKey({self.jkt})"

    @classmethod
    def from_file(cls, path: Path) -> "ProofKey":
        """The private P-256 key in a PEM file without a passphrase. Raises `InvalidRequest`."""
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError):
            raise InvalidRequest(f"{path} is not a private key that can be read.", hint=_MAKE_ONE) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidRequest(f"{path} is not a private key on P-256.", hint=_MAKE_ONE)
        return cls(key)

    def proof(self, method: str, url: str, *, token: str | None = None) -> str:
        """A fresh proof for one request; `token` is the token it shows, if it shows one."""
        address = url.partition("#")[0].partition("?")[0]
        claims = {"jti": secrets.token_urlsafe(18), "htm": method, "htu": address, "iat": int(self._clock())}
        if token is not None:
            claims["ath"] = _b64(sha256(token.encode()).digest())
        if (nonce := self._nonces.get(_origin(url))) is not None:
            claims["nonce"] = nonce
        signing_input = f"{self._header}.{_b64(_json(claims))}"
        return f"{signing_input}.{_b64(self._signed(signing_input.encode()))}"

    def learn(self, url: str, nonce: str | None) -> bool:
        """Take the nonce of an answer, if it has one; whether it is news."""
        if nonce is None or self._nonces.get(_origin(url)) == nonce:
            return False
        self._nonces[_origin(url)] = nonce
        return True

    def _signed(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
        from cryptography.hazmat.primitives.hashes import SHA256

        r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


_MAKE_ONE = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _json(members: Mapping[str, object]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
