"""Proofs of possession (RFC 9449): who sends this very request holds the key its token is bound to.

In order: at most 4 KiB; a header of exactly `typ`, `alg` and a public `jwk`; the signature by that key; the claims;
method and address as the door knows itself, never as the request names it; the hash of the token. `check_age` then
compares with the clock, and whoever calls makes sure that a proof counts once. Knows no clock, no store and no nonce.
Specs: RFC 9449 sections 4, 7, 8 and 11.1, RFC 7638, RFC 3986 section 6.2.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from valetkey.verify import base64url, jws
from valetkey.verify.errors import InvalidKey, InvalidProof, InvalidToken
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.keys import PublicKey, parse_embedded_jwk

TYP: Final = "dpop+jwt"
ALGORITHMS: Final = ("ES256", "Ed25519", "RS256")
MAX_BYTES: Final = 4096
MAX_JTI: Final = 128
SKEW_SECONDS: Final = 10
"""How far ahead of ours the clock of whoever made a proof may be."""
MAX_AGE_SECONDS: Final = 60
MAX_AGE_WITH_NONCE_SECONDS: Final = 300
"""How far from our clock, either way, a proof may be made that holds a fresh nonce of ours."""

_HEADER: Final = frozenset({"typ", "alg", "jwk"})
_LATEST: Final = 253_402_300_799
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_DEFAULT_PORT: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a proof says. `jkt` is the thumbprint of the key it proves; times are seconds since the epoch."""

    jkt: str
    jti: str
    made_at: float
    nonce: str | None = None
    begins_at: float = 0
    ends_at: float = _LATEST

    @property
    def acceptable_until(self) -> float:
        """When no door takes it any more, so that it need not be remembered longer."""
        return self.made_at + (MAX_AGE_SECONDS if self.nonce is None else MAX_AGE_WITH_NONCE_SECONDS)


def verify_proof(proof: str, *, method: str, url: str, token: str | None = None) -> Proof:
    """Return what `proof` says, now that it is known to be made with its key for this request. Raises `InvalidProof`.

    `url` is the address as this door knows itself, without query. `token` is the token the request shows, None where
    it shows none (the token endpoint). The caller goes on with `check_age`, and refuses a `jti` seen before.
    """
    try:
        parts = jws.taken_apart(proof, at_most=MAX_BYTES)
        key, thumbprint = _key(parts.header)
        payload = jws.payload_under(key, parts)
    except InvalidProof:
        raise
    except InvalidToken as error:
        raise InvalidProof(f"The proof is not a signed JWT by the key in its header: {error.reason}.") from None
    try:
        claims = parse_object(payload)
    except MalformedJson:
        raise InvalidProof("The claims of the proof are not one JSON object.") from None
    jti, nonce = claims.get("jti"), claims.get("nonce")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI:
        raise InvalidProof(f"jti is missing or is not text of at most {MAX_JTI} characters.")
    if "nonce" in claims and not isinstance(nonce, str):
        raise InvalidProof("nonce is not text.")
    if claims.get("htm") != method:
        raise InvalidProof(f"htm is missing or is not {method}.")
    _check_address(claims.get("htu"), url)
    # SECURITY: before anyone remembers the jti, or a proof for another token could use it up (DP-05).
    # Guarded by tests/attacks/test_dpop.py::test_dp_05_the_token_hash_is_compared_before_the_jti_is_spent
    if token is not None and claims.get("ath") != token_hash(token):
        raise InvalidProof("ath is missing or is not the hash of the token shown.")
    made_at = _time(claims, "iat")
    if made_at is None:
        raise InvalidProof("iat is missing.")
    return Proof(
        jkt=thumbprint,
        jti=jti,
        made_at=made_at,
        nonce=nonce if isinstance(nonce, str) else None,
        begins_at=_time(claims, "nbf") or 0,
        ends_at=_time(claims, "exp") or _LATEST,
    )


def check_age(proof: Proof, *, now: float, nonce_is_fresh: bool = False) -> None:
    """Compare with the clock. A fresh nonce vouches for the time, so clocks may differ more. Raises `InvalidProof`."""
    ahead, behind = SKEW_SECONDS, MAX_AGE_SECONDS
    if nonce_is_fresh:
        ahead = behind = MAX_AGE_WITH_NONCE_SECONDS
    if not now - behind <= proof.made_at <= now + ahead:
        raise InvalidProof("iat is too far from the time here; make a new proof for every request.")
    if not proof.begins_at - ahead <= now < proof.ends_at + ahead:
        raise InvalidProof("The proof is not good yet, or no more, by its own nbf or exp.")


def token_hash(token: str) -> str:
    """Return `ath`: the hash of the token as it is shown."""
    return base64url.encode(sha256(token.encode()).digest()).decode()


def normalized(url: str) -> str | None:
    """Return `url` without query and fragment in its one spelling, None for what is no http address.

    >>> normalized("HTTPS://Example.COM:443/a%2fb%7e?q#f")
    'https://example.com/a%2Fb~'
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    default = _DEFAULT_PORT.get(parts.scheme)
    if default is None or not host or "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
        return None
    name = f"[{host}]" if ":" in host else host
    place = name if port in (None, default) else f"{name}:{port}"
    return f"{parts.scheme}://{place}{_ESCAPED.sub(_spelled, parts.path) or '/'}"


def _spelled(escaped: re.Match[str]) -> str:
    octet = int(escaped[1], 16)
    return chr(octet) if octet in _UNRESERVED else escaped[0].upper()


def _check_address(htu: object, url: str) -> None:
    expected = normalized(url)
    if expected is None or not isinstance(htu, str) or normalized(htu) != expected:
        raise InvalidProof(f"htu is missing or is not {url}.")


@lru_cache(maxsize=1024)
def _key(part: bytes) -> tuple[PublicKey, str]:
    """Read a header that proves nothing yet: its key and thumbprint. Remembered because one key makes many proofs."""
    try:
        header = parse_object(base64url.decode(part))
    except ValueError:
        raise InvalidProof("The header of the proof is not one JSON object in base64url.") from None
    if header.keys() != _HEADER:
        raise InvalidProof("The header of a proof holds exactly typ, alg and jwk.")
    if header["typ"] != TYP:
        raise InvalidProof(f"typ is not {TYP}.")
    if header["alg"] not in ALGORITHMS:
        raise InvalidProof(f"alg is none of {', '.join(ALGORITHMS)}.")
    try:
        key = parse_embedded_jwk(header["jwk"], header["alg"])
    except InvalidKey as error:
        raise InvalidProof(f"jwk is not a public key for alg: {error}.") from None
    return key, key.thumbprint()


def _time(claims: dict[str, object], name: str) -> float | None:
    time = claims.get(name)
    if name not in claims:
        return None
    # NOTE: a NumericDate may have a fraction (RFC 7519 section 2); `type` because a bool is an int to isinstance.
    if type(time) not in (int, float) or not 0 < time <= _LATEST:  # type: ignore[operator]
        raise InvalidProof(f"{name} is not a time.")
    return float(time)  # type: ignore[arg-type]
