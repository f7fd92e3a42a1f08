"""Verifies an export against its checkpoints and names the first bad record. One pass, memory bounded by the writers.

For each line, in order: it is one record in its one spelling; its writer and number are the next; it is the record a
checkpoint signed, where one did; it names the digest of the line before. A record whose digest is not what the next
one names is told apart from a next one that names a wrong digest by asking the line after that. Nobody is blamed who
stands before the first bad line. The trees that checkpoints signed are built anew from the records. Knows no file, key
store, clock or database.
"""

from binascii import hexlify
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from valetkey.server.audit import attested, merkle
from valetkey.server.audit.attested import Attested, Heads
from valetkey.server.audit.chain import FROM_ID, LINE, opening
from valetkey.server.audit.members import decoded
from valetkey.server.audit.model import MAX_LINE, NO_DIGEST
from valetkey.verify.keys import PublicKey

PROGRESS_EVERY: Final = 10_000  # records

_FOLD_AT: Final = 4_096  # digests kept before they go into the tree

_BEGINNING: Final = NO_DIGEST.hex().encode()
_NOBODY: Final = Heads()
_WRONG_PREV: Final = "it names another digest than the record before it has"
_OR_THE_ONE_BEFORE: Final = "; nothing tells whether it was edited or that one"


class Bad(NamedTuple):
    """The first thing that is wrong. `seq` is the place in the chain, `line` the line of the export, both from 1.

    `id` is empty for a record that is missing. `proven` is the last record of this writer that a checkpoint confirms
    before it: whatever was done was done after that one. For a bad checkpoint `writer` is empty, `seq` 0 and `line` the
    line of the checkpoint file.
    """

    writer: str
    seq: int
    id: str
    line: int
    reason: str
    proven: int = 0


class Report(NamedTuple):
    """What was read, and whether it holds. `uncovered` records came after the last checkpoint and could still be cut.

    `first_bad` is the first bad record or, where every record holds, the first bad checkpoint.
    """

    ok: bool
    records: int
    writers: int
    checkpoints: int
    uncovered: int = 0
    first_bad: Bad | None = None
    bad_checkpoint: Bad | None = None


class _Record(NamedTuple):
    """A line that is one record in its one spelling; `prev` and `digest` in hexadecimal."""

    writer: bytes
    seq: int
    prev: bytes
    id: bytes
    line: int
    digest: bytes


