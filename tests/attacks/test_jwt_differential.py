"""Three libraries as oracles: whatever one of them rejects, we reject; whatever we mint, they accept (JW-10).

Hypothesis changes bytes, headers, claims and signatures. A changed token is mostly signed again with the right key, so
that the change itself is judged and not only the broken signature. Each oracle is configured as its manual says a
careful caller should: one algorithm, audience, issuer, required claims. Where we are stricter than all three is the
subject of test_jwt.py; here only the other direction is a failure.
"""

import json
import warnings
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any
from unittest.mock import patch

import jwt as pyjwt
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt

from tests.support.delegated import (
    AGENT_TYP,
    AUDIENCE,
    ISSUER,
    KID,
    PUBLIC,
    RFC8693_TYP,
    agent_claims,
    mint,
    rfc8693_claims,
    sealed,
)
from valetkey.verify import InvalidToken, Verifier, base64url

with warnings.catch_warnings():
    import authlib.deprecate  # noqa: F401  # it turns its own warnings on, so they are turned off after it

    warnings.simplefilter("ignore")
    from authlib.jose import JsonWebKey, JsonWebToken

# Everybody judges at one standing time: a machine's clock would let the claims expire while the tests run.
AT = 1_700_000_000
TIMES: dict[str, Any] = {"iat": AT - 60, "exp": AT + 600}
REQUIRED = ["iss", "aud", "exp", "iat", "sub"]
ALGORITHMS = ["ES256", "Ed25519", "RS256"]


class StandingDatetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "StandingDatetime":
        return cls.fromtimestamp(AT, tz)


class Standing:
    def now(self) -> float:
        return float(AT)

    monotonic = now


OURS = {
    layout: Verifier(ISSUER, AUDIENCE, keys=PUBLIC, layout=layout, leeway=0, clock=Standing(), remembered=0)  # type: ignore[arg-type]
    for layout in ("agent", "rfc8693")
}


def we_accept(token: str, layout: str = "agent") -> bool:
    try:
        OURS[layout].verify(token)
    except InvalidToken:
        return False
    return True


def pyjwt_reads(token: str, alg: str) -> dict[str, Any]:
    key: Any = PUBLIC[KID[alg]].key
    options: Any = {"require": REQUIRED, "strict_aud": True}
    with patch.object(pyjwt.api_jwt, "datetime", StandingDatetime):  # it takes no time as an argument
        return pyjwt.decode(token, key, algorithms=[alg], audience=AUDIENCE, issuer=ISSUER, options=options)


def joserfc_reads(token: str, alg: str) -> dict[str, Any]:
    read = joserfc_jwt.decode(token, joserfc_jwk.import_key(PUBLIC[KID[alg]].jwk()), algorithms=[alg])
    essential: Any = {name: {"essential": True} for name in REQUIRED}
    essential |= {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": AUDIENCE}}
    joserfc_jwt.JWTClaimsRegistry(now=AT, **essential).validate(read.claims)
    return read.claims


def authlib_reads(token: str, alg: str) -> dict[str, Any]:
    essential: Any = {name: {"essential": True} for name in REQUIRED}
    essential |= {"iss": {"essential": True, "value": ISSUER}, "aud": {"essential": True, "value": AUDIENCE}}
    key = JsonWebKey.import_key(PUBLIC[KID[alg]].jwk())
    claims = JsonWebToken([alg]).decode(token, key, claims_options=essential)
    claims.validate(now=AT)
    return dict(claims)


Oracle = Callable[[str, str], dict[str, Any]]
# PyJWT and Authlib do not know the name `Ed25519` (RFC 9864), so joserfc alone judges those.
ORACLES: dict[str, list[Oracle]] = {
    "ES256": [pyjwt_reads, joserfc_reads, authlib_reads],
    "RS256": [pyjwt_reads, joserfc_reads, authlib_reads],
    "Ed25519": [joserfc_reads],
}


def rejecting(token: str, alg: str) -> list[str]:
    """Return the names of the oracles that do not accept `token`."""
    names = []
    for oracle in ORACLES[alg]:
        try:
            oracle(token, alg)
        except Exception:  # a library may reject with any exception of its own, and some do with a bare ValueError
            names.append(oracle.__name__)
    return names


def compare(token: str, alg: str, layout: str = "agent") -> None:
    """Fail when we accept what somebody else rejects. The token in the message belongs into the vectors."""
    accepted = we_accept(token, layout)
    event(f"accepted by us: {accepted}")
    if accepted:
        assert rejecting(token, alg) == [], f"accepted by us, rejected elsewhere: {token}"


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.sampled_from([AUDIENCE, ISSUER, 1, None]), max_size=2),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
    st.sampled_from(
        [AT - 3600, AT + 3600, AT + 100_000, str(AT + 600), float(AT + 600), AUDIENCE, ISSUER, "none", "HS256"]
    ),
)
names = st.sampled_from([*agent_claims(), "nbf", "cnf", "crit", "alg", "Exp", "x"])
layouts = st.sampled_from(["agent", "rfc8693"])


