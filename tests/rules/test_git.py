"""Git over HTTPS: four requests are operations of a repository, and nothing else at the git host is anything."""

from base64 import b64encode

import pytest

from valetkey.server.connections.borrow import injected
from valetkey.server.errors import Denied
from valetkey.server.gateway.canonical import canonical
from valetkey.server.gateway.recognise import Recognised, recognised
from valetkey.server.integrations.catalogue import load_integration, parse_integration
from valetkey.server.integrations.catalogue.typed import Misdescribed
from valetkey.server.integrations.model import ResourceRef, resource_of
from valetkey.server.secret import Secret

GITHUB = load_integration("github")
BACKEND = "/git/acme-corp/backend"


async def read(method: str, path: str, query: str = "", *, as_it_is: bool = False) -> Recognised:
    target = canonical(method, path.encode(), query.encode())
    return await recognised(GITHUB, target, [], None, as_it_is=as_it_is)


@pytest.mark.parametrize("repository", [BACKEND, BACKEND + ".git"])
@pytest.mark.parametrize(
    ("method", "path", "query", "operation", "scope", "access"),
    [
        ("GET", "/info/refs", "service=git-upload-pack", "git/fetch-refs", "repo:read", "read"),
        ("POST", "/git-upload-pack", "", "git/fetch", "repo:read", "read"),
        ("GET", "/info/refs", "service=git-receive-pack", "git/push-refs", "git:write", "write"),
        ("POST", "/git-receive-pack", "", "git/push", "git:write", "write"),
    ],
)
async def test_what_git_asks_is_an_operation_of_its_repository(
    repository: str, method: str, path: str, query: str, operation: str, scope: str, access: str
) -> None:
    [match] = (await read(method, repository + path, query)).matches
    assert (match.operation.id, match.operation.scope, match.operation.access) == (operation, scope, access)
    assert resource_of(match) == ResourceRef("repository", name="acme-corp/backend")
    assert GITHUB.contains(scope, operation)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "service=",
        "service=git-upload-archive",
        "service=git-upload-pack&service=git-receive-pack",
        "service=git-receive-pack&service=git-upload-pack",
        "service=git-upload-pack&service=git-upload-pack",
        "service=git-upload-pack&x=1",
        "x=1&service=git-upload-pack",
        "Service=git-upload-pack",
        "service=GIT-UPLOAD-PACK",
    ],
)
async def test_a_query_with_two_readings_is_no_operation(query: str) -> None:
    assert not (await read("GET", BACKEND + ".git/info/refs", query)).matches


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("POST", "/info/refs", "service=git-upload-pack"),
        ("HEAD", "/info/refs", "service=git-upload-pack"),
        ("GET", "/git-upload-pack", ""),
        ("PUT", "/git-receive-pack", ""),
        ("POST", "/git-upload-pack", "service=git-receive-pack"),
        ("POST", "/git-receive-pack/x", ""),
        ("GET", "/HEAD", ""),
        ("GET", "/objects/info/packs", ""),
        ("POST", "/info/lfs/objects/batch", ""),
        ("GET", "/releases/download/v1/app.tgz", ""),
        ("GET", "", ""),
    ],
)
async def test_nothing_else_at_the_git_host_is_an_operation(method: str, path: str, query: str) -> None:
    assert not (await read(method, BACKEND + ".git" + path, query)).matches


@pytest.mark.parametrize(
    "name",
    [
        "backend.wiki",
        "backend.WIKI.git",
        ".git",
        "backend.git.git",
        "backend.GIT",
        "backend.Git.git",
        "back+end",
        "b" * 101,
    ],
)
async def test_a_name_is_one_name(name: str) -> None:
    assert not (await read("POST", f"/git/acme-corp/{name}/git-upload-pack")).matches


async def test_a_git_address_is_never_read_as_one_of_the_api() -> None:
    """And the other way round."""
    assert not (await read("GET", "/git/repos/acme-corp/backend")).matches
    assert not (await read("POST", "/acme-corp/backend.git/git-upload-pack")).matches


async def test_an_engine_is_told_nothing_about_git() -> None:
    assert not (await read("POST", BACKEND + "/git-upload-pack", as_it_is=True)).matches


def test_reading_repositories_includes_no_push() -> None:
    for scope in GITHUB.scopes.values():
        if scope.tier != "danger":
            assert not {"git/push", "git/push-refs"} & scope.operations, scope.name
    assert GITHUB.scopes["git:write"].outlives


def test_a_connection_of_the_api_alone_is_not_used_at_its_git_host() -> None:
    """Hosts are frozen into a connection when it is made; one of an earlier release knows one."""
    both = frozenset({"api.github.com", "github.com"})
    there = injected(GITHUB, "https://api.github.com", both, Secret("ghp_x")).there()
    assert (there.host, there.header, there.base_path) == ("github.com", b"authorization", b"")
    assert there.value.reveal() == "Basic " + b64encode(b"x-access-token:ghp_x").decode()
    with pytest.raises(Denied):
        injected(GITHUB, "https://api.github.com", frozenset({"api.github.com"}), Secret("ghp_x")).there()


def test_an_enterprise_server_has_its_repositories_at_its_own_origin() -> None:
    moved = GITHUB.with_host("https://git.acme.com/api/v3")
    assert moved.git is not None
    assert moved.git.base_url == "https://git.acme.com"
    assert moved.hosts == {"git.acme.com"}


def document(**git: str) -> dict[str, object]:
    how = {"header": "authorization", "value": "Bearer {token}"}
    scopes = {
        "code:read": {"sentence": "read code", "tier": "read", "resource_kind": "repository"},
        "code:push": {"sentence": "push", "tier": "danger", "outlives": True, "resource_kind": "repository"},
    }
    lookup = {"by_name": "/repos/{owner}/{repo}", "by_id": "/repos/{id}", "id": "id", "name": "name"}
    return {
        "name": "forge",
        "title": "Forge",
        "audience": "https://api.forge.example",
        "base_url": "https://api.forge.example",
        "hosts": ["api.forge.example", "forge.example"],
        "token_positions": [{"header": "authorization", "scheme": "Bearer"}],
        "injection": how,
        "scopes": scopes,
        "lookups": {"repository": lookup},
        "git": {"base_url": "https://forge.example", "user": "git", "read": "code:read", "write": "code:push", **git},
    }


def test_another_api_can_have_a_git_host() -> None:
    forge = parse_integration(document(), None)
    match = forge.match("POST", ("git", "acme", "tools.git", "git-upload-pack"), ())
    assert match is not None
    assert match.operation.scope == "code:read"


@pytest.mark.parametrize(
    ("git", "key"),
    [
        ({"base_url": "https://elsewhere.example"}, "git.base_url"),
        ({"base_url": "https://forge.example/git"}, "git.base_url"),
        ({"base_url": "http://forge.example"}, "git.base_url"),
        ({"user": "a:b"}, "git.user"),
        ({"write": "code:read"}, 'scopes."code:read".tier'),
        ({"read": "nobody"}, "operations"),
        ({"more": "x"}, "git.more"),
    ],
)
def test_a_git_host_that_is_described_badly_is_refused(git: dict[str, str], key: str) -> None:
    with pytest.raises(Misdescribed) as wrong:
        parse_integration(document(**git), None)
    assert wrong.value.key == key
