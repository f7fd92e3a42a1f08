"""The breaker, over whatever order of asking, answering, failing and leaving: who is let through, and when."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from valetkey.server.connections.refreshing.breaker import FAILURES, Breaker

FIRST, LONGEST, PROBE = 5.0, 60.0, 20.0
SOUND = Breaker(first_seconds=FIRST, longest_seconds=LONGEST, probe_seconds=PROBE)


def closed() -> Breaker:
    breaker = SOUND
    for _ in range(FAILURES):
        breaker = breaker.failed(0.0)
    return breaker


def test_one_failure_less_lets_everybody_through() -> None:
    breaker = SOUND
    for _ in range(FAILURES - 1):
        breaker = breaker.asked(0.0).failed(0.0)
        assert breaker.seconds_left(0.0) == 0
    assert breaker.failed(0.0).seconds_left(0.0) == FIRST


def test_after_the_pause_one_asks_and_the_others_wait_for_it() -> None:
    breaker = closed()
    assert breaker.seconds_left(FIRST - 1) == 1
    assert breaker.seconds_left(FIRST) == 0
    asked = breaker.asked(FIRST)
    assert asked.seconds_left(FIRST) == PROBE
    assert asked.answered() == SOUND
    assert asked.failed(FIRST + 1).seconds_left(FIRST + 1) == 2 * FIRST
    assert asked.given_up().seconds_left(FIRST) == 0
    assert asked.given_up().asked(FIRST).seconds_left(FIRST) == PROBE


@given(
    st.lists(st.tuples(st.sampled_from(["fails", "answers", "leaves", "hangs"]), st.floats(0.0, 100.0)), max_size=80)
)
def test_while_it_is_closed_at_most_one_asks_at_a_time(story: list[tuple[str, float]]) -> None:
    breaker, now, in_a_row, asked_until = SOUND, 0.0, 0, -1.0
    for what, later in story:
        now += later
        if left := breaker.seconds_left(now):
            assert in_a_row >= FAILURES or now < asked_until
            assert left <= max(LONGEST, PROBE)
            continue
        assert now >= asked_until  # whoever asked last had its time, or was heard of
        breaker = breaker.asked(now)
        is_probe = in_a_row >= FAILURES
        assert (breaker.seconds_left(now) > 0) == is_probe
        match what:
            case "fails":
                breaker, in_a_row, asked_until = breaker.failed(now), in_a_row + 1, -1.0
                assert (breaker.seconds_left(now) > 0) == (in_a_row >= FAILURES)
            case "answers":
                breaker, in_a_row, asked_until = breaker.answered(), 0, -1.0
                assert breaker == SOUND
            case "leaves":
                breaker, asked_until = breaker.given_up(), -1.0
            case "hangs":
                asked_until = now + PROBE if is_probe else -1.0


@given(st.integers(FAILURES, 40))
def test_a_pause_grows_and_never_beyond_the_longest(failures: int) -> None:
    breaker, now = SOUND, 0.0
    for count in range(1, failures + 1):
        breaker = breaker.failed(now)
        left = breaker.seconds_left(now)
        assert left == (0 if count < FAILURES else min(FIRST * 2 ** (count - FAILURES), LONGEST))
        now += left
    assert replace(breaker.answered(), failures=0) == SOUND
