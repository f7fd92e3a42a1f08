"""The two stories of the product, at stand-ins nobody here wrote: several APIs, one task, the rest is denied.

What became of it is read at the APIs, past everything of ours.
"""

import asyncio
import contextlib
import http.client
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import node
from tests.support.emulate import ALICE_TOKEN, Emulate, emulate, serving
from tests.support.house import GITHUB, House, open_house
from tests.support.linear import LINEAR
from tests.support.linear_seed import SEED, TOKEN
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(node.missing() is not None, reason=node.missing() or "")

SLACK = "https://slack.com/api"
AT_SLACK = "xoxp-alice-practice-0123456789"
_SLACK: dict[str, Any] = {
    "slack": {
        "team": {"name": "Acme", "domain": "acme"},
        "users": [
            {"name": "mallory-canary", "real_name": "Nobody At All", "email": "mallory@example.com"},
            {"name": "alice", "real_name": "Alice", "email": "alice@acme.com"},
        ],
        "channels": [{"name": name, "topic": "work"} for name in ("engineering", "code-review", "random")],
        "strict_scopes": True,
        "tokens": [
            {"token": "xoxp-mallory-practice-0123456789", "user": "mallory-canary", "scopes": []},
            {
                "token": AT_SLACK,
                "user": "alice",
                "scopes": ["chat:write", "channels:read", "groups:read", "channels:history", "users:read"],
            },
        ],
    }
}
_MOVE = "mutation($id: String!, $to: String!) { issueUpdate(id: $id, input: {stateId: $to}) { success } }"


