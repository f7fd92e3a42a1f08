"""npm `emulate`: stand-ins of APIs nobody here wrote, on loopback; `emulate()` is a furnished GitHub.

Its blind spot: a token it does not know is taken for the *first* seeded user. So the first is `mallory-canary`, who may
do nothing: whatever slips through reads as the canary. Assert the login that was seen, never just 200.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support import node
from tests.support.ports import free_port

ISSUES: Final = 35  # more than one page of 30
_START_SECONDS: Final = 30
ALICE_TOKEN: Final = "ghp_alice0practice0token0000000000000000"  # the stand-in's, good nowhere else
CANARY_TOKEN: Final = "ghp_mallory0practice0token00000000000000"

_SEED: Final = {
    "tokens": {
        CANARY_TOKEN: {"login": "mallory-canary", "scopes": []},
        ALICE_TOKEN: {"login": "alice", "scopes": ["repo", "user"]},
    },
    "github": {
        "users": [
            {"login": "mallory-canary", "name": "Nobody At All", "email": "mallory@example.com"},
            {"login": "alice", "name": "Alice", "email": "alice@acme.com"},
        ],
        "orgs": [{"login": "acme-corp", "name": "Acme", "members": [{"login": "alice", "role": "admin"}]}],
        "repos": [
            {"owner": "acme-corp", "name": "backend", "private": True, "auto_init": True},
            {"owner": "acme-corp", "name": "payroll", "private": True, "auto_init": True},
        ],
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulate:
    """A running stand-in: its base address and the token of Alice, who owns everything in it."""

    url: str
    token: str
    backend_id: int
    payroll_id: int
    pull_number: int

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> tuple[int, Any]:
        """Ask it directly, past everything of ours."""
        host, port = self.url.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        return answer.status, json.loads(content) if content else None


@contextlib.contextmanager
def emulate() -> Iterator[Emulate]:
    """Start it with people, repositories, issues and one pull request; end it with the block."""
    port = free_port()
    with serving("github", _SEED, port) as url:
        yield _furnished(url)


@contextlib.contextmanager
def serving(service: str, seed: Any, port: int) -> Iterator[str]:
    """Run one service of it on that port, with these people and things; yields its address."""
    with tempfile.TemporaryDirectory(prefix="valetkey-emulate-") as folder:
        file = Path(folder) / "seed.json"
        file.write_text(json.dumps(seed))
        url, log = f"http://127.0.0.1:{port}", Path(folder) / "log"
        command = [str(node.NODE), str(node.module("emulate") / "dist" / "index.js"), "start", "--port", str(port)]
        command += ["--service", service, "--seed", str(file), "--base-url", url]
        with log.open("wb") as out:
            process = subprocess.Popen(
                node.leashed(command), cwd=folder, env={"HOME": folder, "PATH": os.defpath}, stdout=out, stderr=out
            )
        try:
            _wait_until_it_answers(port, process, log)
            yield url
        finally:
            process.kill()
            process.wait(10)


def _furnished(url: str) -> Emulate:
    bare = Emulate(url=url, token=ALICE_TOKEN, backend_id=0, payroll_id=0, pull_number=0)
    status, user = bare.ask("GET", "/user")
    assert (status, user["login"]) == (200, "alice"), (status, user)
    home = "/repos/acme-corp/backend"
    for number in range(1, ISSUES + 1):
        _made(bare.ask("POST", f"{home}/issues", {"title": f"Issue {number}"}))
    main = _made(bare.ask("GET", f"{home}/git/ref/heads/main"))["object"]["sha"]
    _made(bare.ask("POST", f"{home}/git/refs", {"ref": "refs/heads/feature", "sha": main}))
    pull = _made(bare.ask("POST", f"{home}/pulls", {"title": "A feature", "head": "feature", "base": "main"}))
    return Emulate(
        url=url,
        token=ALICE_TOKEN,
        backend_id=_made(bare.ask("GET", home))["id"],
        payroll_id=_made(bare.ask("GET", "/repos/acme-corp/payroll"))["id"],
        pull_number=pull["number"],
    )


def _wait_until_it_answers(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"emulate did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _made(answer: tuple[int, Any]) -> Any:
    status, document = answer
    if status not in (200, 201):
        raise RuntimeError(f"emulate would not be furnished: {status} {document}")
    return document
