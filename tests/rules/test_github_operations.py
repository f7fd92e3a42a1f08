"""GitHub's operations: all of them are there, each where it belongs, and nothing else matches."""

from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valetkey.server.integrations.catalogue import load_integration
from valetkey.server.integrations.model import Match, Operation, ResourceRef, resource_of

GITHUB = load_integration("github")
OPERATIONS = GITHUB.operations
PUBLISHED = {
    name: operation
    for name, operation in OPERATIONS.items()
    if "body" not in operation.tags and operation.category != "smart-http"  # neither GraphQL's nor git's own
}
DANGEROUS = frozenset({"mints", "reveals", "access", "outlives"})
PLAIN = ("repo:read", "repo:write", "issues:read", "issues:write", "pulls:read", "pulls:write")


def match(call: str) -> Match | None:
    method, path = call.split(" ", 1)
    return OPERATIONS.match(method, tuple(path.split("/")[1:]) if path != "/" else ())


def found(call: str) -> Match:
    matched = match(call)
    assert matched is not None, call
    return matched


def example(operation: Operation) -> tuple[str, ...]:
    """A path of this operation with `7x` in every open field."""
    segments = []
    for part in operation.template.split("/")[1:] if operation.template != "/" else ():
        name = part.strip("{+}")
        segments.append(
            sorted(operation.values[name])[0] if name in operation.values else "7x" if "{" in part else part
        )
    return tuple(segments)


def test_all_operations_github_publishes_are_there() -> None:
    assert len(PUBLISHED) == 1223
    by_method = {m: sum(o.method == m for o in PUBLISHED.values()) for m in ("GET", "POST", "DELETE", "PUT", "PATCH")}
    assert by_method == {"GET": 639, "POST": 193, "DELETE": 187, "PUT": 134, "PATCH": 70}


def test_every_published_path_is_recognised_as_its_own_operation() -> None:
    for operation in PUBLISHED.values():
        matched = OPERATIONS.match(operation.method, example(operation))
        if "alias" in operation.tags:
            assert operation.id == "repos/compare-commits"
        else:
            assert matched is not None, operation.id
            assert matched.operation is operation
            assert set(matched.judged) == set(operation.judged)


def test_every_path_below_a_repository_is_the_same_operation_by_id() -> None:
    repository = [
        o for o in OPERATIONS.values() if o.template.startswith("/repos/{owner}/{repo}") and "alias" not in o.tags
    ]
    assert len(repository) > 500
    for operation in repository:
        matched = OPERATIONS.match(operation.method, ("repositories", "77", *example(operation)[3:]))
        assert matched is not None
        assert matched.operation is operation
        assert resource_of(matched) == ResourceRef("repository", id="77")


