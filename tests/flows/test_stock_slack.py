"""Slack's own SDKs through the gateway, at a stand-in nobody here wrote: one channel is theirs, the others are not."""

import asyncio
import contextlib
import http.client
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support import slack_clients
from tests.support.emulate import serving
from tests.support.house import House, open_house
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(slack_clients.missing() is not None, reason=slack_clients.missing() or "")

ALICE = "xoxp-alice-practice-0123456789"
CANARY = "xoxp-mallory-practice-0123456789"
SEED: Any = {
    "slack": {
        "team": {"name": "Acme", "domain": "acme"},
        "users": [
            {"name": "mallory-canary", "real_name": "Nobody At All", "email": "mallory@example.com"},
            {"name": "alice", "real_name": "Alice", "email": "alice@acme.com"},
        ],
        "channels": [{"name": "engineering", "topic": "work"}, {"name": "random", "topic": "tea"}],
        "strict_scopes": True,
        "tokens": [
            {"token": CANARY, "user": "mallory-canary", "scopes": []},
            {
                "token": ALICE,
                "user": "alice",
                "scopes": ["chat:write", "channels:read", "groups:read", "channels:history", "users:read"],
            },
        ],
    }
}


@pytest.fixture
async def slack(tmp_path: Path) -> AsyncIterator[tuple[House, int]]:
    """A deployment whose Alice is connected to the stand-in, and the stand-in's port."""
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, serving("slack", SEED, port))
        house = await stack.enter_async_context(
            open_house(
                tmp_path / "data",
                upstreams={"slack": f"http://127.0.0.1:{port}/api"},
                local=(f"127.0.0.1:{port}",),
            )
        )
        connected = await house.alice.does("POST", "/v1/connections", integration="slack", credential=ALICE)
        assert connected["account"].startswith("alice")
        yield house, port


async def credential(house: House, grant: str) -> str:
    agent = await house.agent("poster", ceiling=[grant.partition("@")[0] + "@*"])
    task = await house.task(await house.delegate(agent, grant))
    return await agent.token(task["task_token"], resource="https://slack.com/api")


def asked(port: int, path: str, **arguments: str) -> Any:
    """Ask the stand-in directly, as Alice, past everything of ours."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        headers = {"Authorization": f"Bearer {ALICE}", "Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", f"/api/{path}", urlencode(arguments), headers)
        return json.loads(connection.getresponse().read())


def messages(port: int) -> dict[str, list[str]]:
    """What stands in each channel now."""
    return {
        channel["name"]: [m["text"] for m in asked(port, "conversations.history", channel=channel["id"])["messages"]]
        for channel in asked(port, "conversations.list")["channels"]
    }


@pytest.mark.parametrize("story", [slack_clients.python_story, slack_clients.node_story])
async def test_slacks_own_sdks_post_where_they_may_and_are_told_where_not(slack: tuple[House, int], story: Any) -> None:
    house, port = slack
    ids = {channel["name"]: channel["id"] for channel in asked(port, "conversations.list")["channels"]}
    token = await credential(house, "slack:chat:write@#engineering")
    steps = await asyncio.to_thread(story, f"{house.base}/p/slack/", token)
    assert steps["post"] == {"ok": True, "value": ids["engineering"]}
    for refused in ("elsewhere", "everybody", "members", "search"):
        assert not steps[refused]["ok"]
        assert re.search(r"""status['"]: ?403""", steps[refused]["text"]), steps[refused]
        assert "This was never delegated." in steps[refused]["text"]
    assert "#random is not among the delegated resources." in steps["elsewhere"]["text"]
    assert "chat/broadcast is a write; delegated: chat:write." in steps["everybody"]["text"]
    found = messages(port)
    assert [len(found[name]) for name in ("engineering", "random")] == [1, 0]
    assert ALICE not in json.dumps(steps)


@pytest.mark.parametrize("story", [slack_clients.python_story, slack_clients.node_story])
async def test_the_same_sdks_with_the_whole_account_are_not_held_back(slack: tuple[House, int], story: Any) -> None:
    house, port = slack
    token = await credential(house, "slack:chat:write,channels:read,chat:broadcast@*")
    steps = await asyncio.to_thread(story, f"{house.base}/p/slack/", token)
    assert {name for name, step in steps.items() if not step["ok"]} == {"search"}
    assert steps["members"]["value"] >= 2
    found = messages(port)
    assert [len(found[name]) for name in ("engineering", "random")] == [2, 1]
