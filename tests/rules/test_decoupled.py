"""What a client is told that asks for an answer, at every state and second; user codes; token buckets."""

import doctest
import itertools
from dataclasses import replace

import pytest

from valetkey.server.clock import DrivenClock
from valetkey.server.errors import InvalidRequest, TooMany
from valetkey.server.oauth.decoupled import model
from valetkey.server.oauth.decoupled.model import (
    LONGEST_INTERVAL,
    DecoupledRequest,
    Kind,
    Status,
    Verdict,
    judged,
    notification_token,
)
from valetkey.server.oauth.form import Form
from valetkey.server.oauth.limits import Buckets, Limits
from valetkey.server.principals.user_codes import ALPHABET, typed

REQUEST = DecoupledRequest(
    id="req_1",
    kind=Kind.DEVICE,
    client="agt_1",
    user=None,
    form=Form({}, {}),
    message="",
    status=Status.PENDING,
    outcome=None,
    interval=5,
    polled_at=0,
    origin="",
    created_at=1_000,
    expires_at=1_600,
)


def test_the_examples_in_the_model_hold() -> None:
    assert doctest.testmod(model).failed == 0


@pytest.mark.parametrize("status", list(Status))
def test_after_its_end_nothing_is_ready(status: Status) -> None:
    verdict, _ = judged(replace(REQUEST, status=status), 1_600)
    assert verdict is (Verdict.SPENT if status is Status.REDEEMED else Verdict.EXPIRED)


def test_only_an_approved_request_is_ready() -> None:
    ready = {s for s in Status for t in (1_000, 1_599) if judged(replace(REQUEST, status=s), t)[0] is Verdict.READY}
    assert ready == {Status.APPROVED}


def test_the_interval_only_grows_and_is_bounded() -> None:
    request = replace(REQUEST, polled_at=1_000)
    intervals = [5]
    for now in range(1_001, 1_060):
        verdict, interval = judged(request, now)
        assert verdict is Verdict.SLOW_DOWN
        request = replace(request, interval=interval, polled_at=now)
        intervals.append(interval)
    assert all(b >= a for a, b in itertools.pairwise(intervals))
    assert intervals[-1] == LONGEST_INTERVAL


def test_a_code_is_read_however_it_is_typed_and_nothing_else_is_one() -> None:
    assert {typed(t) for t in ("WDJB-MJHT", "wdjbmjht", " WDJB MJHT ", "W-D-J-B-M-J-H-T")} == {"WDJBMJHT"}
    assert {typed(t) for t in ("", "WDJB", "WDJB-MJHTT", "WDJB-MJH0", "ＷDJBMJHT", "W" * 40, "WDJB\x00MJHT")} == {None}
    assert not set(ALPHABET) & set("AEIOUY0125")


@pytest.mark.parametrize("text", [None, "", "short", "x" * 1_025, "with space in it all", "line\nbreak-break-break"])
def test_a_notification_token_is_a_bearer_token(text: str | None) -> None:
    with pytest.raises(InvalidRequest):
        notification_token(text)
    assert notification_token("8d67dc78-7faa-4d41-aabd-67707b374255")


def test_a_bucket_empties_and_fills_with_time() -> None:
    clock = DrivenClock()
    buckets = Buckets(60, clock)
    assert [buckets.take("a") for _ in range(61)] == [0] * 60 + [1]
    assert buckets.take("b") == 0
    clock.advance(1)
    assert (buckets.take("a"), buckets.take("a")) == (0, 1)
    clock.advance(3_600)
    assert [buckets.take("a") for _ in range(61)] == [0] * 60 + [1]


def test_no_limit_is_no_limit() -> None:
    assert {Buckets(0, DrivenClock()).take("a") for _ in range(1_000)} == {0}


def test_names_that_are_made_up_do_not_fill_the_memory() -> None:
    buckets = Buckets(60, DrivenClock(), remembered=100)
    for number in range(10_000):
        buckets.take(str(number))
    assert len(buckets) == 100


def test_a_strangers_failures_hold_up_nobody_with_another_id_and_never_a_revocation() -> None:
    clock = DrivenClock()
    limits = Limits(clock, failures_per_minute=10, begun_per_minute=5)
    for _ in range(50):
        limits.failed(b"/oauth/token", "10.0.0.1", "noisy")
    with pytest.raises(TooMany) as refused:
        limits.admit(b"/oauth/token", "10.0.0.1", "noisy")
    assert refused.value.retry_after == 6
    limits.admit(b"/oauth/token", "10.0.0.1", "quiet")
    limits.admit(b"/oauth/token", "10.0.0.2", "noisy")
    limits.admit(b"/oauth/revoke", "10.0.0.1", "noisy")
    assert limits.refused == 1
