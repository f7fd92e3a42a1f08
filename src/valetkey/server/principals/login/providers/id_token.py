"""Believing an ID token: signed by the provider, for us, about this very sign-in. Pure.

In order: the strict JWS; typ; issuer; audience and authorized party; times; nonce; subject (OpenID Connect Core
sections 2 and 3.1.3.7). Tolerant only where OpenID Connect asks for it: `aud` may be an array, and a provider with one
key need not name it (section 10.1).
"""

import hmac
from collections.abc import Mapping
from typing import Final

from valetkey.server.errors import NotAuthenticated
from valetkey.verify import jws
from valetkey.verify.errors import InvalidToken
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.keys import PublicKey

LEEWAY_SECONDS: Final = 30
OLDEST_SECONDS: Final = 600
_HEADERS: Final = (
    frozenset({"alg", "kid", "typ"}),
    frozenset({"alg", "kid"}),
    frozenset({"alg", "kid", "typ", "x5t"}),
)
_HEADERS_OF_ONE_KEY: Final = (frozenset({"alg", "typ"}), frozenset({"alg"}))
_TYPES: Final = frozenset({"", "JWT", "jwt"})


def verified_claims(
    token: str, *, keys: Mapping[str, PublicKey], issuer: str, client_id: str, nonce: str, now: float
) -> dict[str, object]:
    """The claims, all of them checked. Raises `NotAuthenticated` whose detail says which check failed."""
    claims = _signed(token, keys)
    if claims.get("iss") != issuer:
        raise _not("iss")
    _check_audience(claims, client_id)
    expires, issued, not_before = claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)
    if type(expires) is not int or type(issued) is not int or type(not_before) is not int:
        raise _not("times")
    if now >= expires + LEEWAY_SECONDS or not now - OLDEST_SECONDS <= issued <= now + LEEWAY_SECONDS:
        raise _not("expired, or issued at another time")
    if not_before > now + LEEWAY_SECONDS:
        raise _not("nbf")
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode("utf-8", "replace"), nonce.encode()):
        raise _not("nonce")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or not subject.isascii():
        raise _not("sub")
    return claims


def proven_at(claims: Mapping[str, object], now: float) -> int | None:
    """When the person proved themselves there; None where the provider does not say, or says the future."""
    when = claims.get("auth_time")
    return when if type(when) is int and 0 < when <= now + LEEWAY_SECONDS else None


def _signed(token: str, keys: Mapping[str, PublicKey]) -> dict[str, object]:
    failure: Exception | None = None
    only = {"": next(iter(keys.values()))} if len(keys) == 1 else {}
    shapes = [(members, keys) for members in _HEADERS] + [(members, only) for members in _HEADERS_OF_ONE_KEY]
    for members, known in shapes:
        try:
            header, payload = jws.verified_payload(token, keys=known, typ=None, members=members)
            if header.typ not in _TYPES:
                raise _not("typ")
            return parse_object(payload)
        except (InvalidToken, MalformedJson) as error:
            failure = error
    raise _not(f"signature or header: {failure}") from failure


def _check_audience(claims: Mapping[str, object], client_id: str) -> None:
    audience, party = claims.get("aud"), claims.get("azp")
    listed = [audience] if isinstance(audience, str) else audience
    if not isinstance(listed, list) or client_id not in listed or not all(isinstance(a, str) for a in listed):
        raise _not("aud")
    if party is not None and party != client_id:
        raise _not("azp")
    if len(listed) > 1 and party is None:
        raise _not("several audiences and no azp")


def _not(detail: str) -> NotAuthenticated:
    return NotAuthenticated(
        "The identity provider's answer does not prove who you are.",
        detail=f"ID token: {detail}",
        hint="Start again from the sign-in page.",
    )
