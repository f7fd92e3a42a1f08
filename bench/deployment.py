"""The server under test, as an operator would run it: `valetkey serve` in a process of its own on the measured core.

Data on disk, every write fsynced, audit, fence and checkpoints on. Alice, one agent, one connection, one delegation.
"""

import contextlib
import json
import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.support.house import EXCHANGE, GITHUB, JWT, free_port

from bench.cores import measured
from bench.processes import ROOT, program
from valetkey.client.credentials import UserCredential
from valetkey.client.protocol import post
from valetkey.client.sync import Client

FOLDER = ROOT / "build" / "bench-data"
ISSUES = "/p/github/repos/acme-corp/backend/issues?per_page=4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A running server and what is needed to load it."""

    url: str
    decisions: str
    engine_secret: str
    pid: int
    pin: str
    ready_seconds: float
    data: Path
    alice: Client
    agent: str
    agent_id: str
    basic: str
    delegation: str
    task: dict[str, Any]

    @property
    def form(self) -> str:
        """The token exchange everything is measured with."""
        return self._form(self.task["task_token"])

    @staticmethod
    def _form(task_token: str) -> str:
        return urlencode(
            {
                "grant_type": EXCHANGE,
                "subject_token": task_token,
                "subject_token_type": JWT,
                "resource": GITHUB,
            }
        )

    def task_opened(self) -> dict[str, Any]:
        """Another task under the delegation."""
        return dict(self.alice.call(post("/v1/tasks", delegation=self.delegation, seconds=3600)))

    def token(self, task_token: str = "") -> str:
        """A fresh delegated credential, of the task everything is measured with unless another is given."""
        form = self._form(task_token or self.task["task_token"])
        request = Request(f"{self.url}/oauth/token", form.encode(), {"authorization": self.basic})
        with urlopen(request) as answer:
            return str(json.load(answer)["access_token"])


@contextlib.contextmanager
def deployment(
    name: str, upstream: str, *, database_url: str | None = None, filled: Callable[[Path], None] | None = None
) -> Iterator[Deployment]:
    """Start one in a fresh folder, which `filled` may have put something into; yield it ready for load."""
    data = FOLDER / name
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    if filled is not None:
        filled(data)
    port, decisions = free_port(), free_port()
    environment = {
        "VALETKEY_DATA": str(data),
        "VALETKEY_PORT": str(port),
        "VALETKEY_DECISION_PORT": str(decisions),
        "VALETKEY_HEALTH_PORT": str(free_port()),
        "VALETKEY_UPSTREAMS": f"github={upstream}",
        "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": upstream.removeprefix("http://"),
        "VALETKEY_TOKEN_SECONDS": "900",
    }
    if database_url is not None:
        environment["VALETKEY_DATABASE_URL"] = database_url
    began = time.monotonic()
    with measured():
        opened = contextlib.ExitStack()
        process, line = opened.enter_context(
            program("valetkey.cli.main", "serve", "--json", environment=environment, log=data / "serve.log")
        )
    with opened:
        ready_seconds = time.monotonic() - began
        facts = json.loads(line)
        url = f"http://127.0.0.1:{port}"
        alice = _alice(url, facts["bootstrap"])
        opened.enter_context(alice)
        agent = alice.agents.create("pr-reviewer-v2")
        alice.call(post("/v1/connections", integration="github", credential="ghp_" + "0" * 36))
        delegation = alice.call(
            post(
                "/v1/delegations",
                agent="pr-reviewer-v2",
                grants=["github:repo:read@acme-corp/backend"],
                seconds=3600,
                purpose="measure",
            )
        )["id"]
        engine = alice.call(post("/v1/engines", name="edge", integration="github", address="http://127.0.0.1"))
        yield Deployment(
            url=url,
            decisions=f"http://127.0.0.1:{decisions}",
            engine_secret=engine["secret"],
            pid=process.pid,
            pin=facts["pin"],
            ready_seconds=ready_seconds,
            data=data,
            alice=alice,
            agent=f"{agent['name']}:{agent['secret']}",
            agent_id=agent["id"],
            basic="Basic " + b64encode(f"{agent['id']}:{agent['secret']}".encode()).decode(),
            delegation=delegation,
            task=alice.call(post("/v1/tasks", delegation=delegation, seconds=3600)),
        )


def _alice(url: str, code: str) -> Client:
    with Client(url) as nobody:
        login = nobody.log_in(code, email="alice@acme.com", organization="acme")
    return Client(url, credential=UserCredential(login["credential"]))
