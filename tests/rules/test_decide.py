"""The decision core as a table: one usual call that is allowed, and next to it every denial by one changed fact."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support import permission as p
from valetkey.server.delegations.model import Delegation, Grant, Resource
from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.policy.decide import decide, live, next_end, reaching, usable
from valetkey.server.policy.model import WORDS, Allow, Authority, Call, Decision, Deny, Reason, Spend
from valetkey.server.principals.model import Status

READ = p.grant("github:repo:read@acme-corp/backend")
WRITE = p.grant("github:repo:write@acme-corp/backend")
GET = ("GET", "/repos/acme-corp/backend/issues")
POST = ("POST", "/repos/acme-corp/backend/issues")


def judged(
    call: Call | None = None,
    authority: Authority | None = None,
    token: tuple[Grant, ...] | None = None,
    *,
    now: float = p.NOW + 1,
) -> Decision:
    known = authority or p.authority(READ)
    held = known.tasks[0].grants if token is None and known.tasks else token or ()
    return decide(call or p.call(*GET), known, held, p.CATALOGUE, now)


def reason(decision: Decision) -> Reason:
    assert isinstance(decision, Deny), decision
    return decision.reason


def test_the_usual_read_is_allowed() -> None:
    assert judged() == Allow()


def with_delegation(**facts: Any) -> Authority:
    return p.authority(READ, delegation=p.delegation(READ, **facts))


def with_task(**facts: Any) -> Authority:
    return p.authority(READ, tasks=(p.task(READ, **facts),))


ONE_CHANGED_FACT: list[tuple[str, Authority, Reason]] = [
    ("the user is suspended", p.authority(READ, user=p.user(status=Status.SUSPENDED)), Reason.USER_SUSPENDED),
    ("the agent is suspended", p.authority(READ, agents=(p.agent(status=Status.SUSPENDED),)), Reason.AGENT_SUSPENDED),
    ("a node is revoked", p.authority(READ, stopped=frozenset({"tsk_1"})), Reason.REVOKED),
    ("the delegation has ended", with_delegation(expires_at=p.NOW + 1), Reason.DELEGATION_EXPIRED),
    ("the task has ended", with_task(expires_at=p.NOW + 1), Reason.TASK_EXPIRED),
    ("there is no task", p.authority(READ, tasks=()), Reason.TASK_EXPIRED),
    ("the connection is unknown", p.authority(READ, connections=()), Reason.CONNECTION_FOREIGN),
    (
        "the connection was ended",
        p.authority(READ, connections=(), nodes=frozenset({"con_alice"})),
        Reason.REVOKED,
    ),
    (
        "the connection is another user's",
        p.authority(READ, connections=(p.connection(owner="usr_bob"),)),
        Reason.CONNECTION_FOREIGN,
    ),
    (
        "the connection is another organization's",
        p.authority(READ, connections=(p.connection(org="org_other"),)),
        Reason.CONNECTION_FOREIGN,
    ),
    (
        "a shared connection is another organization's",
        p.authority(READ, connections=(p.connection(owner=None, org="org_other"),), entitlements=(READ,)),
        Reason.CONNECTION_FOREIGN,
    ),
    (
        "the connection is to another API",
        p.authority(READ, connections=(p.connection(integration="slack"),)),
        Reason.CONNECTION_FOREIGN,
    ),
    (
        "the connected account can do nothing of it",
        p.authority(READ, connections=(p.connection(powers=frozenset({"org:read"})),)),
        Reason.CONNECTION_POWER,
    ),
    (
        "the connected account can do nothing",
        p.authority(READ, connections=(p.connection(powers=frozenset()),)),
        Reason.CONNECTION_POWER,
    ),
    (
        "the agent's ceiling is lower",
        p.authority(READ, agents=(p.agent(ceiling=("github:org:read@*",)),)),
        Reason.ABOVE_CEILING,
    ),
    (
        "the agent's ceiling is for another repository",
        p.authority(READ, agents=(p.agent(ceiling=("github:repo:read@acme-corp/payroll",)),)),
        Reason.ABOVE_CEILING,
    ),
    ("the agent's ceiling is empty", p.authority(READ, agents=(p.agent(ceiling=()),)), Reason.ABOVE_CEILING),
    ("a ceiling is missing", p.authority(READ, ceilings=()), Reason.ERROR),
    (
        "a shared connection without an entitlement",
        p.authority(READ, connections=(p.connection(owner=None),)),
        Reason.NOT_ENTITLED,
    ),
    (
        "a shared connection with an entitlement to something else",
        p.authority(
            READ,
            connections=(p.connection(owner=None),),
            entitlements=(p.grant("github:repo:read@acme-corp/payroll"),),
        ),
        Reason.NOT_ENTITLED,
    ),
    (
        "an entitlement over another shared connection",
        p.authority(
            READ, connections=(p.connection(owner=None),), entitlements=(replace(READ, connection="con_other"),)
        ),
        Reason.NOT_ENTITLED,
    ),
    (
        "the delegation is for another repository",
        p.authority(READ, delegation=p.delegation(p.grant("github:repo:read@acme-corp/payroll"))),
        Reason.NOT_DELEGATED,
    ),
    (
        "the delegation is for less",
        p.authority(READ, delegation=p.delegation(p.grant("github:org:read@acme-corp"))),
        Reason.NOT_DELEGATED,
    ),
    ("the delegation has no lines", p.authority(READ, delegation=p.delegation()), Reason.NOT_DELEGATED),
    ("the task has no lines", p.authority(READ, tasks=(p.task(),)), Reason.NOT_DELEGATED),
    (
        "the delegation's line has no scopes",
        p.authority(READ, delegation=p.delegation(replace(READ, scopes=frozenset()))),
        Reason.NOT_DELEGATED,
    ),
    (
        "the delegation's line has no resources",
        p.authority(READ, delegation=p.delegation(replace(READ, resources=()))),
        Reason.NOT_DELEGATED,
    ),
    (
        "the delegation's line is through another connection",
        p.authority(READ, delegation=p.delegation(replace(READ, connection="con_other"))),
        Reason.NOT_DELEGATED,
    ),
    (
        "the delegation's line has ended",
        p.authority(READ, delegation=p.delegation(replace(READ, not_after=p.NOW + 1))),
        Reason.NOT_DELEGATED,
    ),
    (
        "the task's line has ended",
        p.authority(READ, tasks=(p.task(replace(READ, not_after=p.NOW)),)),
        Reason.NOT_DELEGATED,
    ),
]


@pytest.mark.parametrize(
    ("changed", "authority", "expected"), ONE_CHANGED_FACT, ids=[row[0] for row in ONE_CHANGED_FACT]
)
def test_one_changed_fact_denies_the_usual_read(changed: str, authority: Authority, expected: Reason) -> None:
    assert reason(judged(authority=authority, token=(READ,))) is expected


def test_a_shared_connection_with_its_entitlement_is_allowed() -> None:
    shared = p.authority(READ, connections=(p.connection(owner=None),), entitlements=(READ,))
    assert isinstance(judged(authority=shared), Allow)


def test_a_token_without_lines_grants_nothing() -> None:
    assert reason(judged(token=())) is Reason.NOT_DELEGATED


def test_a_token_narrower_than_its_task_decides() -> None:
    wide = p.authority(p.grant("github:repo:read@acme-corp/*"))
    assert isinstance(judged(authority=wide, token=(READ,)), Allow)
    elsewhere = p.call("GET", "/repos/acme-corp/payroll/issues", p.PAYROLL)
    assert isinstance(judged(elsewhere, wide), Allow)
    assert reason(judged(elsewhere, wide, (READ,))) is Reason.NOT_DELEGATED


def test_a_write_needs_a_writing_scope_at_every_level() -> None:
    write = p.call(*POST)
    assert isinstance(judged(write, p.authority(WRITE)), Allow)
    assert reason(judged(write)) is Reason.NOT_DELEGATED
    assert reason(judged(write, p.authority(WRITE), (READ,))) is Reason.NOT_DELEGATED
    assert reason(judged(write, p.authority(WRITE, delegation=p.delegation(READ)), (WRITE,))) is Reason.NOT_DELEGATED
    assert reason(judged(write, p.authority(WRITE, tasks=(p.task(READ),)), (WRITE,))) is Reason.NOT_DELEGATED


def chain(*ceilings: tuple[str, ...], grants: Grant = READ) -> Authority:
    """A child task of a second agent, and so on; the acting agent's ceiling first."""
    agents = tuple(p.agent(f"a{n}", ceiling) for n, ceiling in enumerate(ceilings))
    depth = len(agents) - 1
    tasks = tuple(
        p.task(grants, id=f"tsk_{depth - n}", parent=None if n == depth else f"tsk_{depth - n - 1}", depth=depth - n)
        for n in range(len(agents))
    )
    return p.authority(grants, agents=agents, tasks=tasks)


