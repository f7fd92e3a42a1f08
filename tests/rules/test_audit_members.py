"""What may stand in a record, how it is spelled, and what never gets in (AUD-07, LK-01)."""

from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.server.audit.members import decoded, encoded, from_outside
from valetkey.server.audit.model import MAX_INTEGER, Unrecordable, fingerprint
from valetkey.server.ids import new_handle
from valetkey.server.secret import Secret, SecretBytes

INTEGERS = st.integers(-MAX_INTEGER, MAX_INTEGER)
VALUES = st.recursive(
    st.text() | INTEGERS | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(min_size=1).filter(
    lambda name: name not in {"v", "id", "seq", "org", "prev", "time", "event", "writer"}
)
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


class Basis(StrEnum):
    CONSENT = "consent"


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_what_is_written_is_what_is_read(members: dict[str, object]) -> None:
    text = encoded(members)
    assert decoded(text) == members
    assert text.decode().isprintable() or not {"\x7f", "\u2028", "\u202e", "\n", "\x1b"} & set(text.decode())
    assert encoded(dict(reversed(members.items()))) == text


@given(st.recursive(VALUES | st.none() | st.floats() | st.integers(), lambda inner: st.lists(inner), max_leaves=5))
def test_any_json_from_outside_can_be_recorded(value: object) -> None:
    assert decoded(encoded({"value": from_outside(value)}))


@pytest.mark.parametrize(
    "value", [None, 1.5, b"x", {1}, object(), MAX_INTEGER + 1, {1: "x"}, [[None]], {"x": {"y": 0.5}}, Exception("x")]
)
def test_a_value_without_a_place_is_refused(value: object) -> None:
    with pytest.raises(Unrecordable, match="member"):
        encoded({"member": value})


def test_every_kind_of_value_with_a_place_is_written() -> None:
    members = {"t": "x", "n": MAX_INTEGER, "b": False, "l": (1, "a"), "d": {"z": [], "a": {}}, "e": Basis.CONSENT}
    assert encoded(members) == b'{"b":false,"d":{"a":{},"z":[]},"e":"consent","l":[1,"a"],"n":9007199254740991,"t":"x"}'


@pytest.mark.parametrize("secret", [Secret("hunter2-hunter2"), SecretBytes(b"hunter2-hunter2")])
def test_a_secret_is_refused_at_any_depth_and_not_named(secret: Secret | SecretBytes) -> None:
    for value in (secret, [secret], {"a": {"b": [secret]}}):
        with pytest.raises(Unrecordable) as refused:
            encoded({"token": value})
        assert "hunter2" not in repr(refused.value)
    assert encoded({"token": fingerprint(secret)}) == b'{"token":"sha256:%s"}' % fingerprint(secret)[7:].encode()
    assert len(fingerprint(secret)) == 19


@pytest.mark.parametrize(
    "text", [new_handle("ag").reveal(), new_handle("ev").reveal(), JWT], ids=["agent", "evidence", "jwt"]
)
def test_what_looks_like_our_own_secret_is_replaced_by_its_fingerprint(text: str) -> None:
    mark = fingerprint(Secret(text)).encode()
    for value in (text, f"Bearer {text}, twice {text}", [text], {text: 1}, {"a": [{"b": text}]}):
        written = encoded({"header": value})
        assert text.encode() not in written
        assert mark in written
        assert decoded(written)


def test_what_only_begins_like_a_secret_is_kept() -> None:
    for text in ("vkag_short", "eyJ.not.one", "refs/heads/vk" + "a" * 60):
        assert text.encode() in encoded({"branch": text})


def test_the_names_of_the_record_itself_are_not_for_members() -> None:
    for name in ("v", "writer", "seq", "prev", "id", "time", "event", "org"):
        with pytest.raises(Unrecordable, match="belong to the record"):
            encoded({name: 1})
        with pytest.raises(ValueError, match="twice"):
            decoded(b'{"%s":1}' % name.encode())


def test_nesting_ends() -> None:
    deep: list[object] = []
    for _ in range(40):
        deep = [deep]
    with pytest.raises(Unrecordable, match="deeper"):
        encoded({"x": deep})
    with pytest.raises(ValueError, match="not JSON of this format"):
        decoded(b'{"x":' + b"[" * 40 + b"]" * 40 + b"}")
