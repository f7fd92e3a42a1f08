"""Writes tests/vectors/delegation_jwt.json: delegated credentials made from docs/delegation-jwt.md alone.

Shares no code with the verifier, so that each checks the other. Signatures are deterministic (ECDSA by RFC 6979), so
the same keys always give the same file.
Run `python -m tools.delegation_jwt_vectors > tests/vectors/delegation_jwt.json`.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

KEYS = json.loads((Path(__file__).parents[1] / "tests/vectors/delegation_jwt.keys.json").read_text())["keys"]
JWK = {jwk["alg"]: jwk for jwk in KEYS}
ISSUER, AUDIENCE, NOW = "https://valetkey.example", "https://api.github.com", 1_800_000_000
TYP = {"agent": "delegation+jwt", "rfc8693": "at+jwt"}
USER = {"sub": "user:alice@acme.com", "uid": "usr_01k00000000000000000000001"}
AGENT = {"sub": "agent:pr-reviewer-v2", "uid": "agt_01k00000000000000000000002"}
SUB_AGENT = {"sub": "agent:linter", "uid": "agt_01k00000000000000000000003"}
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
DETAIL = {
    "type": "github",
    "connection": "con_01k00000000000000000000008",
    "actions": ["repo:read"],
    "resources": ["acme-corp/backend"],
}
COMMON = {
    "iss": ISSUER,
    "org": "org_01k00000000000000000000004",
    "aud": AUDIENCE,
    "iat": NOW - 60,
    "exp": NOW + 240,
    "jti": "tok_01k00000000000000000000005",
    "client_id": AGENT["uid"],
    "task": "tsk_01k00000000000000000000006",
    "delegation": "dlg_01k00000000000000000000007",
    "scope": "repo:read",
    "authorization_details": [DETAIL],
}
AS_AGENT = COMMON | AGENT | {"act": USER}
AS_RFC8693 = COMMON | USER | {"act": AGENT}
CHILD = {"client_id": SUB_AGENT["uid"]}
SAYS = {
    "user": USER["uid"],
    "agent": AGENT["uid"],
    "chain": [AGENT["uid"]],
    "scopes": ["repo:read"],
    "grants": [DETAIL],
    "cnf": None,
}


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def number(jwk: dict[str, str], name: str) -> int:
    return int.from_bytes(urlsafe_b64decode(jwk[name] + "=="), "big")


def signature(alg: str, signing_input: bytes) -> bytes:
    jwk = JWK[alg]
    if alg == "Ed25519":
        return ed25519.Ed25519PrivateKey.from_private_bytes(urlsafe_b64decode(jwk["d"] + "==")).sign(signing_input)
    if alg == "RS256":
        p, q, d, n, e = (number(jwk, name) for name in "pqdne")
        crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
        private = rsa.RSAPrivateNumbers(p, q, d, *crt, rsa.RSAPublicNumbers(e, n)).private_key()
        return private.sign(signing_input, padding.PKCS1v15(), SHA256())
    key = ec.derive_private_key(number(jwk, "d"), ec.SECP256R1())
    r, s = utils.decode_dss_signature(key.sign(signing_input, ec.ECDSA(SHA256(), deterministic_signing=True)))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def text(value: dict[str, Any] | str) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))).encode()


def token(
    claims: dict[str, Any] | str,
    layout: str = "agent",
    *,
    key: str = "ES256",
    header: str | None = None,
    **changes: Any,
) -> str:
    """Return a token rightly signed with `key`. `header` replaces the header, `changes` members (None: left out)."""
    head = header if isinstance(header, str) else {"alg": key, "kid": JWK[key]["kid"], "typ": TYP[layout]} | changes
    if isinstance(head, dict):
        head = {name: value for name, value in head.items() if value is not None}
    signing_input = f"{b64(text(head))}.{b64(text(claims))}"
    return f"{signing_input}.{b64(signature(key, signing_input.encode()))}"


def without(claims: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if name not in names}


def accepted() -> Iterator[dict[str, Any]]:
    def row(name: str, layout: str, claims: dict[str, Any], alg: str = "ES256", **says: Any) -> dict[str, Any]:
        made = token(claims, layout, key=alg)
        return {"name": name, "layout": layout, "token": made, "claims": claims, "says": SAYS | says}

    for alg in ("ES256", "Ed25519", "RS256"):
        yield row(f"the agent layout, {alg}", "agent", AS_AGENT, alg)
        yield row(f"the rfc8693 layout, {alg}", "rfc8693", AS_RFC8693, alg)
    nested = {"agent": SUB_AGENT["uid"], "chain": [AGENT["uid"], SUB_AGENT["uid"]]}
    yield row("a sub-agent", "agent", AS_AGENT | SUB_AGENT | CHILD | {"act": AGENT | {"act": USER}}, **nested)
    yield row("a sub-agent", "rfc8693", AS_RFC8693 | CHILD | {"act": SUB_AGENT | {"act": AGENT}}, **nested)
    yield row("bound to a key", "agent", AS_AGENT | {"cnf": {"jkt": JKT}}, cnf=JKT)
    yield row("bound to a key", "rfc8693", AS_RFC8693 | {"cnf": {"jkt": JKT}}, cnf=JKT)
    two = [
        DETAIL,
        DETAIL | {"actions": ["issues:read", "issues:write"], "resources": ["acme-corp/site", "acme-corp/docs"]},
    ]
    details = {"authorization_details": two}
    yield row("two grants with nothing in common", "agent", without(AS_AGENT, "scope") | details, scopes=[], grants=two)
    direct = without(DETAIL, "connection")
    yield row(
        "a resource server of the user's own",
        "rfc8693",
        AS_RFC8693 | {"authorization_details": [direct]},
        grants=[direct],
    )
    yield row("the longest life", "agent", AS_AGENT | {"exp": NOW + 840})
    yield row("its last second", "agent", AS_AGENT | {"exp": NOW + 1})
    yield row("not-before reached", "agent", AS_AGENT | {"nbf": NOW})
    yield row(
        "who may receive a part", "agent", AS_AGENT | {"may_act": {"sub": SUB_AGENT["sub"], "uid": SUB_AGENT["uid"]}}
    )
    yield row("an unknown claim", "agent", AS_AGENT | {"later_version": [1, {"x": True}]})


def refused() -> Iterator[dict[str, str]]:
    def row(name: str, reason: str, made: str, layout: str = "agent") -> dict[str, str]:
        return {"name": name, "layout": layout, "reason": reason, "token": made}

    good = token(AS_AGENT)
    head, payload, sig = good.split(".")
    yield row("a layout presented as the other", "typ", good, "rfc8693")
    yield row("a layout presented as the other", "typ", token(AS_RFC8693, "rfc8693"))
    yield row("agent claims under at+jwt", "layout", token(AS_AGENT, "rfc8693"), "rfc8693")
    yield row("rfc8693 claims under delegation+jwt", "layout", token(AS_RFC8693, "agent"))
    for typ in ("JWT", "dpop+jwt", "task+jwt", "api+jwt", "application/delegation+jwt", "Delegation+JWT"):
        yield row(f"typ {typ}", "typ", token(AS_AGENT, typ=typ))
    for alg in ("none", "HS256", "RS256", "EdDSA", "Ed25519", "es256"):
        yield row(f"alg {alg} with an ES256 key", "algorithm", token(AS_AGENT, alg=alg))
    unsigned = token(AS_AGENT, alg="none").rpartition(".")[0]
    yield row("alg none, no signature", "algorithm", unsigned + ".")
    yield row("no signature", "signature", f"{head}.{payload}.")
    changed = f"{head}.{b64(text(AS_AGENT | {'scope': 'repo:admin'}))}.{sig}"
    yield row("a changed claim", "signature", changed)
    yield row(
        "another token's signature", "signature", f"{head}.{payload}.{token(AS_AGENT | {'jti': 'tok_2'}).split('.')[2]}"
    )
    yield row("r and s are zero", "signature", f"{head}.{payload}.{b64(bytes(64))}")
    r, s = (int.from_bytes(urlsafe_b64decode(sig + "==")[i : i + 32], "big") for i in (0, 32))
    yield row("a DER signature", "signature", f"{head}.{payload}.{b64(utils.encode_dss_signature(r, s))}")
    yield row("an unknown kid", "key", token(AS_AGENT, kid="another"))
    for name in ("alg", "kid", "typ"):
        yield row(f"no {name}", "header", token(AS_AGENT, **{name: None}))
    for name, value in {
        "jwk": {},
        "jku": "https://e.example",
        "x5c": [],
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
    }.items():
        yield row(f"a header with {name}", "header", token(AS_AGENT, **{name: value}))
    yield row("a header with Alg", "header", token(AS_AGENT, Alg="none"))
    kid = JWK["ES256"]["kid"]
    twice = f'{{"alg":"none","alg":"ES256","kid":"{kid}","typ":"delegation+jwt"}}'
    yield row("alg twice", "json", token(AS_AGENT, header=twice))
    body = text(AS_AGENT).decode()[:-1]
    for name, member in {
        "sub twice": '"sub":"agent:other"',
        "sub twice by escape": '"s\\u0075b":"agent:other"',
        "NaN": '"x":NaN',
        "a huge integer": '"x":9007199254740992',
        "nested 17 deep": '"x":' + "[" * 16 + "]" * 16,
        "a lone surrogate": '"x":"\\ud800"',
        "U+0000 in a name": '"x\\u0000":1',
    }.items():
        yield row(name, "json", token(f"{body},{member}}}"))
    yield row("claims that are a list", "json", token("[]"))
    yield row("a claim in other letters", "claim", token(AS_AGENT | {"Scope": "repo:admin"}))
    for name, made in {
        "padding": f"{head}.{payload}.{sig}==",
        "a space": f"{head}.{payload}.{sig} ",
        "the standard alphabet": f"{head}.{payload}.{'+' + sig[1:]}",
        "unused bits set": good[:-1] + chr(ord(good[-1]) + 1),
    }.items():
        yield row(name, "encoding", made)
    for name, made in {
        "one dot": f"{head}.{payload}",
        "three dots": good + ".",
        "five parts": f"{head}.{good}.{sig}",
    }.items():
        yield row(name, "structure", made)
    yield row("longer than 8 KiB", "size", token(AS_AGENT | {"x": "y" * 8192}))
    for value in ("1800000240", True, -1, 1800000240.0, None):
        yield row(f"exp {json.dumps(value)}", "time_shape", token(AS_AGENT | {"exp": value}))
    yield row("no exp", "time_shape", token(without(AS_AGENT, "exp")))
    yield row("no iat", "time_shape", token(without(AS_AGENT, "iat")))
    yield row("expired this second", "expired", token(AS_AGENT | {"exp": NOW}))
    yield row("not yet", "not_yet", token(AS_AGENT | {"nbf": NOW + 1}))
    yield row("issued in the future", "not_yet", token(AS_AGENT | {"iat": NOW + 1}))
    yield row("lives 901 seconds", "lifetime", token(AS_AGENT | {"exp": NOW + 841}))
    yield row("another issuer", "issuer", token(AS_AGENT | {"iss": ISSUER + "/"}))
    yield row("no issuer", "issuer", token(without(AS_AGENT, "iss")))
    for value in ([AUDIENCE], AUDIENCE + "/", AUDIENCE.upper(), AUDIENCE[:-1], ""):
        yield row(f"aud {json.dumps(value)}", "audience", token(AS_AGENT | {"aud": value}))
    yield row("no audience", "audience", token(without(AS_AGENT, "aud")))
    for name, claims in {
        "no act": without(AS_AGENT, "act"),
        "no user at the end": AS_AGENT | {"act": SUB_AGENT},
        "two users": AS_AGENT | {"act": USER | {"act": USER | {"uid": "usr_2"}}},
        "an agent acting for itself": AS_AGENT | {"act": AGENT | {"act": USER}},
        "act says more than who": AS_AGENT | {"act": USER | {"exp": NOW}},
        "a name of neither kind": AS_AGENT | {"sub": "pr-reviewer-v2"},
        "a name with a space": AS_AGENT | {"sub": "agent:pr reviewer"},
        "no uid": without(AS_AGENT, "uid"),
    }.items():
        yield row(name, "layout", token(claims))
    nine: dict[str, Any] = dict(USER)
    for index in range(8):
        nine = {"sub": f"agent:a{index}", "uid": f"agt_{index}", "act": nine}
    yield row("nine agents", "layout", token(AS_AGENT | {"act": nine}))
    for name, claims in {
        "client_id of another": AS_AGENT | {"client_id": SUB_AGENT["uid"]},
        "an id of another kind": AS_AGENT | {"task": "dlg_01k00000000000000000000007"},
        "no organization": without(AS_AGENT, "org"),
        "no grants": without(AS_AGENT, "authorization_details"),
        "an empty list of grants": AS_AGENT | {"authorization_details": []},
        "a grant of no actions": AS_AGENT | {"authorization_details": [DETAIL | {"actions": []}]},
        "a grant on no resources": AS_AGENT | {"authorization_details": [DETAIL | {"resources": []}]},
        "a grant with an unknown condition": AS_AGENT | {"authorization_details": [DETAIL | {"max_calls": 3}]},
        "a scope with two spaces": AS_AGENT | {"scope": "repo:read  repo:write"},
        "a scope that is a list": AS_AGENT | {"scope": ["repo:read"]},
        "a cnf we do not know": AS_AGENT | {"cnf": {"x5t#S256": JKT}},
        "a cnf that is no thumbprint": AS_AGENT | {"cnf": {"jkt": "x"}},
    }.items():
        yield row(name, "claim", token(claims))


def build() -> dict[str, Any]:
    """Return the whole document."""
    private = {"d", "p", "q"}
    return {
        "format": 1,
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "now": NOW,
        "leeway": 0,
        "max_lifetime": 900,
        "jwks": {"keys": [{name: value for name, value in jwk.items() if name not in private} for jwk in KEYS]},
        "accepted": list(accepted()),
        "refused": list(refused()),
    }


if __name__ == "__main__":
    print(json.dumps(build(), indent=1))
