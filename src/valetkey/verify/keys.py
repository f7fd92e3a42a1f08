"""Public keys that verify: strict reading and writing of JSON Web Keys for ES256, Ed25519 and RS256.

A key has one algorithm, and nothing in a token can change it. Refuses private and symmetric keys, a missing `kid` or
`alg`, points off the curve or of small order, RSA below 2048 bits, even or tiny exponents, and moduli made by the
broken generator known as ROCA (CVE-2017-15361). Knows nothing of where keys come from.
Specs: RFC 7517, RFC 7518 section 6, RFC 8037, RFC 9864 (the name is `Ed25519`, never `EdDSA`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from valetkey.verify import base64url
from valetkey.verify.errors import InvalidKey
from valetkey.verify.json import MalformedJson, parse_object

Algorithm = Literal["ES256", "Ed25519", "RS256"]
ES256: Final = ECDSA(SHA256())
RS256_PADDING: Final = PKCS1v15()
RS256_HASH: Final = SHA256()

MAX_KEYS: Final = 64
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
_FAMILY: Final[dict[Algorithm, tuple[str, str | None]]] = {
    "ES256": ("EC", "P-256"),
    "Ed25519": ("OKP", "Ed25519"),
    "RS256": ("RSA", None),
}
# The members of a thumbprint, in its order (RFC 7638 section 3.2, RFC 8037 section 2).
_MAKES: Final = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
_P25519: Final = 2**255 - 19
_D25519: Final = -121665 * pow(121666, -1, _P25519) % _P25519
# y of the points whose order divides 8: anyone can sign for such a "key".
_Y_ORDER_8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7
_SMALL_ORDER: Final = frozenset({0, 1, _P25519 - 1, _Y_ORDER_8, _P25519 - _Y_ORDER_8})
_ODD_PRIMES: Final = [p for p in range(3, 168, 2) if all(p % q for q in range(3, p, 2))]
_ROCA: Final = [(p, {pow(65537, exponent, p) for exponent in range(p)}) for p in _ODD_PRIMES]


def _verify_es256(key: EllipticCurvePublicKey, signature: bytes, signing_input: bytes) -> None:
    if len(signature) != 64:
        raise InvalidSignature
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.verify(encode_dss_signature(r, s), signing_input, ES256)


def _verify_ed25519(key: Ed25519PublicKey, signature: bytes, signing_input: bytes) -> None:
    key.verify(signature, signing_input)


def _verify_rs256(key: RSAPublicKey, signature: bytes, signing_input: bytes) -> None:
    key.verify(signature, signing_input, RS256_PADDING, RS256_HASH)


_VERIFY: Final[dict[Algorithm, Callable[[Any, bytes, bytes], None]]] = {
    "ES256": _verify_es256,
    "Ed25519": _verify_ed25519,
    "RS256": _verify_rs256,
}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key, its name, and the one algorithm it verifies."""

    kid: str
    alg: Algorithm
    key: EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

    def verifies(self, signature: bytes, signing_input: bytes) -> bool:
        """Whether `signature`, in its JWS form, is this key's over `signing_input`."""
        try:
            _VERIFY[self.alg](self.key, signature, signing_input)
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        """Return the key as it is published."""
        named = {"kid": self.kid, "alg": self.alg, "use": "sig"}
        if isinstance(self.key, EllipticCurvePublicKey):
            point = self.key.public_numbers()
            return named | {"kty": "EC", "crv": "P-256", "x": _spell(point.x, 32), "y": _spell(point.y, 32)}
        if isinstance(self.key, Ed25519PublicKey):
            return named | {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(self.key.public_bytes_raw()).decode()}
        rsa = self.key.public_numbers()
        return named | {"kty": "RSA", "n": _spell(rsa.n), "e": _spell(rsa.e)}

    def thumbprint(self) -> str:
        """Return the key's SHA-256 thumbprint (RFC 7638): only what makes the key, in one spelling."""
        jwk = self.jwk()
        members = ",".join(f'"{name}":"{jwk[name]}"' for name in _MAKES[jwk["kty"]])
        return base64url.encode(sha256(f"{{{members}}}".encode()).digest()).decode()


