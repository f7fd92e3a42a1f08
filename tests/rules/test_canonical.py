"""The one reading of a request target."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.server.errors import InvalidRequest
from valetkey.server.gateway.canonical import MAX_TARGET_BYTES, METHODS, Profile, canonical
from valetkey.server.gateway.lookalikes import why_unclear

SLASHES = Profile(encoded_slash=True)
MATRIX = Profile(matrix_params=True)


def segments_of(path, profile=Profile()):  # noqa: B008 (a frozen value)
    return canonical("GET", path, b"", profile).segments


def is_clear(name):
    is_dots = all(character in ".\u200c\u200d" or character.isspace() for character in name)
    return not is_dots and not set(name) & set("/\\%;") and why_unclear(name) is None


NAMES = st.text(min_size=1, max_size=12).filter(is_clear)
TARGET_ALPHABET = st.sampled_from([*"/.%;?&=+aZ0~-_:@'", "%2F", "%2E", "%20", "%C3%A9", "%25", "..", "\\", "é", "\x00"])


@settings(deadline=None)
@given(st.lists(NAMES, max_size=5), st.lists(st.tuples(st.sampled_from("abc"), NAMES), max_size=4))
def test_what_a_stock_client_encodes_is_read_back_exactly(names, pairs):
    path = "/" + "/".join(quote(name, safe="") for name in names)
    target = canonical("GET", path.encode(), urlencode(pairs).encode())
    assert target.segments == tuple(names)
    assert target.query == tuple(pairs)


@settings(deadline=None)
@given(st.lists(TARGET_ALPHABET, max_size=16), st.lists(TARGET_ALPHABET, max_size=10), st.booleans(), st.booleans())
def test_reading_what_was_built_gives_the_same_target(path, query, encoded_slash, matrix_params):
    profile = Profile(encoded_slash=encoded_slash, matrix_params=matrix_params)
    try:
        target = canonical("GET", ("/" + "".join(path)).encode("latin-1"), "".join(query).encode("latin-1"), profile)
    except InvalidRequest:
        return
    assert canonical("GET", target.path_bytes, target.query_bytes, profile) == target
    assert b"%2F" not in target.path_bytes
    assert not {".", "..", ""} & set(target.segments)


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_are_read_or_refused_and_nothing_else(path, query):
    try:
        target = canonical("GET", path, query)
    except InvalidRequest:
        return
    assert target.target_bytes.isascii()


@pytest.mark.parametrize("dress", ["..", "%2e%2e", "%2E.", "..;", "..%20", ".", "...", "%E2%80%8D.", "..%C2%A0"])
def test_a_dot_segment_is_refused_however_it_is_dressed(dress):
    with pytest.raises(InvalidRequest):
        segments_of(f"/a/{dress}/b".encode())
    assert segments_of(b"/a/..b/b") == ("a", "..b", "b")


def test_a_semicolon_does_not_smuggle_a_second_parameter():
    with pytest.raises(InvalidRequest):
        canonical("GET", b"/user", b"a=1;b=2")
    assert canonical("GET", b"/user", b"a=1%3Bb=2").query == (("a", "1;b=2"),)
    assert canonical("GET", b"/user", b"a=1%3Bb=2").query_bytes == b"a=1%3Bb%3D2"


def test_an_encoded_slash_is_a_boundary_only_where_the_profile_says_so():
    target = canonical("GET", b"/contents/docs%2Freadme.md", b"", SLASHES)
    assert target.segments == ("contents", "docs", "readme.md")
    assert target.path_bytes == b"/contents/docs/readme.md"
    with pytest.raises(InvalidRequest, match="write `/`"):
        segments_of(b"/contents/docs%2Freadme.md")


def test_dots_are_refused_after_an_encoded_slash_was_split():
    with pytest.raises(InvalidRequest):
        segments_of(b"/contents/docs%2F..%2Fx", SLASHES)


def test_a_matrix_parameter_is_part_of_its_segment_or_refused():
    assert segments_of(b"/a;x=1/b", MATRIX) == ("a;x=1", "b")
    assert canonical("GET", b"/a;x=1/b", b"", MATRIX).path_bytes == b"/a;x=1/b"
    with pytest.raises(InvalidRequest):
        segments_of(b"/a;x=1/b")


def test_only_a_name_can_be_a_credential_and_a_profile_can_name_more():
    assert canonical("GET", b"/user", b"key=1&note=token").query == (("key", "1"), ("note", "token"))
    with pytest.raises(InvalidRequest, match="credential"):
        canonical("GET", b"/user", b"token=note")
    with pytest.raises(InvalidRequest, match="credential"):
        canonical("GET", b"/user", b"KEY=1", Profile(credential_parameters=frozenset({"key"})))


@pytest.mark.parametrize(
    "query", [b"access_token=hunter2", b"a=hunter2;", b"a=hunter2%00", b"a=hunter2%FF", b"=hunter2"]
)
def test_a_refusal_never_repeats_the_value_of_a_parameter(query):
    with pytest.raises(InvalidRequest) as refused:
        canonical("GET", b"/user", query)
    assert "hunter2" not in refused.value.public + refused.value.detail


def test_a_plus_is_a_space_in_a_query_and_a_plus_in_a_path():
    target = canonical("GET", b"/a+b", b"q=a+b%2Bc")
    assert (target.segments, target.query) == (("a+b",), (("q", "a b+c"),))
    assert target.target_bytes == b"/a%2Bb?q=a%20b%2Bc"


def test_a_name_without_a_value_is_sent_with_an_empty_one():
    assert canonical("GET", b"/a", b"x").query_bytes == canonical("GET", b"/a", b"x=").query_bytes == b"x="


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_method_is_read_in_upper_case_only(method):
    assert canonical(method, b"/", b"").method == method
    with pytest.raises(InvalidRequest):
        canonical(method.lower(), b"/", b"")


def test_a_target_is_as_long_as_the_limit_and_no_longer():
    longest = b"/" + b"a" * (MAX_TARGET_BYTES - 2)
    assert len(canonical("GET", longest, b"").path_bytes) == MAX_TARGET_BYTES - 1
    with pytest.raises(InvalidRequest, match="longer"):
        canonical("GET", longest + b"a", b"")


def test_a_target_that_grows_past_the_limit_when_built_is_refused():
    with pytest.raises(InvalidRequest, match="longer"):
        canonical("GET", b"/a", b"x=" + b"[" * 4000)
    assert canonical("GET", b"/a", b"x=" + b"[" * 2000).query[0][1] == "[" * 2000