def claims_of(layout: str) -> dict[str, Any]:
    return agent_claims(**TIMES) if layout == "agent" else rfc8693_claims(**TIMES)


TYP = {"agent": AGENT_TYP, "rfc8693": RFC8693_TYP}
quick = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("layout", ["agent", "rfc8693"])
@given(scopes=st.lists(st.sampled_from(["repo:read", "repo:write", "admin"]), min_size=1), text=st.text(max_size=20))
@quick
def test_jw_10_what_we_mint_everybody_accepts(alg: Any, layout: str, scopes: list[str], text: str) -> None:
    claims = claims_of(layout) | {"scope": " ".join(scopes), "note": text.replace("\x00", "")}
    token = mint(claims, typ=TYP[layout], alg=alg)
    assert we_accept(token, layout)
    for oracle in ORACLES[alg]:
        assert oracle(token, alg) == claims


@pytest.mark.parametrize("alg", ALGORITHMS)
@given(layout=layouts, name=names, value=odd)
@example(layout="agent", name="exp", value=str(AT + 600))
@example(layout="agent", name="exp", value=True)
@example(layout="agent", name="aud", value=[AUDIENCE])
@quick
def test_jw_10_a_changed_claim(alg: str, layout: str, name: str, value: Any) -> None:
    header = {"alg": alg, "kid": KID[alg], "typ": TYP[layout]}
    compare(sealed(header, json.dumps(claims_of(layout) | {name: value}).encode(), alg=alg), alg, layout)


@pytest.mark.parametrize("alg", ALGORITHMS)
@given(name=st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "jwk", "jku", "x5c", "Alg"]), value=odd)
@example(name="alg", value="none")
@example(name="b64", value=False)
@quick
def test_jw_10_a_changed_header(alg: str, name: str, value: Any) -> None:
    header = {"alg": alg, "kid": KID[alg], "typ": AGENT_TYP} | {name: value}
    compare(sealed(header, claims_of("agent"), alg=alg), alg)


@pytest.mark.parametrize("alg", ALGORITHMS)
@given(data=st.data())
@quick
def test_jw_10_changed_text(alg: str, data: st.DataObject) -> None:
    """Cut, repeat, insert and replace characters of the token itself."""
    token = mint(claims_of("agent"), alg=alg)  # type: ignore[arg-type]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(token)))
        end = data.draw(st.integers(start, min(len(token), start + 4)))
        inserted = data.draw(st.text("AZaz09-_+/=. \n", max_size=3))
        token = token[:start] + inserted + token[end:]
    compare(token, alg)


@pytest.mark.parametrize("alg", ALGORITHMS)
@given(data=st.data())
@quick
def test_jw_10_changed_json(alg: str, data: st.DataObject) -> None:
    """Change the JSON text of header or claims, and sign the result."""
    parts = [json.dumps({"alg": alg, "kid": KID[alg], "typ": AGENT_TYP}), json.dumps(claims_of("agent"))]
    place = data.draw(st.integers(0, 1))
    text = parts[place]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    inserted = data.draw(st.one_of(st.text('{}[]":,\\u0 eE-1xNaN', max_size=4), st.text(max_size=2)))
    parts[place] = text[:start] + inserted + text[end:]
    compare(sealed(parts[0].encode(errors="replace"), parts[1].encode(errors="replace"), alg=alg), alg)


@pytest.mark.parametrize("alg", ALGORITHMS)
@given(signature=st.binary(max_size=260), keep=st.integers(0, 64))
@quick
def test_jw_10_a_changed_signature(alg: str, signature: bytes, keep: int) -> None:
    signing_input, _, right = mint(claims_of("agent"), alg=alg).rpartition(".")  # type: ignore[arg-type]
    changed = base64url.decode(right.encode())[:keep] + signature
    compare(f"{signing_input}.{base64url.encode(changed).decode()}", alg)


@pytest.mark.parametrize("alg", ALGORITHMS)
@pytest.mark.parametrize("other", ALGORITHMS)
def test_jw_10_parts_of_one_token_on_another(alg: Any, other: Any) -> None:
    one = mint(claims_of("agent"), alg=alg).split(".")
    two = mint(claims_of("agent") | {"jti": "tok_2"}, alg=other).split(".")
    for index in range(3):
        mixed = [*one]
        mixed[index] = two[index]
        token = ".".join(mixed)
        assert not we_accept(token) or rejecting(token, alg) == []
