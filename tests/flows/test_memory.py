"""What a task remembers: recorded with each decision, kept for later tasks, judged again in the commit."""

import asyncio

import pytest

from tests.support.house import House
from valetkey.server.db import group

PATH = "/repos/acme-corp/backend/issues"


async def test_the_record_says_what_the_task_had_done_before(house: House) -> None:
    _, _, _, token = await house.ready()
    for _ in range(2):
        assert (await house.gateway(token, "GET", PATH)).status == 200
        await house.app.calls.settle()
    first, second = await house.events("call.allowed")
    assert "history" not in first
    size = (await house.events("call.finished"))[0]["bytes"]
    task = second["history"]["task"]
    assert (task["calls"], task["bytes"], task["labels"]) == (1, size, ["private"])
    assert task["resources"] == {second["resource_id"]: {"calls": 1, "bytes": size}}
    assert second["history"]["agent"] == second["history"]["agent_for_user"] == task


async def test_a_new_task_sheds_nothing_for_an_hour(house: House) -> None:
    agent, delegation, _, token = await house.ready(seconds=20_000)
    assert (await house.gateway(token, "GET", PATH)).status == 200
    for passed, remembered in ((3_599, True), (1_000, False)):
        house.clock.advance(passed)
        await house.alice.sign_in()
        fresh = await agent.token((await house.task(delegation))["task_token"])
        assert (await house.gateway(fresh, "GET", "/repos/acme-corp/backend")).status == 200
        history = (await house.events("call.allowed"))[-1].get("history", {})
        assert "task" not in history
        if remembered:
            assert history["agent"]["labels"] == ["private"]
        else:
            assert history["agent"]["calls"] == 1  # the one in between; the first is forgotten


ONCE = """
[[rule]]
id = "reads"
effect = "allow"
integration = "github"
actions = ["read"]

[[rule]]
id = "once"
effect = "deny"
when = { counts = { calls = 1, within = "task" } }
"""


async def test_a_call_decided_on_an_older_history_is_decided_again(house: House) -> None:
    """One call a task, by a rule. Fifty at once are all judged before any is recorded."""
    *_, token = await house.ready()
    await house.alice.does("POST", "/v1/policies", text=ONCE, after=0)
    replies = await asyncio.gather(*(house.gateway(token, "GET", PATH) for _ in range(50)))
    assert sorted(r.status for r in replies) == [200] + [403] * 49
    assert house.github.received("GET", PATH) == 1
    assert {r.json()["reason"] for r in replies if r.status == 403} == {"denied_by_policy"}


async def test_without_the_rule_all_of_them_go_through(house: House) -> None:
    *_, token = await house.ready()
    await house.alice.does("POST", "/v1/policies", text=ONCE.replace("calls = 1,", "calls = 51,"), after=0)
    replies = await asyncio.gather(*(house.gateway(token, "GET", PATH) for _ in range(50)))
    assert [r.status for r in replies] == [200] * 50


@pytest.mark.parametrize(("most", "status"), [(1, 403), (1_000_000, 200)])
async def test_an_outcome_written_with_the_next_decision_is_seen_by_it(
    house: House, monkeypatch: pytest.MonkeyPatch, most: int, status: int
) -> None:
    """What the first call read is recorded in the very commit of the second one, and counts for it."""
    monkeypatch.setattr(group, "PATIENCE_SECONDS", 3_600)  # outcomes wait for a decision, however long
    *_, token = await house.ready()
    text = ONCE.replace("calls = 1,", f"bytes = {most},")
    await house.alice.does("POST", "/v1/policies", text=text, after=0)
    assert (await house.gateway(token, "GET", PATH)).status == 200
    reply = await house.gateway(token, "GET", PATH)
    assert reply.status == status
    assert house.github.received("GET", PATH) == (1 if status == 403 else 2)
    decided = (await house.events("call.allowed", "call.denied"))[-1]
    if status == 403:
        assert (decided["event"], decided["reason"]) == ("call.denied", "denied_by_policy")
    else:
        size = (await house.events("call.finished"))[0]["bytes"]
        assert decided["history"]["task"]["bytes"] == size > 1


async def test_what_no_longer_counts_is_removed(house: House) -> None:
    _, _, _, token = await house.ready()
    assert (await house.gateway(token, "GET", PATH)).status == 200
    await house.app.calls.settle()
    assert await house.app.memories.sweep() == 0
    house.clock.advance(100_000)
    assert await house.app.memories.sweep() == 6
