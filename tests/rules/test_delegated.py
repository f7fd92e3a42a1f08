"""What a verified credential says: the roles are named, and every way to read it otherwise is refused."""

from typing import Any

import pytest

from tests.support.delegated import (
    ALICE,
    LINTER,
    NOW,
    REVIEWER,
    THUMBPRINT,
    agent_claims,
    common_claims,
    rfc8693_claims,
)
from valetkey.verify import Grant, InvalidToken, Principal
from valetkey.verify.claims import MAX_AGENTS, Layout, read_delegated

USER = Principal(ALICE["sub"], ALICE["uid"])
AGENT = Principal(REVIEWER["sub"], REVIEWER["uid"])
SUB_AGENT = Principal(LINTER["sub"], LINTER["uid"])
GRANT = common_claims()["authorization_details"][0]


def refused(claims: dict[str, Any], layout: Layout = "agent") -> str:
    with pytest.raises(InvalidToken) as refusal:
        read_delegated(claims, layout)
    return refusal.value.detail


def test_both_layouts_name_the_same_roles() -> None:
    agent, rfc8693 = read_delegated(agent_claims(), "agent"), read_delegated(rfc8693_claims(), "rfc8693")
    assert (agent.user, agent.agent, agent.chain) == (USER, AGENT, (AGENT,))
    assert agent._replace(layout="rfc8693") == rfc8693


def test_a_sub_agent_stands_at_the_end_of_the_chain_in_both_layouts() -> None:
    child: dict[str, Any] = {"client_id": LINTER["uid"]}
    agent = read_delegated(agent_claims(**LINTER, act=REVIEWER | {"act": ALICE}, **child), "agent")
    rfc8693 = read_delegated(rfc8693_claims(act=LINTER | {"act": REVIEWER}, **child), "rfc8693")
    for said in (agent, rfc8693):
        assert (said.user, said.agent, said.chain) == (USER, SUB_AGENT, (AGENT, SUB_AGENT))


def test_every_fact_is_handed_on() -> None:
    said = read_delegated(agent_claims(cnf={"jkt": THUMBPRINT}), "agent")
    resources = frozenset({"acme-corp/backend"})
    assert said.grants == (Grant("github", GRANT["connection"], frozenset({"repo:read"}), resources),)
    assert (said.scopes, said.issued_at, said.expires_at) == (frozenset({"repo:read"}), NOW, NOW + 300)
    assert (said.cnf, said.layout) == (THUMBPRINT, "agent")
    assert read_delegated(agent_claims(scope=..., authorization_details=[GRANT]), "agent").scopes == frozenset()


@pytest.mark.parametrize(
    "changes",
    [
        {"act": ...},
        {"act": None},
        {"act": "user:alice@acme.com"},
        {"act": [ALICE]},
        {"act": {}},
        {"act": REVIEWER},
        {"act": LINTER},
        {"act": {"sub": ALICE["sub"]}},
        {"act": {"uid": ALICE["uid"]}},
        {"act": ALICE | {"act": None}},
        {"act": ALICE | {"act": ALICE}},
        {"act": ALICE | {"act": LINTER}},
        {"act": LINTER | {"act": None}},
        {"sub": "user:mallory@acme.com"},
        {"sub": "pr-reviewer-v2"},
        {"sub": "agent:"},
        {"sub": "service:ci"},
        {"sub": "Agent:pr-reviewer-v2"},
        {"sub": "agent:two words"},
        {"sub": "agent:line\nbreak"},
        {"sub": "agent:right\u202eleft"},
        {"sub": "agent:" + "x" * 256},
        {"sub": None},
        {"sub": ["agent:pr-reviewer-v2"]},
        {"uid": ...},
        {"uid": ALICE["uid"]},
        {"uid": LINTER["uid"]},
        {"uid": ["agt_1"]},
    ],
    ids=repr,
)
def test_a_credential_that_does_not_name_a_user_and_its_agents_is_refused(changes: dict[str, Any]) -> None:
    assert refused(agent_claims(**changes))


def test_a_user_without_an_agent_is_refused() -> None:
    assert refused(rfc8693_claims(act=...), "rfc8693")
    assert refused(agent_claims(**ALICE, act=...))