WIDE = ("github:repo:write@*",)
LOW = ("github:org:read@*",)


@pytest.mark.parametrize("low", [0, 1, 2])
def test_the_ceiling_of_every_agent_in_the_chain_counts(low: int) -> None:
    assert isinstance(judged(authority=chain(WIDE, WIDE, WIDE)), Allow)
    ceilings = [WIDE, WIDE, WIDE]
    ceilings[low] = LOW
    assert reason(judged(authority=chain(*ceilings))) is Reason.ABOVE_CEILING


@pytest.mark.parametrize("which", [0, 1, 2])
def test_oa_17_a_suspended_agent_anywhere_in_the_chain_stops_it(which: int) -> None:
    known = chain(WIDE, WIDE, WIDE)
    agents = [*known.agents]
    agents[which] = replace(agents[which], status=Status.SUSPENDED)
    assert reason(judged(authority=replace(known, agents=tuple(agents)))) is Reason.AGENT_SUSPENDED


@pytest.mark.parametrize("which", [0, 1, 2])
def test_rev_06_a_child_does_not_outlive_any_task_above_it(which: int) -> None:
    known = chain(WIDE, WIDE, WIDE)
    tasks = [*known.tasks]
    tasks[which] = replace(tasks[which], expires_at=p.NOW + 1)
    assert reason(judged(authority=replace(known, tasks=tuple(tasks)))) is Reason.TASK_EXPIRED


