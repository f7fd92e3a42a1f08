"""Narrowing only narrows: whatever a token, a task or a child allows, everything above it allows as well.

The judge is `decide`, not `narrowed`: a chain is narrowed by random wishes, then random calls are put to every link.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support import permission as p
from valetkey.server.delegations.model import Grant, Resource, narrowed
from valetkey.server.errors import Denied
from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.policy.decide import decide
from valetkey.server.policy.model import Allow, Call, Decision

EVERY_SCOPE = (p.agent(ceiling=(f"github:{','.join(sorted(p.GITHUB.scopes))}@*",)),)
SCOPES = ("repo:read", "repo:write", "issues:read", "issues:write", "pulls:read", "workflows:write", "admin", "access")
NAMES = ("*", "acme-corp/*", "acme-corp/backend", "ACME-corp/Backend", "acme-corp/payroll", "other/thing")
THINGS = (
    p.BACKEND,
    p.PAYROLL,
    ResourceFacts("repository", name="acme-corp/backend", id="12", owner_id="7"),  # payroll, renamed to backend
    ResourceFacts("repository", name="evil-corp/backend", id="11", owner_id="99"),  # backend, sold
    ResourceFacts("repository", name="acme-corp/engine", id="11", owner_id="7"),  # backend, renamed
    ResourceFacts("repository", name="acme-corp/new", id="77", owner_id="66"),  # the organization's name, reused
    ResourceFacts("repository", name="other/thing", id="31", owner_id="30"),
    None,
)
PATHS = (
    ("GET", "/repos/acme-corp/backend/issues"),
    ("POST", "/repos/acme-corp/backend/issues"),
    ("GET", "/repos/acme-corp/backend/pulls"),
    ("PUT", "/repos/acme-corp/backend/contents/README.md"),
    ("PUT", "/repos/acme-corp/backend/contents/.github/workflows/ci.yml"),
    ("PUT", "/repos/acme-corp/backend/collaborators/mallory"),
    ("PATCH", "/repos/acme-corp/backend"),
)
CALLS = [p.call(method, path, thing) for method, path in PATHS for thing in THINGS]
TIMES = (p.NOW, p.NOW + 50, p.NOW + 150)

ids = st.sampled_from(["", "11", "12", "31"])
owners = st.sampled_from(["", "7", "99"])
bound = st.builds(
    lambda name, id_, owner, kind: (
        Resource(name=name, id="" if name.endswith("*") else id_, owner=owner, kind=kind)
        if name != "*"
        else Resource(name="*")
    ),
    st.sampled_from(NAMES),
    ids,
    owners,
    st.sampled_from(["", "repository"]),
)
plain = st.sampled_from(NAMES).map(lambda name: Resource(name=name))
limits = st.one_of(st.none(), st.integers(1, 9))
ends = st.one_of(st.none(), st.sampled_from([p.NOW + 40, p.NOW + 100, p.NOW + 200]))


def grants(resource: st.SearchStrategy[Resource], *, conditions: bool) -> st.SearchStrategy[tuple[Grant, ...]]:
    line = st.builds(
        lambda scopes, resources, link, calls, end: Grant(
            integration="github",
            connection=link,
            scopes=frozenset(scopes),
            resources=tuple(resources),
            max_calls=calls,
            not_after=end,
        ),
        st.lists(st.sampled_from(SCOPES), max_size=3),
        st.lists(resource, max_size=3),
        st.just("con_alice") if conditions else st.sampled_from(["", "con_alice", "con_other"]),
        limits if conditions else st.none(),
        ends if conditions else st.none(),
    )
    return st.lists(line, max_size=3).map(tuple)


held_lines = grants(bound, conditions=True)
wishes = grants(st.one_of(plain, bound), conditions=False)


def allowed(lines: tuple[Grant, ...], call: Call, now: float) -> Decision:
    """What these lines alone allow: every other part of the authority is as wide as can be."""
    known = p.authority(*lines, agents=EVERY_SCOPE) if lines else p.authority(delegation=p.delegation(), tasks=())
    return decide(call, known, lines, p.CATALOGUE, now)


def check_within(below: tuple[Grant, ...], above: tuple[Grant, ...]) -> None:
    for now in TIMES:
        for call in CALLS:
            under = allowed(below, call, now)
            if not isinstance(under, Allow):
                continue
            over = allowed(above, call, now)
            assert isinstance(over, Allow), (call.operation.id, call.actual, now)
            if over.spends:  # the line that allows it above is limited: so is the one below, and no higher
                assert under.spends or any(_unlimited(line, call, now) for line in above)


def _unlimited(line: Grant, call: Call, now: float) -> bool:
    return line.max_calls is None and isinstance(allowed((line,), call, now), Allow)


@given(held_lines, wishes)
@settings(deadline=None, max_examples=150)
def test_oa_09_whatever_is_narrowed_allows_nothing_its_parent_does_not(
    held: tuple[Grant, ...], wish: tuple[Grant, ...]
) -> None:
    try:
        below = narrowed(held, wish, p.CATALOGUE)
    except Denied:
        return
    assert below
    check_within(below, held)
    for line in below:
        assert line.scopes
        assert line.resources


@given(held_lines)
@settings(deadline=None, max_examples=60)
def test_asking_for_exactly_what_is_held_is_granted_and_says_the_same_again(held: tuple[Grant, ...]) -> None:
    """Refreshing is asking again: the answer is the same, or narrower, and never a refusal of one's own."""
    usable = tuple(line for line in held if line.scopes and line.resources)
    if not usable:
        return
    once = narrowed(usable, usable, p.CATALOGUE)
    assert narrowed(once, once, p.CATALOGUE) == once
    check_within(once, usable)


