"""The keys that sign: sealed at rest, one algorithm and one purpose each, rotated with overlap.

A new key is published before it signs (longer than anyone may cache the key set) and a retired one stays published
until the last token it signed has expired. Only this file opens a private key.
"""

import contextlib
import secrets
from dataclasses import dataclass
from typing import Any, cast, get_args

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.db.engine import Database
from valetkey.server.errors import InvalidRequest, Unavailable
from valetkey.server.tokens import store
from valetkey.server.vault.aad import Place
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.open import open_sealed_bytes
from valetkey.server.vault.ring import KeyRing
from valetkey.server.vault.store import SealedColumn, renew_for, seal_now
from valetkey.verify import base64url, jws
from valetkey.verify.keys import Algorithm, PublicKey, parse_jwk

JWKS_MAX_AGE_SECONDS = 300
PUBLISH_BEFORE_SIGNING_SECONDS = 2 * JWKS_MAX_AGE_SECONDS
PUBLISH_AFTER_RETIRING_SECONDS = 8 * 3600 + 60  # the longest token (a task's) and skew
RELOAD_SECONDS = 5.0

TOKENS = "tokens"
CHECKPOINTS = "checkpoints"

Private = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An opened key; its private part never leaves the object that signs."""

    kid: str
    alg: Algorithm
    private: Private

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid}, alg={self.alg})"

    def sign(self, signing_input: bytes) -> bytes:
        """The JWS signature over `signing_input`."""
        if isinstance(self.private, EllipticCurvePrivateKey):
            return jws.sign_es256(self.private, signing_input)
        if isinstance(self.private, Ed25519PrivateKey):
            return jws.sign_ed25519(self.private, signing_input)
        return jws.sign_rs256(self.private, signing_input)


class Keys:
    """Every signing key this node knows, read again when it is asked for one it does not."""

    def __init__(self, database: Database, journal: Journal, ring: KeyRing, clock: Clock) -> None:
        self._database = database
        self._journal = journal
        self._ring = ring
        self._clock = clock
        self._rows: list[store.KeyRow] = []
        self._opened: dict[str, SigningKey] = {}
        self._loaded_at = float("-inf")
        self.public: dict[str, PublicKey] = {}  # the keys that verify tokens, by kid

    async def start(self) -> None:
        """Load, creating the first ES256 token key and the checkpoint key of a new deployment."""
        await self.reload()
        for purpose, alg in ((TOKENS, "ES256"), (CHECKPOINTS, "Ed25519")):
            await self.ensure(purpose, algorithm_named(alg))

    async def ensure(self, purpose: str, alg: Algorithm) -> None:
        """Create a key of that algorithm unless one signs already."""
        if not any(r.purpose == purpose and r.alg == alg and r.retired_at is None for r in self._rows):
            await self._create(purpose, alg, signs_from=int(self._clock.now()))

    async def rotate(self, purpose: str, alg: Algorithm, *, at_once: bool = False) -> str:
        """Publish a successor now; it signs once every cache of the key set has expired. Returns its kid."""
        now = int(self._clock.now())
        signs_from = now if at_once else now + PUBLISH_BEFORE_SIGNING_SECONDS
        return await self._create(purpose, alg, signs_from=signs_from)

    async def reload(self) -> None:
        """Read the rows again, at most every few seconds unless a key was created here."""
        async with self._database.read() as connection:
            rows = await store.all_keys(connection)
            await renew_for(self._ring, connection, *(row.sealed for row in rows))
        self._rows = rows
        self._loaded_at = self._clock.monotonic()
        now = self._clock.now()
        for row in rows:
            if row.kid not in self._opened and (row.retired_at is None or now < row.retired_at):
                # NOTE: now, for these bytes may be sealed under a key that is gone when they are needed.
                with contextlib.suppress(VaultError):  # who signs with it is told
                    self._open(row)
        self.public = {
            r.kid: parse_jwk(msgspec.json.decode(r.public))
            for r in self._rows
            if r.purpose == TOKENS and (r.retired_at is None or now < r.retired_at + PUBLISH_AFTER_RETIRING_SECONDS)
        }

    async def reload_if_due(self) -> None:
        """Another node may have rotated: look again, but not more often than every few seconds."""
        if self._clock.monotonic() - self._loaded_at >= RELOAD_SECONDS:
            await self.reload()

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """The key set to publish: signing, waiting, and retired ones whose tokens may still live."""
        return {"keys": [key.jwk() for key in self.public.values()]}

    async def ready(self, alg: Algorithm) -> SigningKey:
        """The key that signs now, also when another node created the first of its kind a moment ago."""
        if not any(r.purpose == TOKENS and r.alg == alg for r in self._rows):
            await self.reload()
        return self.signer(alg)

    def signer(self, alg: Algorithm, purpose: str = TOKENS) -> SigningKey:
        """The key that signs now: the newest whose time has come."""
        now = self._clock.now()
        ready = [r for r in self._rows if r.purpose == purpose and r.alg == alg and r.signs_from <= now]
        usable = [r for r in ready if r.retired_at is None or now < r.retired_at]
        if not usable:
            raise Unavailable(detail=f"no {alg} key for {purpose}")
        row = max(usable, key=lambda r: (r.signs_from, r.kid))
        return self._opened.get(row.kid) or self._open(row)

    def public_key(self, purpose: str) -> PublicKey:
        """The public half of the newest key of a purpose."""
        row = max((r for r in self._rows if r.purpose == purpose), key=lambda r: (r.signs_from, r.kid))
        return parse_jwk(msgspec.json.decode(row.public))

    def pin(self) -> str:
        """The public half of the checkpoint key as `kid:base64url`: what an auditor pins."""
        key = self.public_key(CHECKPOINTS)
        assert isinstance(key.key, Ed25519PublicKey)
        return f"{key.kid}:{base64url.encode(key.key.public_bytes_raw()).decode()}"

    def listed(self) -> list[dict[str, Any]]:
        """Every key, without its private part; times in seconds."""
        return [
            {
                "kid": r.kid,
                "purpose": r.purpose,
                "algorithm": r.alg,
                "signs_from": r.signs_from,
                "retired_at": r.retired_at,
            }
            for r in self._rows
        ]

    async def _create(self, purpose: str, alg: Algorithm, *, signs_from: int) -> str:
        private = _generate(alg)
        now = int(self._clock.now())
        kid = f"{alg.lower()}-{secrets.token_hex(8)}"
        public = PublicKey(kid, alg, private.public_key())
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        async with self._journal.change() as change:
            row = store.KeyRow(
                kid=kid,
                purpose=purpose,
                alg=alg,
                public=msgspec.json.encode(public.jwk()).decode(),
                sealed=await seal_now(change.tx, self._ring, der, _place(self._ring, kid)),
                created_at=now,
                signs_from=signs_from,
                retired_at=None,
            )
            for older in self._rows:
                if older.purpose == purpose and older.alg == alg and older.retired_at is None:
                    await store.retire(change.tx, older.kid, at=signs_from)
            await store.add(change.tx, row)
            change.record(Event.KEY_CREATED, "", kid=kid, alg=alg, purpose=purpose, signs_from=signs_from)
        await self.reload()
        return kid

    def _open(self, row: store.KeyRow) -> SigningKey:
        der = open_sealed_bytes(self._ring, row.sealed, _place(self._ring, row.kid)).reveal()
        private = load_der_private_key(der, password=None)
        if not isinstance(private, EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey):
            raise Unavailable(detail=f"key {row.kid} is of a kind we do not sign with")
        self._opened[row.kid] = SigningKey(row.kid, algorithm_named(row.alg), private)
        return self._opened[row.kid]


def _place(ring: KeyRing, kid: str) -> Place:
    return Place(
        deployment=ring.deployment,
        organization=None,
        table="signing_keys",
        column="sealed",
        row=kid,
        owner=None,
        integration=None,
        allowed_hosts=frozenset(),
        generation=1,
    )


SEALED = SealedColumn(
    rows=store.ALL, key=store.ALL_BY, blob=store.SEALED, place=lambda ring, row: _place(ring, row.kid)
)


def _generate(alg: Algorithm) -> Private:
    match alg:
        case "ES256":
            return generate_private_key(SECP256R1())
        case "Ed25519":
            return Ed25519PrivateKey.generate()
        case "RS256":
            return generate_rsa(65537, 2048)


def algorithm_named(text: str) -> Algorithm:
    """The algorithm of that name. Raises `InvalidRequest` for any other."""
    for known in get_args(Algorithm):
        if text == known:
            return cast(Algorithm, known)
    raise InvalidRequest(f"{text} is not an algorithm this server signs with.", hint="ES256, Ed25519 or RS256.")
