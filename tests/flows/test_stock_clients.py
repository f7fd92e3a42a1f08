"""Octokit, PyGithub and curl, which nobody here wrote, through the gateway to a GitHub nobody here wrote.

The stand-in is case-sensitive and spells its `Link` addresses after the request's `Host`: what comes back through the
gateway shows that it was sent the API's own host and that its answers were led back.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import node
from tests.support.curl_story import curl_story
from tests.support.emulate import ALICE_TOKEN, ISSUES, Emulate, emulate
from tests.support.house import House, open_house
from tests.support.pygithub_story import pygithub_story

pytestmark = pytest.mark.skipif(node.missing() is not None, reason=node.missing() or "")

READ = "github:repo:read@acme-corp/backend"
WRITE = "github:repo:read,issues:write@acme-corp/backend"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Emulate]:
    with emulate() as running:
        yield running


@pytest.fixture
async def hired(tmp_path: Path, stand_in: Emulate, database_url: str | None) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data", database_url=database_url, upstream=stand_in.url) as house:
        await house.connect(credential=ALICE_TOKEN)
        yield house


async def credential(house: House, grant: str) -> str:
    agent = await house.agent(f"agent-{'writer' if 'write' in grant else 'reader'}")
    task = await house.task(await house.delegate(agent, grant))
    return await agent.token(task["task_token"])


def refused(steps: dict[str, Any]) -> dict[str, int]:
    return {name: step["status"] for name, step in steps.items() if not step["ok"]}


async def octokit(house: House, token: str) -> Any:
    env = {"GITHUB_API_URL": f"{house.settings.gateway}/p/github", "GITHUB_TOKEN": token}
    done = await asyncio.to_thread(node.run, "octokit_story.mjs", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_octokit_reads_what_was_delegated_and_understands_each_refusal(hired: House, stand_in: Emulate) -> None:
    story = await octokit(hired, await credential(hired, READ))
    steps = story["steps"]
    assert refused(steps) == {"write": 403, "other_repository": 403, "stranger": 401}
    assert steps["first_page"]["value"]["count"] == 30
    assert steps["all_pages"]["value"]["count"] >= ISSUES
    assert steps["pull_by_its_url"]["value"]["number"] == stand_in.pull_number
    home = f"{hired.settings.gateway}/p/github"
    assert story["origins"] == [home]
    assert steps["repository"]["value"]["url"].startswith(f"{home}/repos/")
    assert f"<{home}/" in steps["first_page"]["value"]["link"]
    assert stand_in.url not in json.dumps(story)
    for name in ("write", "other_repository", "stranger"):
        step = steps[name]
        assert step["type"].startswith("application/json")
        assert step["body"]["code"] in ("denied", "not_authenticated")
        assert step["body"]["detail"] in step["error"], "the client shows the sentence, not raw text"


async def test_octokit_writes_where_writing_was_delegated(hired: House) -> None:
    steps = (await octokit(hired, await credential(hired, WRITE)))["steps"]
    assert refused(steps) == {"other_repository": 403, "stranger": 401}


async def test_pygithub_walks_pages_and_completes_lazy_objects_inside_the_gateway(hired: House) -> None:
    token = await credential(hired, READ)
    story = await asyncio.to_thread(pygithub_story, f"{hired.settings.gateway}/p/github", token)
    assert refused(story) == {"write": 403, "other_repository": 403, "stranger": 401}
    assert len(story["all_pages"]["value"]) >= ISSUES
    assert story["completed_repository"]["value"] == "main"
    assert story["lazy_issue"]["ok"]
    assert story["completed_pull"]["ok"]
    assert "acme-corp/payroll" in story["other_repository"]["message"]


async def test_pygithub_writes_where_writing_was_delegated(hired: House) -> None:
    token = await credential(hired, WRITE)
    story = await asyncio.to_thread(pygithub_story, f"{hired.settings.gateway}/p/github", token)
    assert refused(story) == {"other_repository": 403, "stranger": 401}


async def test_curl_puts_the_token_in_each_place_and_follows_the_next_page(hired: House) -> None:
    token = await credential(hired, READ)
    story = await asyncio.to_thread(curl_story, f"{hired.settings.gateway}/p/github", token)
    assert refused(story) == {"write": 403, "other_repository": 403, "stranger": 401, "no_token": 401}
    assert len(story["first_page"]["value"]) == 30
    assert len(story["second_page"]["value"]) >= ISSUES - 30
    assert story["by_basic_password"]["value"]["full_name"] == "acme-corp/backend"
    assert story["other_repository"]["type"].startswith("application/problem+json")


async def test_a_revoked_task_is_refused_to_each_client(hired: House) -> None:
    agent = await hired.agent("revoked-agent")
    task = await hired.task(await hired.delegate(agent, READ))
    token = await agent.token(task["task_token"])
    await hired.alice.does("POST", "/v1/revocations", node=task["id"])
    base = f"{hired.settings.gateway}/p/github"
    steps = (await octokit(hired, token))["steps"]
    lazy = await asyncio.to_thread(pygithub_story, base, token)
    shell = await asyncio.to_thread(curl_story, base, token)
    for story in (steps, lazy, shell):
        assert not [name for name, step in story.items() if step["ok"]]
    assert steps["repository"]["body"]["code"] == shell["repository"]["value"]["code"] == "revoked"
