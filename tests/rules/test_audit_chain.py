"""The line, the chain, the checkpoint and the Merkle root, and that a stranger can verify them with nothing of ours."""

import base64
import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.support.audit import BEGAN, KID, Trail, honest_trail
from valetkey.server.audit import checkpoint, merkle
from valetkey.server.audit.chain import Chain, read_record
from valetkey.server.audit.checkpoint import InvalidCheckpoint, pin, pinned
from valetkey.server.audit.model import MAX_LINE, NO_DIGEST, Event, Unrecordable
from valetkey.server.audit.verify import verify_lines
from valetkey.server.audit.verify_files import verify_export
from valetkey.verify.errors import InvalidKey

VECTORS = Path(__file__).parent.parent / "vectors"
EXPORT, CHECKPOINTS = VECTORS / "audit_chain.ndjson", VECTORS / "audit_checkpoints.ndjson"
CHECKPOINTS_2 = VECTORS / "audit_checkpoints_2.ndjson"
PIN = "ed25519-00112233445566ff:A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"


def story(*, signs_trees: bool = False) -> Trail:
    """What the vectors hold: three writers, four checkpoints, every kind of value, and text that tries to get out."""
    trail = (
        Trail(signs_trees=signs_trees)
        .record("w1", 1, Event.WRITER_STARTED, unknown=0)
        .record("w2", 1, Event.WRITER_STARTED, unknown=2)
    )
    trail.record(
        "w1", 1, Event.DELEGATION_RECORDED, user="usr_a", agent="agt_p", grants=["github:repo:read@acme/backend"]
    )
    trail.sign().record("w1", 1, parameters={"b": [1, True, {}], "a": {"ref": "main"}}, resource="acme/backend")
    trail.record("w2", 1, Event.CALL_DENIED, reason='"},\n\x1b[31m\u009b\u2028\u202e', limit=-(2**53 - 1))
    trail.sign().record("w10", 1, Event.KEY_ROTATED, kid="é-ключ-鍵-🔑").sign()
    return trail.record("w1", 1, Event.CALL_FINISHED, status=200, decision="aud_w1-3").sign()


def foreign_root(leaves: list[bytes]) -> str:
    """Pairing up level by level is the same tree: the odd one out moves up."""
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\1" + b"".join(p)).digest() if len(p) == 2 else p[0] for p in pairs]
    return level[0].hex()


def foreign_verify(export: bytes, checkpoints: bytes) -> list[str]:
    """What someone without our code writes from the page with hashlib and json: all but signatures."""
    wrong, heads, seen, last, leaves = [], {}, {}, "0" * 64, {}
    for line in export.split(b"\n")[:-1]:
        record, digest = json.loads(line), hashlib.sha256(line).hexdigest()
        writer, seq = record["writer"], record["seq"]
        if (seq - 1, record["prev"]) != heads.get(writer, (0, "0" * 64)):
            wrong.append(f"record {seq} of {writer}")
        heads[writer], seen[writer, seq] = (seq, digest), digest
        leaves.setdefault(writer, []).append(bytes.fromhex(digest))
    for n, line in enumerate(checkpoints.split(b"\n")[:-1], 1):
        said = json.loads(line)
        top = foreign_root([json.dumps(head, separators=(",", ":")).encode() for head in said["heads"]])
        if (said["n"], said["prev"], said["root"]) != (n, last, top):
            wrong.append(f"checkpoint {n}")
        for head in said["heads"] if said["v"] == 2 else ():
            if foreign_root(leaves[head["writer"]][: head["seq"]]) != head["tree"]:
                wrong.append(f"tree of {head['writer']}")
        wrong += [f"head {h}" for h in said["heads"] if seen.get((h["writer"], h["seq"])) != h["digest"]]
        last = hashlib.sha256(line).hexdigest()
    return wrong


def test_the_vectors_are_what_this_version_writes() -> None:
    trail = story()
    assert EXPORT.read_bytes() == b"".join(line + b"\n" for line in trail.lines)
    assert CHECKPOINTS.read_bytes() == b"".join(line + b"\n" for line in trail.checkpoints)
    grown = story(signs_trees=True)
    assert CHECKPOINTS_2.read_bytes() == b"".join(line + b"\n" for line in grown.checkpoints)
    assert pin(trail.public_key) == PIN


