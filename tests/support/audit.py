"""A deployment's audit trail as an outsider holds it: export lines, checkpoint lines, and the pinned key."""

from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from valetkey.server.audit import checkpoint, merkle
from valetkey.server.audit.chain import Chain
from valetkey.server.audit.model import Event
from valetkey.server.audit.verify import Report, verify_lines
from valetkey.verify.keys import PublicKey

BEGAN = 1_795_478_279.123  # 2026-11-23T23:57:59.123Z
KID = "ed25519-00112233445566ff"


@dataclass
class Trail:
    """Appends records as several writers, signs checkpoints, and verifies as a stranger would."""

    deployment: str = "acme"
    signs_trees: bool = True
    key: Ed25519PrivateKey = field(default_factory=lambda: Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    chains: dict[str, Chain] = field(default_factory=dict)
    bodies: dict[str, list[bytes]] = field(default_factory=dict)
    checkpoints: list[bytes] = field(default_factory=list)

    def record(self, writer: str, count: int = 1, event: Event = Event.CALL_ALLOWED, **members: object) -> "Trail":
        """Append `count` records of `writer`; their ids say whose and which they are."""
        chain = self.chains.setdefault(writer, Chain(writer))
        for _ in range(count):
            seq = chain.seq + 1
            line = chain.append(
                id=f"aud_{writer}-{seq}",
                event=event,
                org="org_acme",
                members=members or {"action": "repo:read", "resource": f"acme/{seq}"},
                time=BEGAN + seq,
            )
            self.bodies.setdefault(writer, []).append(line.body)
        return self

    def sign(self, *, key: Ed25519PrivateKey | None = None, kid: str = KID) -> "Trail":
        """Write a checkpoint over every head as it is now."""
        n, prev = checkpoint.following(self.checkpoints[-1] if self.checkpoints else None)
        self.checkpoints.append(
            checkpoint.make(
                n=n,
                time=BEGAN + n,
                deployment=self.deployment,
                heads=[self._head(chain) for chain in self.chains.values()],
                prev=prev,
                kid=kid,
                sign=(key or self.key).sign,
            )
        )
        return self

    def _head(self, chain: Chain) -> checkpoint.Head:
        digests = [sha256(body).digest() for body in self.bodies[chain.writer]]
        return checkpoint.Head(chain.writer, chain.seq, chain.head, merkle.root(digests) if self.signs_trees else b"")

    def fork(self) -> "Trail":
        """The same past in other hands."""
        return Trail(
            self.deployment,
            self.signs_trees,
            self.key,
            {name: chain.copy() for name, chain in self.chains.items()},
            {name: list(bodies) for name, bodies in self.bodies.items()},
            list(self.checkpoints),
        )

    @property
    def public_key(self) -> PublicKey:
        return PublicKey(KID, "Ed25519", self.key.public_key())

    @property
    def lines(self) -> list[bytes]:
        """The export: by writer, then by number."""
        return [body for writer in sorted(self.bodies) for body in self.bodies[writer]]

    def verify(self, lines: list[bytes] | None = None, *, at_least: int = 0) -> Report:
        """What someone with the pinned key makes of `lines`, or of the honest export."""
        return verify_lines(
            self.lines if lines is None else lines, self.checkpoints, {KID: self.public_key}, at_least=at_least
        )


def honest_trail() -> Trail:
    """Three writers and four checkpoints: w1 signed at 4, 8 and 12, w2 at 3 and 6, w3 at 2. All records are covered."""
    trail = Trail().record("w1", 4).record("w2", 3).sign()
    trail.record("w1", 4).record("w3", 2).sign()
    return trail.record("w1", 4).sign().record("w2", 3).sign()
