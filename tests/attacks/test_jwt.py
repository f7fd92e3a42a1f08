"""Forged, confused and malformed tokens, each one fact away from a token that is accepted (JW, OA)."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from tests.support.delegated import (
    AGENT_TYP,
    AUDIENCE,
    ISSUER,
    KID,
    NOW,
    PRIVATE,
    PUBLIC,
    RFC8693_TYP,
    agent_claims,
    header,
    mint,
    rfc8693_claims,
    sealed,
)
from valetkey.verify import ExpiredToken, InvalidKey, InvalidToken, PublicKey, Verifier, base64url, parse_jwk
from valetkey.verify import json as strict_json
from valetkey.verify.claims import Layout
from valetkey.verify.errors import PUBLIC_SENTENCE, Reason


class Standing:
    """A clock that stands at one moment."""

    def __init__(self, at: float = NOW) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


def verifier(layout: Layout = "agent", at: float = NOW + 1, **changes: Any) -> Verifier:
    settings = {"keys": PUBLIC, "layout": layout, "leeway": 0, "clock": Standing(at)} | changes
    return Verifier(settings.pop("issuer", ISSUER), settings.pop("audience", AUDIENCE), **settings)


def reason(token: Any, layout: Layout = "agent", **changes: Any) -> Reason:
    with pytest.raises(InvalidToken) as refused:
        verifier(layout, **changes).verify(token)
    assert str(refused.value) == refused.value.public == PUBLIC_SENTENCE
    return refused.value.reason


@pytest.mark.parametrize("alg", ["ES256", "Ed25519", "RS256"])
def test_a_token_of_each_algorithm_is_accepted(alg: Any) -> None:
    assert verifier().verify(mint(agent_claims(), alg=alg)).user.name == "user:alice@acme.com"


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "HS256", "RS256", "Ed25519", "EdDSA", "ES384", "es256", ""])
def test_jw_01_the_key_fixes_the_algorithm(alg: str) -> None:
    assert verifier().verify(sealed(header(), agent_claims()))
    assert reason(sealed(header(alg=alg), agent_claims())) is Reason.ALGORITHM


@pytest.mark.parametrize("alg", ["none", "None", "ES256"])
def test_jw_01_an_unsigned_token_is_refused(alg: str) -> None:
    unsigned = sealed(header(alg=alg), agent_claims()).rpartition(".")[0] + "."
    assert reason(unsigned) in {Reason.ALGORITHM, Reason.SIGNATURE}


@pytest.mark.parametrize("kid", ["vector-es256", "vector-rs256", "vector-ed25519"])
def test_jw_01_a_mac_made_with_our_public_key_is_refused(kid: str) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public: Any = PUBLIC[kid].key
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(PUBLIC[kid].jwk()).encode(),
    ):
        signing_input = sealed(header(alg="HS256", kid=kid), agent_claims()).rpartition(".")[0]
        mac = hmac.digest(secret, signing_input.encode(), hashlib.sha256)
        assert reason(f"{signing_input}.{base64url.encode(mac).decode()}") is Reason.ALGORITHM


@pytest.mark.parametrize("alg", ["ES256", "Ed25519", "RS256"])
def test_jw_01_a_signature_of_another_familys_key_is_refused(alg: str) -> None:
    others = {"ES256": "Ed25519", "Ed25519": "RS256", "RS256": "ES256"}
    assert reason(sealed(header(alg=alg, kid=KID[alg]), agent_claims(), alg=others[alg])) is Reason.SIGNATURE


def test_jw_01_an_ecdsa_signature_in_der_is_refused() -> None:
    from valetkey.verify.keys import ES256

    signing_input = mint(agent_claims()).rpartition(".")[0]
    der = PRIVATE["ES256"].sign(signing_input.encode(), ES256)
    assert reason(f"{signing_input}.{base64url.encode(der).decode()}") is Reason.SIGNATURE


def test_jw_01_an_ecdsa_signature_with_a_zero_in_the_middle_is_refused() -> None:
    signing_input, _, signature = mint(agent_claims()).rpartition(".")
    raw = base64url.decode(signature.encode())
    longer = raw[:32] + b"\0" + raw[32:]
    assert reason(f"{signing_input}.{base64url.encode(longer).decode()}") is Reason.SIGNATURE


@pytest.mark.parametrize(
    "extra",
    [
        {"jwk": PUBLIC["vector-es256"].jwk()},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/chain.pem"},
        {"x5c": ["MIIB"]},
        {"x5t": "AAAA"},
        {"x5t#S256": "AAAA"},
        {"cty": "JWT"},
        {"url": "https://evil.example"},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"b64": False},
        {"nonce": "x"},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_jw_02_a_header_that_brings_or_names_anything_more_is_refused(extra: dict[str, Any]) -> None:
    assert reason(sealed(header(**extra), agent_claims())) is Reason.HEADER


@pytest.mark.parametrize("crit", [["exp"], ["b64"], [], "exp", None])
def test_jw_03_a_critical_extension_is_refused(crit: Any) -> None:
    assert reason(sealed(header(crit=crit, exp=1), agent_claims())) is Reason.HEADER
    assert reason(sealed(header(crit=crit), agent_claims())) is Reason.HEADER


@pytest.mark.parametrize("missing", ["alg", "kid", "typ"])
def test_jw_03_a_header_that_says_less_is_refused(missing: str) -> None:
    assert reason(sealed(header(**{missing: ...}), agent_claims())) is Reason.HEADER


@pytest.mark.parametrize("value", [None, 1, True, [], {}, ["ES256"]])
@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
def test_jw_03_a_header_member_that_is_not_text_is_refused(name: str, value: Any) -> None:
    assert reason(sealed(header(**{name: value}), agent_claims())) is Reason.HEADER


HEADER_TEXT = json.dumps(header()).encode()
CLAIMS_TEXT = json.dumps(agent_claims()).encode()

AMBIGUOUS = {
    "duplicate": b'"x":1,"x":1',
    "duplicate-by-escape": b'"sub":"agent:x"',
    "duplicate-by-escaped-name": b'"s\\u0075b":"agent:x"',
    "duplicate-inside": b'"x":{"a":1,"a":2}',
    "nan": b'"x":NaN',
    "infinity": b'"x":Infinity',
    "minus-infinity": b'"x":-Infinity',
    "overflowing-double": b'"x":1e999',
    "huge-integer": b'"x":9007199254740992',
    "huge-negative": b'"x":-9007199254740992',
    "very-long-integer": b'"x":' + b"9" * 4500,
    "very-long-fraction": b'"x":0.' + b"3" * 4500,
    "leading-zero": b'"x":01',
    "hexadecimal": b'"x":0x10',
    "too-deep": b'"x":' + b"[" * 16 + b"]" * 16,
    "far-too-deep": b'"x":' + b"[" * 2500 + b"]" * 2500,
    "unclosed-depths": b'"x":' + b"[" * 5000,
    "lone-high-surrogate": b'"x":"\\ud800"',
    "lone-low-surrogate": b'"x":"\\udc00"',
    "surrogates-swapped": b'"x":"\\udc00\\ud800"',
    "surrogate-in-utf-8": b'"x":"\xed\xa0\x80"',
    "surrogate-in-a-list": b'"x":[1,["\\udc00"]]',
    "surrogate-in-a-name": b'"\\ud800":1',
    "overlong-utf-8": b'"x":"\xc0\xaf"',
    "latin-1": b'"x":"\xe9"',
    "nul-in-a-name": b'"x\\u0000":1',
    "nul-in-a-value": b'"x":"\\u0000"',
    "raw-nul": b'"x":"\x00"',
    "raw-newline": b'"x":"\n"',
    "comment": b'"x":1/* */',
    "trailing-comma": b'"x":1,',
    "single-quotes": b"'x':1",
    "too-many-members": b",".join(b'"m%d":1' % number for number in range(70)),
}


@pytest.mark.parametrize("member", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
@pytest.mark.parametrize("place", ["header", "claims"])
def test_jw_04_ambiguous_json_is_refused(place: str, member: bytes) -> None:
    if place == "header":
        token = sealed(
            HEADER_TEXT[:-1] + b"," + member.replace(b"sub", b"kid").replace(b"s\\u0075b", b"k\\u0069d") + b"}",
            CLAIMS_TEXT,
        )
    else:
        token = sealed(HEADER_TEXT, CLAIMS_TEXT[:-1] + b"," + member + b"}")
    assert reason(token) is Reason.JSON


@pytest.mark.parametrize(
    "member", [b'"x":1', b'"x":[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]', b'"x":"\\ud83d\\ude00"', b'"x":1.5']
)
def test_jw_04_an_unknown_claim_that_is_plain_is_passed_over(member: bytes) -> None:
    assert verifier().verify(sealed(HEADER_TEXT, CLAIMS_TEXT[:-1] + b"," + member + b"}"))


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"1", b'"x"', b"null", b"{} {}", b"{}x", b"\xef\xbb\xbf{}", b"{", b"\x00{}"]
)
@pytest.mark.parametrize("place", ["header", "claims"])
def test_jw_04_what_is_not_one_object_is_refused(place: str, text: bytes) -> None:
    token = sealed(text, CLAIMS_TEXT) if place == "header" else sealed(HEADER_TEXT, text)
    assert reason(token) is Reason.JSON


@pytest.mark.parametrize("name", ["Alg", "ALG", "aLg"])
def test_jw_04_a_header_name_in_other_letters_is_refused(name: str) -> None:
    assert reason(sealed(header(**{name: "none"}), agent_claims())) is Reason.HEADER
    assert reason(sealed(header(**{"alg": ..., name: "ES256"}), agent_claims())) is Reason.HEADER


@pytest.mark.parametrize("name", ["Exp", "SUB", "Aud", "Scope", "ſub", "Authorization_Details", "CNF", "tas\u212a"])
def test_jw_04_a_claim_name_in_other_letters_is_refused(name: str) -> None:
    assert reason(mint(agent_claims(**{name: "x"}))) is Reason.CLAIM
    assert verifier().verify(mint(agent_claims(**{"X-" + name: "x"})))


def test_jw_04_the_parser_never_fails_in_any_other_way() -> None:
    for text in (b"[" * 100_000, b'{"a":' * 100_000, b'"' * 9, b"\xff", b'{"a":' + b"1" * 10_000 + b"}"):
        with pytest.raises(strict_json.MalformedJson):
            strict_json.parse_object(text)


@pytest.mark.parametrize(
    "value",
    [..., None, "1800000300", "", True, False, -1, 0, 1800000300.0, 1.8e9, [1800000300], {}, 2**52, 253_402_300_800],
    ids=repr,
)
@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
def test_jw_05_a_time_that_is_not_a_positive_integer_is_refused(name: str, value: Any) -> None:
    assert verifier().verify(mint(agent_claims(nbf=NOW)))
    if name == "nbf" and value is ...:
        return
    assert reason(mint(agent_claims(**{name: value}))) is Reason.TIME_SHAPE


def test_jw_05_a_token_that_lives_too_long_is_refused() -> None:
    assert verifier().verify(mint(agent_claims(exp=NOW + 900)))
    assert reason(mint(agent_claims(exp=NOW + 901))) is Reason.LIFETIME
    assert verifier(max_lifetime=300).verify(mint(agent_claims(exp=NOW + 300)))
    assert reason(mint(agent_claims(exp=NOW + 301)), max_lifetime=300) is Reason.LIFETIME


def test_jw_05_a_token_that_ends_before_it_began_is_refused() -> None:
    assert reason(mint(agent_claims(iat=NOW, exp=NOW)), at=NOW - 1, leeway=30) is Reason.LIFETIME


def test_jw_05_expiry_is_the_very_second() -> None:
    token = mint(agent_claims(exp=NOW + 300))
    assert verifier(at=NOW + 299.999).verify(token)
    with pytest.raises(ExpiredToken):
        verifier(at=NOW + 300).verify(token)
    assert verifier(at=NOW + 329.999, leeway=30).verify(token)
    assert reason(token, at=NOW + 330, leeway=30) is Reason.EXPIRED


def test_jw_05_a_token_of_the_future_is_refused() -> None:
    assert reason(mint(agent_claims(iat=NOW + 2))) is Reason.NOT_YET
    assert verifier(leeway=2).verify(mint(agent_claims(iat=NOW + 2)))
    assert reason(mint(agent_claims(nbf=NOW + 2))) is Reason.NOT_YET
    assert verifier().verify(mint(agent_claims(nbf=NOW + 1)))


OTHER_KINDS = [
    "dpop+jwt", "JWT", "jwt", "", "task+jwt", "api+jwt", "oauth-id-jag+jwt", "logout+jwt", "token-introspection+jwt",
    "application/delegation+jwt", "Delegation+JWT", "delegation+jwt ", "refresh+jwt", "approval+jwt",
    "client-authentication+jwt",
]  # fmt: skip


@pytest.mark.parametrize("typ", OTHER_KINDS)
def test_jw_06_oa_16_another_kind_of_token_is_refused_by_its_typ(typ: str) -> None:
    assert reason(sealed(header(typ=typ), agent_claims())) is Reason.TYP
    assert reason(sealed(header(typ=typ), rfc8693_claims()), "rfc8693") is Reason.TYP


@pytest.mark.parametrize(
    "handle", ["vkag_" + "0" * 49, "vksa_" + "0" * 49, "ghp_" + "x" * 36, "", " ", "Bearer x", ".."]
)
def test_oa_16_an_opaque_handle_is_no_token(handle: str) -> None:
    assert reason(handle) in {Reason.STRUCTURE, Reason.JSON}


def test_jw_07_a_huge_token_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr(base64url, "decode", seen.append)
    assert reason("x" * 8193) is Reason.SIZE
    assert reason("." * 1_000_000) is Reason.SIZE
    assert reason(mint(agent_claims(x="y" * 8192))) is Reason.SIZE
    assert reason("." * 8192) is Reason.STRUCTURE
    assert seen == []
    with pytest.raises(TypeError):
        verifier().verify(mint(agent_claims()))
    assert seen != [], "a token of proper size is decoded"


def test_jw_07_the_longest_token_is_8_kib() -> None:
    sizes = {len(token := mint(agent_claims(x="y" * length))): token for length in range(5300, 5400)}
    fitting = [token for size, token in sizes.items() if size <= 8192]
    beyond = [token for size, token in sizes.items() if size > 8192]
    assert fitting
    assert beyond
    assert verifier().verify(fitting[-1])
    assert reason(beyond[0]) is Reason.SIZE


@pytest.mark.parametrize("dots", [0, 1, 3, 4, 5])
def test_jw_07_a_token_has_exactly_two_dots(dots: int) -> None:
    assert reason(".".join(["e30"] * (dots + 1))) is Reason.STRUCTURE


@pytest.mark.parametrize(
    "token", [None, 1, b"a.b.c", ["a.b.c"], {"payload": "", "signatures": []}, "é.é.é", "\ud800.a.b"]
)
def test_jw_07_what_is_not_ascii_text_is_refused(token: Any) -> None:
    assert reason(token) in {Reason.SIZE, Reason.STRUCTURE}


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("spelling", ["{}=", "{}==", " {}", "{}\n", "{}%3d", "{}?", "{}A", "\t{}"])
def test_jw_07_only_canonical_base64url_is_read(part: int, spelling: str) -> None:
    parts = mint(agent_claims()).split(".")
    parts[part] = spelling.format(parts[part])
    assert reason(".".join(parts)) in {Reason.ENCODING, Reason.SIGNATURE, Reason.JSON}


def test_jw_07_unused_bits_are_zero() -> None:
    token = mint(agent_claims())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = [token[:-1] + alphabet[alphabet.index(token[-1]) ^ bit] for bit in (1, 2, 4, 8)]
    raw = base64.urlsafe_b64decode(token.rpartition(".")[2] + "==")
    for other in spare:
        assert base64.urlsafe_b64decode(other.rpartition(".")[2] + "==") == raw, "the neighbour spells the same bytes"
        assert reason(other) is Reason.ENCODING


ES256_JWK = PUBLIC["vector-es256"].jwk()
UNKNOWN_KEYS = [
    {"kty": "oct", "k": "AAAA", "alg": "HS256"},
    {"kty": "EC", "crv": "P-384", "alg": "ES384"},
    {"crv": "secp256k1", "alg": "ES256K"},
    {"alg": "EdDSA"},
    {"alg": "none"},
    {"alg": None},
    {"alg": ["ES256"]},
    {"kty": "AKP", "alg": "ML-DSA-44"},
    {"kty": "ec"},
    {"crv": "p-256"},
    {"alg": "RS256"},
    {"alg": "Ed25519"},
]


@pytest.mark.parametrize("change", UNKNOWN_KEYS, ids=repr)
def test_jw_09_an_unrecognised_key_type_or_algorithm_is_a_failure(change: dict[str, Any]) -> None:
    assert parse_jwk(ES256_JWK)
    with pytest.raises(InvalidKey):
        parse_jwk(ES256_JWK | change)


def test_jw_09_a_key_object_that_cannot_verify_fails_instead_of_passing() -> None:
    unknown = PublicKey("vector-es256", "HS256", PUBLIC["vector-es256"].key)  # type: ignore[arg-type]
    with pytest.raises((KeyError, InvalidToken)):
        verifier(keys={"vector-es256": unknown}).verify(sealed(header(alg="HS256"), agent_claims()))


def test_jw_09_a_token_of_an_unknown_key_is_refused() -> None:
    assert reason(sealed(header(kid="unknown"), agent_claims())) is Reason.KEY


def test_oa_01_a_token_of_one_layout_presented_as_the_other_is_refused() -> None:
    agent, rfc8693 = mint(agent_claims()), mint(rfc8693_claims(), typ=RFC8693_TYP)
    assert verifier("agent").verify(agent).agent == verifier("rfc8693").verify(rfc8693).agent
    assert reason(agent, "rfc8693") is Reason.TYP
    assert reason(rfc8693, "agent") is Reason.TYP


def test_oa_01_claims_of_one_layout_under_the_typ_of_the_other_are_refused() -> None:
    assert reason(mint(agent_claims(), typ=RFC8693_TYP), "rfc8693") is Reason.LAYOUT
    assert reason(mint(rfc8693_claims(), typ=AGENT_TYP), "agent") is Reason.LAYOUT


@pytest.mark.parametrize(
    "audience",
    [
        ..., None, "", [AUDIENCE], [AUDIENCE, "https://evil.example"], [], "HTTPS://api.github.com",
        "https://API.github.com", "https://api.github.com/", "https://api.github.co", "api.github.com", "*",
        "https://api.github.com.evil.example", True, 1, {"aud": AUDIENCE}, AUDIENCE + " ", ISSUER, ISSUER + "/p/github",
    ],
    ids=repr,
)  # fmt: skip
def test_oa_15_any_audience_but_the_one_exact_string_is_refused(audience: Any) -> None:
    assert verifier().verify(mint(agent_claims(aud=AUDIENCE)))
    assert reason(mint(agent_claims(aud=audience))) is Reason.AUDIENCE


@pytest.mark.parametrize("audience", ["", None])
def test_oa_15_a_verifier_without_an_audience_does_not_start(audience: Any) -> None:
    with pytest.raises(ValueError, match="audience"):
        verifier(audience=audience)


@pytest.mark.parametrize(
    "issuer", [..., None, "", [ISSUER], ISSUER + "/", ISSUER.upper(), "https://evil.example", True]
)
def test_oa_15_any_issuer_but_the_one_exact_string_is_refused(issuer: Any) -> None:
    assert reason(mint(agent_claims(iss=issuer))) is Reason.ISSUER


def test_oa_15_another_organizations_token_is_refused() -> None:
    assert verifier(organization=agent_claims()["org"]).verify(mint(agent_claims()))
    assert reason(mint(agent_claims()), organization="org_another") is Reason.ORGANIZATION
