"""Somebody who holds a key and proves it: DPoP proofs right in every part, or wrong in the one a test names."""

import base64
import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.house import House
from tests.support.http import Reply
from valetkey.verify import jws

ABSENT: Any = object()
"""As the value of a header member or claim: leave it out."""


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Holder:
    """A key of one algorithm. `nonce` is what the token endpoint offered last."""

    def __init__(self, alg: str = "ES256") -> None:
        self.alg = alg
        self.nonce: str | None = None
        self.key: Any
        if alg == "ES256":
            self.key = ec.generate_private_key(ec.SECP256R1())
            point = self.key.public_key().public_numbers()
            self.jwk = {"kty": "EC", "crv": "P-256", "x": _number(point.x, 32), "y": _number(point.y, 32)}
        elif alg == "Ed25519":
            self.key = ed25519.Ed25519PrivateKey.generate()
            x = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            self.jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(x)}
        else:
            self.key = rsa.generate_private_key(65537, 2048)
            numbers = self.key.public_key().public_numbers()
            self.jwk = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}

    @property
    def jkt(self) -> str:
        """RFC 7638, written again."""
        canonical = json.dumps(dict(sorted(self.jwk.items())), separators=(",", ":"))
        return b64(hashlib.sha256(canonical.encode()).digest())

    def signs(self, data: bytes) -> bytes:
        if self.alg == "ES256":
            return jws.sign_es256(self.key, data)
        if self.alg == "Ed25519":
            return bytes(self.key.sign(data))
        return bytes(self.key.sign(data, padding.PKCS1v15(), SHA256()))

    def proof(
        self,
        method: str,
        url: str,
        *,
        now: float,
        token: str | None = None,
        nonce: str | None = None,
        header: Mapping[str, Any] = {},
        **claims: Any,
    ) -> str:
        """A proof; `header` and keyword arguments replace members, or take them out with `ABSENT`."""
        said: dict[str, Any] = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(now)}
        if token is not None:
            said["ath"] = b64(hashlib.sha256(token.encode()).digest())
        if nonce is not None:
            said["nonce"] = nonce
        head = {"typ": "dpop+jwt", "alg": self.alg, "jwk": self.jwk} | dict(header)
        parts = [
            b64(json.dumps({k: v for k, v in each.items() if v is not ABSENT}).encode())
            for each in (head, said | claims)
        ]
        signing_input = ".".join(parts).encode()
        return f"{signing_input.decode()}.{b64(self.signs(signing_input))}"


class Prover:
    """A holder at a house: proofs for its doors, at the house's time."""

    def __init__(self, house: House, alg: str = "ES256") -> None:
        self.house = house
        self.holder = Holder(alg)

    def proof(self, method: str, path: str, *, token: str | None = None, **more: Any) -> str:
        url = more.pop("url", self.house.settings.issuer + path)
        return self.holder.proof(method, url, now=more.pop("now", self.house.clock.now()), token=token, **more)

    async def asks(self, headers: Mapping[str, str], form: Mapping[str, Any], *, path: str = "/oauth/token") -> Reply:
        """A token request with a proof; asks again once with the nonce it is given, as clients do."""
        reply = await self._asks(headers, form, path)
        if reply.status == 400 and reply.json()["error"] == "use_dpop_nonce":
            reply = await self._asks(headers, form, path)
        return reply

    async def _asks(self, headers: Mapping[str, str], form: Mapping[str, Any], path: str) -> Reply:
        proof = self.proof("POST", path, nonce=self.holder.nonce)
        reply = await self.house.call("POST", path, headers={**headers, "dpop": proof}, form=form)
        self.holder.nonce = reply.header("dpop-nonce") or self.holder.nonce
        return reply

    async def calls(self, token: str, method: str, path: str, *, headers: Any = (), **more: Any) -> Reply:
        """A call with a bound token and a fresh proof; `more` changes the proof."""
        sent = {key: more.pop(key) for key in ("json", "body") if key in more}
        proof = self.proof(method, path.partition("?")[0], token=token, **more)
        shown = [("authorization", f"DPoP {token}"), ("dpop", proof), *headers]
        return await self.house.call(method, path, headers=shown, **sent)
