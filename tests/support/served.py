"""A real server in a process of its own, as `valetkey serve` starts it, with a practice GitHub behind it."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import free_pair
from valetkey.cli.practice_github import PracticeGitHub
from valetkey.cli.practice_server import listening

REAL_CREDENTIAL = "ghp_alice0practice0token0000000000000000"  # the practice GitHub's, good nowhere else
BIN = str(Path(sys.executable).parent)
_END_SECONDS = 20
Before = Callable[[str], contextlib.AbstractContextManager[str]]


@dataclass(slots=True)
class Served:
    """A running server, its one-time code, and a home folder for whoever calls it."""

    url: str
    code: str
    pin: str
    github: PracticeGitHub
    data: Path
    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    def valetkey(self, *arguments: str, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run one command to its end, as a person in a shell would."""
        command = [f"{BIN}/valetkey", *arguments]
        return subprocess.run(
            command, input=stdin, env=self.environ | environ, capture_output=True, text=True, timeout=60, cwd=self.home
        )

    def answer(self, *arguments: str, stdin: str = "") -> dict[str, str]:
        """The JSON answer of a command that must succeed."""
        done = self.valetkey(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found


@contextlib.contextmanager
def served(folder: Path, before: Before = contextlib.nullcontext, **settings_too: str) -> Iterator[Served]:
    """Serve until the block ends. Alice's GitHub has two repositories; nobody has signed in yet.

    `before` stands before GitHub: it is given GitHub's address, and answers its own.
    """
    with _practice_github() as (github, behind), before(behind) as upstream:
        github.base_url = upstream
        port = free_pair()
        home, data = folder / "home", folder / "data"
        home.mkdir(parents=True)
        url = f"http://localhost:{port}"
        environ = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(home), "VALETKEY_URL": url, "LANG": "C.UTF-8"}
        settings = {
            "VALETKEY_PORT": str(port),
            "VALETKEY_DATA": str(data),
            "VALETKEY_UPSTREAMS": f"github={upstream}",
            "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": upstream.removeprefix("http://"),
        }
        with _serving(environ | settings | settings_too, folder) as announced:
            yield Served(url, announced["bootstrap"], announced["pin"], github, data, home, environ)


@contextlib.contextmanager
def _serving(environ: dict[str, str], folder: Path) -> Iterator[dict[str, str]]:
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [f"{BIN}/valetkey", "serve", "--json"], env=environ, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert server.stdout is not None
        try:
            line = server.stdout.readline()  # it says where it is once it accepts requests
            if not line:
                raise RuntimeError(f"the server did not start: {(folder / 'server.log').read_text()}")
            yield json.loads(line)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(_END_SECONDS)
            server.stdout.close()


@contextlib.contextmanager
def _practice_github() -> Iterator[tuple[PracticeGitHub, str]]:
    github = PracticeGitHub()
    github.add_user("alice", token=REAL_CREDENTIAL)
    for name in ("acme-corp/backend", "acme-corp/payroll"):
        github.add_repository(name, writers={"alice"}, issues=35)
    ready, end = threading.Event(), threading.Event()

    async def serve() -> None:
        async with listening(github) as url:
            github.base_url = url
            ready.set()
            await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        ready.wait()
        yield github, github.base_url
    finally:
        end.set()
        thread.join()


def ready_for_work(server: Served) -> None:
    """Alice signs in, connects her GitHub and keeps an agent's secret."""
    server.answer("login", "--code-stdin", "--email", "alice@acme.com", stdin=server.code)
    server.answer("connect", "github", "--token-stdin", stdin=REAL_CREDENTIAL)
    server.answer("agent", "create", "pr-reviewer-v2", "--save")
