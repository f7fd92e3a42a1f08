"""Checkpoints that sign the trees of records: what verifying makes of right ones, wrong ones, and ones left out."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest

from tests.support.audit import BEGAN, KID, Trail, honest_trail
from valetkey.server.audit import checkpoint, merkle
from valetkey.server.audit.checkpoint import Head, InvalidCheckpoint
from valetkey.server.audit.verify import verify_lines


def signed(trail: Trail, heads: list[Head]) -> bytes:
    """Another checkpoint of this trail, signed by its key whatever the heads say."""
    n, prev = checkpoint.following(trail.checkpoints[-1] if trail.checkpoints else None)
    return checkpoint.make(
        n=n, time=BEGAN + n, deployment=trail.deployment, heads=heads, prev=prev, kid=KID, sign=trail.key.sign
    )


def head(trail: Trail, writer: str, *, seq: int | None = None, tree: bytes | None = None) -> Head:
    bodies = trail.bodies[writer][:seq]
    digests = [sha256(body).digest() for body in bodies]
    return Head(writer, len(bodies), digests[-1], merkle.root(digests) if tree is None else tree)


def test_both_formats_hold() -> None:
    for signs_trees in (False, True):
        trail = Trail(signs_trees=signs_trees).record("w1", 5).sign().record("w2", 3).sign()
        assert [json.loads(line)["v"] for line in trail.checkpoints] == [1 + signs_trees] * 2
        report = trail.verify()
        assert (report.ok, report.checkpoints, report.uncovered) == (True, 2, 0)


def test_a_series_goes_on_in_the_newer_format() -> None:
    trail = Trail(signs_trees=False).record("w1", 5).record("w2", 2).sign()
    trail.signs_trees = True
    assert trail.record("w1", 4).sign().verify().ok  # w2 did not move, and gets its tree
    trail.checkpoints[-1] = signed(
        replace(trail, checkpoints=trail.checkpoints[:-1]), [head(trail, "w1"), head(trail, "w2", tree=b"x" * 32)]
    )
    report = trail.verify()
    assert report.bad_checkpoint is not None
    assert "tree it signed for w2 is not that of its records up to 2" in report.bad_checkpoint.reason


def test_a_series_that_signed_trees_does_not_stop() -> None:
    trail = Trail().record("w1", 5).sign().record("w1", 1)
    trail.signs_trees = False
    report = trail.sign().verify()
    assert report.bad_checkpoint is not None
    assert report.bad_checkpoint.line == 2
    assert "trees are missing" in report.bad_checkpoint.reason


@pytest.mark.parametrize("wrong", [1, 2, 3])
def test_a_tree_that_is_not_of_the_records_is_named(wrong: int) -> None:
    trail = Trail().record("w1", 3).sign().record("w1", 300).sign().record("w1", 5000).sign()
    assert trail.verify().ok
    heads = [head(trail, "w1", seq=seq) for seq in (3, 303, 5303)]
    heads[wrong - 1] = heads[wrong - 1]._replace(tree=bytes(31) + b"x")
    trail.checkpoints.clear()
    for each in heads:
        trail.checkpoints.append(signed(trail, [each]))
    report = trail.verify()
    assert (report.ok, report.first_bad) == (False, report.bad_checkpoint)
    assert report.bad_checkpoint is not None
    assert report.bad_checkpoint.line == wrong
    assert report.records == 5303  # every record holds, and was read


def test_the_tree_of_records_that_did_not_move_stays_the_same() -> None:
    trail = Trail().record("w1", 3).sign()
    trail.checkpoints.append(signed(trail, [head(trail, "w1", tree=b"y" * 32)]))
    report = trail.verify()
    assert report.bad_checkpoint is not None
    assert "the tree of w1 up to record 3 is another than before" in report.bad_checkpoint.reason


def test_an_edited_record_is_named_as_before() -> None:
    trail = honest_trail()
    lines = list(trail.lines)
    lines[5] = lines[5].replace(b"repo:read", b"repo:wide")
    report = trail.verify(lines)
    assert report.first_bad is not None
    assert (report.first_bad.writer, report.first_bad.seq) == ("w1", 6)


def test_a_head_has_a_tree_exactly_in_format_2() -> None:
    trail = Trail().record("w1", 3).record("w2", 1)
    with pytest.raises(InvalidCheckpoint, match="tree"):
        signed(trail, [head(trail, "w1"), head(trail, "w2", tree=b"")])
    whole = trail.sign().checkpoints[-1]
    assert checkpoint.verify(whole, {KID: trail.public_key}).format == 2
    tree = b'"tree":"' + merkle.root([sha256(trail.bodies["w2"][0]).digest()]).hex().encode() + b'"'
    for said, instead in (
        (b'"v":2', b'"v":1'),
        (b'"v":2', b'"v":3'),
        (tree, b'"tree":""'),
        (b"," + tree, b""),
        (tree, tree.upper()),
    ):
        assert said in whole
        with pytest.raises(InvalidCheckpoint):
            checkpoint.verify(whole.replace(said, instead, 1), {KID: trail.public_key})


def test_a_signature_over_one_format_is_none_over_the_other() -> None:
    trail = Trail(signs_trees=False).record("w1", 1).sign()
    body = trail.checkpoints[0].partition(b',"signatures"')[0] + b"}"
    assert trail.public_key.verifies(_signature(trail.checkpoints[0]), b"valetkey-checkpoint-v1\n" + body)
    assert not trail.public_key.verifies(_signature(trail.checkpoints[0]), b"valetkey-checkpoint-v2\n" + body)


def _signature(line: bytes) -> bytes:
    from base64 import urlsafe_b64decode

    return urlsafe_b64decode(json.loads(line)["signatures"][0]["sig"] + "==")


def test_a_trail_without_checkpoints_is_read_without_trees() -> None:
    trail = Trail().record("w1", 10)
    report = verify_lines(trail.lines, [], {})
    assert (report.ok, report.uncovered) == (True, 10)
