"""The organization's policy and a user's own rules over the usual call; each allowing case beside a denying one."""

from dataclasses import replace

import pytest

from tests.support import permission as p
from tests.support.policies import ALLOW_ALL, DELETE, GET, POST, judged, layer
from valetkey.server.errors import InvalidRequest
from valetkey.server.policy.history import Counter, History, Label, Memory
from valetkey.server.policy.model import Allow, Answerers, Ask, Decision, Deny, Reason
from valetkey.server.policy.versions.model import compiled


def rule(effect: str, more: str = "", name: str = "r") -> str:
    return f'[[rule]]\nid = "{name}"\neffect = "{effect}"\n{more}\n'


def reason(decision: Decision) -> Reason:
    assert isinstance(decision, Deny), decision
    return decision.reason


def test_without_a_policy_what_is_delegated_is_allowed() -> None:
    assert judged(None) == Allow()


def test_silence_denies_once_there_is_a_policy() -> None:
    assert reason(judged("")) is Reason.POLICY_SILENT
    assert isinstance(judged(ALLOW_ALL), Allow)


def test_a_rule_never_allows_more_than_was_delegated() -> None:
    other = p.call("GET", "/repos/acme-corp/payroll/issues", p.PAYROLL)
    assert reason(judged(ALLOW_ALL, other)) is Reason.NOT_DELEGATED


@pytest.mark.parametrize(
    ("more", "applies"),
    [
        ('agents = ["reviewer"]', True),
        ('agents = ["linter"]', False),
        ('agents = ["linter", "reviewer"]', True),
        ('users = ["alice@acme.com"]', True),
        ('users = ["bob@acme.com"]', False),
        ('integration = "github"', True),
        ('integration = "slack"', False),
        ('actions = ["read"]', True),
        ('actions = ["write"]', False),
        ('integration = "github"\nactions = ["issues:read"]', True),
        ('integration = "github"\nactions = ["admin"]', False),
        ('integration = "github"\nactions = ["issues/list-for-repo"]', True),
        ('integration = "github"\nactions = ["issues/get"]', False),
        ('integration = "github"\nresources = ["acme-corp/backend"]', True),
        ('integration = "github"\nresources = ["Acme-Corp/BACKEND"]', True),
        ('integration = "github"\nresources = ["acme-corp/payroll"]', False),
        ('integration = "github"\nresources = ["acme-corp/*"]', True),
        ('integration = "github"\nresources = ["acme/*"]', False),
        ('integration = "github"\nresources = ["id:11"]', True),
        ('integration = "github"\nresources = ["id:1"]', False),
        ('integration = "github"\nexcept_resources = ["acme-corp/payroll"]', True),
        ('integration = "github"\nexcept_resources = ["acme-corp/*"]', False),
    ],
)
def test_who_where_what_and_on_what(more: str, applies: bool) -> None:
    assert isinstance(judged(rule("allow", more)), Allow) is applies
    assert isinstance(judged(ALLOW_ALL + rule("deny", more)), Deny) is applies
    assert isinstance(judged(ALLOW_ALL + rule("ask", more)), Ask) is applies


def test_deny_beats_ask_beats_allow_whatever_their_order() -> None:
    deny, ask = rule("deny", name="d"), rule("ask", name="a")
    for text in (ALLOW_ALL + ask + deny, deny + ask + ALLOW_ALL):
        assert reason(judged(text)) is Reason.POLICY
    for text in (ALLOW_ALL + ask, ask + ALLOW_ALL, ask):
        assert isinstance(judged(text), Ask)


def test_a_refusal_names_the_rule_in_words() -> None:
    decision = judged(ALLOW_ALL + rule("deny", 'why = "Nobody reads issues on Fridays."', name="no-issues"))
    assert isinstance(decision, Deny)
    assert decision.words == "The organization's policy denies this. Rule no-issues: Nobody reads issues on Fridays."
    assert decision.ruled.rules == ("no-issues",)
    assert decision.ruled.policies == ("pol_1",)


def test_who_answers_and_how_many() -> None:
    decision = judged(rule("ask", 'answered_by = ["alice@acme.com"]\ndanger = true'))
    assert isinstance(decision, Ask)
    assert decision.answerers == (Answerers(people=frozenset({"usr_alice"}), enough=1),)
    assert decision.danger
    plain = judged(rule("ask"))
    assert isinstance(plain, Ask)
    assert plain.answerers == (Answerers(people=None),)
    assert not plain.danger


