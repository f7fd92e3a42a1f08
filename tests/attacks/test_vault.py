"""Someone who reads, writes or moves what is stored: nothing opens anywhere but in its place, and nothing says why.

CA-01, RB-02, KR-04, LK.
"""

import base64
import hashlib
import itertools
import traceback
from dataclasses import fields, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import example, given
from hypothesis import strategies as st
from tools.sealed_blob_vectors import LABEL, hkdf

from tests.support.vault import DEPLOYMENT, NOW, a_place, a_ring, a_root, ring_of
from valetkey.server.secret import Secret, SecretBytes
from valetkey.server.vault.aad import Place, length_prefixed
from valetkey.server.vault.blob import Blob, context, header
from valetkey.server.vault.blob import derive as derive_record
from valetkey.server.vault.errors import VaultError
from valetkey.server.vault.open import open_sealed, open_sealed_bytes
from valetkey.server.vault.ring import KeyRing, KeyState, WrappedKey, rewrapped
from valetkey.server.vault.rotate import first, prepare, reseal, rotate
from valetkey.server.vault.seal import seal

ROOT = a_root()
RING = a_ring(ROOT)
PLACE = a_place()
CANARY = "canary-9c2e77"
BLOB = seal(RING, Secret(CANARY), PLACE)

CHANGED: dict[str, list[Any]] = {
    "deployment": ["dep-2", ""],
    "organization": ["org_2", None, ""],
    "table": ["signing_keys"],
    "column": ["other"],
    "row": ["con_2"],
    "owner": ["usr_2", None, ""],
    "integration": ["slack", None],
    "allowed_hosts": [frozenset(), frozenset({"api.github.com", "evil.example"}), frozenset({"evil.example"})],
    "generation": [6, 8, 0],
    "format": [0, 2],
}


def refusal(ring: KeyRing, blob: bytes, place: Place) -> tuple[object, ...]:
    """Everything a caller could learn from a failure."""
    with pytest.raises(VaultError) as raised:
        open_sealed(ring, blob, place)
    error = raised.value
    return (
        type(error), str(error), error.args, error.public, error.detail, error.next_step, error.members, error.code,
        error.__cause__, error.__context__, [entry.lineno for entry in traceback.extract_tb(error.__traceback__)[1:]],
    )  # fmt: skip


ONLY_ANSWER = refusal(RING, b"", PLACE)


def test_the_record_opens_in_its_place() -> None:
    assert open_sealed(RING, BLOB, PLACE) == Secret(CANARY)


def test_every_field_of_a_place_is_attacked_below() -> None:
    assert set(CHANGED) == {field.name for field in fields(Place)}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in CHANGED.items() for value in values])
def test_rb_02_a_record_moved_by_one_field_fails_like_any_other(name: str, value: Any) -> None:
    assert refusal(RING, BLOB, replace(PLACE, **{name: value})) == ONLY_ANSWER


def test_no_two_records_can_be_swapped() -> None:
    moved = [replace(PLACE, **{name: values[0]}) for name, values in CHANGED.items() if name != "deployment"]
    places = [PLACE, *moved]
    blobs = [seal(RING, Secret(f"secret {number}"), place) for number, place in enumerate(places)]
    for (one, blob), (two, place) in itertools.product(enumerate(blobs), enumerate(places)):
        if one == two:
            assert open_sealed(RING, blob, place) == Secret(f"secret {one}")
        else:
            assert refusal(RING, blob, place) == ONLY_ANSWER


def test_every_flipped_bit_fails_alike() -> None:
    for position, bit in itertools.product(range(len(BLOB)), range(8)):
        damaged = bytearray(BLOB)
        damaged[position] ^= 1 << bit
        assert refusal(RING, bytes(damaged), PLACE) == ONLY_ANSWER


def test_every_truncation_and_any_extension_fails_alike() -> None:
    for length in range(len(BLOB)):
        assert refusal(RING, BLOB[:length], PLACE) == ONLY_ANSWER
    for longer in (BLOB + b"\x00", b"\x00" + BLOB, BLOB + BLOB, BLOB + bytes(2 << 20)):
        assert refusal(RING, longer, PLACE) == ONLY_ANSWER


