"""A checkpoint: one signed line, kept outside the database, that says where every writer's chain ended.

`make` builds and signs one with whatever signs; `verify` believes one only by a pinned key. Format 2 also signs the
Merkle tree of each writer's records (`merkle`), format 1 does not. Never meets a private key, a clock or a file. A
checkpoint key is followed by another by pinning both; no checkpoint introduces its successor.
Specs: RFC 8032 (Ed25519), RFC 6962 section 2.1 (the root), RFC 8785 in spirit (one spelling).
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from valetkey.server.audit import merkle
from valetkey.server.audit.chain import NAME, TIME, spelled_time
from valetkey.server.audit.model import MAX_INTEGER, NO_DIGEST
from valetkey.verify import base64url
from valetkey.verify.errors import InvalidKey
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.keys import PublicKey, parse_jwk

MAX_CHECKPOINT: Final = 1_048_576  # bytes: more than 4,096 writers need
CONTEXTS: Final = {1: b"valetkey-checkpoint-v1\n", 2: b"valetkey-checkpoint-v2\n"}
"""By format. Stands before the signed bytes, so that no signature over anything else is one over a checkpoint."""

_MOST_SIGNATURES: Final = 16
_SIGNATURES: Final = b',"signatures":['
_NAME: Final = re.compile(NAME)
_TIME: Final = re.compile(TIME)
_DIGEST: Final = re.compile("[0-9a-f]{64}")


class Head(NamedTuple):
    """Where one writer's chain ended."""

    writer: str
    seq: int
    digest: bytes
    tree: bytes = b""
    """The root over the digests of its records up to this one; empty in format 1."""


class Checkpoint(NamedTuple):
    """What a verified checkpoint line says. `digest` is that of the line itself, which the next one names as `prev`."""

    n: int
    time: str
    deployment: str
    heads: tuple[Head, ...]
    prev: bytes
    digest: bytes
    format: int = 1


class InvalidCheckpoint(ValueError):
    """A checkpoint nobody may rely on; the message is a sentence about it."""


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    writer: str
    seq: int
    digest: str
    tree: str | msgspec.UnsetType = msgspec.UNSET


class _Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    sig: str


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    n: int
    time: str
    deployment: str
    heads: list[_Head]
    root: str
    prev: str


class _Line(_Body, frozen=True, forbid_unknown_fields=True):
    signatures: list[_Signature]


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Line).decode


def make(
    *, n: int, time: float, deployment: str, heads: Iterable[Head], prev: bytes, kid: str,
    sign: Callable[[bytes], bytes],
) -> bytes:  # fmt: skip
    """Return the line, without a newline, of checkpoint `n` over every writer's head, signed with Ed25519 by `sign`.

    `prev` is the SHA-256 of the previous line (`following` gives both); `time` in seconds since the epoch. It is of
    format 2 where every head has its tree.
    """
    listed = [
        _Head(head.writer, head.seq, head.digest.hex(), head.tree.hex() or msgspec.UNSET) for head in sorted(heads)
    ]
    version = 2 if listed and all(head.tree is not msgspec.UNSET for head in listed) else 1
    body = _Body(version, n, spelled_time(time), deployment, listed, _root(listed), prev.hex())
    _check_body(body)
    if not kid or not kid.isascii() or not kid.isprintable():
        raise InvalidCheckpoint("a kid is printable ASCII")
    signed = _encode(body)
    signature = _Signature("Ed25519", kid, base64url.encode(sign(CONTEXTS[version] + signed)).decode())
    return signed[:-1] + _SIGNATURES + _encode(signature) + b"]}"


def following(line: bytes | None) -> tuple[int, bytes]:
    """Return `n` and `prev` of the checkpoint that comes after `line`, or of the first. Raises `InvalidCheckpoint`."""
    return (1, NO_DIGEST) if line is None else (_unverified(line).n + 1, hashlib.sha256(line).digest())


def format_of(line: bytes) -> int:
    """Return the format `line` claims, whoever wrote it. Raises `InvalidCheckpoint`."""
    return _unverified(line).v


def unverified_end(line: bytes) -> tuple[str, str, tuple[Head, ...]]:
    """Return whose deployment, when and which heads `line` claims, whoever wrote it. Raises `InvalidCheckpoint`."""
    said = _unverified(line)
    return said.deployment, said.time, _heads(said)


