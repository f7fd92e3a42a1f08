"""Writes tests/vectors/dpop.json: proofs of possession as docs/delegation-jwt.md asks for them, right and wrong.

Shares no code with the verifier, so that each checks the other. The keys are those of the delegation vectors.
Run `python -m tools.dpop_vectors > tests/vectors/dpop.json`.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from tools.delegation_jwt_vectors import AS_AGENT, JWK, NOW, b64, signature, text, token

MEMBERS = {"ES256": ("crv", "kty", "x", "y"), "Ed25519": ("crv", "kty", "x"), "RS256": ("e", "kty", "n")}
METHOD, URL = "GET", "https://valetkey.example/p/github/repos/acme-corp/backend/contents/a%2Fb"
CLAIMS = {"jti": "-BwC3ESc6acc2lTc", "htm": METHOD, "htu": URL, "iat": NOW}


def public(alg: str) -> dict[str, str]:
    return {name: JWK[alg][name] for name in MEMBERS[alg]}


def thumbprint(alg: str) -> str:
    return b64(hashlib.sha256(text(dict(sorted(public(alg).items())))).digest())


def bound(alg: str) -> str:
    """A delegated credential bound to that key; any issuer's key signs it."""
    return token(AS_AGENT | {"cnf": {"jkt": thumbprint(alg)}})


def proof(alg: str = "ES256", header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A proof for `bound(alg)`; members that are None are left out."""
    head = {"typ": "dpop+jwt", "alg": alg, "jwk": public(alg)} | (header or {})
    claims = CLAIMS | {"ath": b64(hashlib.sha256(bound(alg).encode()).digest())} | changes
    kept = [text({name: value for name, value in each.items() if value is not None}) for each in (head, claims)]
    signing_input = ".".join(b64(part) for part in kept)
    return f"{signing_input}.{b64(signature(alg, signing_input.encode()))}"


def accepted() -> Iterator[dict[str, Any]]:
    def row(name: str, made: str, alg: str = "ES256") -> dict[str, Any]:
        return {"name": name, "proof": made, "token": bound(alg), "jkt": thumbprint(alg)}

    for alg in MEMBERS:
        yield row(f"signed with {alg}", proof(alg), alg)
    yield row("a query and a fragment in htu", proof(htu=URL + "?page=2#top"))
    yield row(
        "scheme and host in capitals", proof(htu=URL.replace("https://valetkey.example", "HTTPS://Valetkey.EXAMPLE"))
    )
    yield row("the default port", proof(htu=URL.replace("example/", "example:443/")))
    yield row("an escape in small letters", proof(htu=URL.replace("%2F", "%2f")))
    yield row("a letter that is escaped", proof(htu=URL.replace("backend", "%62ackend")))
    yield row("claims nobody knows", proof(sub="me", extra={"any": ["thing"]}))
    yield row("a time with a fraction", proof(iat=NOW - 0.5))
    yield row("60 seconds old", proof(iat=NOW - 60))
    yield row("10 seconds ahead", proof(iat=NOW + 10))
    yield row("the longest jti", proof(jti="j" * 128))
    yield row("a key that says what it is for", proof(header={"jwk": public("ES256") | {"use": "sig", "kid": "x"}}))


def refused() -> Iterator[dict[str, Any]]:
    key = public("ES256")
    wrong: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
        "no typ": ({"typ": None}, {}),
        "another typ": ({"typ": "JWT"}, {}),
        "no alg": ({"alg": None}, {}),
        "alg none": ({"alg": "none"}, {}),
        "the old name of Ed25519": ({"alg": "EdDSA"}, {}),
        "no key": ({"jwk": None}, {}),
        "a private key": ({"jwk": key | {"d": b64(bytes(31) + b"\1")}}, {}),
        "another key": ({"jwk": key | {"x": JWK["Ed25519"]["x"]}}, {}),
        "a kid beside the key": ({"kid": "mine"}, {}),
        "no jti": (None, {"jti": None}),
        "a jti that is too long": (None, {"jti": "j" * 129}),
        "no htm": (None, {"htm": None}),
        "another method": (None, {"htm": "POST"}),
        "the method in small letters": (None, {"htm": "get"}),
        "no htu": (None, {"htu": None}),
        "another path": (None, {"htu": URL + "/"}),
        "a slash that is no escape": (None, {"htu": URL.replace("%2F", "/")}),
        "another port": (None, {"htu": URL.replace("example/", "example:444/")}),
        "plain http": (None, {"htu": URL.replace("https", "http")}),
        "no iat": (None, {"iat": None}),
        "an iat that is text": (None, {"iat": str(NOW)}),
        "61 seconds old": (None, {"iat": NOW - 61}),
        "11 seconds ahead": (None, {"iat": NOW + 11}),
        "no ath": (None, {"ath": None}),
        "the hash of another token": (None, {"ath": b64(bytes(32))}),
        "an exp that is text": (None, {"exp": "soon"}),
        "a nonce that is a number": (None, {"nonce": 7}),
    }
    for name, (header, changes) in wrong.items():
        yield {"name": name, "proof": proof(header=header, **changes), "token": bound("ES256")}
    yield {"name": "another signature", "proof": proof()[:-4] + "AAAA", "token": bound("ES256")}
    yield {"name": "a token bound to another key", "proof": proof(), "token": bound("Ed25519")}


def build() -> dict[str, Any]:
    """Return the whole document."""
    return {
        "format": 1,
        "now": NOW,
        "method": METHOD,
        "url": URL,
        "accepted": list(accepted()),
        "refused": list(refused()),
    }


if __name__ == "__main__":
    print(json.dumps(build(), indent=1))
