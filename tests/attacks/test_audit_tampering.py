"""AUD-03: whatever is done to a trail is found, and the first bad record is named. AUD-08: text stays in its field."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.support.audit import KID, Trail, honest_trail
from valetkey.server.audit.chain import Chain, read_record
from valetkey.server.audit.model import Event
from valetkey.server.audit.verify import Bad, Report, verify_lines

# In the honest trail w1 has lines 1 to 12 (signed at 4, 8, 12), w2 13 to 18 (signed at 3, 6), w3 19 and 20 (at 2).
HONEST = honest_trail()


def named(report: Report) -> tuple[str, int, str, int]:
    assert not report.ok
    assert report.first_bad is not None
    return report.first_bad[:4]


def reason(report: Report) -> str:
    assert report.first_bad is not None
    return report.first_bad.reason


def changed(line: bytes, **members: object) -> bytes:
    """The record with other members and everything else as it was."""
    return json.dumps(json.loads(line) | members, separators=(",", ":"), ensure_ascii=False).encode()


def rewritten(lines: list[bytes], first: int, **members: object) -> list[bytes]:
    """The lines with the one at index `first` changed and every later one of the writer chained anew."""
    lines = list(lines)
    lines[first] = changed(lines[first], **members)
    writer = read_record(lines[first]).writer
    for index in range(first + 1, len(lines)):
        if read_record(lines[index]).writer != writer:
            break
        lines[index] = changed(lines[index], prev=hashlib.sha256(lines[index - 1]).hexdigest())
    return lines


def test_aud_03_the_honest_export_holds() -> None:
    report = HONEST.verify()
    assert report == Report(ok=True, records=20, writers=3, checkpoints=4)


@pytest.mark.parametrize("index", range(20))
def test_aud_03_an_edited_record_is_named(index: int) -> None:
    lines = HONEST.lines
    lines[index] = changed(lines[index], resource="acme/payroll")
    record = read_record(HONEST.lines[index])
    assert named(HONEST.verify(lines)) == (record.writer, record.seq, record.id, index + 1)


@pytest.mark.parametrize("index", range(20))
@pytest.mark.parametrize("member", [{"prev": "ab" * 32}, {"seq": 99}, {"writer": "w0"}, {"writer": "w9"}, {"id": "x"}])
def test_aud_03_an_edited_head_of_a_record_is_found_in_its_line(index: int, member: dict[str, object]) -> None:
    lines = HONEST.lines
    lines[index] = changed(lines[index], **member)
    if (index, member) == (0, {"writer": "w0"}):  # reads as a new writer nobody has signed yet, so w1's is missing
        assert named(HONEST.verify(lines)) == ("w1", 1, "", 2)
    else:
        assert named(HONEST.verify(lines))[3] == index + 1


def test_aud_03_a_changed_number_or_writer_does_not_hide_whose_record_it_is() -> None:
    for member in ({"seq": 99}, {"seq": 2}, {"writer": "w0"}, {"writer": "w9"}):
        lines = HONEST.lines
        lines[5] = changed(lines[5], **member)
        assert named(HONEST.verify(lines)) == ("w1", 6, "aud_w1-6", 6)


@pytest.mark.parametrize("index", range(19))
def test_aud_03_swapped_records_are_named(index: int) -> None:
    lines = HONEST.lines
    lines[index], lines[index + 1] = lines[index + 1], lines[index]
    assert named(HONEST.verify(lines))[3] == index + 1


def test_aud_03_the_record_that_belongs_first_of_two_swapped_ones_is_named() -> None:
    lines = HONEST.lines
    lines[5], lines[6] = lines[6], lines[5]
    report = HONEST.verify(lines)
    assert named(report) == ("w1", 6, "aud_w1-6", 6)
    assert "swapped" in reason(report)


def test_aud_03_an_inserted_record_is_named_even_when_it_fits_the_one_before() -> None:
    forger = Chain("w1", 5, hashlib.sha256(HONEST.lines[4]).digest())
    forged = forger.append(id="aud_forged", event=Event.CALL_DENIED, org="org_acme", members={}, time=0).body
    assert named(HONEST.verify([*HONEST.lines[:5], forged, *HONEST.lines[5:]])) == ("w1", 6, "aud_forged", 6)
    unfitting = changed(forged, prev="cd" * 32)
    assert named(HONEST.verify([*HONEST.lines[:5], unfitting, *HONEST.lines[5:]])) == ("w1", 6, "aud_forged", 6)


@pytest.mark.parametrize(
    ("index", "expected"),
    [(0, ("w1", 1, "", 1)), (5, ("w1", 6, "", 6)), (13, ("w2", 2, "", 14)), (18, ("w3", 1, "", 19))],
)
def test_aud_03_a_dropped_record_is_named(index: int, expected: tuple[str, int, str, int]) -> None:
    lines = HONEST.lines
    del lines[index]
    assert named(HONEST.verify(lines)) == expected


def test_aud_03_a_dropped_record_is_named_when_the_chain_was_tied_again() -> None:
    lines = HONEST.lines
    del lines[5]
    lines = rewritten(lines, 5, prev=hashlib.sha256(lines[4]).hexdigest())
    assert named(HONEST.verify(lines))[:2] == ("w1", 6)


@pytest.mark.parametrize("kept", range(12))
def test_aud_03_a_dropped_tail_is_found_from_its_first_record(kept: int) -> None:
    lines = HONEST.lines[:kept] + HONEST.lines[12:]
    assert named(HONEST.verify(lines)) == ("w1", kept + 1, "", kept + 1)


@pytest.mark.parametrize("kept", range(20))
def test_aud_03_an_export_that_simply_ends_too_early_is_found(kept: int) -> None:
    record = read_record(HONEST.lines[kept])
    assert named(HONEST.verify(HONEST.lines[:kept])) == (record.writer, record.seq, "", kept + 1)


def test_aud_03_a_tail_after_the_last_checkpoint_is_not_proven_and_the_report_says_how_much() -> None:
    trail = honest_trail().record("w1", 3)
    assert trail.verify().ok
    assert trail.verify().uncovered == 3
    assert trail.verify(HONEST.lines).ok  # this is what a checkpoint a second later rules out:
    trail.sign()
    assert trail.verify().uncovered == 0
    assert named(trail.verify(HONEST.lines)) == ("w1", 13, "", 13)


def test_aud_03_dropping_everything_is_found() -> None:
    assert named(HONEST.verify([])) == ("w1", 1, "", 1)


def test_aud_03_dropping_a_whole_writer_is_found() -> None:
    assert named(HONEST.verify(HONEST.lines[12:])) == ("w1", 1, "", 1)
    assert named(HONEST.verify(HONEST.lines[:12] + HONEST.lines[18:])) == ("w2", 1, "", 13)
    assert named(HONEST.verify(HONEST.lines[:18])) == ("w3", 1, "", 19)


def test_aud_03_a_suffix_rewritten_in_the_same_length_is_located_between_two_checkpoints() -> None:
    for first, signed, proven in ((1, 4, 0), (4, 8, 4), (6, 8, 4), (7, 8, 4), (8, 12, 8), (11, 12, 8)):
        report = HONEST.verify(rewritten(HONEST.lines, first, resource="acme/payroll"))
        assert named(report) == ("w1", signed, f"aud_w1-{signed}", signed)
        assert report.first_bad is not None
        assert report.first_bad.proven == proven


def test_aud_03_a_chain_forked_by_two_writers_is_found() -> None:
    trail = Trail().record("w1", 4).sign()
    other = trail.fork().record("w1", 1, action="other")
    trail.record("w1", 2).sign()
    assert trail.verify().ok
    both = [*trail.lines[:5], other.lines[4], *trail.lines[5:]]
    report = trail.verify(both)
    assert named(report) == ("w1", 5, "aud_w1-5", 6)
    assert "forked" in reason(report)
    assert named(trail.verify([*trail.lines[:4], other.lines[4], *trail.lines[4:]])) == ("w1", 5, "aud_w1-5", 5)


def test_aud_03_two_forks_that_were_both_signed_contradict_each_other() -> None:
    trail = Trail().record("w1", 4)
    other = trail.fork().record("w1", 1, action="other")
    trail.record("w1", 1).sign()
    assert trail.verify().ok
    trail.chains = other.chains
    trail.sign()
    assert trail.verify().first_bad == Bad(
        "", 0, "", 2, "Checkpoint in line 2: record 5 of w1 has another digest than before: the chain forked."
    )


@pytest.mark.parametrize("index", range(20))
def test_aud_03_a_record_that_stands_twice_is_named(index: int) -> None:
    lines = HONEST.lines
    lines.insert(index + 1, lines[index])
    record = read_record(lines[index])
    assert named(HONEST.verify(lines)) == (record.writer, record.seq, record.id, index + 2)


@pytest.mark.parametrize(
    "spelling",
    [
        lambda line: line.replace(b'"v":1,"writer":"w1"', b'"writer":"w1","v":1'),
        lambda line: line.replace(b'"action"', b'"seq":6,"action"'),
        lambda line: line.replace(b'"action"', b'"action":"repo:write","action"'),
        lambda line: line.replace(
            b'"action":"repo:read","resource":"acme/6"', b'"resource":"acme/6","action":"repo:read"'
        ),
        lambda line: line.replace(b'"action":', b'"action": '),
        lambda line: line.replace(b"repo:read", b"repo\\u003aread"),
        lambda line: line.replace(b'"repo:read"', b"1.0"),
        lambda line: line.replace(b'"repo:read"', b"null"),
        lambda line: line.replace(b'"repo:read"', b"1e3"),
        lambda line: line.replace(b'"repo:read"', b"9007199254740993"),
        lambda line: line.replace(b"repo:read", b"repo\xff"),
        lambda line: line.replace(b"repo:read", "repo\u202eread".encode()),
        lambda line: line.replace(b"repo:read", b"repo\x7fread"),
        lambda line: line.replace(b'"v":1', b'"v":2'),
        lambda line: line.replace(b'"seq":6', b'"seq":06'),
        lambda line: line + b" ",
        lambda line: line + b"\r",
        lambda line: line[:-1],
        lambda line: line + b"{}",
        lambda line: line.replace(b"acme/6", b"x" * 70_000),
        lambda line: b"",
    ],
)
def test_aud_03_a_line_in_another_spelling_is_named_even_if_the_chain_agrees(spelling: object) -> None:
    assert callable(spelling)
    lines = HONEST.lines
    lines[5] = spelling(lines[5])
    assert lines[5] != HONEST.lines[5]
    lines[6] = changed(lines[6], prev=hashlib.sha256(lines[5]).hexdigest())
    assert named(HONEST.verify(lines))[3] == 6
    assert HONEST.verify().ok


@st.composite
def mutations(draw: st.DrawFn) -> tuple[list[bytes], int]:
    """One mutation of the honest export's bytes, and the first line it touches."""
    lines = HONEST.lines
    index = draw(st.integers(0, len(lines) - 1))
    kind = draw(st.sampled_from(["flip", "delete", "duplicate", "swap", "cut"]))
    if kind == "flip":
        data = bytearray(b"".join(line + b"\n" for line in lines))
        at = draw(st.integers(0, len(data) - 2))  # the last newline is not part of any record
        data[at] ^= draw(st.integers(1, 255))
        return bytes(data).removesuffix(b"\n").split(b"\n"), bytes(data[:at]).count(b"\n") + 1
    if kind == "delete":
        del lines[index]
        return lines, index + 1
    if kind == "duplicate":
        at = draw(st.integers(0, len(lines)))
        lines.insert(at, lines[index])
        # A copy next to its original is the same export whichever of the two is called the copy.
        return lines, at + 1 + (at == index)
    if kind == "swap":
        other = draw(st.integers(0, len(lines) - 1).filter(lambda number: number != index))
        lines[index], lines[other] = lines[other], lines[index]
        return lines, min(index, other) + 1
    return lines[:index], index + 1


