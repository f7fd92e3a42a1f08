"""Ids are public and ordered by time; handles are secret, checksummed, and of one kind."""

import re
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.server.ids import HANDLE_PATTERN, HandleKind, IdKind, is_handle, is_id, new_handle, new_id

HANDLE_KINDS: list[Literal["ag", "sa", "cl", "in", "ev", "bs"]] = list(get_args(HandleKind))
ID_KINDS = list(get_args(IdKind))


@pytest.mark.parametrize("kind", HANDLE_KINDS)
def test_a_handle_has_the_published_form(kind: HandleKind) -> None:
    handle = new_handle(kind).reveal()
    assert re.fullmatch(HANDLE_PATTERN, handle)
    assert len(handle) == len(f"vk{kind}_") + 43 + 6
    assert is_handle(handle, kind)


@pytest.mark.parametrize("kind", HANDLE_KINDS)
def test_a_handle_of_one_kind_is_no_handle_of_another(kind: HandleKind) -> None:
    handle = new_handle(kind).reveal()
    for other in HANDLE_KINDS:
        assert is_handle(handle, other) == (other == kind)
        assert not is_handle(f"vk{other}_{handle[5:]}", other) or other == kind


@given(position=st.integers(0, 53), offered=st.characters(codec="ascii"))
def test_one_changed_character_is_noticed(position: int, offered: str) -> None:
    handle = new_handle("ag").reveal()
    changed = handle[:position] + offered + handle[position + 1 :]
    assert is_handle(changed, "ag") == (changed == handle)


@pytest.mark.parametrize("extra", ["\n", " ", "0", "\x00"])
def test_a_handle_with_anything_around_it_is_none(extra: str) -> None:
    handle = new_handle("ag").reveal()
    assert not is_handle(handle + extra, "ag")
    assert not is_handle(extra + handle, "ag")
    assert not is_handle(handle[:-1], "ag")


@pytest.mark.parametrize("digits", ["０" * 49, "٠" * 49])
def test_digits_of_other_scripts_are_not_digits(digits: str) -> None:
    assert not is_handle("vkag_" + digits, "ag")


def test_handles_do_not_repeat_and_use_every_character() -> None:
    handles = [new_handle("ag").reveal() for _ in range(500)]
    assert len(set(handles)) == 500
    assert len(set("".join(handle[6:48] for handle in handles))) == 62


def test_a_fresh_handle_does_not_print_itself() -> None:
    handle = new_handle("cl")
    assert handle.reveal() not in f"{handle} {handle!r}"


@pytest.mark.parametrize("kind", ID_KINDS)
def test_an_id_has_its_form_and_kind(kind: IdKind) -> None:
    made = new_id(kind)
    assert is_id(made)
    assert is_id(made, kind)
    assert not is_id(made, "org" if kind != "org" else "usr")
    assert not is_id(made + "\n")
    assert not is_id(made.upper())
    assert not is_id(made[:-1])


def test_ids_do_not_repeat_and_follow_time() -> None:
    made = [new_id("aud") for _ in range(2000)]
    assert len(set(made)) == 2000
    moments = [each[4:13] for each in made]  # the first 43 bits: time only
    assert moments == sorted(moments)