def test_what_deletes_is_known_as_such() -> None:
    text = ALLOW_ALL + rule("deny", 'actions = ["delete"]')
    assert reason(judged(text, p.call(*DELETE))) is Reason.POLICY
    assert isinstance(judged(text, p.call(*POST)), Allow)


def test_a_scope_that_a_parameter_needs_is_judged_as_well() -> None:
    """A workflow file is written by the same operation as any file."""
    file = p.call("PUT", "/repos/acme-corp/backend/contents/README.md")
    workflow = p.call("PUT", "/repos/acme-corp/backend/contents/.github/workflows/ci.yml")
    held = p.grant("github:repo:write,workflows:write@acme-corp/backend")
    held_by_all = {
        "delegation": p.delegation(held),
        "tasks": (p.task(held),),
        "agents": (p.agent(ceiling=("github:repo:write,workflows:write@*",)),),
    }
    text = rule("allow", 'integration = "github"\nactions = ["repo:write"]')
    assert isinstance(judged(text, file, **held_by_all), Allow)
    assert reason(judged(text, workflow, **held_by_all)) is Reason.POLICY_SILENT


def test_an_error_in_one_rule_denies_although_another_allows() -> None:
    broken = "cedar = '''\n@id(\"broken\")\nforbid (principal, action, resource) when { context.nothing };\n'''\n"
    decision = judged(broken + ALLOW_ALL)
    assert reason(decision) is Reason.ERROR
    fine = broken.replace("context.nothing", "context.public && false")
    assert isinstance(judged(fine + ALLOW_ALL), Allow)


def test_an_error_is_not_remembered() -> None:
    policy = layer(ALLOW_ALL)
    authority = p.authority(policy=policy)
    assert not policy._verdicts
    broken = replace(p.call(*GET), parameters={"x": object()})  # type: ignore[dict-item]
    from valetkey.server.policy.decide import decide

    decide(replace(broken, operation=replace(broken.operation, access=object())),  # type: ignore[arg-type]
           authority, authority.task.grants, p.CATALOGUE, p.NOW + 1)  # fmt: skip
    assert not policy._verdicts


def test_observing_softens_only_the_rule_itself() -> None:
    watched = rule("deny", "observe = true", name="watched")
    decision = judged(ALLOW_ALL + watched)
    assert isinstance(decision, Allow)
    assert decision.ruled.observed == ("deny:watched",)
    assert reason(judged(ALLOW_ALL + watched + rule("deny", name="meant"))) is Reason.POLICY


def test_an_observed_rule_allows_nothing() -> None:
    assert reason(judged(rule("allow", "observe = true"))) is Reason.POLICY_SILENT
    assert isinstance(judged(rule("allow")), Allow)


def test_observing_silence_lets_calls_go_on_and_says_so() -> None:
    decision = judged('silence = "observe"\n' + rule("deny", 'actions = ["write"]'))
    assert isinstance(decision, Allow)
    assert decision.ruled.observed == ("deny:silence",)
    assert reason(judged('silence = "observe"\n' + rule("deny"))) is Reason.POLICY


@pytest.mark.parametrize("span", ["task", "user-hour", "agent-hour"])
def test_labels_of_what_was_read(span: str) -> None:
    both = Memory(labels=frozenset({Label.PRIVATE, Label.UNTRUSTED}))
    one = Memory(labels=frozenset({Label.PRIVATE}))
    text = ALLOW_ALL + rule("ask", f'when = {{ labels = {{ all = ["private", "untrusted"], within = "{span}" }} }}')
    place = {"task": "task", "user-hour": "agent_for_user", "agent-hour": "agent"}[span]
    assert isinstance(judged(text, history=History(**{place: both})), Ask)
    assert isinstance(judged(text, history=History(**{place: one})), Allow)


def test_so_many_and_no_more_also_per_resource() -> None:
    text = ALLOW_ALL + rule("deny", "when = { counts = { writes = 20 } }")
    for count, allowed in ((19, True), (20, False)):
        history = History(task=Memory(counts={(Counter.WRITES, ""): count}))
        assert isinstance(judged(text, p.call(*POST), history=history), Allow) is allowed
    here = ALLOW_ALL + rule("deny", "when = { counts = { writes = 20, per_resource = true } }")
    for where, allowed in (("12", True), ("11", False)):
        history = History(task=Memory(counts={(Counter.WRITES, where): 20, (Counter.WRITES, ""): 99}))
        assert isinstance(judged(here, p.call(*POST), history=history), Allow) is allowed