@pytest.mark.parametrize("version", [1, 2])
def test_the_vectors_hold_for_us_and_for_a_stranger(version: int) -> None:
    file = CHECKPOINTS if version == 1 else CHECKPOINTS_2
    report = verify_export(EXPORT, file, [PIN])
    assert (report.ok, report.records, report.writers, report.checkpoints, report.uncovered) == (True, 7, 3, 4, 0)
    assert foreign_verify(EXPORT.read_bytes(), file.read_bytes()) == []
    stranger = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(PIN.partition(":")[2] + "="))
    for line in file.read_bytes().splitlines():
        signature = base64.urlsafe_b64decode(json.loads(line)["signatures"][0]["sig"] + "==")
        stranger.verify(
            signature, b"valetkey-checkpoint-v%d\n" % version + line[: line.index(b',"signatures":')] + b"}"
        )


def test_a_stranger_finds_an_edited_vector_too(tmp_path: Path) -> None:
    edited = EXPORT.read_bytes().replace(b"acme/backend", b"acme/payroll", 1)
    assert foreign_verify(edited, CHECKPOINTS.read_bytes())[0] == "record 3 of w1"  # the one after it
    (tmp_path / "export").write_bytes(edited)
    report = verify_export(tmp_path / "export", CHECKPOINTS, [PIN])
    assert report.first_bad is not None
    assert report.first_bad[:4] == ("w1", 2, "aud_w1-2", 2)


def test_a_line_has_its_members_in_one_order() -> None:
    line = Chain("w1").append(
        id="aud_1", event=Event.CALL_ALLOWED, org="org_1", members={"b": 1, "a": {"d": True, "c": ["x"]}}, time=BEGAN
    )
    assert line.body == (
        b'{"v":1,"writer":"w1","seq":1,"prev":"' + b"0" * 64 + b'","id":"aud_1","time":"2026-11-23T23:57:59.123Z",'
        b'"event":"call.allowed","org":"org_1","a":{"c":["x"],"d":true},"b":1}'
    )
    assert (line.seq, line.digest) == (1, hashlib.sha256(line.body).digest())


def test_each_record_names_the_one_before() -> None:
    lines = honest_trail().bodies["w1"]
    for before, line in pairwise(lines):
        assert read_record(line).prev == hashlib.sha256(before).digest()
        assert read_record(line).seq == read_record(before).seq + 1


def test_a_copied_chain_goes_on_by_itself() -> None:
    chain = Chain("w1")
    copy = chain.copy()
    line = copy.append(id="aud_1", event=Event.TASK_OPENED, org="", members={}, time=0)
    assert (chain.seq, chain.head) == (0, NO_DIGEST)
    assert (copy.seq, copy.head) == (1, line.digest)
    assert line.body.endswith(b'"event":"task.opened","org":""}')


def test_a_record_that_cannot_be_written_leaves_the_chain_where_it_was() -> None:
    chain = Chain("w1")
    for members in ({"x": None}, {"x": "y" * MAX_LINE}, {"seq": 1}):
        with pytest.raises(Unrecordable):
            chain.append(id="aud_1", event=Event.TASK_OPENED, org="", members=members, time=0)
    for plain in ({"id": 'a"', "org": ""}, {"id": "a", "org": "o\n"}, {"id": "", "org": ""}):
        with pytest.raises(Unrecordable):
            chain.append(event=Event.TASK_OPENED, members={}, time=0, **plain)
    assert (chain.seq, chain.head) == (0, NO_DIGEST)


@pytest.mark.parametrize("arguments", [("w 1",), ("",), ("w1", 3), ("w1", 0, b"x" * 32), ("w1", 3, b"x"), ("w1", -1)])
def test_a_chain_continues_only_from_a_head(arguments: tuple[str, int, bytes]) -> None:
    with pytest.raises(ValueError, match=r"head|writer"):
        Chain(*arguments)
    assert Chain("w1", 3, b"x" * 32).seq == 3


@pytest.mark.parametrize("event", list(Event))
def test_every_event_is_a_noun_and_a_past_verb(event: Event) -> None:
    line = Chain("w1").append(id="aud_1", event=event, org="", members={}, time=0).body
    assert read_record(line).event == event