SPOT = """
GET /repos/a/b                                      repo:read
GET /repos/a/b/contents/src/main.py                 repo:read
GET /repos/a/b/tarball/main                         repo:read
GET /repos/a/b/commits/main/status                  repo:read
GET /repos/a/b/git/ref/heads/feature/x              repo:read
PUT /repos/a/b/contents/src/main.py                 repo:write
DELETE /repos/a/b/contents/src/main.py              repo:write
POST /repos/a/b/git/refs                            branches:write
PATCH /repos/a/b/git/refs/heads/main                git:write
DELETE /repos/a/b/git/refs/heads/main               git:write
POST /repos/a/b/git/trees                           git:write
POST /repos/a/b/git/commits                         git:write
POST /repos/a/b/git/blobs                           git:write
POST /repos/a/b/merges                              git:write
POST /repos/a/b/merge-upstream                      git:write
GET /repos/a/b/issues                               issues:read
POST /repos/a/b/issues                              issues:write
POST /repos/a/b/issues/1/comments                   issues:write
GET /repos/a/b/pulls/1/files                        pulls:read
POST /repos/a/b/pulls                               pulls:write
POST /repos/a/b/pulls/1/reviews                     pulls:write
PUT /repos/a/b/pulls/1/merge                        pulls:merge
PUT /repos/a/b/pulls/1/merge-async                  pulls:merge
PUT /repos/a/b/pulls/1/reviews/2/dismissals         pulls:merge
POST /repos/a/b/statuses/abc                        checks:write
POST /repos/a/b/check-runs                          checks:write
GET /repos/a/b/actions/runs/1/logs                  actions:read
POST /repos/a/b/actions/runs/1/rerun                actions:write
POST /repos/a/b/actions/workflows/ci.yml/dispatches actions:dispatch
POST /repos/a/b/dispatches                          actions:dispatch
POST /repos/a/b/actions/runs/1/approve              actions:approve
PUT /repos/a/b/actions/workflows/1/enable           workflows:write
POST /repos/a/b/deployments                         deployments:write
POST /repos/a/b/pages                               pages:write
POST /repos/a/b/hooks                               webhooks:write
PATCH /repos/a/b/hooks/1/config                     webhooks:write
POST /repos/a/b/forks                               forks:write
POST /repos/a/b/generate                            forks:write
PATCH /repos/a/b                                    admin
DELETE /repos/a/b                                   admin
POST /repos/a/b/branches/main/rename                admin
POST /repos/a/b/transfer                            access
POST /repos/a/b/keys                                access
PUT /repos/a/b/collaborators/eve                    access
PATCH /repos/a/b/invitations/1                      access
PUT /repos/a/b/actions/secrets/DEPLOY               access
PUT /repos/a/b/dependabot/secrets/DEPLOY            access
PUT /repos/a/b/environments/prod/secrets/DEPLOY     access
PUT /repos/a/b/environments/prod                    access
POST /repos/a/b/actions/runners/registration-token  access
POST /repos/a/b/actions/runners/generate-jitconfig  access
PUT /repos/a/b/actions/permissions/workflow         access
PUT /repos/a/b/actions/oidc/customization/sub       access
DELETE /repos/a/b/branches/main/protection          access
POST /repos/a/b/rulesets                            access
GET /repos/a/b/branches/main/protection             admin:read
GET /repos/a/b/actions/secrets                      admin:read
GET /repos/a/b/secret-scanning/alerts               secret-scanning:read
GET /repos/a/b/dependabot/alerts                    security:read
POST /repos/a/b/codespaces                          codespaces:write
POST /agents/repos/a/b/tasks                        agents:write
GET /orgs/acme/repos                                org:read
POST /orgs/acme/repos                               org-admin
POST /orgs/acme/invitations                         org-access
PUT /orgs/acme/teams/core/memberships/eve           org-access
POST /orgs/acme/personal-access-token-requests/1    org-access
POST /orgs/acme/hooks                               org-webhooks:write
GET /orgs/acme/migrations/1/archive                 org-admin
GET /orgs/acme/secret-scanning/alerts               org-secret-scanning:read
POST /gists                                         gists:create
GET /search/code                                    account:read
GET /user/repos                                     account:read
GET /notifications                                  account:read
POST /user/repos                                    account-admin
POST /user/keys                                     account-access
POST /app/installations/1/access_tokens             account-access
POST /applications/abc/token/scoped                 account-access
POST /app-manifests/abc/conversions                 account-access
PATCH /user/repository_invitations/1                account-access
PATCH /user/memberships/orgs/acme                   account-access
GET /feeds                                          account-access
""".strip().splitlines()


@pytest.mark.parametrize("line", SPOT)
def test_a_sensitive_operation_has_the_scope_a_person_chose(line: str) -> None:
    call, scope = line.rsplit(None, 1)
    assert found(call.strip()).operation.scope == scope


def test_every_operation_is_in_its_own_scope_and_every_scope_holds_some() -> None:
    assert all(GITHUB.contains(o.scope, o.id) for o in OPERATIONS.values())
    assert all(scope.operations for scope in GITHUB.scopes.values())
    assert set().union(*(s.operations for s in GITHUB.scopes.values())) == set(OPERATIONS)


def test_a_scope_named_read_holds_no_write_and_a_read_tier_no_danger() -> None:
    for scope in GITHUB.scopes.values():
        operations = [OPERATIONS[name] for name in scope.operations]
        if scope.name.endswith(":read") or scope.tier == "read":
            assert {o.access for o in operations} == {"read"}, scope.name
        if scope.tier != "danger":
            assert not [o.id for o in operations if o.tags & DANGEROUS], scope.name


def test_what_outlives_the_task_is_only_in_scopes_that_say_so() -> None:
    for scope in GITHUB.scopes.values():
        assert scope.tier == "danger" or not scope.outlives
        if not scope.outlives:
            assert not [o for o in scope.operations if "outlives" in OPERATIONS[o].tags], scope.name


@pytest.mark.parametrize("scope", PLAIN)
def test_a_plain_scope_never_mints_changes_access_or_outlives(scope: str) -> None:
    assert not [o for o in GITHUB.operations_of(scope) if OPERATIONS[o].tags & DANGEROUS]


def test_a_scope_is_about_one_kind_of_resource() -> None:
    for scope in GITHUB.scopes.values():
        assert {OPERATIONS[o].resource_kind for o in scope.operations} == {scope.resource_kind}
        assert scope.resource_kind == "repository" or not scope.name.startswith(("repo:", "issues:", "pulls:"))


