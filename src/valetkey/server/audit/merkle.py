"""Merkle trees: one digest that stands for a list, and short proofs that something is in it or that it only grew.

`Edge` grows a tree a leaf at a time. `inclusion` and `consistency` say which parts of a tree a proof is made of, as
ranges of leaves, and `complete` which whole subtrees such a range is; where their digests are kept is nothing to this
module. `holds_inclusion` and `holds_consistency` need neither tree nor list. Pure.
Specs: RFC 6962 section 2.1, RFC 9162 section 2.1 for the verifying, with SHA-256.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

EMPTY: Final = sha256().digest()
MOST_STEPS: Final = 64
"""Longest proof that is read: a tree of 2^53 leaves needs 54."""


def leaf(data: bytes) -> bytes:
    """The digest of one leaf."""
    return sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """The digest over two others."""
    return sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of `leaves`.

    >>> root([]).hex()[:8], root([b""]).hex()[:8]
    ('e3b0c442', '6e340b9c')
    """
    edge = Edge()
    edge.extend([leaf(data) for data in leaves])
    return edge.root()


def over(nodes: Sequence[bytes]) -> bytes:
    """The digest over a power of two of digests of one height."""
    row = list(nodes)
    while len(row) > 1:
        row = _paired(row)
    return row[0]


def folded(peaks: Iterable[bytes]) -> bytes:
    """The digest of a range from those of its complete subtrees, the largest first."""
    digest = b""
    for peak in reversed(list(peaks)):
        digest = node(peak, digest) if digest else peak
    return digest or EMPTY


class Edge:
    """The right edge of a tree: how many leaves, and the digests of the complete subtrees they make, largest first."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise ValueError("a tree has one complete subtree for each bit of its size")
        self.size = size
        self.peaks = list(peaks)

    def extend(self, leaves: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
        """Add digests of leaves; return what is complete now: height, place among those of that height, and digest."""
        made: list[tuple[int, int, bytes]] = []
        row, start, height = list(leaves), self.size, 0
        kept: list[bytes] = []  # what stands at the end of a row, alone; the highest last
        peaks = list(self.peaks)
        while row or start:
            if start & 1:  # the last of this row was alone so far
                row.insert(0, peaks.pop())
                start -= 1
            if len(row) & 1:
                kept.append(row.pop())
            row = _paired(row)
            start, height = start >> 1, height + 1
            made += [(height, start + place, digest) for place, digest in enumerate(row)]
        self.size += len(leaves)
        self.peaks = kept[::-1]
        return made

    def root(self) -> bytes:
        """The tree hash of all leaves so far."""
        return folded(self.peaks)


def complete(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees a range of a proof consists of, the largest first: height and place.

    >>> list(complete(8, 15))
    [(2, 2), (1, 6), (0, 14)]
    """
    while start < end:
        height = (end - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def inclusion(index: int, size: int) -> list[tuple[int, int]]:
    """The ranges whose digests prove that leaf `index` is in a tree of `size`, in the order of the proof.

    >>> inclusion(2, 5)
    [(3, 4), (0, 2), (4, 5)]
    """
    if not 0 <= index < size:
        raise ValueError("a leaf is in a tree that has it")
    steps: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _left(end - start)
        if index < middle:
            steps.append((middle, end))
            end = middle
        else:
            steps.append((start, middle))
            start = middle
    return steps[::-1]


def consistency(earlier: int, size: int) -> list[tuple[int, int]]:
    """The ranges whose digests prove that a tree of `size` begins with that of `earlier` leaves.

    >>> consistency(3, 7)
    [(2, 3), (3, 4), (0, 2), (4, 7)]
    """
    if not 0 < earlier <= size:
        raise ValueError("the earlier tree has leaves, and no more than the later one")
    steps: list[tuple[int, int]] = []
    start, end, is_known = 0, size, True
    while earlier != end:
        middle = start + _left(end - start)
        if earlier <= middle:
            steps.append((middle, end))
            end = middle
        else:
            steps.append((start, middle))
            start, is_known = middle, False
    if not is_known:
        steps.append((start, end))
    return steps[::-1]


def holds_inclusion(digest: bytes, index: int, size: int, path: Sequence[bytes], top: bytes) -> bool:
    """Whether `path` proves that the leaf of this digest is number `index`, from 0, of the `size` under `top`."""
    if not 0 <= index < size or len(path) > MOST_STEPS:
        return False
    at, last = index, size - 1
    for step in path:
        if not last:
            return False  # a step too many
        if at & 1 or at == last:
            digest = node(step, digest)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            digest = node(digest, step)
        at, last = at >> 1, last >> 1
    return not last and digest == top


def holds_consistency(earlier: int, size: int, before: bytes, top: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the tree of `size` under `top` begins with the one of `earlier` under `before`."""
    if not 0 < earlier <= size or len(path) > MOST_STEPS:
        return False
    if earlier == size:
        return not path and before == top
    steps = [before, *path] if earlier & (earlier - 1) == 0 else list(path)
    if not steps:
        return False
    at, last = earlier - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if not last:
            return False
        if at & 1 or at == last:
            old, new = node(step, old), node(step, new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            new = node(new, step)
        at, last = at >> 1, last >> 1
    return not last and old == before and new == top


def _left(size: int) -> int:
    """The largest power of two below the size."""
    return 1 << (size - 1).bit_length() - 1


def _paired(row: Sequence[bytes]) -> list[bytes]:
    pairs = iter(row)
    return [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
