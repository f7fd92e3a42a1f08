"""What decides, with Cedar, slices and memory, against the plainest judging.

VALETKEY_TEST_CASES says how many calls.
"""

import os
from datetime import time

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import permission as p
from tests.support.naive_policy import naive
from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.policy.cedar import clauses_of
from valetkey.server.policy.history import Counter, History, Label, Memory
from valetkey.server.policy.layer import Asked, Layer
from valetkey.server.policy.rules import Counted, Effect, Hours, Labelled, Parameter, Rule, Span

CASES = int(os.environ.get("VALETKEY_TEST_CASES", "10000"))
CALLS_PER_POLICY = 20
OPERATIONS = [
    p.GITHUB.operations[name]
    for name in (
        "issues/list-for-repo", "issues/create", "issues/delete-comment", "repos/create-or-update-file-contents",
        "repos/delete", "repos/get", "repos/create-webhook",
    )
]  # fmt: skip
PLACES = [
    None,
    *(
        ResourceFacts("repository", name=name, id=number, outside=outside)
        for name, number, outside in (
            ("acme-corp/backend", "11", None),
            ("Acme-Corp/Payroll", "12", False),
            ("other/backend", "13", True),
        )
    ),
]

agents = st.sampled_from(["a", "b", 'o"d\\d'])
some = lambda values: st.lists(values, max_size=2, unique=True).map(tuple)  # noqa: E731
spans = st.sampled_from(list(Span))
conditions = st.one_of(
    st.builds(Labelled, spans, st.frozensets(st.sampled_from(list(Label)), min_size=1)),
    st.builds(Counted, spans, st.sampled_from(list(Counter)), st.integers(1, 3), st.booleans()),
    st.builds(Parameter, st.just("issue_number"), st.frozensets(st.sampled_from(["1", "2"]), min_size=1)),
    st.builds(
        Hours,
        st.sampled_from([time(0), time(9), time(22)]),
        st.sampled_from([time(7), time(17, 30)]),
        st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata"]),
        st.frozensets(st.sampled_from(["mon", "thu", "sun"]), min_size=1),
    ),
)
resources = st.sampled_from(["acme-corp/backend", "acme-corp/*", "other/*", "id:12", "ACME-CORP/payroll"])
words = ["read", "write", "delete", "danger", "outlives"]
actions = st.sampled_from([*words, "repo:read", "issues:write", "workflows:write", "admin", "issues/create"])
rules = st.builds(
    Rule,
    id=st.just(""),
    effect=st.sampled_from(list(Effect)),
    agents=some(agents),
    users=some(st.sampled_from(["alice@acme.com", "bob@acme.com"])),
    integration=st.sampled_from(["github", "github", "slack"]),
    actions=some(actions),
    resources=some(resources),
    except_resources=some(resources),
    public=st.sampled_from([None, None, True, False]),
    leaves=st.sampled_from([None, None, None, True, False]),
    named=st.sampled_from([None, None, None, True, False]),
    conditions=st.lists(conditions, max_size=2).map(tuple),
    observe=st.sampled_from([False, False, True]),
)
memories = st.builds(
    Memory,
    labels=st.frozensets(st.sampled_from(list(Label))),
    counts=st.dictionaries(
        st.tuples(st.sampled_from(list(Counter)), st.sampled_from(["", "11", "12"])), st.integers(0, 4), max_size=3
    ),
)
calls = st.builds(
    Asked,
    agent=agents,
    user=st.sampled_from(["alice@acme.com", "bob@acme.com"]),
    integration=st.just(p.GITHUB),
    operation=st.sampled_from(OPERATIONS),
    scopes_needed=st.sampled_from([frozenset(), frozenset(), frozenset({"workflows:write"})]),
    actual=st.sampled_from(PLACES),
    resource=st.just(""),
    parameters=st.sampled_from([{}, {"issue_number": "1"}, {"issue_number": "3"}]),
    history=st.builds(History, task=memories, agent_for_user=memories, agent=memories),
    named=st.booleans(),
    now=st.integers(p.NOW, p.NOW + 7 * 86_400).map(float),
)


def renamed(found: list[Rule]) -> tuple[Rule, ...]:
    from dataclasses import replace

    return tuple(replace(rule, id=f"r{number}") for number, rule in enumerate(found))


@settings(max_examples=max(1, CASES // CALLS_PER_POLICY), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(rules, max_size=6).map(renamed),
    st.lists(calls, min_size=CALLS_PER_POLICY, max_size=CALLS_PER_POLICY),
)
def test_what_decides_agrees_with_the_plainest_judging(written: tuple[Rule, ...], asked: list[Asked]) -> None:
    layer = Layer(id="pol_1", clauses=clauses_of(written, ""))
    for call in [*asked, *asked[:3]]:  # some of them again, when they are remembered
        verdict = layer.judge(call)
        assert not verdict.failed
        assert (verdict.effect.value, set(verdict.rules), set(verdict.observed)) == naive(written, call)