def test_repo_read_holds_issues_and_pulls_but_never_the_account() -> None:
    assert GITHUB.includes("repo:read", "issues:read")
    assert GITHUB.includes("repo:read", "pulls:read")
    assert not GITHUB.includes("issues:read", "repo:read")
    assert not [s for s in GITHUB.scopes if not s.startswith("account") and GITHUB.includes(s, "account:read")]


def test_inclusion_is_a_partial_order() -> None:
    names = list(GITHUB.scopes)
    includes = {pair: GITHUB.includes(*pair) for pair in product(names, names)}
    assert all(includes[a, a] for a in names)
    assert not [(a, b) for a, b in permutations(names, 2) if includes[a, b] and includes[b, a]]
    assert all(includes[a, c] for a, b, c in product(names, repeat=3) if includes[a, b] and includes[b, c])


@given(
    st.sampled_from(sorted(GITHUB.scopes)), st.sampled_from(sorted(GITHUB.scopes)), st.sampled_from(sorted(OPERATIONS))
)
def test_a_narrower_scope_never_holds_what_the_wider_does_not(wider: str, narrower: str, operation: str) -> None:
    if GITHUB.includes(wider, narrower) and GITHUB.contains(narrower, operation):
        assert GITHUB.contains(wider, operation)


def test_an_unknown_scope_grants_nothing_and_is_included_in_nothing() -> None:
    assert GITHUB.operations_of("everything") == frozenset()
    assert not GITHUB.includes("repo:read", "everything")
    assert not GITHUB.includes("everything", "everything")


@pytest.mark.parametrize(
    "call",
    [
        *("POST /graphql", "GET /graphql", "GET /repos/a/b/unknown", "GET /unknown", "OPTIONS /repos/a/b"),
        *("get /repos/a/b", "GET /Repos/a/b", "GET /repos/a/b/Issues", "TRACE /", "GET /repos", "GET /repos/a"),
        *(
            "GET /repos/a/b/",
            "GET //repos/a/b",
            "GET /repos/a//b",
            "GET /repos/a/..",
            "GET /repos/./b",
            "GET /repos/a/b/.",
        ),
        *("PUT /repos/a/b/contents", "GET /repos/a/b c/issues", "GET /repos/a/b%2F..", "GET /repos/\u0430/b"),
        *("GET /repositories/abc", "GET /repositories/007/issues", "GET /repositories/-1", "GET /repositories/\u0661"),
        *("GET /organizations/acme/repos", "GET /user/abc/repos", "POST /orgs/acme/dependency_graph/drop_all"),
        *("DELETE /gists/public", "POST /orgs/acme/anything/enable_all", "GET /orgs/acme/packages/pip/x"),
    ],
)
def test_what_github_does_not_publish_matches_nothing(call: str) -> None:
    assert match(call) is None


def test_a_segment_that_hides_a_slash_matches_nothing() -> None:
    assert OPERATIONS.match("GET", ("repos", "a", "b", "contents", "x")) is not None
    assert OPERATIONS.match("GET", ("repos", "a", "b", "contents", "x/../y")) is None
    assert OPERATIONS.match("GET", ("repos", "a/b", "issues")) is None


def test_head_is_the_read_and_only_the_read() -> None:
    assert found("HEAD /repos/a/b/issues").operation.id == "issues/list-for-repo"
    assert match("HEAD /repos/a/b/merges") is None


@pytest.mark.parametrize(
    ("call", "operation", "field", "value"),
    [
        ("GET /repos/a/b/contents/x/y/z.md", "repos/get-content", "path", "x/y/z.md"),
        ("GET /repos/a/b/git/ref/heads/f/x", "git/get-ref", "ref", "heads/f/x"),
        ("GET /repos/a/b/compare/f/x...g/y", "repos/compare-commits-with-basehead", "basehead", "f/x...g/y"),
        ("GET /repos/a/b/branches/f/x", "repos/get-branch", "branch", "f/x"),
        ("GET /repos/a/b/branches/f/x/protection", "repos/get-branch-protection", "branch", "f/x"),
        ("GET /repos/a/b/commits/f/x/check-runs", "checks/list-for-ref", "ref", "f/x"),
        ("GET /repos/a/b/pulls/comments/3", "pulls/get-review-comment", "comment_id", "3"),
        ("GET /repos/a/b/pulls/3/comments", "pulls/list-review-comments", "pull_number", "3"),
        ("GET /repos/a/b/releases/latest", "repos/get-latest-release", "owner", "a"),
        ("GET /repos/a/b/releases/9", "repos/get-release", "release_id", "9"),
        ("GET /orgs/a/attestations/sha256:ab", "orgs/list-attestations", "subject_digest", "sha256:ab"),
        ("DELETE /orgs/a/attestations/5", "orgs/delete-attestations-by-id", "attestation_id", "5"),
    ],
)
def test_a_path_has_one_reading(call: str, operation: str, field: str, value: str) -> None:
    assert (found(call).operation.id, found(call).fields[field]) == (operation, value)