def test_parts_of_two_records_of_one_place_do_not_fit_together() -> None:
    other = seal(RING, Secret(CANARY), PLACE)
    cuts = [0, 6, 22, 54, 66, 98, len(BLOB) - 16, len(BLOB)]
    parts = [(BLOB[low:high], other[low:high]) for low, high in itertools.pairwise(cuts)]
    for choice in itertools.product((0, 1), repeat=len(parts)):
        mixed = b"".join(part[which] for part, which in zip(parts, choice, strict=True))
        if mixed not in (BLOB, other):
            assert refusal(RING, mixed, PLACE) == ONLY_ANSWER


def test_another_deployment_with_the_same_root_and_names_opens_nothing() -> None:
    elsewhere = KeyRing(first(root=ROOT, deployment="dep-2", now=NOW), root=ROOT, deployment="dep-2")
    assert refusal(elsewhere, BLOB, PLACE) == ONLY_ANSWER
    assert refusal(elsewhere, BLOB, replace(PLACE, deployment="dep-2")) == ONLY_ANSWER


@given(blob=st.binary(max_size=400))
@example(blob=b"VKSB\x01\x01")
def test_no_stray_bytes_open_or_fail_otherwise(blob: bytes) -> None:
    assert refusal(RING, blob, PLACE) == ONLY_ANSWER


# CA-01: no two places are written alike

TEXT = st.text(alphabet=["a", "b", "/", "|", ":", "\x00", "\x01", "-", "t", "é", "\ud800"], max_size=4)
MAYBE = st.none() | TEXT
NUMBER = st.integers(0, 3) | st.integers(0, 2**63 - 1)
PLACES = st.builds(
    Place, deployment=TEXT, organization=MAYBE, table=TEXT, column=TEXT, row=TEXT, owner=MAYBE, integration=MAYBE,
    allowed_hosts=st.frozensets(TEXT, max_size=3), generation=NUMBER, format=NUMBER,
)  # fmt: skip


@given(one=PLACES, two=PLACES)
def test_ca_01_two_places_are_written_alike_only_if_they_are_the_same(one: Place, two: Place) -> None:
    assert (one.encode() == two.encode()) == (one == two)


@given(place=PLACES, data=st.data())
def test_ca_01_text_moved_from_one_field_to_the_next_is_another_place(place: Place, data: st.DataObject) -> None:
    names = ["deployment", "organization", "table", "column", "row", "owner", "integration"]
    left, right = data.draw(st.sampled_from(list(itertools.pairwise(names))))
    whole = (getattr(place, left) or "") + (getattr(place, right) or "")
    cut = data.draw(st.integers(0, len(whole)))
    moved = replace(place, **{left: whole[:cut], right: whole[cut:]})
    assert (moved.encode() == place.encode()) == (moved == place)


@given(one=st.frozensets(TEXT, max_size=4), two=st.frozensets(TEXT, max_size=4))
@example(one=frozenset({"a,b"}), two=frozenset({"a", "b"}))
@example(one=frozenset({"ab"}), two=frozenset({"a", "b"}))
@example(one=frozenset(), two=frozenset({""}))
def test_ca_01_two_sets_of_hosts_are_two_places(one: frozenset[str], two: frozenset[str]) -> None:
    alike = a_place(allowed_hosts=one).encode() == a_place(allowed_hosts=two).encode()
    assert alike == (one == two)


@given(one=st.lists(st.binary(max_size=9), max_size=4), two=st.lists(st.binary(max_size=9), max_size=4))
@example(one=[b""], two=[])
def test_ca_01_length_prefixes_tell_any_two_sequences_apart(one: list[bytes], two: list[bytes]) -> None:
    assert (length_prefixed(*one) == length_prefixed(*two)) == (one == two)


