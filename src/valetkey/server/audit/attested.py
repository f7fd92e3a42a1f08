"""What a series of checkpoints proves: for every writer, which record had which digest when.

Reads the whole series once and keeps 88 bytes for each head that moved, whatever the number of records. Finds gaps,
rollbacks and two checkpoints that contradict each other. Knows nothing of the export.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from valetkey.server.audit.checkpoint import Checkpoint, Head, InvalidCheckpoint, verify
from valetkey.server.audit.model import NO_DIGEST
from valetkey.verify.keys import PublicKey


class Heads:
    """One writer's attested records in ascending order."""

    __slots__ = ("_checkpoints", "_digests", "_tree_checkpoints", "_trees", "last_tree", "seqs")

    def __init__(self) -> None:
        self.seqs = array("Q")
        self._digests = bytearray()
        self._checkpoints = array("Q")
        self._trees = bytearray()
        self._tree_checkpoints = array("Q")  # 0 where no tree was signed
        self.last_tree = -1
        """The index of the last head whose tree was signed; -1 for none."""

    def __len__(self) -> int:
        return len(self.seqs)

    def add(self, head: Head, checkpoint: int) -> None:
        self.seqs.append(head.seq)
        self._digests += head.digest
        self._checkpoints.append(checkpoint)
        self._trees += head.tree or NO_DIGEST
        self._tree_checkpoints.append(checkpoint if head.tree else 0)
        if head.tree:
            self.last_tree = len(self.seqs) - 1

    def add_tree(self, tree: bytes, checkpoint: int) -> None:
        """The tree of the last head, which an earlier checkpoint signed without it."""
        self._trees[-32:] = tree
        self._tree_checkpoints[-1] = checkpoint
        self.last_tree = len(self.seqs) - 1

    def tree(self, index: int) -> tuple[bytes, int]:
        """The signed root over the records up to `seqs[index]` and the checkpoint that signed it; 0 for none."""
        start = index % len(self.seqs) * 32
        return bytes(self._trees[start : start + 32]), self._tree_checkpoints[index]

    def digest(self, index: int) -> bytes:
        """The signed digest of record `seqs[index]`; the last one for -1."""
        start = index % len(self.seqs) * 32
        return bytes(self._digests[start : start + 32])

    def checkpoint(self, index: int) -> int:
        """The number of the first checkpoint that signed it."""
        return self._checkpoints[index]


@dataclass(slots=True)
class Attested:
    """What the checkpoints up to the first bad one prove. `bad_line` is 0 when all of them hold."""

    writers: dict[str, Heads] = field(default_factory=dict)
    checkpoints: int = 0
    bad_line: int = 0
    reason: str = ""


def read(lines: Iterable[bytes], keys: Mapping[str, PublicKey], *, at_least: int = 0) -> Attested:
    """Read checkpoint lines without their newlines, first to last.

    `at_least` is the number of a checkpoint someone saw before: a series that ends earlier was cut.
    """
    attested = Attested()
    last: Checkpoint | None = None
    line_number = 0
    try:
        for line_number, line in enumerate(lines, 1):  # noqa: B007 - the number of the bad one is the answer
            checkpoint = verify(line, keys)
            _check_succession(last, checkpoint)
            _add(attested, checkpoint)
            last = checkpoint
            attested.checkpoints += 1
        line_number += 1
        if attested.checkpoints < at_least:
            raise InvalidCheckpoint(f"it is missing: the series ends here, but checkpoint {at_least} was seen before")
        if keys and last is None:
            raise InvalidCheckpoint(
                "there is no checkpoint, so nothing proves that records were not cut off or rewritten"
            )
    except InvalidCheckpoint as error:
        attested.bad_line, attested.reason = line_number, f"Checkpoint in line {line_number}: {error}."
    return attested


def _check_succession(last: Checkpoint | None, checkpoint: Checkpoint) -> None:
    n, digest = (last.n, last.digest) if last is not None else (0, NO_DIGEST)
    if checkpoint.n > n + 1:
        raise InvalidCheckpoint(f"it is number {checkpoint.n}, so number {n + 1} is missing")
    if checkpoint.n <= n:
        raise InvalidCheckpoint(f"it is number {checkpoint.n} after number {n}")
    if checkpoint.prev != digest:
        raise InvalidCheckpoint(f"it follows another checkpoint {n} than the one in the line before: the series forked")
    # SECURITY: a series that signed trees goes on doing so, or whoever holds a later key could leave them out.
    # Guarded by tests/rules/test_checkpoint_trees.py::test_a_series_that_signed_trees_does_not_stop
    if last is not None and checkpoint.format < last.format:
        raise InvalidCheckpoint(
            f"it is of format {checkpoint.format}, the one before of {last.format}: trees are missing"
        )
    if last is not None and checkpoint.deployment != last.deployment:
        raise InvalidCheckpoint(f"it is of deployment {checkpoint.deployment}, the ones before of {last.deployment}")


def _add(attested: Attested, checkpoint: Checkpoint) -> None:
    moved: list[Head] = []
    trees: list[Head] = []
    gone = attested.writers.keys() - {head.writer for head in checkpoint.heads}
    if gone:
        raise InvalidCheckpoint(f"writer {min(gone)} is in the one before and not in it: its records were rolled back")
    for head in checkpoint.heads:
        writer, seq, digest, tree = head
        known = attested.writers.get(writer)
        if known is not None and seq < known.seqs[-1]:
            raise InvalidCheckpoint(
                f"writer {writer} ends at record {seq}, the one before it at {known.seqs[-1]}: records were rolled back"
            )
        if known is not None and seq == known.seqs[-1]:
            if digest != known.digest(-1):
                raise InvalidCheckpoint(f"record {seq} of {writer} has another digest than before: the chain forked")
            signed, by = known.tree(-1)
            if by and tree != signed:
                raise InvalidCheckpoint(f"the tree of {writer} up to record {seq} is another than before: it forked")
            if tree and not by:
                trees.append(head)
            continue
        moved.append(head)
    for head in trees:
        attested.writers[head.writer].add_tree(head.tree, checkpoint.n)
    for head in moved:
        attested.writers.setdefault(head.writer, Heads()).add(head, checkpoint.n)
