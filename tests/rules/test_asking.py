"""When a person is asked, and when that is answered: the state table and the lines that ask, by one changed fact."""

from dataclasses import replace
from itertools import product

import pytest

from tests.support import permission as p
from valetkey.server.approvals.model import TABLE, Facts, Kept, State, Step, after, is_enough, key_of, may_answer
from valetkey.server.credentials.lease import narrowing
from valetkey.server.delegations.model import narrowed
from valetkey.server.errors import Denied
from valetkey.server.policy.decide import decide
from valetkey.server.policy.model import Allow, Answerers, Ask, Deny

READ = p.grant("github:repo:read@acme-corp/backend")
WRITE = p.grant("github:issues:write@acme-corp/backend")
ASKS = replace(WRITE, ask=True)
POST = p.call("POST", "/repos/acme-corp/backend/issues")
FACTS = Facts(
    integration="github",
    connection="con_1",
    account="alice",
    base_url="https://api.github.com",
    parts=(),
    policies=(),
    asked_by=("dlg_1",),
    words="why",
    answerers=(Answerers(people=None),),
    danger=False,
    agents=("bot",),
    excluded=("usr_alice", "usr_owner"),
    nodes=(),
    purpose="",
)
KEPT = Kept(method="POST", path=b"/x", query=b"", headers=((b"accept", b"*/*"),), body=b"{}")


def test_a_line_that_asks_asks_and_one_that_does_not_allows() -> None:
    decision = decide(POST, p.authority(ASKS), (ASKS,), p.CATALOGUE, p.NOW + 1)
    assert isinstance(decision, Ask)
    assert (decision.answerers, decision.danger) == ((Answerers(people=None),), False)
    assert decide(POST, p.authority(WRITE), (WRITE,), p.CATALOGUE, p.NOW + 1) == Allow()


def test_what_is_given_without_asking_as_well_is_not_asked() -> None:
    get = p.call("GET", "/repos/acme-corp/backend/issues")
    both = (READ, ASKS)
    assert decide(get, p.authority(*both), both, p.CATALOGUE, p.NOW + 1) == Allow()
    assert isinstance(decide(POST, p.authority(*both), both, p.CATALOGUE, p.NOW + 1), Ask)


def test_a_denial_beats_the_asking() -> None:
    assert isinstance(decide(POST, p.authority(READ), (READ,), p.CATALOGUE, p.NOW + 1), Deny)


def test_a_narrowing_never_drops_the_asking() -> None:
    [line] = narrowed((ASKS,), (WRITE,), p.CATALOGUE)
    assert line.ask
    # Even a task or a token that lost it is asked, because every level is looked at.
    for authority, token in (
        (p.authority(WRITE, delegation=p.delegation(ASKS)), (WRITE,)),
        (p.authority(ASKS, delegation=p.delegation(WRITE)), (WRITE,)),
        (p.authority(WRITE), (ASKS,)),
    ):
        assert isinstance(decide(POST, authority, token, p.CATALOGUE, p.NOW + 1), Ask)


def test_what_is_over_stays_over() -> None:
    terminal = {State.DENIED, State.EXPIRED, State.UNREACHED, State.CANCELLED, State.USED}
    for state, step in product(terminal, Step):
        assert after(state, step) is None
    assert {to for (_, _), to in TABLE.items()} == terminal | {State.APPROVED}
    assert after(State.PENDING, Step.USE) is None  # nothing is sent that nobody approved
    assert after(State.APPROVED, Step.USE) is State.USED


def test_nobody_to_ask_is_no_agreement() -> None:
    everybody = frozenset({"usr_alice", "usr_bob", "usr_carol"})
    assert not is_enough(everybody, "usr_alice", replace(FACTS, answerers=()))
    assert not is_enough(everybody, "usr_alice", replace(FACTS, answerers=(Answerers(people=frozenset()),)))
    assert not is_enough(frozenset(), "usr_alice", FACTS)
    assert is_enough(frozenset({"usr_alice"}), "usr_alice", FACTS)


def test_ap_04_whom_a_rule_names_without_whom_it_excludes() -> None:
    named = replace(FACTS, answerers=(Answerers(people=frozenset({"usr_alice", "usr_owner", "usr_bob"})),))
    assert may_answer("usr_bob", "usr_alice", named)
    for excluded in ("usr_alice", "usr_owner", "usr_carol"):
        assert not may_answer(excluded, "usr_alice", named)
        assert not is_enough(frozenset({excluded}), "usr_alice", named)


def test_ap_04_two_distinct_persons_where_a_rule_says_so() -> None:
    two = replace(FACTS, answerers=(Answerers(people=frozenset({"usr_bob", "usr_carol"}), enough=2),))
    assert not is_enough(frozenset({"usr_bob"}), "usr_alice", two)
    assert is_enough(frozenset({"usr_bob", "usr_carol"}), "usr_alice", two)


def test_ap_02_one_changed_fact_is_another_key() -> None:
    usual = key_of(KEPT, FACTS, 1)
    assert key_of(KEPT, FACTS, 1) == usual
    changed = [
        key_of(replace(KEPT, method="PUT"), FACTS, 1),
        key_of(replace(KEPT, path=b"/y"), FACTS, 1),
        key_of(replace(KEPT, query=b"a=1"), FACTS, 1),
        key_of(replace(KEPT, headers=((b"accept", b"text/html"),)), FACTS, 1),
        key_of(replace(KEPT, headers=()), FACTS, 1),
        key_of(replace(KEPT, body=b"{ }"), FACTS, 1),
        key_of(KEPT, replace(FACTS, connection="con_2"), 1),
        key_of(KEPT, replace(FACTS, policies=("pol_1",)), 1),
        key_of(KEPT, FACTS, 2),
        key_of(KEPT, replace(FACTS, asked_by=("dlg_1", "pol_1")), 1),
        key_of(KEPT, replace(FACTS, words="other"), 1),
        key_of(KEPT, replace(FACTS, danger=True), 1),
        key_of(KEPT, replace(FACTS, answerers=(Answerers(people=None, enough=2),)), 1),
    ]
    assert len({usual, *changed}) == len(changed) + 1
    trace = replace(KEPT, headers=(*KEPT.headers, (b"traceparent", b"00-1")))
    assert key_of(trace, FACTS, 1) == usual  # of one try, not of the call


def test_what_asks_is_never_lent() -> None:
    github = p.CATALOGUE["github"]
    with pytest.raises(Denied) as refused:
        narrowing((ASKS,), p.authority(ASKS), github)
    assert refused.value.members["reason"] == "use_gateway"
    assert "asks nobody" in refused.value.public
