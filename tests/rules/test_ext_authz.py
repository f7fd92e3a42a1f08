"""The wire of Envoy's question and answer: whatever is sent in, it is read in one way or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.check import asks, told
from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.ext_authz import allowed, denied, question
from valetkey.server.gateway.protobuf import Malformed, read, write

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@given(
    st.sampled_from(["GET", "POST"]),
    VALUES.map(lambda text: "/" + text),
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
)
def test_a_question_is_read_as_it_was_asked(method: str, path: str, headers: list[tuple[str, str]]) -> None:
    read_back = question(asks(method, path, headers))
    assert (read_back.method, read_back.target) == (method, path.encode())
    assert [(n.decode(), v.decode()) for n, v in read_back.headers] == headers


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(1, 8))
def test_damage_is_refused_or_leaves_one_reading(junk: bytes, at: int, length: int) -> None:
    whole = asks("GET", "/repos/acme/x", [("authorization", "Bearer t")])
    for data in (junk, whole[:at] + junk + whole[at + length :]):
        try:
            found = question(data)
        except InvalidRequest:
            continue
        assert found.method.encode() in data
        assert found.target in data


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 502, 503])
def test_no_refusal_reads_as_a_permission(status: int) -> None:
    said = told(denied(status, [(b"retry-after", b"1")], b"{}"))
    assert said.code != 0
    assert (said.status, said.headers, said.body) == (status, {"retry-after": "1"}, b"{}")
    assert told(allowed([(b"a", b"b")], drop=[b"cookie"], to_client=[])).code == 0


def test_a_message_of_too_many_fields_is_not_read() -> None:
    assert len(read(write(1, 1) * 1_024)[1]) == 1_024
    with pytest.raises(Malformed):
        read(write(1, 1) * 1_025)
