"""The strict compact JWS: take apart, verify, put together. Everything we mint or accept as a token passes here.

In order: at most 8 KiB of ASCII with exactly two dots, before any decoding; canonical unpadded base64url; a header of
exactly `alg`, `kid` and `typ`; the expected `typ`; a known key, which alone fixes the algorithm; the signature; bounded
duplicate-free JSON; times that are integers. `check_claims` then compares issuer, audience and clock. No `crit`, `zip`,
`b64`, embedded or linked key can appear, since no other header member may; a proof of possession, which must embed its
key, is read by `dpop` from the same parts. Knows nothing of delegations, and never asks a clock.
Specs: RFC 7515, RFC 7518 section 3, RFC 7519 section 4.1, RFC 8725, RFC 9864.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from valetkey.verify import base64url
from valetkey.verify.errors import ExpiredToken, InvalidToken, Reason
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.keys import ES256, RS256_HASH, RS256_PADDING, Algorithm, PublicKey

MAX_BYTES: Final = 8192
MAX_LEEWAY: Final = 30  # seconds
_LATEST: Final = 253_402_300_799  # the last second of the year 9999
_HEADER: Final = frozenset({"alg", "kid", "typ"})
# Names a case-insensitive reader could take for ours (RFC 7519 compares by code point, some parsers do not).
_OURS: Final = frozenset({
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "org", "act", "may_act", "scope", "uid", "client_id", "task",
    "delegation", "authorization_details", "cnf",
})  # fmt: skip


class Header(NamedTuple):
    """The protected header. Believed only once the signature held."""

    alg: str
    kid: str
    typ: str


class Parts(NamedTuple):
    """A compact JWS before anything of it is decoded."""

    header: bytes
    payload: bytes
    signature: bytes
    signing_input: bytes


def verify(token: str, *, keys: Mapping[str, PublicKey], typ: str) -> dict[str, object]:
    """Return the claims of `token` once its signature by one of `keys`, its `typ` and the shape of its times held.

    The caller goes on with `check_claims`: until then issuer, audience and expiry are unknown. Raises `InvalidToken`.
    """
    _, payload = verified_payload(token, keys=keys, typ=typ)
    try:
        claims = parse_object(payload)
    except MalformedJson as error:
        raise InvalidToken(Reason.JSON, f"claims: {error}") from None
    names = "\n".join(claims)
    if names != names.lower() or not names.isascii():
        _refuse_disguised(claims)
    for name in ("exp", "iat", "nbf"):
        time = claims.get(name)
        # NOTE: `type is`, because a bool is an int to isinstance, and `true` is not a time.
        if (type(time) is not int or not 0 < time <= _LATEST) and (name in claims or name == "exp"):
            raise InvalidToken(Reason.TIME_SHAPE, f"{name} is missing or is not a positive integer")
    return claims


def verified_payload(
    token: str, *, keys: Mapping[str, PublicKey], typ: str | None, members: frozenset[str] = _HEADER
) -> tuple[Header, bytes]:
    """Return header and payload of `token` once the signature held; the payload may be anything.

    The header holds exactly `members`; `typ` is compared unless it is None. Raises `InvalidToken`.
    """
    parts = taken_apart(token, at_most=MAX_BYTES)
    header = _unverified_header(parts.header, members)
    if typ is not None and header.typ != typ:
        raise InvalidToken(Reason.TYP, f"expected {typ}")
    key = keys.get(header.kid)
    if key is None:
        raise InvalidToken(Reason.KEY, "no such kid")
    # SECURITY: the key decides the algorithm; the header may only agree.
    # Guarded by tests/attacks/test_jwt.py::test_jw_01_the_key_fixes_the_algorithm
    if header.alg != key.alg:
        raise InvalidToken(Reason.ALGORITHM, f"the key is for {key.alg}")
    return header, payload_under(key, parts)


def taken_apart(token: str, *, at_most: int) -> Parts:
    """Return the three parts of a compact JWS, not decoded. Raises `InvalidToken`."""
    # SECURITY: size and dots before base64 or JSON see a byte.
    # Guarded by tests/attacks/test_jwt.py::test_jw_07_a_huge_token_is_refused_before_it_is_decoded
    if not isinstance(token, str) or len(token) > at_most:
        raise InvalidToken(Reason.SIZE)
    if token.count(".") != 2 or not token.isascii():
        raise InvalidToken(Reason.STRUCTURE)
    signing_input, _, signature = token.encode().rpartition(b".")
    header, _, payload = signing_input.partition(b".")
    return Parts(header, payload, signature, signing_input)


def payload_under(key: PublicKey, parts: Parts) -> bytes:
    """Return the decoded payload once the signature by `key` held. Raises `InvalidToken`."""
    try:
        payload, signature = base64url.decode(parts.payload), base64url.decode(parts.signature)
    except ValueError as error:
        raise InvalidToken(Reason.ENCODING, str(error)) from None
    if not key.verifies(signature, parts.signing_input):
        raise InvalidToken(Reason.SIGNATURE)
    return payload


@lru_cache(maxsize=128)
def _unverified_header(part: bytes, members: frozenset[str]) -> Header:
    """Read a header that proves nothing yet. Remembered because an issuer writes the same few bytes on every token."""
    try:
        header = parse_object(base64url.decode(part))
    except MalformedJson as error:
        raise InvalidToken(Reason.JSON, f"header: {error}") from None
    except ValueError as error:
        raise InvalidToken(Reason.ENCODING, f"header: {error}") from None
    if header.keys() != members:
        raise InvalidToken(Reason.HEADER, f"the header must hold exactly {sorted(members)}")
    alg, kid, typ = header.get("alg"), header.get("kid", ""), header.get("typ", "")
    if not isinstance(alg, str) or not isinstance(kid, str) or not isinstance(typ, str):
        raise InvalidToken(Reason.HEADER, "a header member is not text")
    return Header(alg, kid, typ)


def _refuse_disguised(claims: Mapping[str, object]) -> None:
    for name in claims:
        if name not in _OURS and name.casefold() in _OURS:
            raise InvalidToken(Reason.CLAIM, f"{name!a} is a claim of ours in other letters")


def check_claims(
    claims: Mapping[str, object], *, issuer: str, audience: str, now: float, leeway: float, max_lifetime: float
) -> None:
    """Compare verified `claims` with what this door expects; all times in seconds. Raises `InvalidToken`.

    `iss` and `aud` are exact single strings. A token lives from `iat` (or, where that is absent, from `now`) at most
    `max_lifetime`. Raises `ExpiredToken` only if everything else held.
    """
    if not issuer or not audience or not 0 <= leeway <= MAX_LEEWAY or not max_lifetime > 0:
        raise ValueError("an issuer, an audience, a lifetime, and a leeway of 0 to 30 seconds must be configured")
    if claims.get("iss") != issuer:
        raise InvalidToken(Reason.ISSUER)
    if claims.get("aud") != audience:
        raise InvalidToken(Reason.AUDIENCE)
    exp, iat, nbf = claims["exp"], claims.get("iat", now), claims.get("nbf", 0)
    if not isinstance(exp, int) or not isinstance(iat, (int, float)) or not isinstance(nbf, int):
        raise InvalidToken(Reason.TIME_SHAPE)
    if exp - iat > max_lifetime or ("iat" in claims and exp <= iat):
        raise InvalidToken(Reason.LIFETIME, f"lives {exp - iat:.0f} s of at most {max_lifetime:.0f} s")
    if iat > now + leeway or nbf > now + leeway:
        raise InvalidToken(Reason.NOT_YET)
    if now >= exp + leeway:
        raise ExpiredToken(Reason.EXPIRED)


def signing_input(alg: Algorithm, kid: str, typ: str, claims: bytes) -> bytes:
    """Return the bytes to sign: header and `claims` (a JSON object in UTF-8), encoded and joined."""
    return _header_part(alg, kid, typ) + b"." + base64url.encode(claims)


@lru_cache(maxsize=128)
def _header_part(alg: Algorithm, kid: str, typ: str) -> bytes:
    for value in (alg, kid, typ):
        if not value.isascii() or not value.isprintable() or '"' in value or "\\" in value:
            raise ValueError("a header value is plain printable ASCII")
    return base64url.encode(f'{{"alg":"{alg}","kid":"{kid}","typ":"{typ}"}}'.encode())


def compact(signing_input: bytes, signature: bytes) -> str:
    """Return the token: the signed bytes and their signature."""
    return (signing_input + b"." + base64url.encode(signature)).decode()


def sign_es256(private_key: EllipticCurvePrivateKey, signing_input: bytes) -> bytes:
    """Return r and s, 32 octets each."""
    r, s = decode_dss_signature(private_key.sign(signing_input, ES256))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign_ed25519(private_key: Ed25519PrivateKey, signing_input: bytes) -> bytes:
    """Return the 64 octets of an Ed25519 signature."""
    return private_key.sign(signing_input)


def sign_rs256(private_key: RSAPrivateKey, signing_input: bytes) -> bytes:
    """Return an RSASSA-PKCS1-v1_5 signature with SHA-256, as long as the modulus."""
    return private_key.sign(signing_input, RS256_PADDING, RS256_HASH)
