"""The stock clients' stories hold directly against the stand-in, so what differs behind a gateway is the gateway."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import node
from tests.support.curl_story import curl_story
from tests.support.emulate import CANARY_TOKEN, ISSUES, Emulate, emulate
from tests.support.pygithub_story import pygithub_story
from valetkey.cli.practice_github import PracticeGitHub
from valetkey.cli.practice_server import listening

pytestmark = pytest.mark.skipif(node.missing() is not None, reason=node.missing() or "")


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Emulate]:
    with emulate() as running:
        yield running


def octokit_story(stand_in: Emulate, token: str) -> dict[str, Any]:
    done = node.run("octokit_story.mjs", env={"GITHUB_API_URL": stand_in.url, "GITHUB_TOKEN": token})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_octokit_walks_to_the_second_page_and_completes_a_pull_request(stand_in):
    story = octokit_story(stand_in, stand_in.token)
    steps = story["steps"]
    assert {name for name, step in steps.items() if not step["ok"]} == {"stranger"}
    assert steps["first_page"]["value"]["count"] == 30
    assert steps["all_pages"]["value"]["count"] >= ISSUES
    assert steps["pull_by_its_url"]["value"]["number"] == stand_in.pull_number
    assert story["origins"] == [stand_in.url]


def test_octokit_reads_nothing_as_the_canary(stand_in):
    story = octokit_story(stand_in, CANARY_TOKEN)
    assert {step["status"] for step in story["steps"].values()} == {403}


def test_pygithub_walks_to_the_second_page_and_completes_lazy_objects(stand_in):
    story = pygithub_story(stand_in.url, stand_in.token)
    assert {name for name, step in story.items() if not step["ok"]} == {"stranger"}
    assert len(story["all_pages"]["value"]) >= ISSUES
    assert story["completed_repository"]["value"] == "main"


def test_pygithub_reads_nothing_as_the_canary(stand_in):
    story = pygithub_story(stand_in.url, CANARY_TOKEN)
    assert {(step["ok"], step.get("status")) for step in story.values()} == {(False, 403)}
    assert story["repository"]["message"] == "Forbidden"


def test_curl_follows_the_next_page(stand_in):
    story = curl_story(stand_in.url, stand_in.token)
    # The stand-in does not know Basic and takes it for its first user, the canary: that is what the canary is for.
    refused = {"by_basic_password", "stranger", "no_token"}
    assert {name for name, step in story.items() if not step["ok"]} == refused
    assert len(story["first_page"]["value"]) == 30
    assert len(story["second_page"]["value"]) >= ISSUES - 30


def test_curl_reads_nothing_as_the_canary(stand_in):
    story = curl_story(stand_in.url, CANARY_TOKEN)
    assert not any(step["ok"] for step in story.values())


def test_a_token_the_stand_in_does_not_know_is_the_powerless_canary(stand_in):
    status, user = stand_in.ask("GET", "/user", token="never-issued")
    assert (status, user["login"]) == (200, "mallory-canary")
    assert stand_in.ask("GET", "/repos/acme-corp/backend", token="never-issued")[0] == 403
    assert stand_in.ask("GET", "/repos/acme-corp/backend")[0] == 200


async def test_stock_clients_take_the_practice_github_for_github():
    practice = PracticeGitHub()
    practice.add_user("alice", token="ghp_alice")
    practice.add_repository("acme-corp/backend", writers={"alice"}, issues=ISSUES)
    practice.add_repository("acme-corp/payroll", writers={"somebody-else"})
    async with listening(practice) as practice.base_url:
        env = {"GITHUB_API_URL": practice.base_url, "GITHUB_TOKEN": "ghp_alice"}
        octokit = json.loads((await asyncio.to_thread(node.run, "octokit_story.mjs", env=env)).stdout)
        pygithub = await asyncio.to_thread(pygithub_story, practice.base_url, "ghp_alice")
    for steps in (octokit["steps"], pygithub):
        refused = {name: step["status"] for name, step in steps.items() if not step["ok"]}
        assert refused == {"other_repository": 404, "stranger": 401}
    assert octokit["steps"]["all_pages"]["value"]["count"] == ISSUES
    assert pygithub["completed_pull"]["value"] == 3
    number = practice.repository("acme-corp/backend").id
    assert practice.received("GET", f"/repositories/{number}/issues") == 2  # each client's second page
