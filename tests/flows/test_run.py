"""`valetkey run`: a command calls GitHub as an agent and never holds a credential; its signals and exit code pass."""

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.served import BIN, REAL_CREDENTIAL, Served, ready_for_work, served

GRANT = "github:repo:read@acme-corp/backend"
RUN = ("run", "--agent", "pr-reviewer-v2", "--grant", GRANT, "--ttl", "10m", "--")
ISSUES = "/repos/acme-corp/backend/issues"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("run")) as started:
        ready_for_work(started)
        yield started


def python(code: str) -> tuple[str, ...]:
    return (*RUN, sys.executable, "-c", code)


def tasks(server: Served) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(server.valetkey("task", "list", "--json").stdout)
    return found


def test_a_shell_script_reads_issues_with_curl(server: Served) -> None:
    script = f'curl -q -sf -H "Authorization: Bearer $GITHUB_TOKEN" "$GITHUB_API_URL{ISSUES}"'
    done = server.valetkey(*RUN, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    issues = json.loads(done.stdout)
    assert len(issues) == 30
    assert server.github.requests[-1].header("authorization") == f"Bearer {REAL_CREDENTIAL}"


def test_the_same_script_is_refused_at_another_repository(server: Served) -> None:
    script = 'curl -q -s -H "Authorization: Bearer $GITHUB_TOKEN" "$GITHUB_API_URL/repos/acme-corp/payroll/issues"'
    refused = json.loads(server.valetkey(*RUN, "sh", "-c", script).stdout)
    assert refused["code"] == "denied"


def test_page_two_stays_inside(server: Served) -> None:
    code = f"""
import os, re, urllib.request
base, token = os.environ["GITHUB_API_URL"], os.environ["GITHUB_TOKEN"]
def get(url):
    return urllib.request.urlopen(urllib.request.Request(url, headers={{"Authorization": "token " + token}}))
with get(base + "{ISSUES}") as first:
    body, link = first.read().decode(), first.headers["Link"]
following = re.search('<([^>]+)>; rel="next"', link)[1]
assert following.startswith(base), following
assert base + "/repos/" in body
with get(following) as second:
    print(second.status, len(second.read()) > 100)
"""
    done = server.valetkey(*python(code))
    assert done.stdout == "200 True\n", done.stderr


def test_the_command_sees_nothing_that_signs_in(server: Served) -> None:
    """LK-02"""
    code = "import json, os, sys; print(json.dumps([dict(os.environ), open('/proc/self/cmdline').read()]))"
    credential = json.loads((server.home / ".config/valetkey/profile.json").read_text())["servers"][server.url]
    agent_secret = credential["agents"]["pr-reviewer-v2"]["secret"]
    planted = {
        "VALETKEY_TOKEN": credential["credential"],
        "VALETKEY_AGENT_SECRET": agent_secret,
        "GH_TOKEN": "ghp_of_the_person",
        "GITHUB_ENTERPRISE_TOKEN": "ghp_of_the_person",
    }
    done = server.valetkey(*python(code), **planted)
    assert done.returncode == 0, done.stderr
    environ, _ = json.loads(done.stdout)
    for secret in (credential["credential"], agent_secret, "ghp_of_the_person", REAL_CREDENTIAL, "eyJ"):
        assert secret not in done.stdout
    assert {name for name in environ if name.startswith("VALETKEY_")} == {
        "VALETKEY_GITHUB_URL",
        "VALETKEY_GITHUB_TOKEN",
    }
    assert environ["GITHUB_TOKEN"] == environ["GH_TOKEN"] == environ["VALETKEY_GITHUB_TOKEN"]


def read_by_a_child(*, protected: bool) -> str:
    """What a child of the same person reads of a process's environment. As the superuser, whom nothing stops, become
    somebody else first; the kernel protects whoever does that, so the protection is lifted before it is tried."""
    code = f"""
import ctypes, os
from valetkey.cli.run import _unreadable
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
if {protected}:
    _unreadable()
if os.fork() == 0:
    try:
        print(len(open(f"/proc/{{os.getppid()}}/environ", "rb").read()) > 0, flush=True)
    except PermissionError:
        print("refused", flush=True)
    os._exit(0)
os.wait()
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_command_cannot_read_the_environment_of_run() -> None:
    assert read_by_a_child(protected=True) == "refused"


def test_without_that_protection_it_could() -> None:
    assert read_by_a_child(protected=False) == "True"


def test_the_placeholder_is_the_only_key_to_the_forwarder(server: Served) -> None:
    told = 'echo "$GITHUB_API_URL $GITHUB_TOKEN"; read end'
    with subprocess.Popen(
        [f"{BIN}/valetkey", *RUN, "sh", "-c", told],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=server.environ,
    ) as running:  # fmt: skip
        assert running.stdin is not None
        assert running.stdout is not None
        url, placeholder = running.stdout.readline().split()
        before = len(server.github.requests)
        assert status(url, {}) == 401
        assert (
            status(url, {"Authorization": f"Bearer {placeholder[:-1]}{'1' if placeholder[-1] == '0' else '0'}"}) == 401
        )
        assert status(url, {"Authorization": f"Bearer {placeholder}", "X-Api-Key": placeholder}) == 401
        assert status(url, {"Authorization": f"Bearer {placeholder}", "Host": "evil.example"}) == 421
        assert len(server.github.requests) == before
        assert status(url, {"Authorization": f"Bearer {placeholder}"}) == 200
        running.stdin.close()
    with pytest.raises(ConnectionRefusedError):
        status(url, {"Authorization": f"Bearer {placeholder}"})


def status(url: str, headers: dict[str, str]) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    try:
        connection.request("GET", parts.path + ISSUES, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_task_ends_with_the_command(server: Served) -> None:
    before = {task["id"] for task in tasks(server)}
    assert server.valetkey(*RUN, "true").returncode == 0
    (ended,) = [task for task in tasks(server) if task["id"] not in before]
    assert ended["status"] == "revoked"


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_exit_code_is_the_commands(server: Served, code: int) -> None:
    assert server.valetkey(*RUN, "sh", "-c", f"exit {code}").returncode == code


def test_a_command_ended_by_a_signal_is_128_and_its_number(server: Served) -> None:
    assert server.valetkey(*RUN, "sh", "-c", "kill -KILL $$").returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command_and_the_task_still_ends(server: Served, number: signal.Signals) -> None:
    before = {task["id"] for task in tasks(server)}
    script = f"trap 'exit 17' {number.name.removeprefix('SIG')}; echo up; while :; do sleep 0.05; done"
    with subprocess.Popen(
        [f"{BIN}/valetkey", *RUN, "bash", "-c", script], stdout=subprocess.PIPE, text=True, env=server.environ
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        running.send_signal(number)
        try:
            assert running.wait(20) == 17
        finally:
            running.kill()  # where the signal is ignored from the start, nobody waits for ever
    assert [task["status"] for task in tasks(server) if task["id"] not in before] == ["revoked"]


def test_a_command_that_is_not_there_is_127_and_one_that_cannot_run_is_126(server: Served, tmp_path: Path) -> None:
    before = len(tasks(server))
    assert server.valetkey(*RUN, "no-such-command-here").returncode == 127
    text = tmp_path / "not-a-program"
    text.write_text("hello")
    assert server.valetkey(*RUN, str(text)).returncode == 126
    assert len(tasks(server)) == before


def test_a_run_that_was_not_delegated_does_not_start_the_command(server: Served) -> None:
    arguments = ("run", "--agent", "pr-reviewer-v2", "--grant", "slack:chat:write@general", "--", "echo", "started")
    done = server.valetkey(*arguments)
    assert (done.returncode, done.stdout) == (8, "")


def test_a_given_task_token_is_used_and_the_rest_of_standard_input_is_the_commands(server: Served) -> None:
    delegation = server.answer("delegate", "--agent", "pr-reviewer-v2", "--grant", GRANT, "--purpose", "a run")
    task = server.answer("task", "open", delegation["id"])
    script = f'cat; curl -q -s -o /dev/null -w "%{{http_code}}" -u "x:$GITHUB_TOKEN" "$GITHUB_API_URL{ISSUES}"'
    arguments = ("run", "--task-token-stdin", "--for", "github", "--", "sh", "-c", script)
    done = server.valetkey(*arguments, stdin=f"{task['task_token']}\nfor the command\n")
    assert done.stdout == "for the command\n200", done.stderr
    assert {t["id"]: t["status"] for t in tasks(server)}[task["id"]] == "revoked"


def test_a_body_goes_out_as_it_came_in_chunks_or_counted(server: Served) -> None:
    """A write is refused by the gateway before it reads the body; the refusal arrives all the same."""
    script = (
        'head -c 3000000 /dev/zero | curl -q -s -X POST -H "Authorization: Bearer $GITHUB_TOKEN" '
        f'-H "Transfer-Encoding: chunked" -H "Content-Type: application/json" -T - "$GITHUB_API_URL{ISSUES}/7/labels"'
    )
    done = server.valetkey(*RUN, "sh", "-c", script)
    assert json.loads(done.stdout)["code"] == "denied", done.stderr