def verify(line: bytes, keys: Mapping[str, PublicKey]) -> Checkpoint:
    """Return what `line` says once a pinned key signed it. Raises `InvalidCheckpoint`.

    Signatures by keys that are not pinned count for nothing; a wrong one by a pinned key refuses the whole line.
    """
    said = _unverified(line)
    signed = CONTEXTS[said.v] + line[: line.rindex(_SIGNATURES)] + b"}"
    held = 0
    for signature in said.signatures:
        key = keys.get(signature.kid)
        if key is None:
            continue
        if signature.alg != key.alg or not key.verifies(_octets(signature.sig), signed):
            raise InvalidCheckpoint(f"the signature by {signature.kid} does not hold")
        held += 1
    if not held:
        raise InvalidCheckpoint(
            f"no pinned key signed it, only {', '.join(s.kid for s in said.signatures) or 'nobody'}"
        )
    return Checkpoint(
        said.n,
        said.time,
        said.deployment,
        _heads(said),
        bytes.fromhex(said.prev),
        hashlib.sha256(line).digest(),
        said.v,
    )


def pin(key: PublicKey) -> str:
    """Return a public key in the form people copy: `kid:` and its 32 octets in base64url."""
    if key.alg != "Ed25519":
        raise InvalidKey("checkpoints are signed with Ed25519")
    return f"{key.kid}:{key.jwk()['x']}"


def pinned(text: str) -> PublicKey:
    """Return the key of a pin, `kid:base64url`, or of a JWK. Raises `InvalidKey`."""
    text = text.strip()
    kid, _, octets = text.rpartition(":")
    jwk: Mapping[str, object] = {"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "kid": kid, "x": octets}
    if text.startswith("{"):
        try:
            jwk = parse_object(text.encode())
        except (MalformedJson, UnicodeError):
            raise InvalidKey("the pinned key is not a JWK") from None
    key = parse_jwk(jwk)
    if key.alg != "Ed25519":
        raise InvalidKey("checkpoints are signed with Ed25519")
    return key


def _unverified(line: bytes) -> _Line:
    if len(line) > MAX_CHECKPOINT:
        raise InvalidCheckpoint(f"it is longer than {MAX_CHECKPOINT} bytes")
    try:
        said = _decode(line)
        canonical = _encode(said) == line
    except (msgspec.DecodeError, UnicodeError):
        raise InvalidCheckpoint("it is not a checkpoint line of this format") from None
    if not canonical:
        raise InvalidCheckpoint("it is not in the one spelling: order, a name twice, spaces or escapes")
    _check_body(said)
    if len(said.signatures) > _MOST_SIGNATURES:
        raise InvalidCheckpoint(f"it has more than {_MOST_SIGNATURES} signatures")
    return said


def _heads(said: _Body) -> tuple[Head, ...]:
    return tuple(
        Head(head.writer, head.seq, bytes.fromhex(head.digest), bytes.fromhex(head.tree) if head.tree else b"")
        for head in said.heads
    )


def _check_body(said: _Body) -> None:
    if said.v not in CONTEXTS:
        raise InvalidCheckpoint(f"it is of format {said.v}, which this version does not know")
    if not 1 <= said.n <= MAX_INTEGER or _TIME.fullmatch(said.time) is None or not _NAME.fullmatch(said.deployment):
        raise InvalidCheckpoint("its number, time or deployment is malformed")
    if _DIGEST.fullmatch(said.prev) is None or (said.n == 1) != (said.prev == NO_DIGEST.hex()):
        raise InvalidCheckpoint("its prev is malformed")
    writers = [head.writer for head in said.heads]
    if writers != sorted(set(writers)):
        raise InvalidCheckpoint("its writers are not in order, each once")
    for head in said.heads:
        if not _NAME.fullmatch(head.writer) or not 1 <= head.seq <= MAX_INTEGER or not _DIGEST.fullmatch(head.digest):
            raise InvalidCheckpoint("one of its heads is malformed")
        # SECURITY: a tree beside a format that does not sign trees, or a head without one, is another reading.
        # Guarded by tests/rules/test_checkpoint_trees.py::test_a_head_has_a_tree_exactly_in_format_2
        tree = head.tree if isinstance(head.tree, str) else None
        if (said.v == 2) != (tree is not None) or (tree is not None and not _DIGEST.fullmatch(tree)):
            raise InvalidCheckpoint("one of its heads has a malformed tree, or one where none belongs")
    if said.root != _root(said.heads):
        raise InvalidCheckpoint("its root is not that of its heads")


def _root(heads: list[_Head]) -> str:
    return merkle.root([_encode(head) for head in heads]).hex()


def _octets(text: str) -> bytes:
    try:
        return base64url.decode(text.encode("ascii"))
    except ValueError:
        raise InvalidCheckpoint("a signature is not base64url") from None
