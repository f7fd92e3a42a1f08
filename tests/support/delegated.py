"""Delegated credentials made to order: fixed keys, whole claims in both layouts, and any wrong fact signed rightly."""

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from valetkey.verify import PublicKey, base64url, jws
from valetkey.verify.keys import Algorithm

ISSUER = "https://valetkey.acme.com"
AUDIENCE = "https://api.github.com"
NOW = 1_800_000_000
AGENT_TYP, RFC8693_TYP = "delegation+jwt", "at+jwt"
KEYS_FILE = Path(__file__).parents[1] / "vectors" / "delegation_jwt.keys.json"
KID: dict[str, str] = {"ES256": "vector-es256", "Ed25519": "vector-ed25519", "RS256": "vector-rs256"}

ORG = "org_01hf0000000000000000000000"
ALICE = {"sub": "user:alice@acme.com", "uid": "usr_01hf0000000000000000000000"}
REVIEWER = {"sub": "agent:pr-reviewer-v2", "uid": "agt_01hf0000000000000000000000"}
LINTER = {"sub": "agent:linter", "uid": "agt_01hf0000000000000000000001"}
THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def _number(text: str) -> int:
    return int.from_bytes(base64url.decode(text.encode()), "big")


def private_keys() -> dict[str, Any]:
    """Return the three fixed private keys by algorithm."""
    es256, ed, rs256 = (json.loads(KEYS_FILE.read_text())["keys"][index] for index in range(3))
    p, q, d = (_number(rs256[name]) for name in "pqd")
    public = rsa.RSAPublicNumbers(_number(rs256["e"]), _number(rs256["n"]))
    crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return {
        "ES256": ec.derive_private_key(_number(es256["d"]), ec.SECP256R1()),
        "Ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(base64url.decode(ed["d"].encode())),
        "RS256": rsa.RSAPrivateNumbers(p, q, d, *crt, public).private_key(),
    }


PRIVATE = private_keys()
PUBLIC = {KID[alg]: PublicKey(KID[alg], alg, PRIVATE[alg].public_key()) for alg in ("ES256", "Ed25519", "RS256")}  # type: ignore[arg-type]


def common_claims() -> dict[str, Any]:
    return {
        "iss": ISSUER,
        "org": ORG,
        "aud": AUDIENCE,
        "iat": NOW,
        "exp": NOW + 300,
        "jti": "tok_01hf0000000000000000000000",
        "client_id": REVIEWER["uid"],
        "task": "tsk_01hf0000000000000000000000",
        "delegation": "dlg_01hf0000000000000000000000",
        "scope": "repo:read",
        "authorization_details": [
            {
                "type": "github",
                "connection": "con_01hf0000000000000000000000",
                "actions": ["repo:read"],
                "resources": ["acme-corp/backend"],
            }
        ],
    }


def agent_claims(**changes: Any) -> dict[str, Any]:
    """Return claims in the `agent` layout; a change to `...` (Ellipsis) leaves that claim out."""
    return _changed(common_claims() | REVIEWER | {"act": ALICE}, changes)


def rfc8693_claims(**changes: Any) -> dict[str, Any]:
    """Return claims in the `rfc8693` layout."""
    return _changed(common_claims() | ALICE | {"act": REVIEWER}, changes)


def _changed(claims: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (claims | changes).items() if value is not ...}


def sign(alg: str, signing_input: bytes) -> bytes:
    match alg:
        case "ES256":
            return jws.sign_es256(PRIVATE[alg], signing_input)
        case "Ed25519":
            return jws.sign_ed25519(PRIVATE[alg], signing_input)
        case _:
            return jws.sign_rs256(PRIVATE[alg], signing_input)


def mint(claims: dict[str, Any] | bytes, *, typ: str = AGENT_TYP, alg: Algorithm = "ES256") -> str:
    """Return a token of these claims (or these very bytes), signed with the fixed key of `alg`."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims, separators=(",", ":")).encode()
    signing_input = jws.signing_input(alg, KID[alg], typ, payload)
    return jws.compact(signing_input, sign(alg, signing_input))


def sealed(header: bytes | dict[str, Any], payload: bytes | dict[str, Any], *, alg: str = "ES256") -> str:
    """Return a token with any header and payload whatever, rightly signed with the fixed key of `alg`."""
    parts = (p if isinstance(p, bytes) else json.dumps(p).encode() for p in (header, payload))
    signing_input = b".".join(base64url.encode(part) for part in parts)
    return jws.compact(signing_input, sign(alg, signing_input))


def header(**changes: Any) -> dict[str, Any]:
    return _changed({"alg": "ES256", "kid": KID["ES256"], "typ": AGENT_TYP}, changes)
