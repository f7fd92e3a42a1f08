"""Public keys: read strictly, written as they are read, one algorithm each."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support.delegated import KEYS_FILE, PRIVATE, PUBLIC
from valetkey.verify import InvalidKey, PublicKey, base64url, parse_jwk, parse_jwks
from valetkey.verify.json import parse_object

ES256, ED25519, RS256 = (PUBLIC[kid].jwk() for kid in ("vector-es256", "vector-ed25519", "vector-rs256"))


def number(value: int, length: int) -> str:
    return base64url.encode(value.to_bytes(length, "big")).decode()


@pytest.mark.parametrize("jwk", [ES256, ED25519, RS256], ids=lambda jwk: jwk["alg"])
def test_a_key_is_written_as_it_is_read(jwk: dict[str, str]) -> None:
    key = parse_jwk(jwk)
    assert key.jwk() == jwk
    assert key.verifies(b"", b"") is False
    assert parse_jwks({"keys": [jwk]}) == {jwk["kid"]: key}


@pytest.mark.parametrize("jwk", [ES256, ED25519, RS256], ids=lambda jwk: jwk["alg"])
@pytest.mark.parametrize(
    "change",
    [
        {"kid": ...}, {"kid": ""}, {"kid": 1}, {"kid": "x" * 129}, {"kid": "a\nb"}, {"kid": "é"}, {"alg": ...},
        {"alg": "EdDSA"},
        {"kty": ...}, {"kty": "oct"}, {"use": "enc"}, {"use": None}, {"key_ops": ["sign", "verify"]}, {"key_ops": []},
        {"key_ops": "verify"}, {"crv": "P-521"}, {"d": "AAAA"}, {"k": "AAAA"}, {"p": "AAAA"},
        {"priv": "AAAA"}, {"oth": []},
    ],
    ids=repr,
)  # fmt: skip
def test_a_key_that_is_not_exactly_a_public_signing_key_is_refused(jwk: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(InvalidKey):
        parse_jwk({name: value for name, value in (jwk | change).items() if value is not ...})


P = 2**255 - 19
Y_ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7


@pytest.mark.parametrize("y", [0, 1, P - 1, Y_ORDER_8, P - Y_ORDER_8, P, P + 1, 2**255 - 1, 2])
@pytest.mark.parametrize("sign", [0, 1])
def test_an_ed25519_point_of_small_order_or_off_the_curve_is_refused(y: int, sign: int) -> None:
    encoded = base64url.encode((y | sign << 255).to_bytes(32, "little")).decode()
    with pytest.raises(InvalidKey):
        parse_jwk(ED25519 | {"x": encoded})


def test_fresh_keys_of_every_kind_are_accepted() -> None:
    for _ in range(20):
        assert parse_jwk(PublicKey("k", "Ed25519", ed25519.Ed25519PrivateKey.generate().public_key()).jwk())
        assert parse_jwk(PublicKey("k", "ES256", ec.generate_private_key(ec.SECP256R1()).public_key()).jwk())
    assert parse_jwk(PublicKey("k", "RS256", rsa.generate_private_key(65537, 2048).public_key()).jwk())


def test_a_point_off_p_256_is_refused() -> None:
    point = PRIVATE["ES256"].public_key().public_numbers()
    for x, y in [(point.x, point.y + 1), (point.y, point.x), (0, 0), (2**256 - 1, point.y)]:
        with pytest.raises(InvalidKey):
            parse_jwk(ES256 | {"x": number(x, 32), "y": number(y, 32)})
    with pytest.raises(InvalidKey):
        parse_jwk(ES256 | {"x": number(point.x, 33)})


def test_a_weak_rsa_key_is_refused() -> None:
    n = PRIVATE["RS256"].public_key().public_numbers().n
    for modulus in (n >> 1, n >> 1024, n + 1, n << 2100 | 1):
        with pytest.raises(InvalidKey):
            parse_jwk(RS256 | {"n": number(modulus, (modulus.bit_length() + 7) // 8)})
    with pytest.raises(InvalidKey):
        parse_jwk(RS256 | {"n": number(n, 257)})
    for exponent in (
        b"\x01",
        b"\x03",
        b"\x01\x00\x00",
        b"\x01\x00\x02",
        b"\x00\x01\x00\x01",
        b"\x01\x00\x00\x00\x01",
        b"",
    ):
        with pytest.raises(InvalidKey):
            parse_jwk(RS256 | {"e": base64url.encode(exponent).decode()})


@pytest.mark.parametrize("value", [None, 1, "", "é", "A=", "A A", "A" * 2000])
@pytest.mark.parametrize(("jwk", "name"), [(ES256, "x"), (ES256, "y"), (ED25519, "x"), (RS256, "n"), (RS256, "e")])
def test_a_key_number_that_is_not_canonical_is_refused(jwk: dict[str, Any], name: str, value: Any) -> None:
    with pytest.raises(InvalidKey):
        parse_jwk(jwk | {name: value})


def test_a_set_leaves_out_what_it_does_not_know_yet() -> None:
    known = parse_jwks({"keys": [ES256, {"kty": "AKP", "alg": "ML-DSA-44", "kid": "pq", "pub": "AAAA"}]})
    assert list(known) == ["vector-es256"]
    assert parse_jwks({"keys": [RS256 | {"use": "enc"}]}) == {}


@pytest.mark.parametrize(
    "keys",
    [None, [], {}, "x", [1], [ES256, ES256], [ES256, RS256 | {"kid": "vector-es256", "alg": "RS512"}],
     [ES256] * 65, [ES256, {"kty": "oct", "kid": "mac", "k": "AAAA"}], [ES256, RS256 | {"d": "AAAA"}],
     [ES256 | {"x": "AAAA"}, RS256]],
    ids=lambda keys: str(keys)[:60],
)  # fmt: skip
def test_a_set_with_anything_wrong_in_it_is_refused_whole(keys: Any) -> None:
    with pytest.raises(InvalidKey):
        parse_jwks({"keys": keys})


def test_a_set_of_private_keys_is_refused_and_so_is_doubtful_json() -> None:
    with pytest.raises(InvalidKey, match="private"):
        parse_jwks({"keys": parse_object(KEYS_FILE.read_bytes())["keys"]})
    for text in (b"", b"{}", b'{"keys":[],"keys":[]}', b"[]", b"\xff"):
        with pytest.raises(InvalidKey):
            parse_jwks(text)


def test_a_set_has_at_most_64_keys() -> None:
    unknown = [{"kty": "AKP", "alg": "ML-DSA-44", "kid": str(number)} for number in range(64)]
    assert list(parse_jwks({"keys": [*unknown[1:], ES256]})) == ["vector-es256"]
    with pytest.raises(InvalidKey):
        parse_jwks({"keys": [*unknown, ES256]})
