"""A whole deployment for a test: server on a real socket, a practice GitHub behind it, and the people in the story.

Everything goes over HTTP, as a stranger would do it. The clock stands still until a test moves it.
"""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import tables
from tests.support.conformance import held_to_its_word
from tests.support.http import Reply, call
from tests.support.ports import free_port
from tests.support.tab import Tab
from valetkey.cli.practice_github import PracticeGitHub
from valetkey.server.app import App, build
from valetkey.server.clock import DrivenClock
from valetkey.server.listen import Listener
from valetkey.server.principals import store as principals
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
USER_CREDENTIAL = "urn:valetkey:params:oauth:grant-type:user-credential"
JWT = "urn:ietf:params:oauth:token-type:jwt"
GITHUB = "https://api.github.com"
REAL = "ghp_realCanary0123456789abcdefghijklmnop"
"""The real credential behind Alice's connection: it must never be seen on our side of the wire."""


@dataclass
class Person:
    """A user signed in by the command line's credential."""

    house: "House"
    id: str
    email: str
    credential: str
    bearer: str = ""

    async def sign_in(self) -> "Person":
        """Get a token for /v1."""
        reply = await self.house.call(
            "POST", "/oauth/token", form={"grant_type": USER_CREDENTIAL, "credential": self.credential}
        )
        self.bearer = reply.json()["access_token"]
        return self

    async def call(self, method: str, path: str, /, **body: Any) -> Reply:
        """A call to /v1 as this person; keyword arguments are the JSON body."""
        sent = body or ({} if method == "POST" else None)
        return await self.house.call(method, path, headers={"authorization": f"Bearer {self.bearer}"}, json=sent)

    async def does(self, method: str, path: str, /, **body: Any) -> Any:
        """The same, which must succeed; returns the JSON."""
        reply = await self.call(method, path, **body)
        assert reply.status in (200, 201), reply.body
        return reply.json()


@dataclass
class Robot:
    """An agent with its own secret."""

    house: "House"
    id: str
    name: str
    secret: str
    bearer: str = ""

    @property
    def basic(self) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(f"{self.id}:{self.secret}".encode()).decode()}

    async def sign_in(self) -> "Robot":
        """Get a token for /v1."""
        reply = await self.house.call(
            "POST", "/oauth/token", headers=self.basic, form={"grant_type": "client_credentials"}
        )
        self.bearer = reply.json()["access_token"]
        return self

    async def call(self, method: str, path: str, /, **body: Any) -> Reply:
        """A call to /v1 as this agent."""
        if not self.bearer:
            await self.sign_in()
        sent = body or ({} if method == "POST" else None)
        return await self.house.call(method, path, headers={"authorization": f"Bearer {self.bearer}"}, json=sent)

    async def exchange(self, task_token: str, resource: str = GITHUB, **more: Any) -> Reply:
        """Token exchange at /oauth/token."""
        form = {
            "grant_type": EXCHANGE,
            "subject_token": task_token,
            "subject_token_type": JWT,
            "resource": resource,
            **more,
        }
        return await self.house.call("POST", "/oauth/token", headers=self.basic, form=form)

    async def token(self, task_token: str, **more: Any) -> str:
        """A delegated credential; the exchange must succeed."""
        reply = await self.exchange(task_token, **more)
        assert reply.status == 200, reply.body
        return str(reply.json()["access_token"])


