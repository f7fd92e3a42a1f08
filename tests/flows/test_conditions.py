"""Conditions of a grant: so many calls and not one more, whoever makes them; and an end of its own."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support import tables
from tests.support.house import House, open_house
from tests.support.nodes import second_node
from tests.support.postgres import Postgres

PATH = "/repos/acme-corp/backend/issues"
READ = "github:repo:read@acme-corp/backend"


async def test_the_calls_are_counted_and_the_next_one_is_refused(house: House) -> None:
    agent, _, task, token = await house.ready(max_calls=3)
    assert task["sentence"].count("(at most 3 calls)") == 1
    for _ in range(3):
        assert (await house.gateway(token, "GET", PATH)).status == 200
    over = await house.gateway(token, "GET", PATH)
    assert (over.status, over.code, over.json()["reason"]) == (429, "too_many", "out_of_calls")
    assert house.github.received("GET", PATH) == 3
    # A new credential is not a new allowance.
    assert (await house.gateway(await agent.token(task["task_token"]), "GET", PATH)).status == 429


async def test_of_fifty_calls_at_once_on_a_limit_of_ten_exactly_ten_pass(house: House) -> None:
    agent, _, task, _ = await house.ready(max_calls=10)
    tokens = [await agent.token(task["task_token"]) for _ in range(5)]
    replies = await asyncio.gather(*(house.gateway(tokens[n % 5], "GET", PATH) for n in range(50)))
    assert sorted(r.status for r in replies) == [200] * 10 + [429] * 40
    assert house.github.received("GET", PATH) == 10
    assert len(await house.events("call.allowed")) == 10


async def test_the_limit_holds_over_two_nodes(tmp_path: Path, postgres: Postgres) -> None:
    url = tables.postgresql(postgres)
    async with open_house(tmp_path / "a", database_url=url) as house, second_node(house, tmp_path / "b") as other:
        _, _, _, token = await house.ready(max_calls=10)
        replies = await asyncio.gather(*((house, other)[n % 2].gateway(token, "GET", PATH) for n in range(50)))
        assert sorted(r.status for r in replies) == [200] * 10 + [429] * 40
        assert house.github.received("GET", PATH) == 10
    postgres.discard(url)


async def test_a_call_that_is_denied_is_not_counted(house: House) -> None:
    _, _, _, token = await house.ready(max_calls=1)
    for path in ("/repos/acme-corp/payroll/issues", "/user/repos", "/nonsense"):
        assert (await house.gateway(token, "GET", path)).status == 403
    assert (await house.gateway(token, "GET", PATH)).status == 200
    assert (await house.gateway(token, "GET", PATH)).status == 429


async def test_children_count_on_the_root(house: House) -> None:
    """Delegating onwards does not multiply."""
    lead, helper = await house.agent("lead"), await house.agent("helper")
    await house.connect()
    task = await house.task(await house.delegate(lead, share_with=["helper"], max_calls=4))
    path = f"/v1/tasks/{task['id']}/children"
    children = [(await lead.call("POST", path, agent="helper", grants=[READ])).json() for _ in range(3)]
    tokens = [await lead.token(task["task_token"]), *[await helper.token(c["task_token"]) for c in children]]
    replies = await asyncio.gather(*(house.gateway(tokens[n % 4], "GET", PATH) for n in range(16)))
    assert sorted(r.status for r in replies) == [200] * 4 + [429] * 12


async def test_a_limited_line_split_in_two_is_still_one_limit(house: House) -> None:
    """A task that asks for one line as two, or the same line twice, has one allowance."""
    agent, delegation, _, _ = await house.ready(max_calls=2)
    split = ["github:issues:read@acme-corp/backend", "github:pulls:read@acme-corp/backend", READ]
    task = await house.task(delegation, grants=split)
    token = await agent.token(task["task_token"])
    assert (await house.gateway(token, "GET", PATH)).status == 200
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend/pulls")).status == 200
    for path in (PATH, "/repos/acme-corp/backend/pulls", "/repos/acme-corp/backend"):
        assert (await house.gateway(token, "GET", path)).status == 429, path


async def test_every_task_of_a_delegation_has_the_allowance_that_was_agreed_to(house: House) -> None:
    agent, delegation, _, token = await house.ready(max_calls=1)
    assert (await house.gateway(token, "GET", PATH)).status == 200
    assert (await house.gateway(token, "GET", PATH)).status == 429
    fresh = await agent.token((await house.task(delegation))["task_token"])
    assert (await house.gateway(fresh, "GET", PATH)).status == 200


async def test_oa_25_a_grant_ends_at_its_own_time_though_the_delegation_goes_on(house: House) -> None:
    ends = int(house.clock.now()) + 60
    agent, _, task, token = await house.ready(seconds=3600, not_after=ends)
    assert f"not after {_utc(ends)}" in task["sentence"]
    reply = (await agent.exchange(task["task_token"])).json()
    assert reply["expires_in"] == 60  # no credential promises more than its grant
    house.clock.advance(59)
    assert (await house.gateway(token, "GET", PATH)).status == 200
    house.clock.advance(1)
    late = await house.gateway(token, "GET", PATH)
    assert (late.status, late.code) == (401, "expired")
    assert (await agent.exchange(task["task_token"])).status == 400


async def test_conditions_cannot_be_asked_away(house: House) -> None:
    agent, delegation, task, _ = await house.ready(max_calls=1)
    for more in ({"max_calls": 100}, {"not_after": None}):
        refused = await house.alice.call("POST", "/v1/tasks", delegation=delegation["id"], **more)
        assert refused.status == 400
    one: Any = await agent.token(task["task_token"], scope="issues:read")
    assert (await house.gateway(one, "GET", PATH)).status == 200
    assert (await house.gateway(one, "GET", PATH)).status == 429


def _utc(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
