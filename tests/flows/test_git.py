"""Git itself, through `valetkey run` and without: clone and push where it was granted, at a git host on loopback."""

import base64
import contextlib
import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.git_host import GitHost, git, git_host
from tests.support.served import REAL_CREDENTIAL, Served, ready_for_work, served

READ = "github:repo:read@acme-corp/backend"
PUSH = "github:repo:read,git:write@acme-corp/backend"
BACKEND = "https://github.com/acme-corp/backend"
PAYROLL = "https://github.com/acme-corp/payroll"


@pytest.fixture(scope="module")
def host_and_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GitHost, Served]]:
    folder = tmp_path_factory.mktemp("git")
    hosts: list[GitHost] = []

    @contextlib.contextmanager
    def before(api: str) -> Iterator[str]:
        with git_host(folder / "repositories", api, REAL_CREDENTIAL) as host:
            hosts.append(host)
            yield host.url

    with served(folder, before) as server:
        for name in ("backend", "payroll"):
            hosts[0].add(f"acme-corp/{name}", f"this is {name}\n")
        ready_for_work(server)
        server.answer("agent", "ceiling", "pr-reviewer-v2", "github:repo:read,git:write@*")
        yield hosts[0], server


@pytest.fixture
def host(host_and_server: tuple[GitHost, Served]) -> GitHost:
    host_and_server[0].arrived.clear()
    host_and_server[0].first_piece.clear()
    return host_and_server[0]


@pytest.fixture
def server(host_and_server: tuple[GitHost, Served]) -> Served:
    return host_and_server[1]