@dataclass
class House:
    """The deployment and its people. `github` is the practice upstream with acme-corp/backend and acme-corp/payroll."""

    app: App
    base: str
    github: PracticeGitHub
    clock: DrivenClock
    settings: Settings
    alice: Person = field(init=False)

    async def call(self, method: str, target: str, **more: Any) -> Reply:
        """One request to the public port. What /v1 answers is held to what it declares, in every story."""
        reply = await call(self.base, method, target, **more)
        if self.app is not None:  # it may run in another process
            held_to_its_word(self.app, method, target, reply)
        return reply

    async def gateway(self, token: str, method: str, path: str, **more: Any) -> Reply:
        """One call through the gateway to the practice GitHub."""
        headers = [("authorization", f"Bearer {token}"), *more.pop("headers", [])]
        return await self.call(method, f"/p/github{path}", headers=headers, **more)

    def tab(self) -> Tab:
        """A fresh browser."""
        return Tab(self.base, self.settings.origin)

    async def signed_in(self, email: str = "alice@acme.com") -> Tab:
        """A browser already signed in as somebody, as if by passkey."""
        db = self.app.database
        async with db.read() as connection:
            user = next(u for u in await principals.everyone(connection) if u.email == email)
        _, handle = await self.app.services.sessions.begin(user, ("hwk", "user"), browser="Tab/1", address="127.0.0.1")
        tab = self.tab()
        tab.cookies["__Host-valetkey"] = handle.reveal()
        return tab

    async def person(self, email: str, role: str = "member") -> Person:
        """Invite somebody, who logs in."""
        invited = await self.alice.does("POST", "/v1/users", email=email, role=role)
        reply = await self.call("POST", "/v1/login", json={"code": invited["code"]})
        return await Person(self, invited["id"], email, reply.json()["credential"]).sign_in()

    async def agent(self, name: str, owner: Person | None = None, **more: Any) -> Robot:
        """Register an agent."""
        made = await (owner or self.alice).does("POST", "/v1/agents", name=name, **more)
        return Robot(self, made["id"], name, made["secret"])

    async def connect(self, owner: Person | None = None, **more: Any) -> Any:
        """Connect the practice GitHub by its real credential."""
        credential = more.pop("credential", REAL)
        return await (owner or self.alice).does(
            "POST", "/v1/connections", integration="github", credential=credential, **more
        )

    async def delegate(self, agent: Robot, *grants: str, owner: Person | None = None, **more: Any) -> Any:
        """Record a delegation."""
        grants = grants or ("github:repo:read@acme-corp/backend",)
        body = {"agent": agent.name, "grants": list(grants), "purpose": "review the pull request", **more}
        return await (owner or self.alice).does("POST", "/v1/delegations", **body)

    async def task(self, delegation: Any, owner: Person | None = None, **more: Any) -> Any:
        """Open a task."""
        return await (owner or self.alice).does("POST", "/v1/tasks", delegation=delegation["id"], **more)

    async def ready(self, *grants: str, **more: Any) -> tuple[Robot, Any, Any, str]:
        """The usual beginning: agent, connection, delegation, task, and a delegated credential."""
        agent = await self.agent("pr-reviewer-v2")
        await self.connect()
        delegation = await self.delegate(agent, *grants, **more)
        task = await self.task(delegation)
        return agent, delegation, task, await agent.token(task["task_token"])

    async def events(self, *names: str) -> list[Any]:
        """The audit records of these events, oldest first."""
        found = await self.alice.does("GET", "/v1/audit?limit=500")
        return [r for r in reversed(found["data"]) if not names or r["event"] in names]


@contextlib.asynccontextmanager
async def open_house(
    folder: Path,
    *,
    database_url: str | None = None,
    clock: DrivenClock | None = None,
    upstream: str | None = None,
    sign_in: bool = True,
    local: tuple[str, ...] = (),
    upstreams: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[House]:
    """Start a deployment with Alice as its first administrator. `upstream` replaces the practice GitHub's address.

    `local` are further `host:port` inside this machine that the server may ask, `upstreams` where other APIs are.
    """
    clock = clock or DrivenClock()
    # The clock stands still, so an empty bucket would stay empty: these limits are for the tests about them.
    settings.setdefault("oauth_failures_per_minute", 0)
    github = practice()
    async with Listener(github, host="127.0.0.1", port=0) as behind:
        github.base_url = f"http://127.0.0.1:{behind.port}"
        port = free_port()
        base_url = upstream or github.base_url
        chosen = Settings(
            port=port,
            data=folder,
            database_url=None if database_url is None else Secret(database_url),
            upstreams={"github": base_url, **(upstreams or {})},
            unsafe_loopback_upstreams=(base_url.removeprefix("http://"), *local),
            **settings,
        )
        if database_url is None:
            await asyncio.to_thread(tables.sqlite, folder)
        app = build(chosen, clock)
        await app.start()
        try:
            async with Listener(app.asgi, host="127.0.0.1", port=port):
                house = House(app, f"http://127.0.0.1:{port}", github, clock, chosen)
                if sign_in and app.bootstrap is not None:
                    house.alice = await first_administrator(house, app.bootstrap.reveal())
                yield house
        finally:
            await app.close()


async def first_administrator(house: House, code: str) -> Person:
    """Alice spends the bootstrap code."""
    reply = await house.call(
        "POST", "/v1/login", json={"code": code, "email": "alice@acme.com", "organization": "acme"}
    )
    made = reply.json()
    return await Person(house, made["user"]["id"], "alice@acme.com", made["credential"]).sign_in()


def practice() -> PracticeGitHub:
    """The upstream of the stories."""
    github = PracticeGitHub(base_url="http://127.0.0.1:1")
    github.add_user("alice", token=REAL)
    github.add_user("bob", token="ghp_bobsCredential0123456789abcdefghijkl")
    github.add_repository("acme-corp/backend", readers={"alice", "bob"}, writers={"alice"}, issues=40)
    github.add_repository("acme-corp/payroll", readers={"alice"}, writers={"alice"}, issues=3)
    return github