@given(mutations())
def test_aud_03_any_single_mutation_is_found_and_nobody_before_it_is_blamed(mutation: tuple[list[bytes], int]) -> None:
    lines, first = mutation
    report = HONEST.verify(lines)
    assert named(report)[3] >= first


@given(st.integers(0, 19), st.binary(min_size=1, max_size=12), st.data())
def test_aud_03_any_edit_inside_one_record_is_named_exactly(index: int, inserted: bytes, data: st.DataObject) -> None:
    lines = HONEST.lines
    at = data.draw(st.integers(len('{"v":1,"writer":"w1"'), len(lines[index])))
    length = data.draw(st.integers(0, 4))
    lines[index] = lines[index][:at] + inserted.replace(b"\n", b"") + lines[index][at + length :]
    if lines[index] == HONEST.lines[index]:
        assert HONEST.verify(lines).ok
    else:
        assert named(HONEST.verify(lines))[3] == index + 1


# The checkpoints themselves.


def test_aud_04_an_unknown_key_proves_nothing() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
    forged = Trail(key=stranger).record("w1", 3).sign(kid="stranger")
    report = verify_lines(forged.lines, forged.checkpoints, {KID: HONEST.public_key})
    assert "no pinned key" in reason(report)
    assert not verify_lines(HONEST.lines, HONEST.checkpoints, {}).ok
    assert verify_lines(HONEST.lines, HONEST.checkpoints, {KID: HONEST.public_key}).ok


