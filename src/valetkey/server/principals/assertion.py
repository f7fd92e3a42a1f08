"""A signed assertion proves who sends it (RFC 7523): one function for agents, outside clients, workloads and identity
providers. What differs is an `Expected`; what never differs is here.

In order: (1) the signature by a key of whoever it names, under a header of known members; (2) its `typ`; (3) issuer,
audience and times; (4) its `jti`, once. Knows no principal: who the claims speak of is the caller's to decide.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import NotAuthenticated
from valetkey.server.principals import store
from valetkey.verify import base64url, jws
from valetkey.verify.errors import InvalidToken
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.keys import PublicKey

JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT_SPIFFE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
LONGEST_SECONDS: Final = 300
LEEWAY_SECONDS: Final = 10
_JTI: Final = range(8, 257)
_COLUMN: Final = 40
_HEADERS: Final = (
    frozenset({"alg", "kid", "typ"}),
    frozenset({"alg", "kid"}),
    # NOTE: a thumbprint some platforms add; it names a key and is not believed, only tolerated where it is expected.
    frozenset({"alg", "kid", "typ", "x5t"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverified:
    """What an assertion claims to be: only to find the key that proves it."""

    iss: str | None
    sub: str
    kid: str
    typ: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What this kind of assertion has to say. An empty audience is a configuration that refuses everything.

    `may_list`: a list of exactly one audience is that audience, for platforms that write no other.
    """

    issuer: str
    audience: str
    typs: frozenset[str] = frozenset({"", "JWT", "client-authentication+jwt"})
    longest_seconds: int = LONGEST_SECONDS
    may_list: bool = False
    issuer_is_optional: bool = False
    tolerates_thumbprint: bool = False
    needs_iat: bool = False
    once: bool = True
    says: Mapping[str, str] = field(default_factory=dict)  # claims that have to be there, exactly


def unverified(assertion: str) -> Unverified:
    """Read who an assertion says it is from. Raises `NotAuthenticated`."""
    try:
        if len(assertion) > jws.MAX_BYTES or not assertion.isascii() or assertion.count(".") != 2:
            raise ValueError("not a compact JWS")
        head, payload, _ = assertion.encode().split(b".")
        header, claims = parse_object(base64url.decode(head)), parse_object(base64url.decode(payload))
    except ValueError as error:
        raise NotAuthenticated(detail=f"assertion cannot be read: {error}") from error
    iss, sub, kid, typ = claims.get("iss"), claims.get("sub"), header.get("kid"), header.get("typ", "")
    if not isinstance(sub, str) or not isinstance(kid, str) or not isinstance(typ, str):
        raise NotAuthenticated(detail="assertion has no subject or no kid")
    if iss is not None and not isinstance(iss, str):
        raise NotAuthenticated(detail="iss is not text")
    return Unverified(iss=iss, sub=sub, kid=kid, typ=typ)


class Assertions:
    """One per process."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def proven(
        self, assertion: str, keys: Mapping[str, PublicKey], expected: Expected, *, client: str
    ) -> dict[str, object]:
        """The claims, once everything holds; the `jti` is then used up for this `client`. Raises `NotAuthenticated`."""
        claims = _verified(assertion, keys, expected, now=self._clock.now())
        if expected.once:
            await self._use(claims, client)
        return claims

    async def _use(self, claims: Mapping[str, object], client: str) -> None:
        jti, expires_at = claims.get("jti"), claims["exp"]
        if not isinstance(jti, str) or len(jti) not in _JTI or not isinstance(expires_at, int):
            raise NotAuthenticated(detail="jti is missing or too long")
        async with self._database.write() as tx:
            now = int(self._clock.now())
            ends = expires_at + 60
            if not await store.use_assertion(tx, _fitting(client), _fitting(jti), now=now, expires_at=ends):
                raise NotAuthenticated(detail="assertion used before")


def _fitting(text: str) -> str:
    """The text, or what stands for it where it is longer than its column."""
    if len(text) <= _COLUMN and text.isascii() and text.isprintable():
        return text
    return "~" + base64.urlsafe_b64encode(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()).decode()[:39]


def _verified(assertion: str, keys: Mapping[str, PublicKey], expected: Expected, *, now: float) -> dict[str, object]:
    try:
        claims = parse_object(_signed_payload(assertion, keys, expected))
        seen = dict(claims)
        if expected.issuer_is_optional:
            seen["iss"] = expected.issuer
        audience = seen.get("aud")
        if expected.may_list and isinstance(audience, list) and len(audience) == 1:
            seen["aud"] = audience[0]
        if type(seen.get("exp")) is not int or (expected.needs_iat and type(seen.get("iat")) is not int):
            raise ValueError("exp or iat is missing or not an integer")
        if any(claims.get(name) != value for name, value in expected.says.items()):
            raise ValueError("a claim is not what it has to be")
        # SECURITY: an audience that is not configured is a ValueError there, and so refuses.
        # Guarded by tests/flows/test_workloads.py::test_oa_15_an_issuer_without_an_audience_proves_nothing
        jws.check_claims(
            seen,
            issuer=expected.issuer,
            audience=expected.audience,
            now=now,
            leeway=LEEWAY_SECONDS,
            max_lifetime=expected.longest_seconds,
        )
    except (InvalidToken, MalformedJson, ValueError) as error:
        raise NotAuthenticated(detail=f"assertion: {error}") from error
    return claims


def _signed_payload(assertion: str, keys: Mapping[str, PublicKey], expected: Expected) -> bytes:
    failure: InvalidToken | None = None
    for members in _HEADERS[: 3 if expected.tolerates_thumbprint else 2]:
        try:
            header, payload = jws.verified_payload(assertion, keys=keys, typ=None, members=members)
        except InvalidToken as error:
            failure = error
            continue
        if header.typ not in expected.typs:
            raise ValueError("the typ is another kind of token's")
        return payload
    raise failure or ValueError("no header is expected")