def parse_jwk(jwk: Mapping[str, object]) -> PublicKey:
    """Return the key `jwk` describes. Raises `InvalidKey` for everything that is not exactly a public signing key."""
    if private := _PRIVATE & jwk.keys():
        raise InvalidKey(f"holds private or symmetric members: {sorted(private)}")
    kid, alg = jwk.get("kid"), jwk.get("alg")
    if not isinstance(kid, str) or not 0 < len(kid) <= 128 or not kid.isascii() or not kid.isprintable():
        raise InvalidKey("kid is missing or is not 1 to 128 printable ASCII characters")
    if alg != "ES256" and alg != "Ed25519" and alg != "RS256":
        raise InvalidKey("alg is missing or is none of ES256, Ed25519, RS256")
    if (jwk.get("kty"), jwk.get("crv")) != _FAMILY[alg]:
        raise InvalidKey("kty and crv do not belong to alg")
    if jwk.get("use", "sig") != "sig" or jwk.get("key_ops", ["verify"]) != ["verify"]:
        raise InvalidKey("not a key for verifying")
    match alg:
        case "ES256":
            return PublicKey(kid, alg, _p256(_bytes(jwk, "x"), _bytes(jwk, "y")))
        case "Ed25519":
            return PublicKey(kid, alg, _ed25519(_bytes(jwk, "x")))
        case "RS256":
            return PublicKey(kid, alg, _rsa(_bytes(jwk, "n"), _bytes(jwk, "e")))


def parse_embedded_jwk(jwk: object, alg: object) -> PublicKey:
    """Return the key a header carries for its own algorithm; a `kid` in it names nothing. Raises `InvalidKey`."""
    if not isinstance(jwk, dict):
        raise InvalidKey("jwk is not an object")
    if jwk.get("alg", alg) != alg:
        raise InvalidKey("the key is for another algorithm")
    return parse_jwk({**jwk, "kid": "embedded", "alg": alg})


def parse_jwks(document: bytes | Mapping[str, object]) -> dict[str, PublicKey]:
    """Return the keys of a JWK Set by `kid`.

    Keys for encryption, and keys of algorithms this version does not know, are left out so that an issuer may add them.
    Raises `InvalidKey` for the whole set when any key is private or malformed, or two share a `kid`.
    """
    try:
        members = parse_object(document) if isinstance(document, bytes) else document
    except MalformedJson as error:
        raise InvalidKey(f"the key set is not JSON we accept: {error}") from None
    listed = members.get("keys")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_KEYS:
        raise InvalidKey(f"keys is missing, empty, or longer than {MAX_KEYS}")
    keys: dict[str, PublicKey] = {}
    names: set[object] = set()
    for jwk in listed:
        if not isinstance(jwk, dict):
            raise InvalidKey("a key is not an object")
        if private := _PRIVATE & jwk.keys():
            raise InvalidKey(f"the set publishes private or symmetric members: {sorted(private)}")
        if isinstance(kid := jwk.get("kid"), str):
            if kid in names:
                raise InvalidKey("two keys share a kid")
            names.add(kid)
        if jwk.get("use", "sig") == "sig" and jwk.get("alg") in _FAMILY:
            key = parse_jwk(jwk)
            keys[key.kid] = key
    return keys


def _bytes(jwk: Mapping[str, object], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str) or not value.isascii() or len(value) > 1024:
        raise InvalidKey(f"{name} is missing or malformed")
    try:
        return base64url.decode(value.encode())
    except ValueError:
        raise InvalidKey(f"{name} is not canonical base64url") from None


def _p256(x: bytes, y: bytes) -> EllipticCurvePublicKey:
    if len(x) != 32 or len(y) != 32:
        raise InvalidKey("a P-256 coordinate has 32 octets")
    numbers = EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), SECP256R1())
    try:
        return numbers.public_key()
    except ValueError:
        raise InvalidKey("the point is not on P-256") from None


def _ed25519(x: bytes) -> Ed25519PublicKey:
    if len(x) != 32:
        raise InvalidKey("an Ed25519 key has 32 octets")
    y = int.from_bytes(x, "little") & (2**255 - 1)
    square = (y * y - 1) * pow(_D25519 * y * y + 1, -1, _P25519) % _P25519
    if y >= _P25519 or y in _SMALL_ORDER or pow(square, (_P25519 - 1) // 2, _P25519) != 1:
        raise InvalidKey("the point is not on Ed25519, not canonical, or of small order")
    return Ed25519PublicKey.from_public_bytes(x)


def _rsa(modulus: bytes, exponent: bytes) -> RSAPublicKey:
    if modulus[:1] in (b"", b"\0") or exponent[:1] in (b"", b"\0"):
        raise InvalidKey("an RSA number is empty or starts with a zero octet")
    n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
    if not 2048 <= n.bit_length() <= 4096 or n % 2 == 0:
        raise InvalidKey("an RSA modulus is odd and has 2048 to 4096 bits")
    if not 65537 <= e < 2**32 or e % 2 == 0:
        raise InvalidKey("an RSA exponent is odd and between 65537 and 2^32")
    if all(n % prime in powers for prime, powers in _ROCA):
        raise InvalidKey("the RSA key was made by a broken generator (ROCA)")
    try:
        return RSAPublicNumbers(e, n).public_key()
    except ValueError:
        raise InvalidKey("not an RSA key") from None


def _spell(number: int, length: int | None = None) -> str:
    return base64url.encode(number.to_bytes(length or (number.bit_length() + 7) // 8, "big")).decode()
