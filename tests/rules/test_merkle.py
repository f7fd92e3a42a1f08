"""Merkle trees against one written down from RFC 6962 section 2.1, and proofs with one changed bit."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.server.audit import merkle


def mth(leaves: Sequence[bytes]) -> bytes:
    """MTH of section 2.1."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: Sequence[bytes], *, is_whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    if m == len(leaves):
        return [] if is_whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*proof(m, leaves[:k], is_whole=is_whole), mth(leaves[k:])]
    return [*proof(m - k, leaves[k:], is_whole=False), mth(leaves[:k])]


def leaves_of(size: int) -> list[bytes]:
    return [sha256(b"%d" % number).digest() for number in range(size)]


def digests(leaves: Sequence[bytes], ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Each range by its complete subtrees, as they would be stored."""
    return [
        merkle.folded(
            merkle.over([merkle.leaf(one) for one in leaves[place << height : (place + 1) << height]])
            for height, place in merkle.complete(start, end)
        )
        for start, end in ranges
    ]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


SIZES = st.integers(1, 300)


@given(parts=st.lists(st.integers(0, 70), max_size=8))
def test_a_tree_that_grew_is_the_tree_of_all_its_leaves(parts: list[int]) -> None:
    leaves = leaves_of(sum(parts))
    edge, made, start = merkle.Edge(), [], 0
    for part in parts:
        made += edge.extend([merkle.leaf(one) for one in leaves[start : start + part]])
        start += part
        assert edge.root() == mth(leaves[:start])
        assert merkle.Edge(edge.size, edge.peaks).root() == edge.root()
    assert sorted((height, place) for height, place, _ in made) == sorted(
        (height, place) for height in range(1, 12) for place in range(len(leaves) >> height)
    )
    for height, place, digest in made:
        assert digest == mth(leaves[place << height : (place + 1) << height])


@given(size=SIZES, data=st.data())
def test_an_inclusion_proof_is_the_one_of_the_definition_and_holds(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    found = digests(leaves, merkle.inclusion(index, size))
    assert found == path(index, leaves)
    assert merkle.holds_inclusion(merkle.leaf(leaves[index]), index, size, found, mth(leaves))


@given(size=st.integers(2, 300), data=st.data())
def test_an_inclusion_proof_with_one_changed_bit_does_not_hold(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    found, top, own = path(index, leaves), mth(leaves), merkle.leaf(leaves[index])
    bit = data.draw(st.integers(0, 255))
    step = data.draw(st.integers(0, len(found) - 1))
    changed = [*found[:step], flipped(found[step], bit), *found[step + 1 :]]
    assert not merkle.holds_inclusion(own, index, size, changed, top)
    assert not merkle.holds_inclusion(flipped(own, bit), index, size, found, top)
    assert not merkle.holds_inclusion(own, index, size, found, flipped(top, bit))
    assert not merkle.holds_inclusion(own, index, size, found[:-1], top)
    assert not merkle.holds_inclusion(own, index, size, [*found, found[-1]], top)
    other = data.draw(st.integers(0, size - 1).filter(lambda one: one != index))
    assert not merkle.holds_inclusion(own, other, size, found, top)


@given(size=SIZES, data=st.data())
def test_a_consistency_proof_is_the_one_of_the_definition_and_holds(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    earlier = data.draw(st.integers(1, size))
    found = digests(leaves, merkle.consistency(earlier, size))
    assert found == proof(earlier, leaves)
    assert merkle.holds_consistency(earlier, size, mth(leaves[:earlier]), mth(leaves), found)


@given(size=st.integers(2, 300), data=st.data())
def test_a_consistency_proof_with_one_changed_bit_does_not_hold(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    earlier = data.draw(st.integers(1, size - 1))
    found, before, top = proof(earlier, leaves), mth(leaves[:earlier]), mth(leaves)
    bit = data.draw(st.integers(0, 255))
    step = data.draw(st.integers(0, len(found) - 1))
    changed = [*found[:step], flipped(found[step], bit), *found[step + 1 :]]
    assert not merkle.holds_consistency(earlier, size, before, top, changed)
    assert not merkle.holds_consistency(earlier, size, flipped(before, bit), top, found)
    assert not merkle.holds_consistency(earlier, size, before, flipped(top, bit), found)
    assert not merkle.holds_consistency(earlier, size, before, top, found[:-1])
    assert not merkle.holds_consistency(earlier, size, before, top, [*found, found[-1]])
    rewritten = [flipped(leaves[0], bit), *leaves[1:]]
    assert not merkle.holds_consistency(earlier, size, before, mth(rewritten), proof(earlier, rewritten))


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (5, 2)])
def test_what_is_not_in_a_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="tree"):
        merkle.inclusion(index, size)
    assert not merkle.holds_inclusion(merkle.leaf(b""), index, size, [], merkle.leaf(b""))


@pytest.mark.parametrize(("earlier", "size"), [(0, 3), (4, 3), (-1, 3)])
def test_no_tree_begins_with_none_or_with_a_larger_one(earlier: int, size: int) -> None:
    with pytest.raises(ValueError, match="tree"):
        merkle.consistency(earlier, size)
    assert not merkle.holds_consistency(earlier, size, mth(leaves_of(1)), mth(leaves_of(3)), [])


def test_an_earlier_tree_of_the_same_size_is_the_same_tree() -> None:
    top = mth(leaves_of(5))
    assert merkle.holds_consistency(5, 5, top, top, [])
    assert not merkle.holds_consistency(5, 5, top, flipped(top, 0), [])
    assert not merkle.holds_consistency(5, 5, top, top, [top])


def test_a_proof_longer_than_any_tree_is_not_walked() -> None:
    assert not merkle.holds_inclusion(merkle.leaf(b""), 0, 2**70, [b"\x00" * 32] * 70, b"")