class Chain(RuleBasedStateMachine):
    """Tasks, children, tokens and refreshes in any order; every link stays within all links above it."""

    @initialize(held=held_lines)
    def delegate(self, held: tuple[Grant, ...]) -> None:
        self.links = [tuple(line for line in held if line.scopes and line.resources)]
        self.refreshed: list[tuple[tuple[Grant, ...], tuple[Grant, ...]]] = []

    @rule(wish=wishes)
    def narrow(self, wish: tuple[Grant, ...]) -> None:
        """A task under the delegation, a child under the task, a token under either: one step down."""
        try:
            below = narrowed(self.links[-1], wish, p.CATALOGUE)
        except Denied:
            return
        self.links.append(below)

    @rule(wish=wishes, data=st.data())
    def exchange(self, wish: tuple[Grant, ...], data: st.DataObject) -> None:
        """A token from any link, by a wish that may try for more than that link has."""
        index = data.draw(st.integers(0, len(self.links) - 1))
        try:
            self.refreshed.append((narrowed(self.links[index], wish, p.CATALOGUE), self.links[index]))
        except Denied:
            return

    @rule()
    def refresh(self) -> None:
        """The same link once more."""
        if self.links[-1]:
            self.refreshed.append((narrowed(self.links[-1], self.links[-1], p.CATALOGUE), self.links[-1]))

    @invariant()
    def nothing_ever_widens(self) -> None:
        if len(self.links) > 1:
            check_within(self.links[-1], self.links[0])
            check_within(self.links[-1], self.links[-2])
        for below, above in self.refreshed[-1:]:
            check_within(below, above)


Chain.TestCase.settings = settings(max_examples=25, stateful_step_count=6, deadline=None)
TestChain = Chain.TestCase


def test_a_second_line_never_loosens_the_binding_of_the_first() -> None:
    held = (
        p.grant("github:issues:read@acme-corp/backend"),
        p.grant("github:pulls:read@*"),
    )
    wish = replace(p.grant("github:issues:read,pulls:read@x/y"), resources=(Resource(name="acme-corp/backend"),))
    (line,) = narrowed(held, (wish,), p.CATALOGUE)
    assert line.resources[0].id == p.BACKEND.id
    renamed = p.call("GET", "/repos/acme-corp/backend/issues", THINGS[2])
    assert not isinstance(allowed((line,), renamed, p.NOW), Allow)


