"""The stage of the demo: a server and a practice GitHub in this process, and the people, each with a client."""

import asyncio
import contextlib
import http.client
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valetkey.cli.demo_browser import DemoBrowser
from valetkey.cli.practice_github import PracticeGitHub
from valetkey.cli.practice_server import listening
from valetkey.client.browser_login import BrowserLogin
from valetkey.client.credentials import ClientSecret, UserCredential
from valetkey.client.sync import Client
from valetkey.server.app import App, build
from valetkey.server.listen import Listener
from valetkey.server.settings import Settings

GITHUB = "https://api.github.com"
SLACK = "https://slack.com/api"
BACKEND = "acme-corp/backend"
PAYROLL = "acme-corp/payroll"


@dataclass(frozen=True, slots=True)
class DemoAgent:
    """An agent and its own client."""

    name: str
    client: Client

    def token(self, task_token: str, target: str, *, seconds: int | None = None) -> str:
        """Mint a delegated credential. Raises what the server refuses with."""
        return str(self.client.tokens.create(task_token, target=target, seconds=seconds)["token"])


@dataclass(slots=True)
class Stage:
    """Everything the story needs."""

    app: App
    url: str
    port: int
    github: PracticeGitHub
    alice: Client
    real_credential: str
    browser: DemoBrowser
    """Alice's; signed in only where she connects by consent."""
    agents: dict[str, DemoAgent] = field(default_factory=dict)

    def register(self, name: str) -> DemoAgent:
        """Alice registers an agent; it gets a secret of its own."""
        made = self.alice.agents.create(name)
        self.agents[name] = DemoAgent(name, Client(self.url, credential=ClientSecret(name, made["secret"])))
        return self.agents[name]

    def call(self, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One call through the gateway, as any HTTP client would make it."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=20)
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        sent = None
        if body is not None:
            sent = json.dumps(body)
            headers["content-type"] = "application/json"
        try:
            connection.request(method, f"/p/github{path}", sent, headers)
            response = connection.getresponse()
            received = response.read()
        finally:
            connection.close()
        return response.status, json.loads(received)

    def wait_for_checkpoint(self, seconds: float = 5.0) -> None:
        """Checkpoints are written within a second; wait until one covers everything."""
        until = time.monotonic() + seconds
        while self.app.journal.since_checkpoint and time.monotonic() < until:
            time.sleep(0.05)


@contextlib.asynccontextmanager
async def staged(folder: Path, *, in_a_browser: bool = False) -> AsyncIterator[Stage]:
    """Start both servers; Alice signs in with the one-time code the server prints at its first start.

    She does so at the command line, or `in_a_browser`, by which she then signs in her command line.
    """
    real_credential = "ghp_" + secrets.token_hex(18)
    github = PracticeGitHub(base_url="http://127.0.0.1")
    github.add_user("alice", token=real_credential)
    for name, issues in ((BACKEND, 12), (PAYROLL, 3)):
        github.add_repository(name, readers={"alice"}, writers={"alice"}, issues=issues)
    async with listening(github) as github.base_url:
        port = _free_port()
        settings = Settings(
            port=port,
            data=folder / "data",
            upstreams={"github": github.base_url},
            unsafe_loopback_upstreams=(github.base_url.removeprefix("http://"),),
            resource_cache_seconds=0,  # every name is looked up afresh, so that the rename shows at once
        )
        app = build(settings)
        await app.start()
        try:
            async with Listener(app.asgi, host="127.0.0.1", port=port):
                url = f"http://localhost:{port}"
                browser = DemoBrowser()
                if in_a_browser:
                    alice = await asyncio.to_thread(_sign_in_by_browser, url, app, browser)
                else:
                    alice = await asyncio.to_thread(_sign_in, url, app)
                stage = Stage(
                    app=app,
                    url=url,
                    port=port,
                    github=github,
                    alice=alice,
                    real_credential=real_credential,
                    browser=browser,
                )
                try:
                    yield stage
                finally:
                    for client in (alice, *(agent.client for agent in stage.agents.values())):
                        client.close()
        finally:
            await app.close()


def _sign_in(url: str, app: App) -> Client:
    assert app.bootstrap is not None  # a new deployment has one
    with Client(url) as nobody:
        login = nobody.log_in(app.bootstrap.reveal(), email="alice@acme.com", organization="acme")
    return Client(url, credential=UserCredential(login["credential"]))


def _sign_in_by_browser(url: str, app: App, browser: DemoBrowser) -> Client:
    """The two steps of `valetkey login`, in a browser that a one-time code has signed in."""
    assert app.bootstrap is not None  # a new deployment has one
    browser.open(f"{url}/login")
    browser.press("Sign in with the code", code=app.bootstrap.reveal(), email="alice@acme.com")
    with Client(url) as nobody, BrowserLogin(nobody.issuer(), name="the demo") as asked:
        browser.open(asked.url)
        browser.press("Allow")
        answer = asked.wait(20)
        login = nobody.redeem_login(answer.code, verifier=asked.verifier, redirect_uri=asked.redirect_uri)
    return Client(url, credential=UserCredential(login["credential"]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