@pytest.mark.parametrize("hosts", ["api.github.com", ["api.github.com"], {"api.github.com"}])
def test_hosts_that_are_not_a_frozen_set_are_refused(hosts: Any) -> None:
    with pytest.raises(TypeError):
        a_place(allowed_hosts=hosts)


@pytest.mark.parametrize(("name", "value"), [("generation", -1), ("generation", 2**63), ("format", -1)])
def test_a_generation_that_cannot_be_counted_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match="count"):
        a_place(**{name: value})


# Key confusion


def ring_holding(dek: bytes, key_id: bytes) -> KeyRing:
    row = WrappedKey(id=key_id.hex(), state=KeyState.PRIMARY, generation=1, wrapped=b"", created_at=0)
    wrapped = rewrapped(row, SecretBytes(dek), root=ROOT, deployment=DEPLOYMENT)
    return ring_of((replace(row, wrapped=wrapped),), ROOT)


def test_a_ciphertext_made_to_fit_two_keys_opens_under_one_only() -> None:
    key_id, salt, nonce = bytes(16), bytes(32), bytes(12)
    deks = bytes([1, *range(31)]), bytes([2, *range(31)])
    top = header(key_id=key_id, salt=salt, nonce=nonce)
    bound_to = context(top, PLACE)
    records = [derive_record(SecretBytes(dek), salt=salt, bound_to=bound_to) for dek in deks]
    keys = [record_key(dek, salt, bound_to) for dek in deks]
    ciphertext = fitting_both(keys, nonce, bound_to)
    # GCM alone is fooled: the same bytes are authentic under both keys.
    plain = [cipher.decrypt(nonce, ciphertext, bound_to) for cipher, _ in records]
    assert plain[0] != plain[1]
    for claimed, opening in itertools.product((0, 1), (0, 1)):
        commitment = records[claimed][1]
        blob = Blob(key_id=key_id, salt=salt, nonce=nonce, commitment=commitment, ciphertext=ciphertext).encode()
        ring = ring_holding(deks[opening], key_id)
        if claimed == opening:
            assert open_sealed_bytes(ring, blob, PLACE).reveal() == plain[opening]
        else:
            assert refusal(ring, blob, PLACE) == ONLY_ANSWER


def record_key(dek: bytes, salt: bytes, bound_to: bytes) -> bytes:
    return hkdf(dek, salt, LABEL + hashlib.sha256(bound_to).digest())[0]


def fitting_both(keys: list[bytes], nonce: bytes, aad: bytes) -> bytes:
    """Return one free block and a tag that AES-GCM accepts under both keys (NIST SP 800-38D: GHASH is linear)."""
    hashes, masks = [], []
    for key in keys:
        block = Cipher(AES(key), ECB()).encryptor()
        hashes.append(int.from_bytes(block.update(bytes(16)), "big"))
        masks.append(int.from_bytes(block.update(nonce + b"\x00\x00\x00\x01"), "big"))
    padded = aad + bytes(-len(aad) % 16)
    lengths = (len(aad) * 8) << 64 | 128

    def tag(which: int, free: int) -> int:
        total, point = 0, hashes[which]
        for start in range(0, len(padded), 16):
            total = times(total ^ int.from_bytes(padded[start : start + 16], "big"), point)
        total = times(total ^ free, point)
        return times(total ^ lengths, point) ^ masks[which]

    slope = times(hashes[0], hashes[0]) ^ times(hashes[1], hashes[1])
    free = times(tag(0, 0) ^ tag(1, 0), inverse(slope))
    return free.to_bytes(16, "big") + tag(0, free).to_bytes(16, "big")


def times(one: int, two: int) -> int:
    product = 0
    for bit in range(127, -1, -1):
        if two >> bit & 1:
            product ^= one
        one = one >> 1 ^ (0xE1 << 120 if one & 1 else 0)
    return product


def inverse(number: int) -> int:
    result, square = 1 << 127, number
    for _ in range(127):
        square = times(square, square)
        result = times(result, square)
    return result


# The rows of the data key


