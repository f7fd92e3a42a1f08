"""Proofs that stand alone: that one record is under a signed checkpoint, and that one checkpoint continues another.

A proof is one JSON object that carries its checkpoints as they were signed; whoever holds a pinned key checks it with
nothing else. Pure. docs/audit-format.md is the specification.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

from valetkey.server.audit import checkpoint, merkle
from valetkey.server.audit.chain import read_record
from valetkey.server.audit.checkpoint import Checkpoint, Head, InvalidCheckpoint
from valetkey.server.audit.model import AuditRecord
from valetkey.verify.json import MalformedJson, parse_object
from valetkey.verify.keys import PublicKey

MAX_PROOF: Final = 8 * 1_048_576  # bytes: two checkpoints of the largest size, escaped, and the paths of their writers


class InvalidProof(ValueError):
    """A proof nobody may rely on; the message is a sentence about it."""


class Included(NamedTuple):
    """This record is under this checkpoint."""

    record: AuditRecord
    checkpoint: Checkpoint


class Continued(NamedTuple):
    """Every chain of the later checkpoint begins with that of the earlier one."""

    earlier: Checkpoint
    later: Checkpoint


class _Inclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    kind: str
    record: str
    path: list[str]
    checkpoint: str


class _Consistency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    kind: str
    earlier: str
    later: str
    paths: dict[str, list[str]]


def inclusion(line: bytes, path: Sequence[bytes], signed: bytes) -> dict[str, Any]:
    """The proof that the record of this line is under the checkpoint of this one."""
    return msgspec.to_builtins(  # type: ignore[no-any-return]
        _Inclusion(1, "inclusion", line.decode(), [step.hex() for step in path], signed.decode())
    )


def consistency(earlier: bytes, later: bytes, paths: Mapping[str, Sequence[bytes]]) -> dict[str, Any]:
    """The proof that the later checkpoint continues the earlier one, with a path for each writer of the earlier one."""
    listed = {writer: [step.hex() for step in path] for writer, path in sorted(paths.items())}
    return msgspec.to_builtins(  # type: ignore[no-any-return]
        _Consistency(1, "consistency", earlier.decode(), later.decode(), listed)
    )


def check(text: bytes, keys: Mapping[str, PublicKey]) -> Included | Continued:
    """Return what a proof proves, trusting only the pinned keys. Raises `InvalidProof`."""
    if len(text) > MAX_PROOF:
        raise InvalidProof(f"it is longer than {MAX_PROOF} bytes")
    try:
        said = parse_object(text)
        match said.get("kind"):
            case "inclusion":
                return _included(msgspec.convert(said, _Inclusion), keys)
            case "consistency":
                return _continued(msgspec.convert(said, _Consistency), keys)
    except (MalformedJson, msgspec.ValidationError, UnicodeError):
        pass
    raise InvalidProof("it is not a proof of this format")


def _included(proof: _Inclusion, keys: Mapping[str, PublicKey]) -> Included:
    _check_version(proof.v)
    line = proof.record.encode()
    try:
        record = read_record(line)
    except ValueError as error:
        raise InvalidProof(f"its record is none: {error}") from None
    signed = _signed(proof.checkpoint, keys, "its checkpoint")
    head = head_of(signed, record.writer)
    if not head.tree:
        raise InvalidProof("its checkpoint is of format 1, which signs no trees")
    own = merkle.leaf(sha256(line).digest())
    if not merkle.holds_inclusion(own, record.seq - 1, head.seq, _path(proof.path), head.tree):
        raise InvalidProof(
            f"record {record.seq} of {record.writer} is not, as it stands here, under checkpoint {signed.n}"
        )
    return Included(record, signed)


def _continued(proof: _Consistency, keys: Mapping[str, PublicKey]) -> Continued:
    _check_version(proof.v)
    earlier, later = (
        _signed(proof.earlier, keys, "the earlier checkpoint"),
        _signed(proof.later, keys, "the later checkpoint"),
    )
    if earlier.deployment != later.deployment:
        raise InvalidProof(f"its checkpoints are of two deployments, {earlier.deployment} and {later.deployment}")
    # SECURITY: exactly the writers of the earlier one, each proven: a writer left out is a chain that may be gone.
    # Guarded by tests/rules/test_proof.py::test_a_writer_that_was_left_out_is_missed
    if set(proof.paths) != {head.writer for head in earlier.heads}:
        raise InvalidProof("it does not have one path for each writer of the earlier checkpoint")
    for head in earlier.heads:
        now = head_of(later, head.writer)
        if not head.tree or not now.tree:
            raise InvalidProof("one of its checkpoints is of format 1, which signs no trees")
        path = _path(proof.paths[head.writer])
        if not merkle.holds_consistency(head.seq, now.seq, head.tree, now.tree, path):
            said = f"the records of {head.writer} up to {now.seq} do not begin with the {head.seq} signed before"
            raise InvalidProof(f"checkpoint {later.n} does not continue checkpoint {earlier.n}: {said}")
    return Continued(earlier, later)


def head_of(signed: Checkpoint, writer: str) -> Head:
    """What a checkpoint signed of one writer. Raises `InvalidProof`."""
    for head in signed.heads:
        if head.writer == writer:
            return head
    raise InvalidProof(f"checkpoint {signed.n} signed nothing of writer {writer}")


def _signed(line: str, keys: Mapping[str, PublicKey], which: str) -> Checkpoint:
    try:
        return checkpoint.verify(line.encode(), keys)
    except InvalidCheckpoint as error:
        raise InvalidProof(f"{which} does not hold: {error}") from None


def _path(steps: Sequence[str]) -> list[bytes]:
    if len(steps) > merkle.MOST_STEPS or any(len(step) != 64 or step != step.lower() for step in steps):
        raise InvalidProof("a step of its path is not a digest in lower-case hexadecimal, or there are too many")
    try:
        return [bytes.fromhex(step) for step in steps]
    except ValueError:
        raise InvalidProof("a step of its path is not a digest in lower-case hexadecimal") from None


def _check_version(v: int) -> None:
    if v != 1:
        raise InvalidProof(f"it is of format {v}, which this version does not know")