def run(server: Served, grant: str, *command: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return server.valetkey("run", "--agent", "pr-reviewer-v2", "--grant", grant, "--", *command, **environ)


def decisions(server: Served) -> list[dict[str, Any]]:
    lines = server.valetkey("audit", "tail", "-n", "500", "--json").stdout.splitlines()
    records = [json.loads(line) for line in lines]
    return [r for r in records if r["event"] in ("call.allowed", "call.denied") and "git/" in json.dumps(r)]


@pytest.mark.parametrize("ending", ["", ".git"])
def test_a_granted_repository_is_cloned(host: GitHost, server: Served, tmp_path: Path, ending: str) -> None:
    done = run(server, READ, "git", "clone", "-q", BACKEND + ending, str(tmp_path / "backend"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "backend/README.md").read_text() == "this is backend\n"
    real = base64.b64encode(f"x-access-token:{REAL_CREDENTIAL}".encode()).decode()
    assert [one.line.split(" HTTP")[0] for one in host.at_git()] == [
        f"GET /acme-corp/backend{ending}/info/refs?service=git-upload-pack",
        f"POST /acme-corp/backend{ending}/git-upload-pack",
        f"POST /acme-corp/backend{ending}/git-upload-pack",
    ]
    assert {one.authorization for one in host.at_git()} == {f"Basic {real}"}
    received = b"".join(one.raw for one in host.arrived)
    assert b"vkrun-" not in received
    assert base64.b64encode(b"x-access-token:vkrun-")[:-4] not in received
    allowed = decisions(server)[-3:]
    assert [record["operation"] for record in allowed] == ["git/fetch-refs", "git/fetch", "git/fetch"]
    assert {record["event"] for record in allowed} == {"call.allowed"}
    assert {record["resource"] for record in allowed} == {"acme-corp/backend"}


def test_another_repository_is_not(host: GitHost, server: Served, tmp_path: Path) -> None:
    done = run(server, READ, "git", "clone", "-q", PAYROLL, str(tmp_path / "payroll"))
    assert done.returncode == 128
    assert "remote: This was never delegated." in done.stderr
    assert not host.at_git()
    denied = decisions(server)[-1]
    assert (denied["event"], denied["resource"]) == ("call.denied", "acme-corp/payroll")


def committed(host: GitHost, name: str, folder: Path, size: int = 10) -> Path:
    """A clone with a commit that is not pushed, made outside of any run."""
    git("clone", "-q", str(host.folder / f"acme-corp/{name}.git"), str(folder))
    (folder / "more.bin").write_bytes(bytes(range(256)) * (size // 256 + 1))
    git("-C", str(folder), "add", "more.bin")
    git("-C", str(folder), "commit", "-q", "-m", "more")
    git("-C", str(folder), "remote", "set-url", "origin", f"https://github.com/acme-corp/{name}")
    return folder


def head(host: GitHost, name: str, branch: str) -> str:
    return git("-C", str(host.folder / f"acme-corp/{name}.git"), "rev-parse", branch).strip()


def test_a_granted_repository_is_pushed_to(host: GitHost, server: Served, tmp_path: Path) -> None:
    work = committed(host, "backend", tmp_path / "backend")
    done = run(server, PUSH, "git", "-C", str(work), "push", "-q", "origin", "HEAD:refs/heads/feature")
    assert done.returncode == 0, done.stderr
    assert head(host, "backend", "feature") == git("-C", str(work), "rev-parse", "HEAD").strip()
    assert [r["operation"] for r in decisions(server)[-2:]] == ["git/push-refs", "git/push"]


@pytest.mark.parametrize(("grant", "name"), [(READ, "backend"), (PUSH, "payroll")])
def test_without_the_scope_or_elsewhere_it_is_not(
    host: GitHost, server: Served, tmp_path: Path, grant: str, name: str
) -> None:
    before = head(host, name, "main")
    work = committed(host, name, tmp_path / name)
    done = run(server, grant, "git", "-C", str(work), "push", "-q", "origin", "HEAD:main")
    assert done.returncode == 128
    assert "remote: This was never delegated." in done.stderr
    assert head(host, name, "main") == before
    assert not host.at_git()


def test_a_large_push_streams_in_chunks(host: GitHost, server: Served, tmp_path: Path) -> None:
    """Git sends in chunks what is longer than its buffer."""
    work = committed(host, "backend", tmp_path / "backend")
    noise = subprocess.run(["head", "-c", "6000000", "/dev/urandom"], capture_output=True, check=True).stdout
    (work / "noise.bin").write_bytes(noise)
    git("-C", str(work), "add", "noise.bin")
    git("-C", str(work), "commit", "-q", "-m", "noise")
    done = run(server, PUSH, "git", "-C", str(work), "push", "-q", "origin", "HEAD:refs/heads/large")
    assert done.returncode == 0, done.stderr
    assert host.at_git()[-1].is_chunked
    assert len(host.at_git()[-1].raw) > 6_000_000
    assert head(host, "backend", "large") == git("-C", str(work), "rev-parse", "HEAD").strip()


def credential(server: Served, grant: str) -> str:
    created = server.answer("delegate", "--agent", "pr-reviewer-v2", "--grant", grant, "--purpose", "git")
    task = server.answer("task", "open", created["id"])
    return server.answer("token", "--task-token-stdin", "--for", "github", stdin=task["task_token"])["token"]


def test_a_pack_is_on_its_way_before_it_is_complete(host: GitHost, server: Served) -> None:
    token, parts = credential(server, PUSH), urlsplit(server.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
    connection.putrequest("POST", "/p/github/git/acme-corp/backend.git/git-receive-pack")
    connection.putheader("Authorization", "Basic " + base64.b64encode(f"x:{token}".encode()).decode())
    connection.putheader("Content-Type", "application/x-git-receive-pack-request")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(b"4\r\n0000\r\n")
    assert host.first_piece.wait(20), "the first piece waited for the last"
    connection.send(b"0\r\n\r\n")
    assert connection.getresponse().status == 200
    connection.close()


def test_git_uses_the_gateways_own_address_too(host: GitHost, server: Served, tmp_path: Path) -> None:
    """Without `run`: the delegated credential is the password, and the address is the gateway's."""
    token = credential(server, READ)
    where = f"{server.url.replace('http://', f'http://x:{token}@')}/p/github/git/acme-corp"
    git("clone", "-q", f"{where}/backend.git", str(tmp_path / "backend"))
    with pytest.raises(subprocess.CalledProcessError):
        git("clone", "-q", f"{where}/payroll.git", str(tmp_path / "payroll"))


def test_what_else_is_at_the_git_host_is_refused(host: GitHost, server: Served) -> None:
    token, parts = credential(server, PUSH), urlsplit(server.url)
    for target in (
        "/acme-corp/backend.git/info/refs",
        "/acme-corp/backend.git/info/refs?service=git-upload-pack&service=git-receive-pack",
        "/acme-corp/backend/releases/download/v1/app.tgz",
        "/settings/profile",
    ):
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=20)
        connection.request("GET", "/p/github/git" + target, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["reason"]) == (403, "unknown_operation")
        connection.close()
    assert not host.at_git()


def test_git_of_the_child_has_no_helper_of_the_persons(host: GitHost, server: Served, tmp_path: Path) -> None:
    """What the person's git knows is not offered at the hosts of the run, and the child's settings stay."""
    settings = tmp_path / "gitconfig"
    settings.write_text('[credential]\n\thelper = "!f() { echo username=alice; echo password=of-the-person; }; f"\n')
    ask = 'printf "protocol=https\\nhost=github.com\\n\\n" | GIT_TERMINAL_PROMPT=0 git credential fill'
    given = {"GIT_CONFIG_GLOBAL": str(settings), "GIT_CONFIG_COUNT": "1"}
    given |= {"GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Alice"}
    done = run(server, READ, "sh", "-c", f"{ask}; git config user.name", **given)
    assert "of-the-person" not in done.stdout
    assert re.search(r"^Alice$", done.stdout, re.MULTILINE)
    without = subprocess.run(
        ["sh", "-c", ask], env=server.environ | given, capture_output=True, text=True, cwd=server.home
    )
    assert "of-the-person" in without.stdout