def test_aud_04_a_known_kid_over_another_key_is_refused() -> None:
    forged = Trail(key=Ed25519PrivateKey.from_private_bytes(b"s" * 32)).record("w1", 3).sign()
    report = verify_lines(forged.lines, forged.checkpoints, {KID: HONEST.public_key})
    assert "does not hold" in reason(report)


@pytest.mark.parametrize("index", range(4))
def test_aud_04_an_edited_checkpoint_is_named(index: int) -> None:
    for old, new in ((b'"n":', b'"n":1'), (b"acme", b"evil"), (b'"seq":', b'"seq":1'), (b'"prev":"', b'"prev":"0')):
        trail = honest_trail()
        trail.checkpoints[index] = trail.checkpoints[index].replace(old, new, 1)
        report = trail.verify()
        assert report.bad_checkpoint is not None
        assert report.bad_checkpoint.line == index + 1


def test_aud_04_a_missing_checkpoint_is_named() -> None:
    trail = honest_trail()
    del trail.checkpoints[1]
    report = trail.verify()
    assert report.first_bad is not None
    assert (report.first_bad.writer, report.first_bad.line) == ("", 2)
    assert "number 2 is missing" in report.first_bad.reason


def test_aud_04_cutting_checkpoints_and_records_together_is_found_by_who_saw_a_later_one() -> None:
    trail = Trail().record("w1", 4).sign().record("w1", 4).sign()
    earlier = trail.fork()
    del earlier.checkpoints[1:]
    assert earlier.verify(trail.lines[:4]).ok
    assert trail.verify(at_least=2).ok
    report = earlier.verify(trail.lines[:4], at_least=2)
    assert not report.ok
    assert "checkpoint 2 was seen before" in reason(report)


