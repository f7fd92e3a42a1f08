"""Budgets of a line besides calls: writes, bytes, and each for every resource by itself."""

import asyncio
from pathlib import Path

from tests.support import tables
from tests.support.house import House, open_house
from tests.support.nodes import second_node
from tests.support.postgres import Postgres

PATH = "/repos/acme-corp/backend/issues"
WRITE = "github:issues:write@acme-corp/backend"
ISSUE = {"title": "hello"}


async def test_writes_are_counted_and_reads_are_not(house: House) -> None:
    _, _, task, token = await house.ready(WRITE, max_writes=2)
    assert task["sentence"].count("(at most 2 writes)") == 1
    for _ in range(2):
        assert (await house.gateway(token, "POST", PATH, json=ISSUE)).status == 201
    over = await house.gateway(token, "POST", PATH, json=ISSUE)
    assert (over.status, over.code, over.json()["reason"]) == (429, "too_many", "out_of_writes")
    assert over.header("retry-after") is None  # no waiting mends it
    assert house.github.received("POST", PATH) == 2
    assert (await house.gateway(token, "GET", PATH)).status == 200


async def test_of_fifty_writes_at_once_on_the_last_one_exactly_one_passes(house: House) -> None:
    _, _, _, token = await house.ready(WRITE, max_writes=1)
    replies = await asyncio.gather(*(house.gateway(token, "POST", PATH, json=ISSUE) for _ in range(50)))
    assert sorted(r.status for r in replies) == [201] + [429] * 49
    assert house.github.received("POST", PATH) == 1


async def test_the_last_write_is_one_over_two_nodes(tmp_path: Path, postgres: Postgres) -> None:
    url = tables.postgresql(postgres)
    async with open_house(tmp_path / "a", database_url=url) as house, second_node(house, tmp_path / "b") as other:
        _, _, _, token = await house.ready(WRITE, max_writes=1)
        replies = await asyncio.gather(
            *((house, other)[n % 2].gateway(token, "POST", PATH, json=ISSUE) for n in range(50))
        )
        assert sorted(r.status for r in replies) == [201] + [429] * 49
        assert house.github.received("POST", PATH) == 1
    postgres.discard(url)


async def test_each_resource_has_its_own_share(house: House) -> None:
    both = "github:repo:read@acme-corp/backend,acme-corp/payroll"
    _, _, task, token = await house.ready(both, max_calls_per_resource=1)
    assert "(at most 1 call on each resource)" in task["sentence"]
    other = PATH.replace("backend", "payroll")
    assert [(await house.gateway(token, "GET", path)).status for path in (PATH, PATH, other, other)] == [
        *(200, 429),
        *(200, 429),
    ]


async def test_bytes_are_spent_and_the_next_call_is_refused(house: House) -> None:
    agent, _, _, token = await house.ready()
    size = len((await house.gateway(token, "GET", PATH)).body)
    task = await house.task(await house.delegate(agent, max_bytes=size))
    token = await agent.token(task["task_token"])
    assert (await house.gateway(token, "GET", PATH)).status == 200
    await house.app.calls.settle()
    over = await house.gateway(token, "GET", PATH)
    assert (over.status, over.json()["reason"], over.header("retry-after")) == (429, "out_of_bytes", None)
    assert (await house.events("call.finished"))[-1]["bytes"] == size


async def test_an_answer_is_cut_when_it_passes_what_is_left(house: House) -> None:
    _, _, _, token = await house.ready(max_bytes=10)
    assert (await house.gateway(token, "GET", PATH)).body[10:] == b""
    assert house.github.received("GET", PATH) == 1
    await house.app.calls.settle()
    [finished] = await house.events("call.finished")
    assert (finished["ended"] in ("over_budget", "too_many"), finished["bytes"] <= 10) == (True, True)


async def test_a_request_longer_than_what_is_left_does_not_leave(house: House) -> None:
    _, _, _, token = await house.ready(WRITE, max_bytes=10)
    reply = await house.gateway(token, "POST", PATH, json={"title": "a long one, longer than ten bytes"})
    assert (reply.status, reply.json()["reason"]) == (429, "out_of_bytes")
    assert house.github.received("POST", PATH) == 0


async def test_of_two_calls_at_once_on_bytes_the_other_waits(house: House) -> None:
    _, _, _, token = await house.ready(max_bytes=10_000_000)
    replies = await asyncio.gather(*(house.gateway(token, "GET", PATH) for _ in range(10)))
    waiting = [r for r in replies if r.status == 429]
    assert {r.status for r in replies} <= {200, 429}
    assert all(r.header("retry-after") == "1" for r in waiting)
    await house.app.calls.settle()
    assert (await house.gateway(token, "GET", PATH)).status == 200


async def test_a_child_spends_the_writes_of_the_root(house: House) -> None:
    lead, helper = await house.agent("lead"), await house.agent("helper")
    await house.connect()
    task = await house.task(await house.delegate(lead, WRITE, share_with=["helper"], max_writes=1))
    path = f"/v1/tasks/{task['id']}/children"
    child = (await lead.call("POST", path, agent="helper", grants=[WRITE])).json()
    token, below = await lead.token(task["task_token"]), await helper.token(child["task_token"])
    assert (await house.gateway(below, "POST", PATH, json=ISSUE)).status == 201
    assert (await house.gateway(token, "POST", PATH, json=ISSUE)).status == 429