def verify_lines(
    lines: Iterable[bytes],
    checkpoints: Iterable[bytes],
    public_keys: Mapping[str, PublicKey],
    *,
    at_least: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify export lines, without their newlines, against checkpoint lines and the pinned keys by `kid`.

    The checkpoints must be no newer than the export. Without keys and checkpoints only the chain itself is verified:
    then `uncovered` is every record. `at_least` is the number of a checkpoint someone saw before. `progress` is called
    with the number of records so far.
    """
    proof = attested.read(checkpoints, public_keys, at_least=at_least)
    walk = _Walk(proof)
    first_bad = walk.through(lines, progress)
    bad_checkpoint = walk.bad_tree or (Bad("", 0, "", proof.bad_line, proof.reason) if proof.bad_line else None)
    return Report(
        ok=first_bad is None and bad_checkpoint is None,
        records=walk.line,
        writers=walk.writers,
        checkpoints=proof.checkpoints,
        uncovered=walk.uncovered,
        first_bad=first_bad or bad_checkpoint,
        bad_checkpoint=bad_checkpoint,
    )


class _Walk:
    """Where the reading stands: the last record, and the next record of its writer that a checkpoint signed."""

    def __init__(self, proof: Attested) -> None:
        self._proof = proof
        self.line = 0
        self.writers = 0
        self.uncovered = 0
        self._last = _Record(b"", 0, b"", b"", 0, _BEGINNING)
        self._heads = _NOBODY
        self._index = 0  # of the next of the heads
        self._proven = 0
        self._edge = merkle.Edge()
        self._digests: list[bytes] = []  # of records that are not in the edge yet
        self.bad_tree: Bad | None = None
        """The first checkpoint whose tree is not that of the records; it comes before any the series itself shows."""

    def through(self, lines: Iterable[bytes], progress: Callable[[int], None] | None) -> Bad | None:
        """Read every line; return the first bad record, or None."""
        rest = iter(lines)
        doubted: _Record | None = None  # the one before the last, when the last names another digest than its
        while (line := next(rest, None) if doubted is not None else self._run(rest, progress)) is not None:
            self.line += 1
            record = _read(line, self.line)
            last = self._last
            if doubted is not None:
                return self._settled(doubted, record)
            if isinstance(record, str):
                return self._here(last.seq + 1, "", record)
            if record.writer != last.writer:
                if (bad := self._turned(record)) is not None:
                    return bad
                last = self._last
            if record.seq != last.seq + 1:
                return self._out_of_place(record, rest)
            self._grow([bytes.fromhex(record.digest.decode())])
            if self._index < len(self._heads.seqs) and record.seq == self._heads.seqs[self._index]:
                if (bad := self._against_checkpoint(record)) is not None:
                    return bad
            elif record.prev != last.digest:
                if last.seq == self._proven:
                    return self._here(record.seq, record.id, _WRONG_PREV)
                doubted = last
            self._last = record
        if doubted is not None:
            return self._settled(doubted, None)
        return self._ended(None)

    def _run(self, rest: Iterator[bytes], progress: Callable[[int], None] | None) -> bytes | None:
        """Read on while each line is simply the next record; return the first that is not, or that was signed."""
        # NOTE: this is where the time goes; a line is compared with what is due before anything of it is parsed.
        writer, seq, head = self._last.writer, self._last.seq, self._last.digest
        signed = self._heads.seqs[self._index] if self._index < len(self._heads.seqs) else 0
        good, number = b"", self.line
        digests: list[bytes] = []
        stopped = None
        for line in rest:
            if progress is not None and number and number % PROGRESS_EVERY == 0:
                progress(number)
            due = opening(writer, seq + 1, head)
            if not line.startswith(due) or seq + 1 == signed or len(line) > MAX_LINE or not _holds(line, len(due)):
                stopped = line
                break
            digest = sha256(line).digest()
            head = hexlify(digest)
            good, seq, number = line, seq + 1, number + 1
            digests.append(digest)
            if len(digests) >= _FOLD_AT:
                self._grow(digests)
                digests = []
        self._grow(digests)
        if good:
            record = _read(good, number)
            assert isinstance(record, _Record)
            self._last, self.line = record, number
        return stopped

    def _against_checkpoint(self, record: _Record) -> Bad | None:
        """A checkpoint signed the digest of this number: whatever else it says, it is that record or it is not."""
        last, index = self._last, self._index
        checkpoint = self._heads.checkpoint(index)
        if record.digest.decode() != self._heads.digest(index).hex():
            since = (
                "it was edited" if self._proven == last.seq else f"it, or others since record {self._proven + 1}, were"
            )
            return self._here(
                record.seq, record.id, f"it is not the record checkpoint {checkpoint} signed: {since} rewritten"
            )
        if record.prev != last.digest:
            return self._before(
                last, f"it was edited: the next record, signed in checkpoint {checkpoint}, names another"
            )
        self._proven = record.seq
        self._against_tree(record)
        self._index += 1
        return None

    def _against_tree(self, record: _Record) -> None:
        tree, checkpoint = self._heads.tree(self._index)
        if not checkpoint:
            return
        self._fold()
        if self._edge.root() != tree and (self.bad_tree is None or checkpoint < self.bad_tree.line):
            said = f"the tree it signed for {record.writer.decode()} is not that of its records up to {record.seq}"
            self.bad_tree = Bad("", 0, "", checkpoint, f"Checkpoint in line {checkpoint}: {said}.")

    def _grow(self, digests: list[bytes]) -> None:
        """Keep what the trees signed further on are made of."""
        if self._index <= self._heads.last_tree:
            self._digests += digests
            if len(self._digests) >= _FOLD_AT:
                self._fold()

    def _fold(self) -> None:
        self._edge.extend([sha256(b"\x00" + digest).digest() for digest in self._digests])
        self._digests.clear()

    def _settled(self, doubted: _Record, following: "_Record | str | None") -> Bad:
        """Say which of two neighbours is bad: the later one is not if the line after it names its digest."""
        last = self._last
        if isinstance(following, _Record) and following.writer == last.writer and following.prev == last.digest:
            return self._before(doubted, "it was edited: the next record names another digest than it has")
        return self._before(last, _WRONG_PREV + ("" if doubted.seq <= self._proven else _OR_THE_ONE_BEFORE))

    def _out_of_place(self, record: _Record, rest: Iterator[bytes]) -> Bad:
        last, due = self._last, self._last.seq + 1
        if record.prev == last.digest:
            return self._here(due, record.id, f"it carries number {record.seq}, but follows record {last.seq}")
        following = _read(next(rest, b""), self.line + 1)
        if record.seq > due:
            if isinstance(following, _Record) and (following.writer, following.seq) == (record.writer, due):
                return self._here(due, following.id, f"it stands after record {record.seq}: lines were swapped")
            return self._here(due, "", f"it is missing: record {record.seq} stands in its place")
        if record.digest == last.digest:
            return self._here(record.seq, record.id, "it stands twice")
        if record.seq == last.seq and record.prev == last.prev:
            fork = f"two records claim number {record.seq}: the chain was forked, or one was inserted"
            if isinstance(following, _Record) and following.prev == record.digest and self._proven < last.seq:
                return self._before(last, fork)
            return self._here(record.seq, record.id, fork)
        return self._here(record.seq, record.id, f"it stands where record {due} is due")

    def _turned(self, record: _Record) -> Bad | None:
        """Leave one writer for the next; return what is wrong with that."""
        last = self._last
        if last.seq and record.prev == last.digest:
            name = record.writer.decode()
            return self._here(
                last.seq + 1, record.id, f"it carries the writer {name}, but follows {last.writer.decode()}"
            )
        if record.writer < last.writer:
            found = Bad(record.writer.decode(), record.seq, record.id.decode(), self.line, "")
            return found._replace(reason=_sentence(found, f"it stands after records of {last.writer.decode()}"))
        if (bad := self._ended(record.writer)) is not None:
            return bad
        self.writers += 1
        self._last = _Record(record.writer, 0, b"", b"", self.line - 1, _BEGINNING)
        self._heads = self._proof.writers.get(record.writer.decode(), _NOBODY)
        self._index = self._proven = 0
        self._edge, self._digests = merkle.Edge(), []
        return None

    def _ended(self, following: bytes | None) -> Bad | None:
        """Leave a writer, for `following` or for good: nothing a checkpoint names is missing at its end or between."""
        last = self._last
        line = self.line + 1 if following is None else self.line
        if self._index < len(self._heads.seqs):
            due = last.seq + 1
            return self._missing(last.writer.decode(), due, line, self._heads)
        self.uncovered += last.seq - self._proven
        between = [
            name
            for name in self._proof.writers
            if last.writer < name.encode() and (following is None or name.encode() < following)
        ]
        if between:
            self._proven = 0
            return self._missing(min(between), 1, line, self._proof.writers[min(between)])
        return None

    def _missing(self, writer: str, seq: int, line: int, heads: Heads) -> Bad:
        bad = Bad(writer, seq, "", line, "", self._proven)
        signed = f"checkpoint {heads.checkpoint(-1)} signed record {heads.seqs[-1]}"
        return bad._replace(reason=_sentence(bad, f"it is missing, and so is all that followed: {signed}"))

    def _here(self, seq: int, identity: bytes | str, what: str) -> Bad:
        """The line just read is bad, or stands where a record is missing."""
        identity = identity.decode() if isinstance(identity, bytes) else identity
        bad = Bad(self._last.writer.decode(), seq, identity, self.line, "", self._proven)
        return bad._replace(reason=_sentence(bad, what))

    def _before(self, record: _Record, what: str) -> Bad:
        bad = Bad(record.writer.decode(), record.seq, record.id.decode(), record.line, "", self._proven)
        return bad._replace(reason=_sentence(bad, what))


def _read(line: bytes, number: int) -> _Record | str:
    """Return the record `line` spells, or why it spells none."""
    if len(line) > MAX_LINE:
        return f"its line is longer than {MAX_LINE} bytes"
    match = LINE.fullmatch(line)
    if match is None:
        return "its line does not start with the members of a record in their order, or is not one JSON object"
    writer, seq, prev, identity, members = match.group(1, 2, 3, 4, 8)
    if members is not None:
        try:
            decoded(b"{" + members + b"}")
        except ValueError as error:
            return str(error)
    return _Record(writer, int(seq), prev, identity, number, sha256(line).hexdigest().encode())


def _holds(line: bytes, start: int) -> bool:
    """Whether `line`, from the value of its id on, is in its one spelling."""
    match = FROM_ID.fullmatch(line, start)
    if match is None:
        return False
    members = match[5]
    try:
        return members is None or bool(decoded(b"{" + members + b"}"))
    except ValueError:
        return False


def _sentence(bad: Bad, what: str) -> str:
    return f"Record {bad.seq} of {bad.writer or 'the first writer'}, line {bad.line}: {what}."
