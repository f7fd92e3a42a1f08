"""The resource server's side of a delegated credential: one object, one question.

`Verifier.verify` answers with a `Delegated` or raises `InvalidToken`. It is bound to one issuer, one audience and one
layout, refuses a key-bound token whose key was not proved, and remembers what it verified until the token ends or the
issuer's keys have to be fetched again. A proof counts once: in this process, or wherever `first_use` remembers. Knows
nothing of revocation: a token lives minutes, and whoever needs less asks the issuer.
"""

import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import inf
from typing import Final

from valetkey.verify import jws
from valetkey.verify.claims import TYP, Delegated, Layout, read_delegated
from valetkey.verify.dpop import check_age, verify_proof
from valetkey.verify.errors import InvalidProof, InvalidToken, Reason
from valetkey.verify.keyring import Clock, Fetch, KeyRing, fetch_document
from valetkey.verify.keys import PublicKey

MAX_LIFETIME: Final = 900  # seconds: the longest an issuer may make a delegated credential live

FirstUse = Callable[[str, str, float], bool]
"""Remembers that the key of this thumbprint made a proof with this jti, at least until then; False if it already had.
Where several processes serve one audience they must share it, or a proof counts once in each of them."""


class SystemClock:
    """The machine's own clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class Verifier:
    """Verifies delegated credentials of one `issuer` for one `audience`. Safe to share between threads.

    Give the keys as `keys`, or the address of the issuer's key set as `jwks_uri` and, if need be, how to `fetch` it.
    `layout` is the one the audience was registered with. `leeway` is what clocks may differ by, 0 to 30 seconds.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        keys: Mapping[str, PublicKey] | None = None,
        jwks_uri: str | None = None,
        fetch: Fetch = fetch_document,
        layout: Layout = "rfc8693",
        organization: str | None = None,
        leeway: float = 5,
        max_lifetime: float = MAX_LIFETIME,
        remembered: int = 10_000,
        first_use: FirstUse | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not issuer or not audience or organization == "":
            raise ValueError("a verifier needs an issuer and an audience")
        if not 0 <= leeway <= jws.MAX_LEEWAY or not 0 < max_lifetime <= MAX_LIFETIME or remembered < 0:
            raise ValueError("leeway is 0 to 30 seconds, a lifetime at most 900, and memory is not negative")
        if (keys is None) == (jwks_uri is None) or (keys is not None and not keys):
            raise ValueError("give either keys or jwks_uri")
        self._issuer, self._audience, self._organization = issuer, audience, organization
        self._layout, self._typ = layout, TYP[layout]
        self._leeway, self._max_lifetime = leeway, max_lifetime
        clock = clock or SystemClock()
        self._now = clock.now
        self._ring = KeyRing(jwks_uri, fetch=fetch, clock=clock) if jwks_uri is not None else None
        self._keys: Mapping[str, PublicKey] = self._ring if self._ring is not None else dict(keys or {})
        self._capacity = remembered
        self._remembered: dict[bytes, tuple[Delegated, float]] = {}
        self._lock = threading.Lock()
        self._proofs: dict[tuple[str, str], float] = {}
        self._first_use = first_use or self._first_use_here

    def verify(
        self, token: str, *, dpop: str | None = None, method: str = "", url: str = "", jkt: str | None = None
    ) -> Delegated:
        """Return what `token` says, now that it is known to be true.

        For a request under the scheme `DPoP` give its one `DPoP` header as `dpop`, its `method`, and the `url` it was
        sent to as this server is configured to be called, never as the request's Host header has it. For any other
        request give none of them: a token bound to a key is then refused, and an unbound one is refused under `DPoP`.
        `jkt` instead of `dpop` is for who verified the proof already: the thumbprint of the key it proved.
        Raises `InvalidToken` (`InvalidProof` for the proof), and `KeysUnavailable` when the issuer's keys are not had.
        """
        if dpop is not None and (jkt is not None or not method or not url):
            raise ValueError("a proof is verified for a method and a url, and instead of jkt")
        if not isinstance(token, str) or len(token) > jws.MAX_BYTES:
            raise InvalidToken(Reason.SIZE)
        try:
            # SECURITY: a fingerprint, so that no token that is still good lies around in memory.
            fingerprint = sha256(token.encode("ascii")).digest()
        except UnicodeEncodeError:
            raise InvalidToken(Reason.STRUCTURE, "not ASCII") from None
        known = self._remembered.get(fingerprint)
        delegated = known[0] if known is not None and self._now() < known[1] else self._first_sight(token, fingerprint)
        proof = verify_proof(dpop, method=method, url=url, token=token) if dpop is not None else None
        if delegated.cnf != (proof.jkt if proof is not None else jkt):
            raise InvalidToken(Reason.BINDING, "the key proved is not the key the token is bound to")
        if proof is not None:
            check_age(proof, now=self._now())
            if not self._first_use(proof.jkt, proof.jti, proof.acceptable_until):
                raise InvalidProof("jti was used before.")
        return delegated

    def _first_use_here(self, jkt: str, jti: str, until: float) -> bool:
        """Whether this process sees the proof for the first time. Those nobody would take any more are forgotten."""
        now = self._now()
        with self._lock:
            while self._proofs and self._proofs[oldest := next(iter(self._proofs))] < now:
                del self._proofs[oldest]
            is_first = (jkt, jti) not in self._proofs
            if is_first:
                self._proofs[jkt, jti] = until
        return is_first

    def _first_sight(self, token: str, fingerprint: bytes) -> Delegated:
        claims = jws.verify(token, keys=self._keys, typ=self._typ)
        now = self._now()
        jws.check_claims(
            claims,
            issuer=self._issuer,
            audience=self._audience,
            now=now,
            leeway=self._leeway,
            max_lifetime=self._max_lifetime,
        )
        delegated = read_delegated(claims, self._layout)
        if self._organization is not None and delegated.org != self._organization:
            raise InvalidToken(Reason.ORGANIZATION)
        keys_last = self._ring.fresh_for() if self._ring is not None else inf
        self._remember(fingerprint, delegated, min(delegated.expires_at + self._leeway, now + keys_last))
        return delegated

    def _remember(self, fingerprint: bytes, delegated: Delegated, until: float) -> None:
        with self._lock:
            self._remembered.pop(fingerprint, None)
            while self._remembered and len(self._remembered) >= self._capacity:
                del self._remembered[next(iter(self._remembered))]
            if self._capacity:
                self._remembered[fingerprint] = (delegated, until)
