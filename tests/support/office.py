"""Alice at three APIs at once: a public and a private repository, a Slack workspace, a Linear team; all of it recorded.

What is read there can hold somebody else's words; what arrives is looked at as bytes, past everything of ours.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.house import GITHUB, House, Robot, open_house
from tests.support.linear import KEY, LIN, LINEAR
from tests.support.linear import Linear as Teams
from tests.support.slack import CREDENTIAL, Workspace
from tests.support.upstream import Upstream

SLACK = "https://slack.com/api"
AUDIENCES = {"github": GITHUB, "slack": SLACK, "linear": LINEAR}
CANARY = "SALARY-4711-CANARY"
"""What only Alice's private repository holds."""
PUBLIC, PRIVATE = "/repos/acme-corp/backend", "/repos/acme-corp/payroll"


@dataclass
class Channels(Workspace):
    """Channels that say who can read them, and what was said in them."""

    shared: set[str] = field(default_factory=set)  # with another company
    closed: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)

    def _channel(self, id_: str) -> dict[str, Any]:
        seen_by = {"is_private": id_ in self.closed, "is_ext_shared": id_ in self.shared}
        return super()._channel(id_) | seen_by

    def _document(self, path: str, said: dict[str, Any]) -> dict[str, Any]:
        if path == "/conversations.history":
            return {"ok": True, "messages": [{"text": text, "ts": "1700000000.000100"} for text in self.messages]}
        return super()._document(path, said)


@dataclass
class Tickets(Teams):
    """One ticket of the team, and what stands in it."""

    description: str = ""

    def _said(self, asked: Any) -> Any:
        if "description" in asked["query"]:
            return {"data": {"issue": {"title": "Ticket", "description": self.description}}}
        return super()._said(asked)


@dataclass
class Office:
    """The house and what stands behind it."""

    house: House
    slack: Channels
    linear: Tickets

    async def begun(self, name: str, *grants: str, **more: Any) -> "Desk":
        """An agent with one task, and a credential for each API that is in it."""
        agent = await self.house.agent(name, ceiling=[f"{grant.partition('@')[0]}@*" for grant in grants])
        task = await self.house.task(await self.house.delegate(agent, *grants, **more))
        apis = dict.fromkeys(grant.partition(":")[0] for grant in grants)
        tokens = {api: await agent.token(task["task_token"], resource=AUDIENCES[api]) for api in apis}
        return Desk(self, agent, task, tokens)

    def arrived(self) -> list[str]:
        """Every request with the canary in it, in target or body, wherever it arrived."""
        github = [(seen.target.encode(), seen.body, f"github {seen.method}") for seen in self.house.github.requests]
        others = [(seen.target, seen.body, "slack") for seen in self.slack.up.seen]
        others += [(seen.target, seen.body, "linear") for seen in self.linear.up.seen]
        return [name for target, body, name in github + others if CANARY.encode() in target + body]

    def forget(self) -> None:
        """Begin to record anew."""
        self.house.github.requests.clear()
        self.slack.up.seen.clear()
        self.linear.up.seen.clear()


@dataclass
class Desk:
    """Where one agent works."""

    office: Office
    agent: Robot
    task: Any
    tokens: dict[str, str]

    async def call(self, api: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One call; the status as it is meant, for Slack says 200 to refusals."""
        headers = {"authorization": f"Bearer {self.tokens[api]}", "accept": "application/problem+json"}
        answer = await self.office.house.call(method, f"/p/{api}{path}", headers=headers, json=body)
        return answer.status, answer.json() if answer.body else None


@contextlib.asynccontextmanager
async def open_office(folder: Path, database_url: str | None) -> AsyncIterator[Office]:
    """Open it, with Alice connected everywhere and nothing said yet."""
    async with contextlib.AsyncExitStack() as stack:
        slack = await stack.enter_async_context(Upstream())
        linear = await stack.enter_async_context(Upstream())
        house = await stack.enter_async_context(
            open_house(
                folder,
                database_url=database_url,
                upstreams={"slack": slack.url, "linear": linear.url},
                local=(f"{slack.host}:{slack.port}", f"{linear.host}:{linear.port}"),
            )
        )
        tickets = Tickets(house, linear, None, "", {"LIN": LIN}, {"LIN-123": "LIN"})  # type: ignore[arg-type]
        linear.answers("POST", "/graphql", script=tickets.answer)
        channels = Channels(slack)
        house.github.repository("acme-corp/backend").is_public = True
        house.github.repository("acme-corp/payroll").issues[0]["body"] = CANARY
        await house.connect()
        for api, credential in (("slack", CREDENTIAL), ("linear", KEY)):
            await house.alice.does("POST", "/v1/connections", integration=api, credential=credential)
        yield Office(house, channels, tickets)