@dataclass
class Work:
    """Alice's accounts at three APIs, and an agent that has one task."""

    house: House
    github: Emulate
    slack: str
    linear: str
    tokens: dict[str, str]
    task: Any

    async def call(self, api: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """What the agent does, with its credential for that API."""
        headers = {"authorization": f"Bearer {self.tokens[api]}"}
        answer = await self.house.call(method, f"/p/{api}{path}", headers=headers, json=body)
        said = answer.json()
        # Slack says 200 to its failures, and so do we there; the real status is beside it.
        return (said["status"] if api == "slack" and not said["ok"] else answer.status), said

    def posted(self) -> dict[str, list[str]]:
        """What stands in each channel, as Slack has it."""
        channels = _asked(self.slack, "/api/conversations.list", AT_SLACK, {"limit": 100})["channels"]
        found = {}
        for channel in channels:
            asked = {"channel": channel["id"]}
            history = _asked(self.slack, "/api/conversations.history", AT_SLACK, asked)
            found[channel["name"]] = [message["text"] for message in history["messages"]]
        return found

    def at_linear(self, query: str) -> Any:
        """What Linear has."""
        return _asked(self.linear, "/graphql", TOKEN, {"query": query})["data"]


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[tuple[House, Emulate, str, str]]:
    """A deployment, and Alice connected at GitHub, Slack and Linear."""
    async with contextlib.AsyncExitStack() as stack:
        github = await asyncio.to_thread(stack.enter_context, emulate())
        slack = await asyncio.to_thread(stack.enter_context, serving("slack", _SLACK, free_port()))
        linear = await asyncio.to_thread(stack.enter_context, serving("linear", SEED, free_port()))
        places = {"github": github.url, "slack": f"{slack}/api", "linear": linear}
        local = tuple(url.removeprefix("http://") for url in (github.url, slack, linear))
        house = await stack.enter_async_context(
            open_house(tmp_path / "data", upstream=github.url, upstreams=places, local=local)
        )
        for api, credential in (("github", ALICE_TOKEN), ("slack", AT_SLACK), ("linear", TOKEN)):
            await house.alice.does("POST", "/v1/connections", integration=api, credential=credential)
        yield house, github, slack, linear


async def begun(accounts: tuple[House, Emulate, str, str], *grants: str) -> Work:
    """One delegation, one task, and a credential for each API that is in it."""
    house, github, slack, linear = accounts
    agent = await house.agent("worker", ceiling=[f"{grant.partition('@')[0]}@*" for grant in grants])
    task = await house.task(await house.delegate(agent, *grants))
    audiences = {"github": GITHUB, "slack": SLACK, "linear": LINEAR}
    apis = {grant.partition(":")[0] for grant in grants}
    tokens = {api: await agent.token(task["task_token"], resource=audiences[api]) for api in apis}
    return Work(house, github, slack, linear, tokens, task)


async def test_open_issues_are_summarised_in_the_one_channel(accounts: tuple[House, Emulate, str, str]) -> None:
    work = await begun(accounts, "github:repo:read@acme-corp/backend", "slack:chat:write@#engineering")
    status, issues = await work.call("github", "GET", "/repos/acme-corp/backend/issues?state=open&per_page=100")
    assert status == 200
    assert len(issues) >= 35
    assert (await work.call("github", "GET", "/repos/acme-corp/payroll/issues"))[0] == 403
    summary = {"text": f"{len(issues)} issues are open."}
    assert (await work.call("slack", "POST", "/chat.postMessage", {"channel": "#engineering", **summary}))[0] == 200
    status, refused = await work.call("slack", "POST", "/chat.postMessage", {"channel": "#random", **summary})
    assert (status, refused["reason"]) == (403, "not_delegated")
    posted = work.posted()
    assert (posted["engineering"], posted["random"]) == ([summary["text"]], [])


async def test_a_review_is_told_to_its_channel_and_its_ticket_moves(accounts: tuple[House, Emulate, str, str]) -> None:
    work = await begun(
        accounts,
        "github:repo:read,pulls:write@acme-corp/backend",
        "slack:chat:write@#code-review",
        "linear:issues:write@LIN",
    )
    pull = f"/repos/acme-corp/backend/pulls/{work.github.pull_number}"
    status, review = await work.call("github", "POST", f"{pull}/reviews", {"event": "COMMENT", "body": "Looks good."})
    assert (status, review["state"], review["user"]["login"]) == (201, "COMMENTED", "alice")
    elsewhere = pull.replace("backend", "payroll")
    assert (await work.call("github", "POST", f"{elsewhere}/reviews", {"event": "COMMENT", "body": "x"}))[0] == 403

    said = {"text": f"Reviewed #{work.github.pull_number}."}
    assert (await work.call("slack", "POST", "/chat.postMessage", {"channel": "#code-review", **said}))[0] == 200
    assert (await work.call("slack", "POST", "/chat.postMessage", {"channel": "#engineering", **said}))[0] == 403

    states = work.at_linear("{ workflowStates(first: 50) { nodes { id name team { key } } } }")["workflowStates"][
        "nodes"
    ]
    review_of = {state["team"]["key"]: state["id"] for state in states if state["name"] == "In Review"}
    for issue, team, expected in (("LIN-123", "LIN", 200), ("OPS-1", "OPS", 403)):
        asked = {"query": _MOVE, "variables": {"id": issue, "to": review_of[team]}}
        assert (await work.call("linear", "POST", "/graphql", asked))[0] == expected
    found = {name: work.at_linear(f'{{ issue(id: "{name}") {{ state {{ name }} }} }}') for name in ("LIN-123", "OPS-1")}
    assert [found[name]["issue"]["state"]["name"] for name in found] == ["In Review", "Todo"]
    assert {name: len(texts) for name, texts in work.posted().items() if texts} == {"code-review": 1}

    await work.house.alice.does("POST", "/v1/revocations", node=work.task["id"])
    assert (await work.call("slack", "POST", "/chat.postMessage", {"channel": "#code-review", **said}))[0] == 403
    assert (await work.call("linear", "POST", "/graphql", asked | {"query": _MOVE}))[0] == 403
    assert (await work.call("github", "GET", "/repos/acme-corp/backend"))[0] == 403
    allowed = await work.house.events("call.allowed")
    assert {record["task"] for record in allowed} == {work.task["id"]}
    assert {record["integration"] for record in allowed} == {"github", "slack", "linear"}


def _asked(base: str, path: str, token: str, body: Any) -> Any:
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        return json.loads(connection.getresponse().read())
