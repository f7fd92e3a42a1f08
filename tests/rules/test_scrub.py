"""An echoed secret is replaced, wherever the chunks end."""

import base64
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.server.gateway.scrub import MARK, Scrubber

SECRETS = [b"ababc", b"abcabd", b"/x+/x"]


def chunked(scrubber, body, cuts):
    stream = scrubber.stream()
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return b"".join(stream.feed(body[a:b]) for a, b in pairwise(edges)) + stream.finish()


def pieces(*secrets):
    whole = [*secrets, *(base64.b64encode(b"u:" + secret) for secret in secrets)]
    return st.lists(
        st.sampled_from([*whole, b"a", b"b", b"ab", b"abab", b"c", b"/", b"+", b"%2F", b"YWJh", b"="]), max_size=20
    )


@settings(deadline=None)
@given(pieces(*SECRETS).map(b"".join), st.lists(st.integers(0, 150), max_size=12))
def test_the_result_does_not_depend_on_where_chunks_end(body, cuts):
    scrubber = Scrubber(SECRETS)
    assert chunked(scrubber, body, cuts) == scrubber.scrub(body)


@settings(deadline=None)
@given(pieces(*SECRETS).map(b"".join))
def test_no_secret_is_left(body):
    seen = Scrubber(SECRETS).scrub(body)
    assert not [secret for secret in SECRETS if secret in seen]


@settings(deadline=None)
@given(st.binary(min_size=6, max_size=40), st.binary(max_size=9), st.binary(max_size=9), st.integers(1, 30))
def test_base64_hides_no_secret_in_any_alignment(secret, before, after, size):
    encoded = base64.b64encode(before + secret + after)
    seen = chunked(Scrubber([secret]), encoded, range(0, len(encoded), size))
    assert MARK in seen
    first, last = (len(before) * 8 + 5) // 6, (len(before) + len(secret)) * 8 // 6
    assert encoded[first:last] not in seen


def test_a_body_without_the_secret_is_unchanged():
    scrubber = Scrubber([b"ghp_hunter2hunter2"])
    assert scrubber.scrub(b"x ghp_hunter2hunter2 y") == b"x " + MARK + b" y"
    assert scrubber.scrub(b"x ghp_hunter2hunter3 y") == b"x ghp_hunter2hunter3 y"


def test_only_what_may_become_a_secret_is_held_back():
    stream = Scrubber([b"ghp_hunter2hunter2"]).stream()
    assert stream.feed(b"data: {}\n\n") == b"data: {}\n\n"
    assert stream.feed(b"data: ghp_hun") == b"data: "
    assert stream.feed(b"gry\n\n") == b"ghp_hungry\n\n"
    assert stream.feed(b"ghp_hunter2") == b""
    assert stream.finish() == b"ghp_hunter2"


def test_the_longer_of_two_secrets_that_begin_alike_is_replaced_whole():
    scrubber = Scrubber([b"key-1234", b"key-12345678"])
    assert scrubber.scrub(b"key-12345678!key-1234!") == MARK + b"!" + MARK + b"!"
    assert chunked(scrubber, b"key-12345678!key-1234!", [8, 20]) == MARK + b"!" + MARK + b"!"


def test_a_short_secret_is_still_replaced():
    assert Scrubber([b"ab"]).scrub(b"x ab y") == b"x " + MARK + b" y"


def test_an_empty_secret_is_an_error_and_prints_nothing():
    with pytest.raises(ValueError, match="empty"):
        Scrubber([b""])
    assert "hunter2" not in repr(Scrubber([b"hunter2"]))
