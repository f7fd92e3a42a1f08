"""Tools that know nothing of Valetkey, under `valetkey run`, at the addresses they have always used."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import gh, node
from tests.support.certificates import Authority
from tests.support.index import ADDRESS, Index, index
from tests.support.served import REAL_CREDENTIAL, Served, ready_for_work, served

RUN = ("run", "--agent", "pr-reviewer-v2", "--grant", "github:repo:read@acme-corp/backend")
Tool = Callable[[Index, Path], tuple[str, ...]]
GITHUB = "https://api.github.com/repos/acme-corp"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("tools")) as started:
        ready_for_work(started)
        yield started


def run(
    server: Served, *command: str, options: tuple[str, ...] = (), **environ: str
) -> subprocess.CompletedProcess[str]:
    return server.valetkey(*RUN, *options, "--", *command, **environ)


def arrived(server: Served, since: int) -> list[tuple[str, str | None]]:
    """What came to GitHub, with what credential. No placeholder is anywhere in it."""
    new = server.github.requests[since:]
    for request in new:
        for value in (value for _, value in request.headers):
            assert b"vkrun-" not in value
            assert base64.b64encode(b"vkrun-")[:6] not in value
    return [(f"{r.method} {r.target}", r.header("authorization")) for r in new]


CURL = ("sh", "-c", 'curl -q -sS -f -H "Authorization: Bearer $GITHUB_TOKEN" "$0"')
CURL_BASIC = ("sh", "-c", 'curl -q -sS -f -u "alice:$GITHUB_TOKEN" "$0"')
TOKEN = "import os, sys; url, token = sys.argv[1], os.environ['GITHUB_TOKEN']; "
URLLIB = TOKEN + (
    "import urllib.request as u; "
    "print(u.urlopen(u.Request(url, headers={'Authorization': 'token ' + token})).read().decode())"
)
REQUESTS = TOKEN + (
    "import requests; r = requests.get(url, headers={'Authorization': 'Bearer ' + token}); r.raise_for_status(); "
    "print(r.text)"
)
HTTPX = TOKEN + (
    "import httpx; r = httpx.get(url, headers={'Authorization': 'Bearer ' + token}); r.raise_for_status(); "
    "print(r.text)"
)
FETCH = (
    "const r = await fetch(process.argv[1], {headers: {authorization: 'Bearer ' + process.env.GITHUB_TOKEN}}); "
    "if (!r.ok) { console.error(r.status); process.exit(1); } console.log(await r.text());"
)
WITHOUT_NODE = pytest.mark.skipif(node.missing_node() is not None, reason=str(node.missing_node()))
CLIENTS = {
    "curl": CURL,
    "curl-basic": CURL_BASIC,
    "urllib": (sys.executable, "-c", URLLIB),
    "requests": (sys.executable, "-c", REQUESTS),
    "httpx": (sys.executable, "-c", HTTPX),
    "node-fetch": (str(node.NODE), "--input-type=module", "-e", FETCH),
}

every = pytest.mark.parametrize("client", [pytest.param(c, marks=[WITHOUT_NODE] * ("node" in c)) for c in CLIENTS])


@every
def test_a_client_reads_what_was_granted(server: Served, client: str) -> None:
    since = len(server.github.requests)
    done = run(server, *CLIENTS[client], f"{GITHUB}/backend/issues")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 30
    assert arrived(server, since)[-1] == ("GET /repos/acme-corp/backend/issues", f"Bearer {REAL_CREDENTIAL}")


@every
def test_and_nothing_else(server: Served, client: str) -> None:
    since = len(server.github.requests)
    done = run(server, *CLIENTS[client], f"{GITHUB}/payroll/issues")
    assert done.returncode != 0
    assert "403" in done.stderr
    assert not [what for what, _ in arrived(server, since) if "payroll/issues" in what]


@every
def test_an_api_that_was_not_granted_is_refused_in_words(server: Served, client: str) -> None:
    done = run(server, *CLIENTS[client], "https://slack.com/api/auth.test")
    assert done.returncode != 0
    assert "slack.com belongs to slack, which this run was not granted." in done.stderr


with_gh = pytest.mark.skipif(gh.missing() is not None, reason=str(gh.missing()))


@with_gh
def test_gh_reads_what_was_granted(server: Served) -> None:
    since = len(server.github.requests)
    done = run(server, "gh", "api", "repos/acme-corp/backend/issues", "--paginate", "--jq", ".[].number")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 35, "page two was asked for where the first page said"
    assert {credential for _, credential in arrived(server, since)} == {f"Bearer {REAL_CREDENTIAL}"}


@with_gh
def test_gh_reads_nothing_else(server: Served) -> None:
    done = run(server, "gh", "api", "repos/acme-corp/payroll/issues")
    assert done.returncode == 1
    assert "403" in done.stderr


def pip(serving: Index, into: Path) -> tuple[str, ...]:
    quiet = ("--disable-pip-version-check", "--no-cache-dir", "--retries", "0")
    where = ("--no-deps", "--index-url", f"{serving.url}/simple", "-d", str(into))
    return (sys.executable, "-m", "pip", *quiet, "download", *where, "valet-practice")


def npm(serving: Index, into: Path) -> tuple[str, ...]:
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=0", "--loglevel=error")
    where = (f"--registry={serving.url}/", "--cache", str(into / "cache"), "--prefix", str(into))
    return (str(node.NODE), str(node.NPM), "install", *quiet, *where, "valet-practice")


@pytest.fixture(params=[pip, pytest.param(npm, marks=WITHOUT_NODE)])
def tool(request: pytest.FixtureRequest) -> Tool:
    found: Tool = request.param
    return found


@pytest.fixture
def index_of(tool: Tool, tmp_path: Path) -> Iterator[tuple[Index, str]]:
    """An index at an address no API has, and the file of a root: pip's over TLS, npm's in the clear."""
    authority = Authority()
    roots = tmp_path / "roots.pem"
    roots.write_bytes(authority.root)
    with index(authority.serves(tmp_path, ADDRESS) if tool is pip else None) as serving:
        yield serving, str(roots)


def test_an_installer_is_led_through_to_its_index(
    server: Served, tool: Tool, index_of: tuple[Index, str], tmp_path: Path
) -> None:
    """What the person's environment trusts, the child's trusts too."""
    serving, roots = index_of
    done = run(server, *tool(serving, tmp_path / "got"), REQUESTS_CA_BUNDLE=roots)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(serving.asked) == 2
    assert list((tmp_path / "got").rglob("*valet*practice*"))


def test_an_installer_is_refused_where_the_run_refuses_other_hosts(
    server: Served, tool: Tool, index_of: tuple[Index, str], tmp_path: Path
) -> None:
    serving, roots = index_of
    command, strict = tool(serving, tmp_path / "got"), ("--other-hosts", "refuse")
    done = run(server, *command, options=strict, REQUESTS_CA_BUNDLE=roots)
    assert done.returncode != 0
    assert f"{ADDRESS} is not an API of this run." in done.stderr
    assert not serving.asked
    named = run(server, *command, options=(*strict, "--tunnel", ADDRESS), REQUESTS_CA_BUNDLE=roots)
    assert named.returncode == 0, named.stderr


def test_a_command_that_is_interrupted_takes_its_proxy_and_its_file_along(server: Served, tmp_path: Path) -> None:
    done = run(server, "sh", "-c", "kill -INT $PPID; sleep 30", TMPDIR=str(tmp_path))
    assert done.returncode == 130, done.stderr
    assert not list(tmp_path.iterdir())