def test_what_changes_between_two_equal_calls_is_looked_at_again() -> None:
    policy = layer(ALLOW_ALL + rule("deny", "when = { counts = { calls = 2 } }"))
    seen = []
    for count in (0, 1, 2, 1):
        history = History(task=Memory(counts={(Counter.CALLS, ""): count}))
        from valetkey.server.policy.decide import decide

        authority = p.authority(policy=policy)
        seen.append(
            isinstance(
                decide(p.call(*GET), authority, authority.task.grants, p.CATALOGUE, p.NOW + 1, history=history), Allow
            )
        )
    assert seen == [True, True, False, True]


def test_quiet_hours_with_a_time_zone() -> None:
    text = ALLOW_ALL + rule(
        "deny", 'when = { hours = { from = "22:00", to = "07:00", zone = "Europe/Berlin", days = ["thu"] } }'
    )
    thursday = 1_799_942_400  # 2027-01-14 16:00 UTC, a Thursday
    at = lambda hour: thursday + (hour - 16) * 3_600  # noqa: E731
    alive = {"delegation": p.delegation(p.grant("github:repo:write@acme-corp/backend"), expires_at=2_000_000_000)}
    alive["tasks"] = (p.task(p.grant("github:repo:write@acme-corp/backend"), expires_at=2_000_000_000),)  # type: ignore[assignment]
    for hour, quiet in ((20, False), (21, True), (23, True), (29, True), (30, False), (45, False)):
        assert isinstance(judged(text, now=at(hour), **alive), Deny) is quiet, hour


def test_parameters_of_a_call() -> None:
    deny = rule("deny", 'when = { parameters = { issue_number = ["7"] } }')
    for number, allowed in (("7", False), ("8", True)):
        call = p.call("GET", f"/repos/acme-corp/backend/issues/{number}")
        assert isinstance(judged(ALLOW_ALL + deny, call), Allow) is allowed


def test_every_agent_of_the_chain_is_judged() -> None:
    deny = rule("deny", 'agents = ["parent"]')
    chain = (p.agent(), p.agent("parent"))
    assert isinstance(judged(ALLOW_ALL + deny), Allow)
    assert reason(judged(ALLOW_ALL + deny, agents=chain)) is Reason.POLICY


def test_own_rules_cannot_allow_what_the_organization_denies() -> None:
    with pytest.raises(InvalidRequest):
        compiled(ALLOW_ALL, p.CATALOGUE, id="own_1", is_own=True)
    own = rule("deny", 'actions = ["delete"]', name="never-delete")
    assert isinstance(judged(None, own=own), Allow)
    assert reason(judged(None, p.call(*DELETE), own=own)) is Reason.OWN_RULE
    assert reason(judged("", own=own)) is Reason.POLICY_SILENT


def test_two_layers_that_ask_are_both_answered() -> None:
    decision = judged(rule("ask", 'answered_by = ["alice@acme.com"]', name="theirs"), own=rule("ask", name="mine"))
    assert isinstance(decision, Ask)
    assert decision.asked_by == ("theirs", "mine")
    assert decision.answerers == (Answerers(people=frozenset({"usr_alice"})), Answerers(people=None))


def test_cedar_of_ones_own() -> None:
    text = """cedar = '''
@id("reads") permit (principal == Agent::"reviewer", action in Action::"github:repo:read", resource);
@id("careful") @ask permit (principal, action in Action::"write", resource == Resource::"github/acme-corp/backend");
@id("never") forbid (principal, action in Action::"delete", resource);
'''"""
    assert isinstance(judged(text), Allow)
    assert isinstance(judged(text, p.call(*POST)), Ask)
    assert reason(judged(text, p.call(*DELETE))) is Reason.POLICY
    assert reason(judged(text, agents=(p.agent("linter"),))) is Reason.POLICY_SILENT


def test_ca_01_no_two_inputs_share_what_is_remembered() -> None:
    policy = layer(rule("allow", 'users = ["alice@acme.com"]\nagents = ["reviewer"]'))
    authority = p.authority(policy=policy)
    other = p.authority(policy=policy, user=p.user(email="bob@acme.com"))
    from valetkey.server.policy.decide import decide

    results = [
        isinstance(decide(p.call(*GET), a, a.task.grants, p.CATALOGUE, p.NOW + 1), Allow)
        for a in (authority, other, authority, other)
    ]
    assert results == [True, False, True, False]
