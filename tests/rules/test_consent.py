"""What still has to be asked: nothing only when every fact is the one she agreed to."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.server.delegations.consent import Given, Line, Missing, Wanted, answering, missing
from valetkey.server.delegations.grants import parse_grant
from valetkey.server.delegations.model import Basis, Delegation, Mode

NOW = 1_000
CONNECTED = {"con_1": "github"}
LINE = Line(grant=parse_grant("github:repo:read@acme-corp/backend"))
WANTED = Wanted(
    user="usr_alice",
    agent="agt_reviewer",
    client="agt_reviewer",
    digest="d1",
    lines=(LINE,),
    purpose="review",
    seconds=600,
    standing=False,
    share_with=(),
)
DELEGATION = Delegation(
    id="dlg_1",
    org="org_1",
    user="usr_alice",
    agent="agt_reviewer",
    basis=Basis.CONSENT,
    mode=Mode.ATTENDED,
    purpose="review",
    grants=(replace(LINE.grant, connection="con_1"),),
    share_with=frozenset(),
    tasks_per_day=0,
    created_by="usr_alice",
    created_at=900,
    expires_at=1_500,
)
GIVEN = Given(delegation=DELEGATION, client="agt_reviewer", digest="d1", asked=WANTED.asked)


def test_the_same_again_leaves_nothing_to_ask() -> None:
    assert missing(WANTED, GIVEN, CONNECTED, now=NOW) == ()
    assert answering(WANTED, [replace(GIVEN, digest="d0"), GIVEN], CONNECTED, now=NOW) is GIVEN


CHANGES: list[tuple[Callable[[Wanted], Wanted], Missing]] = [
    (lambda w: replace(w, user="usr_bob"), Missing.AGREEMENT),
    (lambda w: replace(w, agent="agt_other"), Missing.AGREEMENT),
    (lambda w: replace(w, client="agt_other"), Missing.AGREEMENT),
    (lambda w: replace(w, digest="d2"), Missing.CLIENT_CHANGED),
    (lambda w: replace(w, shows_again=True), Missing.ASKED_AGAIN),
    (lambda w: replace(w, is_impersonable=True), Missing.IMPERSONABLE),
    (lambda w: replace(w, purpose="else"), Missing.DIFFERENT),
    (lambda w: replace(w, seconds=601), Missing.DIFFERENT),
    (lambda w: replace(w, seconds=None), Missing.DIFFERENT),
    (lambda w: replace(w, standing=True), Missing.DIFFERENT),
    (lambda w: replace(w, share_with=("linter",)), Missing.DIFFERENT),
    (lambda w: replace(w, lines=(LINE, LINE)), Missing.DIFFERENT),
    (lambda w: replace(w, lines=()), Missing.DIFFERENT),
    (lambda w: replace(w, lines=(replace(LINE, is_asked=False),)), Missing.DIFFERENT),
    (
        lambda w: replace(w, lines=(Line(grant=parse_grant("github:repo:write@acme-corp/backend")),)),
        Missing.DIFFERENT,
    ),
    (
        lambda w: replace(w, lines=(Line(grant=parse_grant("github:repo:read@acme-corp/payroll")),)),
        Missing.DIFFERENT,
    ),
    (
        lambda w: replace(w, lines=(Line(grant=parse_grant("github/work:repo:read@acme-corp/backend")),)),
        Missing.DIFFERENT,
    ),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_one_changed_fact_of_the_request_is_asked(change: Callable[[Wanted], Wanted], expected: Missing) -> None:
    assert expected in missing(change(WANTED), GIVEN, CONNECTED, now=NOW)


@given(st.lists(st.sampled_from(range(len(CHANGES))), min_size=1, max_size=4, unique=True))
def test_no_changes_ever_cancel_out(which: list[int]) -> None:
    changed = WANTED
    for number in which:
        changed = CHANGES[number][0](changed)
    assert missing(changed, GIVEN, CONNECTED, now=NOW)


@given(st.integers(0, 3_000))
def test_what_has_ended_is_asked_again_to_the_second(now: int) -> None:
    assert (missing(WANTED, GIVEN, CONNECTED, now=now) == ()) == (now < 1_500)


@given(st.dictionaries(st.sampled_from(["con_1", "con_2"]), st.sampled_from(["github", "slack"])))
def test_a_lost_account_is_asked_for(connected: dict[str, str]) -> None:
    lost = missing(WANTED, GIVEN, connected, now=NOW)
    assert (Missing.CONNECTION in lost) == (connected.get("con_1") != "github")
    first = missing(WANTED, None, connected, now=NOW)
    assert Missing.AGREEMENT in first
    assert (Missing.CONNECTION in first) == ("github" not in connected.values())


def test_her_answer_on_the_page_is_an_answer_and_still_judged() -> None:
    insistent = replace(WANTED, shows_again=True, is_impersonable=True)
    answer = replace(GIVEN, is_answer=True)
    assert missing(insistent, answer, CONNECTED, now=NOW) == ()
    for spoiled in (
        replace(answer, digest="d2"),
        replace(answer, client="agt_other"),
        replace(answer, delegation=replace(DELEGATION, user="usr_bob")),
        replace(answer, delegation=replace(DELEGATION, grants=())),
    ):
        assert missing(insistent, spoiled, CONNECTED, now=NOW)
    assert missing(insistent, answer, {}, now=NOW)
    assert missing(insistent, answer, CONNECTED, now=1_500)


@given(st.permutations(["a", "b", "c"]), st.permutations([0, 1]))
def test_the_order_a_client_writes_in_is_no_difference(names: list[str], order: list[int]) -> None:
    lines = (LINE, Line(grant=parse_grant("github:issues:write,pulls:read@acme-corp/payroll,acme-corp/backend")))
    one = replace(WANTED, share_with=("a", "b", "c"), lines=lines)
    other = replace(WANTED, share_with=tuple(names), lines=tuple(lines[n] for n in order))
    assert one.asked == other.asked