def rotated() -> tuple[WrappedKey, ...]:
    return rotate(first(root=ROOT, deployment=DEPLOYMENT, now=NOW), root=ROOT, deployment=DEPLOYMENT, now=NOW)


def test_a_retired_key_cannot_be_made_primary_again() -> None:
    old, new = rotated()
    back = (replace(old, state=KeyState.PRIMARY), replace(new, state=KeyState.DECRYPT_ONLY))
    with pytest.raises(VaultError):
        ring_of(back, ROOT)
    with pytest.raises(VaultError):  # nor by giving it a newer generation: that is bound into the wrapping
        ring_of((new, replace(old, state=KeyState.PENDING, generation=3)), ROOT)
    assert ring_of((old, new), ROOT)


@pytest.mark.parametrize("changed", [{"id": "00" * 16}, {"generation": 5}, {"wrapped": b""}, {"wrapped": bytes(68)}])
def test_a_row_of_the_data_key_is_worth_nothing_when_changed(changed: dict[str, Any]) -> None:
    old, new = rotated()
    with pytest.raises(VaultError):
        ring_of((old, replace(new, **changed)), ROOT)


def test_two_wrapped_keys_cannot_be_swapped_or_flipped() -> None:
    old, new = rotated()
    with pytest.raises(VaultError):
        ring_of((replace(old, wrapped=new.wrapped), replace(new, wrapped=old.wrapped)), ROOT)
    for position in range(len(new.wrapped)):
        damaged = bytearray(new.wrapped)
        damaged[position] ^= 0x80
        with pytest.raises(VaultError):
            ring_of((old, replace(new, wrapped=bytes(damaged))), ROOT)


def test_another_root_or_deployment_unlocks_no_ring() -> None:
    rows = rotated()
    with pytest.raises(VaultError):
        ring_of(rows, a_root())
    with pytest.raises(VaultError):
        KeyRing(rows, root=ROOT, deployment="dep-2")
    with pytest.raises(VaultError):
        KeyRing([], root=ROOT, deployment=DEPLOYMENT)


# LK, KR-04: no secret in anything that leaves


def forms_of(secret: bytes) -> list[bytes]:
    return [secret, secret.hex().encode(), base64.b64encode(secret)[:-4], repr(secret).encode()[2:-1]]


def test_kr_04_rotating_and_resealing_shows_neither_keys_nor_secrets() -> None:
    rows = rotated()
    pending = prepare(rows, root=ROOT, deployment=DEPLOYMENT, now=NOW)
    ring = ring_of(pending, ROOT)
    resealed = reseal(ring, seal(ring_of(rows[1:], ROOT), Secret(CANARY), PLACE), PLACE)
    later = ring_of(rotate(rows, root=ROOT, deployment=DEPLOYMENT, now=NOW), ROOT)
    moved = reseal(later, seal(ring, Secret(CANARY), PLACE), PLACE)
    assert resealed is None
    assert moved is not None
    out = b"".join([repr((rows, pending, ring, ROOT)).encode(), moved, BLOB, *(row.wrapped for row in pending)])
    deks = [ring.dek(bytes.fromhex(row.id)) for row in pending]
    keys = [dek.reveal() for dek in deks if dek is not None]
    assert len(keys) == 3
    for secret in (CANARY.encode(), *keys):
        assert not any(form in out for form in forms_of(secret))


def test_lk_a_failure_with_its_locals_shows_neither_key_nor_secret() -> None:
    dek = RING.primary[1].reveal()
    for place, blob in ((replace(PLACE, row="con_2"), BLOB), (PLACE, BLOB[:-1]), (PLACE, b"")):
        with pytest.raises(VaultError) as raised:
            open_sealed(RING, blob, place)
        frames = traceback.TracebackException.from_exception(raised.value, capture_locals=True).format()
        shown = "".join(frame for frame in frames if "/server/vault/" in frame.splitlines()[0]).encode()
        assert b"open_sealed" in shown
        assert not any(form in shown for secret in (CANARY.encode(), dek) for form in forms_of(secret))
