"""Reading and shaping tokens for tests: what one says, and assertions signed by an agent's own key."""

import json
import secrets
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key

from valetkey.verify import base64url, jws
from valetkey.verify.keys import PublicKey

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ABSENT = object()


def unverified_header(token: str) -> dict[str, Any]:
    """The header, as written."""
    return dict(json.loads(base64url.decode(token.split(".")[0].encode())))


def unverified_claims(token: str) -> dict[str, Any]:
    """The claims, as written."""
    return dict(json.loads(base64url.decode(token.split(".")[1].encode())))


def signed(key: EllipticCurvePrivateKey, kid: str, header: dict[str, Any], claims: Any) -> str:
    """A compact JWS over exactly this header (plus `alg` and `kid` unless it says otherwise) and these claims."""
    full = {"alg": "ES256", "kid": kid, **header}
    full = {name: value for name, value in full.items() if value is not ABSENT}
    text = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signing_input = base64url.encode(json.dumps(full).encode()) + b"." + base64url.encode(text)
    return jws.compact(signing_input, jws.sign_es256(key, signing_input))


class OwnKey:
    """An agent's own ES256 key."""

    def __init__(self, kid: str = "agent-key-1") -> None:
        self.kid = kid
        self.private = generate_private_key(SECP256R1())

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [PublicKey(self.kid, "ES256", self.private.public_key()).jwk()]}

    def assertion(
        self, agent: str, issuer: str, now: float, header: dict[str, Any] | None = None, **changed: Any
    ) -> str:
        """A client assertion (RFC 7523) that is right in everything but what is changed; ABSENT leaves a claim out."""
        claims = {
            "iss": agent,
            "sub": agent,
            "aud": issuer,
            "iat": int(now),
            "exp": int(now) + 60,
            "jti": secrets.token_hex(12),
            **changed,
        }
        claims = {name: value for name, value in claims.items() if value is not ABSENT}
        return signed(self.private, self.kid, header or {"typ": "JWT"}, claims)