def test_the_root_folder_can_be_read_but_not_written() -> None:
    assert found("GET /repos/a/b/contents").operation.id == "repos/get-content"
    assert found("GET /repositories/5/contents").operation.id == "repos/get-content"
    assert match("DELETE /repos/a/b/contents") is None


@pytest.mark.parametrize("base", ["compare", "dependency-graph/compare"])
def test_a_comparison_cannot_reach_into_another_repository(base: str) -> None:
    assert match(f"GET /repos/acme/backend/{base}/main...topic") is not None
    assert match(f"GET /repos/acme/backend/{base}/main...mallory:payroll:main") is None


@pytest.mark.parametrize(
    ("path", "needed"),
    [
        ("src/ci.yml", set()),
        (".github/ISSUE_TEMPLATE.md", set()),
        (".github/workflows2/ci.yml", set()),
        ("docs/.github/workflows/ci.yml", set()),
        (".github/workflows/ci.yml", {"workflows:write"}),
        (".GitHub/WorkFlows/deep/ci.yml", {"workflows:write"}),
        (".github/workflows", {"workflows:write"}),
        (".github/actions/build/action.yml", {"workflows:write"}),
        (".github/dependabot.yml", {"workflows:write"}),
        ("CODEOWNERS", {"access"}),
        ("docs/CODEOWNERS", {"access"}),
        (".github", {"workflows:write", "access"}),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("repository", ["repos/acme/backend", "repositories/5"])
def test_a_file_that_acts_later_needs_more_than_repo_write(
    path: str, needed: set[str], method: str, repository: str
) -> None:
    matched = found(f"{method} /{repository}/contents/{path}")
    assert GITHUB.contains("repo:write", matched.operation.id)
    assert matched.scopes_needed == needed
    assert not any(GITHUB.includes("repo:write", scope) for scope in needed)
    assert found(f"GET /{repository}/contents/{path}").scopes_needed == set()


def test_a_call_names_its_resource_as_it_addresses_it() -> None:
    assert resource_of(found("GET /repos/Acme/Backend/issues")) == ResourceRef("repository", name="Acme/Backend")
    assert resource_of(found("GET /repositories/42/issues")) == ResourceRef("repository", id="42")
    assert resource_of(found("GET /repositories/42")) == ResourceRef("repository", id="42")
    assert resource_of(found("POST /repos/a/b/generate")) == ResourceRef("repository", name="a/b")
    assert resource_of(found("GET /agents/repos/a/b/tasks")) == ResourceRef("repository", name="a/b")
    assert resource_of(found("GET /orgs/acme/repos")) == ResourceRef("organization", name="acme")
    assert resource_of(found("GET /organizations/9/repos")) == ResourceRef("organization", id="9")
    assert resource_of(found("GET /organizations/9/team/3/members")) == ResourceRef("organization", id="9")
    assert resource_of(found("GET /organizations/acme/settings/billing/usage")) == ResourceRef(
        "organization", name="acme"
    )
    assert resource_of(found("GET /gists/abc")) == ResourceRef("gist", id="abc")
    assert resource_of(found("PUT /user/starred/acme/backend")) is None
    assert resource_of(found("GET /search/code")) is None


def test_a_listed_repository_in_an_organization_call_is_not_the_resource() -> None:
    matched = found("PUT /orgs/acme/actions/secrets/X/repositories/5")
    assert resource_of(matched) == ResourceRef("organization", name="acme")


def test_a_code_that_is_a_secret_is_never_recorded() -> None:
    assert found("POST /app-manifests/s3cret/conversions").judged == {}
    assert found("GET /repos/a/b/issues/7").judged == {"issue_number": "7"}


@given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]), st.lists(st.text(max_size=8), max_size=12))
def test_any_path_is_answered_without_an_error(method: str, segments: list[str]) -> None:
    matched = OPERATIONS.match(method, tuple(segments))
    assert matched is None or matched.operation.id in OPERATIONS


@given(
    st.sampled_from(sorted(PUBLISHED)),
    st.lists(st.sampled_from(["", ".", "..", "x/y", "protection", "a"]), min_size=1, max_size=4),
)
def test_a_longer_path_is_never_a_write_of_another_scope_by_surprise(name: str, more: list[str]) -> None:
    segments = (*example(OPERATIONS[name]), *more)
    matched = OPERATIONS.match(OPERATIONS[name].method, segments)
    if {"", ".", "..", "x/y"} & {*more}:
        assert matched is None
    elif matched is not None and matched.operation.id == name:
        assert "{+" in OPERATIONS[name].template
