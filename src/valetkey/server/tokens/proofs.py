"""Who sends this request holds the key: proofs of possession at our own doors, each counted once over all nodes.

1. exactly one `DPoP` header, and a proof for this method and this door's configured address (`verify.dpop`),
2. for a token: the hash of that token, and the key it is bound to,
3. the time: a proof with a fresh nonce of ours may come from a clock that differs by minutes,
4. the `jti` is spent, durably and before any effect, and only after all the rest held.

Nonces are computed, not stored: every node makes and knows the same ones. The token endpoint always asks for one, as
clients that make proofs repeat a form there without loss. A resource asks only a client whose clock is off: many cannot
repeat a request whose body is gone, and there `ath`, the short window and the spent `jti` already leave nothing to
replay. An old nonce in a proof of this minute does no harm there: it is taken as none, and a new one is offered.
Specs: RFC 9449 sections 4.3, 7, 8, 9 and 11.1.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.clock import Clock
from valetkey.server.db.effects import Effect
from valetkey.server.db.engine import Database
from valetkey.server.errors import ProofRefused
from valetkey.server.tokens import store
from valetkey.server.vault.mac import Mac
from valetkey.verify import base64url
from valetkey.verify.dpop import MAX_AGE_WITH_NONCE_SECONDS, Proof, check_age, verify_proof
from valetkey.verify.errors import InvalidProof

NONCE_SECONDS: Final = 120
"""How long one nonce is offered; it is taken for as long again."""
_REMEMBERED_LONGER_SECONDS: Final = 30  # nodes' clocks differ
_SWEEP_EVERY: Final = 128
_SWEEP_AT_MOST: Final = 512

Headers = Sequence[tuple[bytes, bytes]]


class Proofs:
    """One per process."""

    def __init__(self, database: Database, mac: Mac, clock: Clock) -> None:
        self._database = database
        self._mac = mac
        self._clock = clock
        self._spent = 0

    def nonce(self) -> str:
        """The nonce to offer now."""
        return self._nonce_of(self._bucket())

    def offer(self, proof: Proof) -> str | None:
        """A new nonce for a client whose own will soon be too old; None for one that is current, or uses none."""
        return None if proof.nonce is None or proof.nonce == self.nonce() else self.nonce()

    def at_token_endpoint(self, headers: Headers, *, method: str, url: str) -> Proof | None:
        """The proof of a request that shows no token; None where there is none. Raises `ProofRefused`.

        It is not spent yet.
        """
        if not _shown(headers):
            return None
        proof = _verified(headers, method=method, url=url, token=None)
        if not self._is_fresh(proof.nonce):
            raise ProofRefused(
                "Put the nonce of this answer into the proof.", error="use_dpop_nonce", nonce=self.nonce()
            )
        _check_age(proof, now=self._clock.now(), nonce_is_fresh=True)
        return proof

    def at_resource(
        self, headers: Headers, *, method: str, url: str, token: str, cnf: str | None, under_dpop: bool
    ) -> Proof:
        """The proof of a request that shows a bound token, or any under the scheme `DPoP`. Raises `ProofRefused`.

        It is not spent yet: that belongs to the transaction that records what the request does.
        """
        if cnf is None:
            raise ProofRefused("This token is bound to no key; send it as Bearer.", error="invalid_token")
        # SECURITY: who has a stolen bound token must not get in by another scheme (DP-7).
        # Guarded by tests/attacks/test_dpop.py::test_a_bound_token_opens_nothing_as_bearer
        if not under_dpop:
            raise ProofRefused("This token is bound to a key; send it under the scheme DPoP.", error="invalid_token")
        proof = _verified(headers, method=method, url=url, token=token)
        if proof.jkt != cnf:
            raise ProofRefused("The proof is by another key than the one the token is bound to.", error="invalid_token")
        now = self._clock.now()
        is_fresh = self._is_fresh(proof.nonce)
        try:
            check_age(proof, now=now, nonce_is_fresh=is_fresh)
        except InvalidProof as error:
            if is_fresh or abs(now - proof.made_at) > MAX_AGE_WITH_NONCE_SECONDS:
                raise ProofRefused(error.detail) from error
            raise ProofRefused(
                "The clock that made the proof differs from ours; a nonce makes up for it.",
                error="use_dpop_nonce",
                nonce=self.nonce(),
            ) from error
        return proof

    async def spend(self, proof: Proof) -> None:
        """Spend it in a transaction of its own. Raises `ProofRefused` if it was used, `Unavailable` if nobody knows."""
        async with self._database.write() as tx:
            refused = await self._spend(proof, tx)
        if refused is not None:
            raise refused

    def spending(self, proof: Proof) -> Effect:
        """Spend it in the transaction of somebody else's entry, which is refused when the proof was used."""
        return partial(self._spend, proof)

    async def _spend(self, proof: Proof, tx: AsyncConnection) -> Exception | None:
        # SECURITY: the key is part of it, so that nobody can use up another client's jti (DP-01).
        # Guarded by tests/attacks/test_dpop.py::test_dp_01_the_same_jti_under_another_key_is_another_proof
        jti = base64url.encode(hashlib.sha256(proof.jti.encode()).digest()).decode()
        until = int(proof.acceptable_until) + _REMEMBERED_LONGER_SECONDS
        is_first = await store.use_proof(tx, proof.jkt, jti, expires_at=until)
        self._spent += 1
        if self._spent % _SWEEP_EVERY == 0:
            await store.forget_proofs(tx, before=int(self._clock.now()), at_most=_SWEEP_AT_MOST)
        return None if is_first else ProofRefused("This proof was used before; make a new one for every request.")

    def _bucket(self) -> int:
        return int(self._clock.now()) // NONCE_SECONDS

    def _nonce_of(self, bucket: int) -> str:
        return base64url.encode(self._mac.mac_of("dpop-nonce", "nonce", str(bucket).encode())).decode()

    def _is_fresh(self, nonce: str | None) -> bool:
        if nonce is None:
            return False
        try:
            offered = base64url.decode(nonce.encode())
        except ValueError:
            return False
        now = self._bucket()
        # NOTE: the next one too, which only a node of ours whose clock is ahead can have offered.
        return any(
            self._mac.vouches_for("dpop-nonce", "nonce", str(bucket).encode(), offered)
            for bucket in (now, now - 1, now + 1)
        )


def is_under_dpop(headers: Headers) -> bool:
    """Whether the request shows its token under the scheme `DPoP`."""
    return any(name.lower() == b"authorization" and value[:5].lower() == b"dpop " for name, value in headers)


def _shown(headers: Headers) -> list[bytes]:
    return [value for name, value in headers if name.lower() == b"dpop"]


def _verified(headers: Headers, *, method: str, url: str, token: str | None) -> Proof:
    shown = _shown(headers)
    if len(shown) != 1:
        raise ProofRefused("The request has no DPoP header." if not shown else "The request has several DPoP headers.")
    try:
        return verify_proof(shown[0].decode("latin-1").strip(" \t"), method=method, url=url, token=token)
    except InvalidProof as error:
        raise ProofRefused(error.detail) from error


def _check_age(proof: Proof, *, now: float, nonce_is_fresh: bool) -> None:
    try:
        check_age(proof, now=now, nonce_is_fresh=nonce_is_fresh)
    except InvalidProof as error:
        raise ProofRefused(error.detail) from error
