"""What would be decided of a call that nobody made: what the gateway says, with nothing sent and nothing recorded."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.house import House, open_house

WRITE = "github:repo:write@acme-corp/backend"
ISSUES = "/repos/acme-corp/backend/issues"
DECISIONS = ("call.allowed", "call.denied", "call.held", "approval.asked")
ASKS = """
[[rule]]
id = "reads"
effect = "allow"
actions = ["read"]

[[rule]]
id = "writes"
effect = "ask"
actions = ["write"]
why = "Writing is looked at."
"""
DELETES = ASKS.replace('effect = "ask"', 'effect = "deny"')


async def foreseen(house: House, task: Any, method: str = "GET", path: str = ISSUES, **more: Any) -> Any:
    return await house.alice.does(
        "POST", "/v1/decisions/foresee", task=task["id"], integration="github", method=method, path=path, **more
    )


async def test_it_says_what_the_gateway_says(house: House) -> None:
    _, _, task, token = await house.ready(WRITE)
    for rules, method, path, decision, status in (
        ("", "GET", ISSUES, "allow", 200),
        ("", "POST", ISSUES, "allow", 201),
        ("", "GET", "/repos/acme-corp/payroll/issues", "deny", 403),
        (ASKS, "POST", ISSUES, "ask", 403),
        (DELETES, "POST", ISSUES, "deny", 403),
        (DELETES, "GET", ISSUES, "allow", 200),
    ):
        if rules and method == "POST":
            version = len((await house.alice.does("GET", "/v1/policies"))["data"])
            await house.alice.does("POST", "/v1/policies", text=rules, after=version)
        body = {"json": {"title": "hello"}} if method == "POST" else {}
        before, events = house.github.received(method, path), len(await house.events(*DECISIONS))
        told = await foreseen(house, task, method, path)
        assert (told["decision"], house.github.received(method, path)) == (decision, before), told
        assert len(await house.events(*DECISIONS)) == events
        real = await house.gateway(token, method, path, **body)
        assert real.status == status
        assert told["reason"] in ("", real.json().get("reason") if status == 403 else "")
        assert told["rules"] == ([] if not rules else ["reads" if method == "GET" else "writes"])


async def test_it_names_what_the_call_does_and_the_rule_in_words(house: House) -> None:
    _, _, task, _ = await house.ready(WRITE)
    await house.alice.does("POST", "/v1/policies", text=ASKS, after=0)
    told = await foreseen(house, task, "POST")
    assert told["calls"] == ["issues/create on acme-corp/backend"]
    assert "Writing is looked at." in told["words"]
    assert told["connection"].startswith("con_")


async def test_nobody_foresees_the_calls_of_another(house: House) -> None:
    agent, _, task, _ = await house.ready()
    bob = await house.person("bob@acme.com")
    asked = {"task": task["id"], "integration": "github", "method": "GET", "path": ISSUES}
    assert (await bob.call("POST", "/v1/decisions/foresee", **asked)).status == 404
    assert (await agent.call("POST", "/v1/decisions/foresee", **asked)).status == 403
    assert (await house.alice.call("POST", "/v1/decisions/foresee", **asked)).status == 200
    assert len([r for r in house.github.requests if r.target.startswith(ISSUES)]) == 0


async def test_what_no_gateway_would_read_is_refused(house: House) -> None:
    _, _, task, _ = await house.ready()
    base = {"task": task["id"], "integration": "github", "method": "GET", "path": ISSUES}
    for changed, status in (
        ({"path": "/repos/acme-corp/../payroll"}, 400),
        ({"path": "repos"}, 400),
        ({"method": "get"}, 400),
        ({"integration": "nothing"}, 404),
        ({"task": "tsk_nothing"}, 404),
        ({"content_type": "text/plain\r\nx: y"}, 400),
        ({}, 200),
    ):
        asked = {**base, **changed}
        assert (await house.alice.call("POST", "/v1/decisions/foresee", **asked)).status == status, changed


@pytest.mark.parametrize(("places", "status"), [(1, 429), (2, 200)])
async def test_it_takes_a_place_among_the_calls_under_way(
    tmp_path: Path, database_url: str | None, places: int, status: int
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url, gateway_calls_per_person=places) as house:
        _, _, task, _ = await house.ready()
        streams = house.app.streams
        with streams.entered() as stream:
            streams.belongs(stream, api="github", person=house.alice.id)
            asked = {"task": task["id"], "integration": "github", "method": "GET", "path": ISSUES}
            told = await house.alice.call("POST", "/v1/decisions/foresee", **asked)
            assert told.status == status, told.body
        assert len(streams) == 0
        assert (await foreseen(house, task))["decision"] == "allow"


async def test_after_the_end_of_its_task_it_would_be_denied(house: House) -> None:
    _, _, task, _ = await house.ready()
    await house.alice.does("POST", "/v1/revocations", node=task["id"])
    told = await foreseen(house, task)
    assert (told["decision"], told["reason"]) == ("deny", "revoked")
