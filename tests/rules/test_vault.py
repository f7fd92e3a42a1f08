"""Sealing and opening, the versions of the data key, and what the store keeps of a handle."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.sealed_blob_vectors import vectors

from tests.support.vault import DEPLOYMENT, NOW, a_mac, a_place, a_ring, a_root, ring_of
from valetkey.server.errors import Conflict
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.aad import Place
from valetkey.server.vault.blob import LARGEST_PLAINTEXT, OVERHEAD
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.kms.root import HeldRoot, proves_decrypt
from valetkey.server.vault.mac import Mac
from valetkey.server.vault.open import open_sealed, open_sealed_bytes
from valetkey.server.vault.ring import KeyRing, KeyState, WrappedKey, rewrapped
from valetkey.server.vault.rotate import (
    destroy,
    first,
    open_pepper,
    prepare,
    promote,
    reseal,
    rewrap,
    rewrap_pepper,
    rotate,
    sealed_under,
)
from valetkey.server.vault.seal import seal

VECTORS = Path(__file__).parents[1] / "vectors" / "sealed_blobs.json"
RING = a_ring()


# Seal and open


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_what_was_sealed_opens_in_its_place(text: str) -> None:
    assert open_sealed(RING, seal(RING, Secret(text), a_place()), a_place()) == Secret(text)


@given(content=st.binary(max_size=200))
def test_bytes_open_as_bytes(content: bytes) -> None:
    blob = seal(RING, SecretBytes(content), a_place())
    assert open_sealed_bytes(RING, blob, a_place()) == SecretBytes(content)
    assert len(blob) == len(content) + OVERHEAD


def test_bytes_that_are_not_text_do_not_open_as_text() -> None:
    blob = seal(RING, b"\xff\xfe", a_place())
    with pytest.raises(VaultError):
        open_sealed(RING, blob, a_place())


def test_no_two_seals_are_alike() -> None:
    blobs = [seal(RING, Secret("same"), a_place()) for _ in range(100)]
    salts = {blob[22:54] for blob in blobs}
    assert len(salts) == len({blob[98:] for blob in blobs}) == 100


def test_the_largest_secret_opens_and_a_larger_one_is_refused() -> None:
    largest = SecretBytes(bytes(LARGEST_PLAINTEXT))
    assert open_sealed_bytes(RING, seal(RING, largest, a_place()), a_place()) == largest
    with pytest.raises(ValueError, match="at most"):
        seal(RING, SecretBytes(bytes(LARGEST_PLAINTEXT + 1)), a_place())


def test_text_that_is_not_unicode_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="not Unicode") as refusal:
        seal(RING, Secret("canary\ud800"), a_place())
    assert refusal.value.__context__ is None


def test_a_ring_seals_for_its_own_deployment_only() -> None:
    with pytest.raises(ValueError, match="another deployment"):
        seal(RING, Secret("x"), a_place(deployment="dep-2"))


# Vectors


def test_the_vectors_are_what_the_written_format_gives() -> None:
    assert json.loads(VECTORS.read_text()) == vectors()


def opener(vector: dict[str, Any]) -> tuple[KeyRing, Place]:
    place = Place(**{**vector["place"], "allowed_hosts": frozenset(vector["place"]["allowed_hosts"])})
    root = a_root()
    row = WrappedKey(id=vector["key_id"], state=KeyState.PRIMARY, generation=1, wrapped=b"", created_at=0)
    wrapped = rewrapped(row, SecretBytes(bytes.fromhex(vector["dek"])), root=root, deployment=place.deployment)
    return KeyRing([replace(row, wrapped=wrapped)], root=root, deployment=place.deployment), place


@pytest.mark.parametrize("vector", vectors()["opens"], ids=lambda vector: vector["name"])
def test_every_vector_opens(vector: dict[str, Any]) -> None:
    ring, place = opener(vector)
    opened = open_sealed_bytes(ring, bytes.fromhex(vector["blob"]), place)
    assert opened.reveal().hex() == vector["plaintext"]


@pytest.mark.parametrize("vector", vectors()["does_not_open"], ids=lambda vector: vector["name"])
def test_no_damaged_vector_opens(vector: dict[str, Any]) -> None:
    ring, place = opener(vectors()["opens"][0])
    with pytest.raises(VaultError):
        open_sealed_bytes(ring, bytes.fromhex(vector["blob"]), place)


# Versions of the data key


def test_a_new_ring_has_one_key_that_seals() -> None:
    rows = first(root=a_root(), deployment=DEPLOYMENT, now=NOW)
    assert [(row.state, row.generation, row.created_at) for row in rows] == [(KeyState.PRIMARY, 1, 1_800_000_000)]


def test_after_a_rotation_old_records_open_and_new_ones_use_the_new_key() -> None:
    root = a_root()
    rows = first(root=root, deployment=DEPLOYMENT, now=NOW)
    old = seal(ring_of(rows, root), Secret("old"), a_place())
    after = rotate(rows, root=root, deployment=DEPLOYMENT, now=NOW + 1)
    ring = ring_of(after, root)
    new = seal(ring, Secret("new"), a_place())
    assert [row.state for row in after] == [KeyState.DECRYPT_ONLY, KeyState.PRIMARY]
    assert (open_sealed(ring, old, a_place()), open_sealed(ring, new, a_place())) == (Secret("old"), Secret("new"))
    assert (sealed_under(old), sealed_under(new)) == (rows[0].id, after[1].id)
    assert ring.generation == 2


def test_a_record_sealed_under_a_new_key_does_not_open_where_that_key_is_not_known() -> None:
    root = a_root()
    rows = first(root=root, deployment=DEPLOYMENT, now=NOW)
    after = rotate(rows, root=root, deployment=DEPLOYMENT, now=NOW)
    with pytest.raises(VaultError):
        open_sealed(ring_of(rows, root), seal(ring_of(after, root), Secret("x"), a_place()), a_place())


def test_kr_01_over_20_staged_rotations_a_node_one_step_behind_opens_everything() -> None:
    root = a_root()
    rows = first(root=root, deployment=DEPLOYMENT, now=NOW)
    blobs = []
    for number in range(20):
        behind = prepare(rows, root=root, deployment=DEPLOYMENT, now=NOW + number)
        rows = promote(behind)
        blobs.append(seal(ring_of(rows, root), Secret(str(number)), a_place()))
        for each, blob in enumerate(blobs):
            assert open_sealed(ring_of(behind, root), blob, a_place()) == Secret(str(each))
    assert len({sealed_under(blob) for blob in blobs}) == 20


def test_a_pending_key_does_not_seal() -> None:
    root = a_root()
    rows = prepare(first(root=root, deployment=DEPLOYMENT, now=NOW), root=root, deployment=DEPLOYMENT, now=NOW)
    assert sealed_under(seal(ring_of(rows, root), Secret("x"), a_place())) == rows[0].id


def test_generations_only_grow() -> None:
    root = a_root()
    rows = first(root=root, deployment=DEPLOYMENT, now=NOW)
    for _ in range(5):
        rows = rotate(rows, root=root, deployment=DEPLOYMENT, now=NOW)
    assert [row.generation for row in rows] == [1, 2, 3, 4, 5, 6]


def test_a_step_out_of_order_is_a_conflict() -> None:
    root = a_root()
    rows = first(root=root, deployment=DEPLOYMENT, now=NOW)
    with pytest.raises(Conflict):
        promote(rows)
    pending = prepare(rows, root=root, deployment=DEPLOYMENT, now=NOW)
    with pytest.raises(Conflict):
        prepare(pending, root=root, deployment=DEPLOYMENT, now=NOW)


def test_kr_02_a_sweep_cut_short_at_any_record_leaves_every_record_readable() -> None:
    root = a_root()
    rows = first(root=root, deployment=DEPLOYMENT, now=NOW)
    places = [a_place(row=f"con_{number}") for number in range(6)]
    before = [seal(ring_of(rows, root), Secret(place.row), place) for place in places]
    ring = ring_of(rotate(rows, root=root, deployment=DEPLOYMENT, now=NOW), root)
    for cut in range(len(places) + 1):
        stored = [
            reseal(ring, blob, place) or blob if number < cut else blob
            for number, (blob, place) in enumerate(zip(before, places, strict=True))
        ]
        opened = [open_sealed(ring, blob, place).reveal() for blob, place in zip(stored, places, strict=True)]
        assert opened == [place.row for place in places]
        again = [reseal(ring, blob, place) for blob, place in zip(stored, places, strict=True)]
        assert [blob is None for blob in again] == [number < cut for number in range(len(places))]


def test_kr_02_a_change_of_root_cut_short_at_any_key_leaves_every_key_usable() -> None:
    old, new = a_root(), a_root()
    rows = first(root=old, deployment=DEPLOYMENT, now=NOW)
    for _ in range(3):
        rows = rotate(rows, root=old, deployment=DEPLOYMENT, now=NOW)
    blob = seal(ring_of(rows, old), Secret("x"), a_place())
    for cut in range(len(rows) + 1):
        mixed = [
            rewrap(row, root=new, previous_roots=[old], deployment=DEPLOYMENT) or row if number < cut else row
            for number, row in enumerate(rows)
        ]
        ring = KeyRing(mixed, root=new, deployment=DEPLOYMENT, previous_roots=[old])
        assert open_sealed(ring, blob, a_place()) == Secret("x")
    assert open_sealed(ring_of(tuple(mixed), new), blob, a_place()) == Secret("x")
    assert all(rewrap(row, root=new, previous_roots=[], deployment=DEPLOYMENT) is None for row in mixed)


def test_kr_03_what_two_nodes_rotated_at_once_cannot_both_be_kept() -> None:
    root = a_root()
    rows = first(root=root, deployment=DEPLOYMENT, now=NOW)
    one = rotate(rows, root=root, deployment=DEPLOYMENT, now=NOW)
    two = rotate(rows, root=root, deployment=DEPLOYMENT, now=NOW)
    assert one[1].generation == two[1].generation  # the store keeps one row per generation
    for kept in [
        (one[0], one[1], two[1]),
        (rows[0], one[1]),
        (one[0], one[1], replace(two[1], state=KeyState.PENDING)),
    ]:
        with pytest.raises(VaultError):
            ring_of(kept, root)
    assert ring_of(one, root).generation == 2


def test_a_key_is_destroyed_when_nothing_needs_it() -> None:
    root = a_root()
    rows = first(root=root, deployment=DEPLOYMENT, now=NOW)
    blob = seal(ring_of(rows, root), Secret("x"), a_place())
    rows = rotate(rows, root=root, deployment=DEPLOYMENT, now=NOW)
    gone = destroy(rows, rows[0].id, references=0)
    assert (gone[0].state, gone[0].wrapped) == (KeyState.DESTROYED, b"")
    with pytest.raises(VaultError):
        open_sealed(ring_of(gone, root), blob, a_place())
    assert ring_of(rotate(gone, root=root, deployment=DEPLOYMENT, now=NOW), root).generation == 3
    assert rewrap(gone[0], root=a_root(), previous_roots=[], deployment=DEPLOYMENT) is None


@pytest.mark.parametrize(("which", "references"), [(0, 1), (1, 0)])
def test_a_key_still_needed_is_not_destroyed(which: int, references: int) -> None:
    root = a_root()
    rows = rotate(first(root=root, deployment=DEPLOYMENT, now=NOW), root=root, deployment=DEPLOYMENT, now=NOW)
    with pytest.raises(Conflict):
        destroy(rows, rows[which].id, references=references)


def test_a_ring_takes_over_newer_keys_and_refuses_older_ones() -> None:
    root = a_root()
    before = first(root=root, deployment=DEPLOYMENT, now=NOW)
    after = rotate(before, root=root, deployment=DEPLOYMENT, now=NOW)
    ring, other = ring_of(before, root), ring_of(after, root)
    blob = seal(other, Secret("x"), a_place())
    with pytest.raises(VaultError):
        open_sealed(ring, blob, a_place())
    ring.renew(after)
    assert open_sealed(ring, blob, a_place()) == Secret("x")
    assert sealed_under(seal(ring, Secret("y"), a_place())) == after[-1].id
    with pytest.raises(VaultError, match="turned back"):
        ring.renew(before)
    assert open_sealed(ring, blob, a_place()) == Secret("x")


def test_a_ring_keeps_what_it_knows_when_the_root_key_was_changed_and_learns_nothing_it_cannot_unwrap() -> None:
    old, new = a_root(), a_root()
    rows = first(root=old, deployment=DEPLOYMENT, now=NOW)
    ring = ring_of(rows, old)
    moved = [rewrap(row, root=new, previous_roots=[old], deployment=DEPLOYMENT) or row for row in rows]
    ring.renew(moved)
    assert open_sealed(ring, seal(ring, Secret("x"), a_place()), a_place()) == Secret("x")
    with pytest.raises(VaultError):
        ring.renew(rotate(moved, root=new, deployment=DEPLOYMENT, now=NOW))
    assert sealed_under(seal(ring, Secret("x"), a_place())) == rows[0].id
    with pytest.raises(Conflict, match="root key was changed"):
        rotate(moved, root=old, deployment=DEPLOYMENT, now=NOW)


def test_a_root_proves_that_it_decrypts() -> None:
    proves_decrypt(a_root())


# Handles


def test_the_store_keeps_the_same_32_bytes_for_the_same_handle() -> None:
    root = a_root()
    one, two = a_mac(root), a_mac(root)
    stored = one.mac("agent-secret", "ag", Secret("vkag_x"))
    assert len(stored) == 32
    assert two.matches("agent-secret", "ag", Secret("vkag_x"), stored)


def test_purpose_kind_handle_deployment_and_root_each_change_what_is_kept() -> None:
    root = a_root()
    mac = a_mac(root)
    kept = [
        mac.mac("agent-secret", "ag", Secret("vkag_x")),
        mac.mac("cli-credential", "ag", Secret("vkag_x")),
        mac.mac("agent-secret", "sa", Secret("vkag_x")),
        mac.mac("agent-secret", "a", Secret("gvkag_x")),
        mac.mac("agent-secret", "ag", Secret("vkag_y")),
        a_mac(root, "dep-2").mac("agent-secret", "ag", Secret("vkag_x")),
        a_mac(a_root()).mac("agent-secret", "ag", Secret("vkag_x")),
    ]
    assert len(set(kept)) == len(kept)
    assert not any(mac.matches("agent-secret", "ag", Secret("vkag_x"), other) for other in kept[1:])


def test_handles_made_under_an_earlier_root_are_recognised_by_the_pepper_carried_over() -> None:
    old, new = a_root(), a_root()
    stored = a_mac(old).mac("agent-secret", "ag", Secret("h"))
    carried = rewrap_pepper(None, old=old, new=new, deployment=DEPLOYMENT)
    after = Mac(open_pepper(carried, root=new, deployment=DEPLOYMENT))
    assert after.mac("agent-secret", "ag", Secret("h")) == stored
    assert not a_mac(new).matches("agent-secret", "ag", Secret("h"), stored)
    again = rewrap_pepper(carried, old=new, new=old, deployment=DEPLOYMENT)
    assert open_pepper(again, root=old, deployment=DEPLOYMENT) == open_pepper(None, root=old, deployment=DEPLOYMENT)
    for root, deployment in ((old, DEPLOYMENT), (new, "dep-2")):
        with pytest.raises(VaultError):
            open_pepper(carried, root=root, deployment=deployment)


def test_a_cursor_is_vouched_for_unless_it_was_changed() -> None:
    mac = a_mac(a_root())
    made = mac.mac_of("cursor", "tasks", b"after=tsk_9")
    assert mac.vouches_for("cursor", "tasks", b"after=tsk_9", made)
    assert not mac.vouches_for("cursor", "tasks", b"after=tsk_8", made)
    assert not mac.vouches_for("cursor", "agents", b"after=tsk_9", made)
    assert not mac.vouches_for("cursor", "tasks", b"after=tsk_9", made[:-1])
    assert not mac.vouches_for("cursor", "tasks", b"after=tsk_9", b"")


@pytest.mark.parametrize("purpose", ["", "Agent", "a b", "a\n", "a" * 65])
def test_a_purpose_is_a_plain_name(purpose: str) -> None:
    with pytest.raises(ValueError, match="purpose"):
        a_mac(a_root()).mac(purpose, "ag", Secret("h"))


def test_purposes_cannot_pile_up() -> None:
    mac = a_mac(a_root())
    for number in range(64):
        mac.mac(f"p{number}", "ag", Secret("h"))
    with pytest.raises(ValueError, match="purpose"):
        mac.mac("p64", "ag", Secret("h"))
    assert mac.mac("p0", "ag", Secret("h"))


def test_a_handle_that_is_not_unicode_matches_nothing_and_breaks_nothing() -> None:
    mac = a_mac(a_root())
    assert mac.mac("agent-secret", "ag", Secret("\ud800")) != mac.mac("agent-secret", "ag", Secret("\ud801"))


def test_a_root_derives_the_same_for_one_label_only() -> None:
    key = SecretBytes(bytes(range(32)))
    assert HeldRoot(key).derive(b"a") == HeldRoot(key).derive(b"a")
    assert HeldRoot(key).derive(b"a") != HeldRoot(key).derive(b"b")
    assert HeldRoot(key).derive(b"a") != key