def test_a_name_on_one_line_and_an_owner_on_another_do_not_mix() -> None:
    """An owner's things may carry other names, and a name another owner: neither line allows what both together say."""
    owned = replace(p.grant("github:issues:read@x/y"), resources=(Resource(name="acme-corp/*", owner="99"),))
    named = replace(p.grant("github:pulls:read@x/y"), resources=(Resource(name="acme-corp/*"),))
    both = replace(named, scopes=frozenset({"issues:read", "pulls:read"}))
    with pytest.raises(Denied):
        narrowed((owned, named), (both,), p.CATALOGUE)
    assert narrowed((owned, both), (both,), p.CATALOGUE) == (both,)


def test_what_is_bound_does_not_lie_within_a_mere_name() -> None:
    held = (replace(p.grant("github:repo:read@x/y"), resources=(Resource(name="acme-corp/backend"),)),)
    bound = replace(held[0], resources=(Resource(name="acme-corp/backend", id="11"),))
    with pytest.raises(Denied):
        narrowed(held, (bound,), p.CATALOGUE)
    assert narrowed((bound,), held, p.CATALOGUE) == (bound,)


def test_conditions_of_every_line_that_was_needed_are_inherited() -> None:
    held = (
        replace(p.grant("github:issues:read@acme-corp/backend"), max_calls=5),
        replace(p.grant("github:pulls:read@acme-corp/backend"), not_after=p.NOW + 10),
    )
    (line,) = narrowed(held, (p.grant("github:issues:read,pulls:read@acme-corp/backend"),), p.CATALOGUE)
    assert (line.max_calls, line.not_after) == (5, p.NOW + 10)


def test_a_limit_can_be_lowered_and_never_raised() -> None:
    held = (replace(p.grant("github:repo:read@acme-corp/backend"), max_calls=5, not_after=p.NOW + 10),)
    for calls, end, expected in [
        (3, p.NOW + 5, (3, p.NOW + 5)),
        (9, p.NOW + 99, (5, p.NOW + 10)),
        (None, None, (5, p.NOW + 10)),
    ]:
        (line,) = narrowed(held, (replace(held[0], max_calls=calls, not_after=end),), p.CATALOGUE)
        assert (line.max_calls, line.not_after) == expected


@pytest.mark.parametrize(
    "wish",
    [
        (),
        (replace(p.grant("github:repo:read@acme-corp/backend"), scopes=frozenset()),),
        (replace(p.grant("github:repo:read@acme-corp/backend"), resources=()),),
        (p.grant("github:repo:write@acme-corp/backend"),),
        (p.grant("github:admin@acme-corp/backend"),),
        (p.grant("github:nonsense@acme-corp/backend"),),
        (p.grant("github:repo:read@acme-corp/payroll"),),
        (p.grant("github:repo:read@acme-corp/*"),),
        (p.grant("github:repo:read@*"),),
        (p.grant("github/con_other:repo:read@acme-corp/backend"),),
        (p.grant("slack:repo:read@acme-corp/backend"),),
        (p.grant("github:repo:read@acme-corp/backend"), p.grant("github:repo:read@acme-corp/payroll")),
        (replace(p.grant("github:repo:read@x/y"), resources=(Resource(name="acme-corp/backend", id="12"),)),),
        (replace(p.grant("github:repo:read@x/y"), resources=(Resource(name="acme-corp/backend", owner="99"),)),),
    ],
)
def test_more_or_other_or_nothing_is_refused(wish: tuple[Grant, ...]) -> None:
    held = (p.grant("github:repo:read@acme-corp/backend"),)
    assert narrowed(held, held, p.CATALOGUE) == held
    with pytest.raises(Denied):
        narrowed(held, wish, p.CATALOGUE)


def test_less_is_inclusion_of_operations() -> None:
    held = (p.grant("github:repo:read@acme-corp/backend"),)
    for scope in ("issues:read", "pulls:read"):
        (line,) = narrowed(held, (p.grant(f"github:{scope}@acme-corp/backend"),), p.CATALOGUE)
        assert line.scopes == {scope}


def test_two_connections_are_never_chosen_between() -> None:
    first = p.grant("github:repo:read@acme-corp/backend")
    held = (first, replace(first, connection="con_other"))
    with pytest.raises(Denied):
        narrowed(held, (replace(first, connection=""),), p.CATALOGUE)
    assert narrowed(held, (first,), p.CATALOGUE) == (first,)