def test_an_act_that_says_more_than_who_is_refused() -> None:
    for more in ({"exp": NOW}, {"scope": "repo:admin"}, {"aud": "x"}, {"iss": "x"}, {"may_act": {}}):
        assert refused(agent_claims(act=ALICE | more)) == "act says more than who"


def test_an_agent_that_acts_for_itself_is_refused() -> None:
    assert refused(agent_claims(act=REVIEWER | {"act": ALICE})) == "somebody acts for themselves"


def test_a_chain_is_at_most_eight_agents_long() -> None:
    act: dict[str, Any] = dict(ALICE)
    for number in range(MAX_AGENTS - 1):
        act = {"sub": f"agent:{number}", "uid": f"agt_{number}", "act": act}
    assert len(read_delegated(agent_claims(act=act), "agent").chain) == MAX_AGENTS
    assert "nested" in refused(agent_claims(act={"sub": "agent:more", "uid": "agt_more", "act": act}))


@pytest.mark.parametrize("name", ["org", "jti", "task", "delegation", "client_id"])
@pytest.mark.parametrize("value", [..., None, "", "usr_1", "org_1 tok_1", 1, True, ["org_1"], {}], ids=repr)
def test_an_id_that_is_missing_or_of_another_kind_is_refused(name: str, value: Any) -> None:
    assert refused(agent_claims(**{name: value}))


def test_the_client_is_the_agent_acting_now() -> None:
    assert refused(agent_claims(client_id=LINTER["uid"])) == "client_id is not the agent acting now"
    assert refused(rfc8693_claims(client_id=ALICE["uid"]), "rfc8693") == "client_id is not the agent acting now"


@pytest.mark.parametrize(
    "scope", ["", " ", " a", "a ", "a  b", "a\tb", 'a"b', "a\\b", "é", None, ["repo:read"], 1, True]
)
def test_a_scope_that_is_not_a_plain_list_is_refused(scope: Any) -> None:
    assert "scope" in refused(agent_claims(scope=scope))


@pytest.mark.parametrize("details", [..., None, [], {}, "repo:read", [[]], ["repo:read"], [None], GRANT], ids=repr)
def test_no_grants_at_all_is_refused(details: Any) -> None:
    assert refused(agent_claims(authorization_details=details))


@pytest.mark.parametrize("name", ["actions", "resources"])
@pytest.mark.parametrize("value", [..., None, [], "", "repo:read", [""], [1], [None], [["x"]], ["a\n"], {}], ids=repr)
def test_a_grant_of_nothing_is_refused(name: str, value: Any) -> None:
    changed = {key: item for key, item in (GRANT | {name: value}).items() if item is not ...}
    assert refused(agent_claims(authorization_details=[GRANT, changed]))


@pytest.mark.parametrize(
    "more", [{"max_calls": 3}, {"locations": ["x"]}, {"Actions": ["repo:admin"]}, {"not_after": 1}]
)
def test_a_grant_with_a_condition_we_do_not_know_is_refused(more: dict[str, Any]) -> None:
    assert "unknown" in refused(agent_claims(authorization_details=[GRANT | more]))


@pytest.mark.parametrize(
    "change", [{"type": ""}, {"type": 1}, {"connection": ""}, {"connection": None}, {"connection": 1}]
)
def test_a_grant_of_no_named_thing_is_refused(change: dict[str, Any]) -> None:
    assert refused(agent_claims(authorization_details=[GRANT | change]))


def test_a_grant_may_leave_the_connection_out() -> None:
    detail = {key: value for key, value in GRANT.items() if key != "connection"}
    assert read_delegated(agent_claims(authorization_details=[detail]), "agent").grants[0].connection is None


@pytest.mark.parametrize(
    "cnf",
    [None, {}, "x", THUMBPRINT, {"jkt": ""}, {"jkt": None}, {"jkt": THUMBPRINT + "="}, {"jkt": THUMBPRINT[:-1]},
     {"x5t#S256": THUMBPRINT}, {"jkt": THUMBPRINT, "x5t#S256": THUMBPRINT}, {"jwk": {}}],
    ids=repr,
)  # fmt: skip
def test_a_binding_we_cannot_enforce_is_refused(cnf: Any) -> None:
    assert "cnf" in refused(agent_claims(cnf=cnf))
