"""Proofs that stand alone, and every one-bit change of one: it does not hold, or it says the very same."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.rules.test_merkle import digests
from tests.support.audit import KID, Trail
from valetkey.server.audit import checkpoint, merkle, proof
from valetkey.server.audit.proof import Continued, Included, InvalidProof
from valetkey.verify.keys import PublicKey


def trail() -> Trail:
    grown = Trail().record("w1", 5).record("w2", 3).sign().record("w1", 6).sign()
    return grown.record("w2", 1).record("w3", 2).record("w1", 2).sign()


STORY = trail()
KEYS = {KID: STORY.public_key}


def leaves(writer: str, size: int) -> list[bytes]:
    from hashlib import sha256

    return [sha256(body).digest() for body in STORY.bodies[writer][:size]]


def included(writer: str, seq: int, n: int) -> dict[str, Any]:
    line = STORY.checkpoints[n - 1]
    head = proof.head_of(checkpoint.verify(line, KEYS), writer)
    path = digests(leaves(writer, head.seq), merkle.inclusion(seq - 1, head.seq))
    return proof.inclusion(STORY.bodies[writer][seq - 1], path, line)


def continued(earlier: int, later: int) -> dict[str, Any]:
    before, after = (checkpoint.verify(STORY.checkpoints[n - 1], KEYS) for n in (earlier, later))
    paths = {
        head.writer: digests(
            leaves(head.writer, size := proof.head_of(after, head.writer).seq), merkle.consistency(head.seq, size)
        )
        for head in before.heads
    }
    return proof.consistency(STORY.checkpoints[earlier - 1], STORY.checkpoints[later - 1], paths)


def text(made: dict[str, Any]) -> bytes:
    return json.dumps(made, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("writer", "seq", "n"), [("w1", 1, 1), ("w1", 5, 1), ("w1", 5, 3), ("w1", 13, 3), ("w3", 1, 3)]
)
def test_a_record_is_proven_under_a_checkpoint(writer: str, seq: int, n: int) -> None:
    found = proof.check(text(included(writer, seq, n)), KEYS)
    assert isinstance(found, Included)
    assert (found.record.writer, found.record.seq, found.checkpoint.n) == (writer, seq, n)


@pytest.mark.parametrize(("earlier", "later"), [(1, 2), (1, 3), (2, 3), (3, 3)])
def test_a_checkpoint_is_proven_to_continue_another(earlier: int, later: int) -> None:
    found = proof.check(text(continued(earlier, later)), KEYS)
    assert isinstance(found, Continued)
    assert (found.earlier.n, found.later.n) == (earlier, later)


WHOLE = {"inclusion": text(included("w1", 7, 3)), "consistency": text(continued(1, 3))}


@pytest.mark.parametrize("kind", WHOLE)
def test_one_changed_bit_anywhere_does_not_hold(kind: str) -> None:
    """Every bit of the proof, one after the other."""
    whole = WHOLE[kind]
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidProof):
            proof.check(bytes(changed), KEYS)


@pytest.mark.parametrize("kind", WHOLE)
def test_a_key_that_is_not_pinned_proves_nothing(kind: str) -> None:
    other = Ed25519PrivateKey.generate().public_key()
    for keys in ({}, {KID: PublicKey(KID, "Ed25519", other)}, {"other": STORY.public_key}):
        with pytest.raises(InvalidProof, match="does not hold"):
            proof.check(WHOLE[kind], keys)


def test_a_record_of_another_place_is_not_proven_by_this_path() -> None:
    made = included("w1", 7, 3)
    for seq in (1, 6, 8, 13):
        with pytest.raises(InvalidProof, match="not, as it stands here"):
            proof.check(text(made | {"record": STORY.bodies["w1"][seq - 1].decode()}), KEYS)
    with pytest.raises(InvalidProof, match="not, as it stands here"):
        proof.check(text(made | {"checkpoint": STORY.checkpoints[0].decode()}), KEYS)  # it came later
    with pytest.raises(InvalidProof, match="signed nothing of writer w3"):
        proof.check(text(included("w3", 1, 3) | {"checkpoint": STORY.checkpoints[0].decode()}), KEYS)


def test_another_history_is_not_a_continuation() -> None:
    """Whoever holds the key signs a trail whose past differs in one record."""
    forged = Trail().record("w1", 2).record("w1", 1, resource="acme/payroll").record("w1", 10).record("w2", 4).sign()
    later = forged.checkpoints[-1].decode()
    assert checkpoint.verify(later.encode(), KEYS)
    with pytest.raises(InvalidProof, match="does not continue checkpoint 1"):
        proof.check(text(continued(1, 3) | {"later": later}), KEYS)


def test_a_writer_that_was_left_out_is_missed() -> None:
    made = continued(1, 3)
    paths = {writer: path for writer, path in made["paths"].items() if writer != "w2"}
    with pytest.raises(InvalidProof, match="one path for each writer"):
        proof.check(text(made | {"paths": paths}), KEYS)
    with pytest.raises(InvalidProof, match="one path for each writer"):
        proof.check(text(made | {"paths": made["paths"] | {"w3": []}}), KEYS)


def test_checkpoints_the_other_way_round_prove_nothing() -> None:
    made = continued(1, 3)
    with pytest.raises(InvalidProof):
        proof.check(text(made | {"earlier": made["later"], "later": made["earlier"]}), KEYS)


def test_checkpoints_of_format_1_prove_no_single_record() -> None:
    old = Trail(signs_trees=False).record("w1", 1).sign()
    for made in (
        proof.inclusion(old.bodies["w1"][0], [], old.checkpoints[0]),
        proof.consistency(old.checkpoints[0], old.checkpoints[0], {"w1": []}),
    ):
        with pytest.raises(InvalidProof, match="format 1"):
            proof.check(text(made), KEYS)


def test_checkpoints_of_two_deployments_prove_nothing() -> None:
    other = Trail(deployment="other").record("w1", 5).record("w2", 3).sign()
    with pytest.raises(InvalidProof, match="two deployments"):
        proof.check(text(continued(1, 3) | {"later": other.checkpoints[0].decode()}), KEYS)


@pytest.mark.parametrize(
    "changed",
    [{"v": 2}, {"kind": "other"}, {"path": ["00"]}, {"path": ["A" * 64]}, {"more": 1}, {"path": ["0" * 64] * 65}],
)
def test_what_is_no_proof_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidProof):
        proof.check(text(included("w1", 7, 3) | changed), KEYS)


@pytest.mark.parametrize("given", [b"", b"[]", b"{}", b"\xff", b'{"v":1,"v":1}', b" " * (proof.MAX_PROOF + 1)])
def test_text_that_is_no_proof_is_refused(given: bytes) -> None:
    with pytest.raises(InvalidProof):
        proof.check(given, KEYS)