@pytest.mark.parametrize("which", [0, 1, 2])
def test_every_task_of_the_chain_must_allow_the_call(which: int) -> None:
    known = chain(WIDE, WIDE, WIDE)
    tasks = [*known.tasks]
    tasks[which] = replace(tasks[which], grants=(p.grant("github:repo:read@acme-corp/payroll"),))
    assert reason(judged(authority=replace(known, tasks=tuple(tasks)), token=(READ,))) is Reason.NOT_DELEGATED


def test_another_repository_behind_the_name_is_resource_changed() -> None:
    renamed = ResourceFacts("repository", name="acme-corp/backend", id="12", owner_id="7")
    assert reason(judged(p.call(*GET, actual=renamed))) is Reason.RESOURCE_CHANGED


def test_the_same_repository_under_a_new_owner_is_resource_changed() -> None:
    sold = ResourceFacts("repository", name="evil-corp/backend", id="11", owner_id="99")
    assert reason(judged(p.call(*GET, actual=sold))) is Reason.RESOURCE_CHANGED


def test_the_same_repository_under_a_new_name_is_still_it() -> None:
    renamed = ResourceFacts("repository", name="acme-corp/engine", id="11", owner_id="7")
    assert isinstance(judged(p.call(*GET, actual=renamed)), Allow)


def test_an_id_of_another_kind_of_thing_is_not_it() -> None:
    organization = ResourceFacts("organization", name="acme-corp/backend", id="11", owner_id="7")
    assert reason(judged(p.call(*GET, actual=organization))) is Reason.NOT_DELEGATED


def test_a_resource_that_cannot_be_read_is_not_granted_by_name() -> None:
    assert reason(judged(p.call(*GET, actual=None))) is Reason.NOT_DELEGATED


def test_names_compare_as_github_compares_them() -> None:
    assert isinstance(judged(p.call("GET", "/repos/ACME-corp/BackEnd/issues")), Allow)
    unbound = replace(READ, resources=(Resource(name="acme-corp/backend"),))
    kelvin = ResourceFacts("repository", name="acme-corp/bac\u212aend", id="13", owner_id="7")
    assert reason(judged(p.call(*GET, actual=kelvin), p.authority(unbound))) is Reason.NOT_DELEGATED


@pytest.mark.parametrize("path", ["/user/repos", "/notifications", "/user"])
def test_operations_on_the_account_are_never_implied(path: str) -> None:
    call = p.call("GET", path)
    assert call.operation.resource_kind == "account"
    everything = p.grant("github:repo:write@*")
    assert reason(judged(call, p.authority(everything))) is Reason.NOT_DELEGATED
    assert reason(judged(call, p.authority(p.grant("github:repo:read@acme-corp/*")))) is not Reason.ALLOWED


def test_operations_on_the_account_are_allowed_where_they_were_named() -> None:
    named = p.grant("github:account:read@*")
    assert isinstance(judged(p.call("GET", "/notifications"), p.authority(named)), Allow)
    listed = replace(named, resources=READ.resources)
    assert reason(judged(p.call("GET", "/notifications"), p.authority(listed))) is Reason.NOT_DELEGATED


