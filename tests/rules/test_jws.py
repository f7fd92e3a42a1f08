"""The strict JWS: what we build is what we read, byte for byte, and there is one way to spell it."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.delegated import AGENT_TYP, AUDIENCE, ISSUER, KID, NOW, PUBLIC, agent_claims, mint, sign
from valetkey.verify import ExpiredToken, InvalidToken, base64url, jws
from valetkey.verify.errors import Reason

EXPECTED: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "now": NOW, "leeway": 0, "max_lifetime": 900}


def opened(token: str, typ: str = AGENT_TYP) -> dict[str, object]:
    return jws.verify(token, keys=PUBLIC, typ=typ)


@given(st.binary(max_size=80))
def test_base64url_reads_what_it_writes(data: bytes) -> None:
    text = base64url.encode(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert base64url.decode(text) == data


@given(st.one_of(st.binary(max_size=12), st.text("AQgwE-_+/= \nZ", max_size=12).map(str.encode)))
@example(b"Zh")
@example(b"Z")
@example(b"Zm9v=")
def test_base64url_has_one_spelling(text: bytes) -> None:
    """Whatever is read at all is exactly what would have been written."""
    try:
        data = base64url.decode(text)
    except ValueError:
        padded = text + b"=" * (-len(text) % 4)
        assert b"=" in text or base64.urlsafe_b64encode(lenient(padded)).rstrip(b"=") != text
        return
    assert base64url.encode(data) == text


def lenient(padded: bytes) -> bytes:
    try:
        return base64.urlsafe_b64decode(padded)
    except ValueError:
        return b"?"


@pytest.mark.parametrize("alg", ["ES256", "Ed25519", "RS256"])
def test_what_is_built_is_what_is_read(alg: Any) -> None:
    claims = agent_claims(note="ümlaut")
    signing_input = jws.signing_input(alg, KID[alg], "task+jwt", json.dumps(claims, ensure_ascii=False).encode())
    token = jws.compact(signing_input, sign(alg, signing_input))
    assert opened(token, "task+jwt") == claims
    header = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    assert header == {"alg": alg, "kid": KID[alg], "typ": "task+jwt"}


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "ä"])
def test_a_header_value_that_needs_escaping_is_not_built(value: str) -> None:
    with pytest.raises(ValueError, match="header"):
        jws.signing_input("ES256", value, AGENT_TYP, b"{}")


def test_an_es256_signature_is_r_and_s() -> None:
    assert {len(sign("ES256", bytes([number]))) for number in range(40)} == {64}


@given(st.integers(0, 2**30))
def test_a_token_with_any_one_bit_flipped_is_refused(number: int) -> None:
    token = mint(agent_claims()).encode()
    place, bit = number % len(token), 1 << (number // len(token) % 7)
    flipped = token[:place] + bytes([token[place] ^ bit]) + token[place + 1 :]
    with pytest.raises(InvalidToken):
        opened(flipped.decode())


def test_claims_are_compared_with_what_the_door_expects() -> None:
    jws.check_claims(agent_claims(), **EXPECTED)
    for change, reason in [
        ({"iss": "https://other.example"}, Reason.ISSUER),
        ({"aud": "https://other.example"}, Reason.AUDIENCE),
        ({"exp": NOW + 901}, Reason.LIFETIME),
        ({"nbf": NOW + 1}, Reason.NOT_YET),
        ({"iat": NOW + 1}, Reason.NOT_YET),
        ({"iat": NOW - 9, "exp": NOW}, Reason.EXPIRED),
    ]:
        with pytest.raises(InvalidToken) as refused:
            jws.check_claims(agent_claims(**change), **EXPECTED)
        assert refused.value.reason is reason


def test_only_a_token_that_is_right_in_all_else_is_called_expired() -> None:
    late: dict[str, Any] = {"iat": NOW - 300, "exp": NOW}
    with pytest.raises(ExpiredToken):
        jws.check_claims(agent_claims(**late), **EXPECTED)
    for change in ({"iss": "https://other.example"}, {"aud": "https://other.example"}, {"exp": NOW + 9999}):
        with pytest.raises(InvalidToken) as refused:
            jws.check_claims(agent_claims(**(late | change)), **EXPECTED)
        assert not isinstance(refused.value, ExpiredToken)


def test_an_assertion_without_iat_lives_from_now() -> None:
    jws.check_claims(agent_claims(iat=..., exp=NOW + 900), **EXPECTED)
    with pytest.raises(InvalidToken):
        jws.check_claims(agent_claims(iat=..., exp=NOW + 901), **EXPECTED)


@pytest.mark.parametrize(
    "change",
    [{"issuer": ""}, {"audience": ""}, {"leeway": 31}, {"leeway": -1}, {"max_lifetime": 0}, {"leeway": float("nan")}],
    ids=repr,
)
def test_a_door_that_expects_nothing_does_not_open(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="configured"):
        jws.check_claims(agent_claims(), **(EXPECTED | change))


def test_a_refusal_says_one_sentence_and_keeps_the_reason() -> None:
    sentences = set()
    for token in ("", "a.b.c", mint(agent_claims())[:-2], mint(agent_claims(exp=True)), "x" * 9000):
        with pytest.raises(InvalidToken) as refused:
            opened(token)
        sentences.add(str(refused.value))
        assert refused.value.reason.value not in str(refused.value).split()
    assert sentences == {"The token is missing or not valid here."}


def test_size_and_structure_are_judged_before_anything_else() -> None:
    longest = "e30.e30." + "A" * 8184
    for token, reason in [
        (longest + "A", Reason.SIZE),
        (longest, Reason.HEADER),
        ("é30.e30.AAAA", Reason.STRUCTURE),
        ("\ud800.e30.AAAA", Reason.STRUCTURE),
        ("e30.e30", Reason.STRUCTURE),
        ("e30.e30.AAAA.", Reason.STRUCTURE),
    ]:
        with pytest.raises(InvalidToken) as refused:
            opened(token)
        assert refused.value.reason is reason