def test_aud_04_no_checkpoint_at_all_is_not_a_proof() -> None:
    trail = Trail().record("w1", 4)
    assert not trail.verify().ok
    assert trail.sign().verify().ok


def test_aud_04_records_rolled_back_under_a_running_witness_are_found() -> None:
    trail = Trail().record("w1", 4)
    restored = trail.fork().record("w1", 1)
    trail.record("w1", 4).sign()
    trail.chains, trail.bodies = restored.chains, restored.bodies
    report = trail.sign().verify()
    assert report.bad_checkpoint is not None
    assert "rolled back" in report.bad_checkpoint.reason
    assert named(report) == ("w1", 6, "", 6)


# AUD-08: what an attacker writes into a field stays inside it.

HOSTILE = [
    'x"},{"v":1,"writer":"w1"',
    'x","event":"call.denied',
    "line\nbreak\r\n",
    "\x1b[2J\x1b]0;owned\x07",
    "\u009b31m",
    "\x00\x7f\x85\u2028\u2029",
    "\u202egnp.exe\u2066",
    "\ud800 half a pair",
    "\\u0022,\\",
    "\U000e0041\u200b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_aud_08_hostile_text_is_inert(text: str) -> None:
    trail = Trail().record("w1", 1, resource=text, parameters={text: [text]}).record("w1").sign()
    line = trail.lines[0]
    assert all(byte >= 0x20 and byte != 0x7F for byte in line)
    assert line.decode().isprintable()
    kept = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert json.loads(line)["resource"] == kept
    assert json.loads(line)["event"] == "call.allowed"
    assert read_record(line).members == {"parameters": {kept: [kept]}, "resource": kept}
    assert trail.verify().ok