def test_a_guard_asks_for_its_own_scope_at_every_level() -> None:
    """Writing a workflow file needs more than writing files: what a later run does outlives the task."""
    workflow = p.call("PUT", "/repos/acme-corp/backend/contents/.github/workflows/ci.yml")
    assert workflow.scopes_needed == {"workflows:write"}
    ceiling = (p.agent(ceiling=("github:repo:write,workflows:write@*",)),)
    both = p.grant("github:repo:write,workflows:write@acme-corp/backend")
    assert isinstance(judged(workflow, p.authority(both, agents=ceiling)), Allow)
    assert isinstance(judged(p.call("PUT", "/repos/acme-corp/backend/contents/README.md"), p.authority(WRITE)), Allow)
    assert reason(judged(workflow, p.authority(WRITE, agents=ceiling))) is Reason.NOT_DELEGATED
    assert reason(judged(workflow, p.authority(both))) is Reason.ABOVE_CEILING
    assert reason(judged(workflow, p.authority(both, agents=ceiling), (WRITE,))) is Reason.NOT_DELEGATED
    # Held on two lines it is not held together.
    apart = (WRITE, p.grant("github:workflows:write@acme-corp/backend"))
    assert reason(judged(workflow, p.authority(*apart, agents=ceiling))) is Reason.NOT_DELEGATED


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/repos/acme-corp/backend/hooks"),
        ("POST", "/repos/acme-corp/backend/keys"),
        ("PUT", "/repos/acme-corp/backend/collaborators/mallory"),
        ("PUT", "/repos/acme-corp/backend/actions/secrets/TOKEN"),
        ("DELETE", "/repos/acme-corp/backend"),
        ("POST", "/repos/acme-corp/backend/transfer"),
    ],
)
def test_what_mints_credentials_or_changes_access_is_never_part_of_writing(method: str, path: str) -> None:
    any_ceiling = (p.agent(ceiling=(f"github:{','.join(sorted(p.GITHUB.scopes))}@*",)),)
    assert reason(judged(p.call(method, path), p.authority(WRITE, agents=any_ceiling))) is Reason.NOT_DELEGATED
    assert reason(judged(p.call(method, path), p.authority(WRITE))) is Reason.ABOVE_CEILING


def test_limits_are_spent_once_for_the_root_and_once_for_each_child() -> None:
    limited = replace(READ, max_calls=5)
    known = chain(WIDE, WIDE, grants=limited)
    assert judged(authority=known) == Allow(
        spends=(Spend(task="tsk_1", line=0, cap=5), Spend(task="tsk_0", line=0, cap=5))
    )
    assert judged(authority=p.authority(limited)) == Allow(spends=(Spend(task="tsk_1", line=0, cap=5),))
    assert judged() == Allow(spends=())


class Broken(Delegation):
    """A delegation whose lines cannot be read."""

    def is_live(self, now: float) -> bool:
        raise RuntimeError("boom")


def test_an_error_in_evaluation_is_a_denial_that_says_nothing_of_itself() -> None:
    usual = p.delegation(READ)
    broken = Broken(**{name: getattr(usual, name) for name in usual.__slots__})
    denied = judged(authority=p.authority(READ, delegation=broken), token=(READ,))
    assert reason(denied) is Reason.ERROR
    assert "boom" not in denied.words  # type: ignore[union-attr]
    assert reason(decide(p.call(*GET), p.authority(READ), (READ,), {}, p.NOW + 1)) is Reason.ERROR


@pytest.mark.parametrize("now", [None, "later", float("nan")])
def test_a_clock_that_cannot_be_compared_denies(now: Any) -> None:
    assert isinstance(judged(now=now), Deny)


@pytest.mark.parametrize("level", ["delegation", "task", "line"])
def test_oa_25_expiry_is_exact_and_decided_at_use(level: str) -> None:
    ends = p.NOW + 30
    match level:
        case "delegation":
            known = with_delegation(expires_at=ends)
        case "task":
            known = with_task(expires_at=ends)
        case _:
            known = p.authority(replace(READ, not_after=ends))
    assert isinstance(judged(authority=known, now=ends - 0.001), Allow)
    assert isinstance(judged(authority=known, now=ends), Deny)