def test_the_merkle_root_is_that_of_rfc_6962() -> None:
    # The widely published roots of the first n of eight leaves.
    leaves = [bytes.fromhex(leaf) for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
    leaves.append(bytes(range(0x60, 0x70)))
    roots = {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    assert {n: merkle.root(leaves[:n]).hex() for n in roots} == roots
    assert merkle.root([b"\x00" + leaves[0]]) != merkle.root(leaves[:1])


def test_a_checkpoint_is_believed_by_its_pinned_key_and_by_no_other() -> None:
    trail = honest_trail()
    said = checkpoint.verify(trail.checkpoints[1], {KID: trail.public_key})
    assert (said.n, said.deployment) == (2, "acme")
    assert [(head.writer, head.seq) for head in said.heads] == [("w1", 8), ("w2", 3), ("w3", 2)]
    with pytest.raises(InvalidCheckpoint, match="no pinned key"):
        checkpoint.verify(trail.checkpoints[1], {})


def test_another_signature_beside_ours_counts_only_when_its_key_is_pinned() -> None:
    trail = honest_trail()
    more = trail.checkpoints[0][:-2] + b',{"alg":"ML-DSA-44","kid":"later","sig":"AAAA"}]}'
    assert checkpoint.verify(more, {KID: trail.public_key}).n == 1
    with pytest.raises(InvalidCheckpoint, match="does not hold"):
        checkpoint.verify(more, {KID: trail.public_key, "later": trail.public_key})


def test_a_rotated_key_is_followed_by_pinning_both() -> None:
    trail = Trail().record("w1").sign()
    old = trail.public_key
    trail.key = Ed25519PrivateKey.from_private_bytes(b"n" * 32)
    new = trail.public_key
    trail.record("w1").sign(kid="next")
    two = {KID: old, "next": type(new)("next", "Ed25519", new.key)}
    assert [checkpoint.verify(line, two).n for line in trail.checkpoints] == [1, 2]
    with pytest.raises(InvalidCheckpoint):
        checkpoint.verify(trail.checkpoints[1], {KID: old})


def test_a_pin_is_one_line_or_a_jwk() -> None:
    key = Trail().public_key
    assert pinned(PIN + "\n").jwk() == pinned(json.dumps(key.jwk())).jwk() == key.jwk()
    assert pinned(pin(type(key)("a:b", "Ed25519", key.key))).kid == "a:b"
    for text in (
        "",
        PIN[:-1],
        PIN + "A",
        "A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg",
        "k:" + "A" * 43,
        "{",
        '{"kty":"OKP"}',
    ):
        with pytest.raises(InvalidKey):
            pinned(text)


def test_an_export_is_not_verified_without_a_pin() -> None:
    with pytest.raises(InvalidKey, match="pin the checkpoint key"):
        verify_export(EXPORT, CHECKPOINTS, [])


def test_a_checkpoint_that_is_still_being_written_is_not_held_against_the_trail(tmp_path: Path) -> None:
    (tmp_path / "half").write_bytes(CHECKPOINTS.read_bytes() + b'{"v":1,"n":5,')
    assert verify_export(EXPORT, tmp_path / "half", [PIN]).checkpoints == 4
    (tmp_path / "whole").write_bytes(CHECKPOINTS.read_bytes() + b'{"v":1,"n":5,\n')
    assert not verify_export(EXPORT, tmp_path / "whole", [PIN]).ok


def test_progress_is_told_in_records(tmp_path: Path) -> None:
    trail = Trail().record("w1", 20_001).sign()
    (tmp_path / "export").write_bytes(b"\n".join(trail.lines))
    (tmp_path / "checkpoints").write_bytes(trail.checkpoints[0] + b"\n")
    told: list[int] = []
    assert verify_export(tmp_path / "export", tmp_path / "checkpoints", [PIN], told.append).records == 20_001
    assert told == [10_000, 20_000]


def test_an_export_is_read_once_as_a_stream() -> None:
    trail = honest_trail()
    alive = 0

    def lines() -> Iterator[bytes]:
        nonlocal alive
        for line in trail.lines:
            alive += 1
            yield line

    cut = verify_lines(lines(), trail.checkpoints[:1], {KID: trail.public_key})
    assert (cut.ok, cut.uncovered, alive) == (True, 13, 20)