def test_before_the_resource_is_known_one_connection_must_reach_the_operation() -> None:
    call = p.call(*GET, connection="")
    assert reaching(call, (READ,), p.CATALOGUE, p.NOW) == "con_alice"
    second = replace(READ, connection="con_other")
    found = reaching(call, (READ, second), p.CATALOGUE, p.NOW)
    assert isinstance(found, Deny)
    assert found.reason is Reason.AMBIGUOUS_CONNECTION
    none = reaching(p.call(*POST, connection=""), (READ,), p.CATALOGUE, p.NOW)
    assert isinstance(none, Deny)
    assert none.reason is Reason.NOT_DELEGATED


def test_live_and_usable_say_the_same_as_decide() -> None:
    for _, authority, expected in ONE_CHANGED_FACT:
        ended, link = live(authority, p.NOW + 1), usable(authority, "con_alice")
        if ended is not None:
            assert ended.reason is expected
        elif isinstance(link, Deny):
            assert link.reason is expected


def test_every_reason_has_words_for_a_person() -> None:
    assert WORDS.keys() == set(Reason)
    assert all(words.endswith(".") for words in WORDS.values())


def test_every_reason_is_reached_by_a_row_or_belongs_to_another_step() -> None:
    reached = {expected for _, _, expected in ONE_CHANGED_FACT}
    decided_elsewhere = {
        Reason.ALLOWED,  # the word for an Allow
        Reason.TOKEN_EXPIRED,  # the verifier's
        Reason.UNKNOWN_OPERATION,  # the matcher's
        Reason.IN_THE_BODY,  # the reader's
        Reason.STATEMENT,  # the same
        Reason.OUT_OF_CALLS,  # the counter's, in the transaction
        Reason.OUT_OF_WRITES,  # the same
        Reason.OUT_OF_BYTES,  # the same
        Reason.UNSEEN_BYTES,  # the engine door's
        Reason.POLICY,  # of rules: test_policy
        Reason.POLICY_SILENT,
        Reason.OWN_RULE,
        Reason.ASKS,  # the word for an Ask
        Reason.SPOKEN,  # the engine door's
        Reason.ASKS_SPOKEN,  # of an Ask about a WebSocket
        Reason.ASKS_ELSEWHERE,  # of an Ask at an engine
        Reason.CANNOT_BE_HELD,  # of an Ask about a body that is too large
        Reason.READ_ONCE,  # of an Allow that was an Ask about such a body a moment ago
        Reason.TOO_MANY_ASKS,  # counted in the transaction that would ask
        Reason.APPROVAL_DENIED,  # what became of an Ask, and the next four
        Reason.APPROVAL_EXPIRED,
        Reason.APPROVAL_UNREACHED,
        Reason.APPROVAL_CANCELLED,
        Reason.APPROVAL_USED,
        Reason.PROOF_USED,  # of the proofs that were spent, in the transaction
        Reason.LIFETIME,  # the issuer's
        Reason.AMBIGUOUS_CONNECTION,  # `reaching`
        Reason.RESOURCE_CHANGED,  # its own tests above
    }
    assert reached | decided_elsewhere == set(Reason)


def test_between_two_ends_the_passing_of_time_changes_no_decision() -> None:
    """What `gateway/held` remembers by: every end of anything in an authority is one of `next_end`."""
    lines = {at: replace(READ, not_after=p.NOW + at) for at in (10, 20, 30, 40)}
    authority = p.authority(
        READ,
        connections=(p.connection(owner=None),),
        entitlements=(lines[40],),
        tasks=(p.task(lines[20], expires_at=p.NOW + 50),),
        delegation=p.delegation(lines[30], expires_at=p.NOW + 60),
    )
    token, now, ends = (lines[10],), float(p.NOW), []
    while (end := next_end(authority, token, now)) > now:
        steps = [now, (now + end) / 2, end - 0.001]
        assert len({repr(judged(authority=authority, token=token, now=step)) for step in steps}) == 1
        ends.append(int(end) - p.NOW)
        now = end
    assert ends == [10, 20, 30, 40, 50, 60]


def test_all_a_decision_looks_at_of_a_call_is_what_it_is_judged_by() -> None:
    call = p.call(*GET)
    other = replace(call, resource="another/name", parameters={"any": "thing"})
    assert other.judged_by == call.judged_by
    assert judged(other) == judged(call)
    assert replace(call, actual=None).judged_by != call.judged_by
    assert replace(call, scopes_needed=frozenset({"workflows:write"})).judged_by != call.judged_by
