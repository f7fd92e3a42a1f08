"""Opening a task: an attended delegation needs its user there, a standing one has a cap, nobody else sees either."""

import asyncio
from pathlib import Path
from typing import Any

from tests.support import tables
from tests.support.house import House, Robot, open_house
from tests.support.nodes import second_node
from tests.support.postgres import Postgres
from tests.support.tokens import unverified_claims

READ = "github:repo:read@acme-corp/backend"


async def story(house: House, **more: Any) -> tuple[Any, Any]:
    """An agent and Alice's delegation to it."""
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    return agent, await house.delegate(agent, **more)


async def test_an_attended_delegation_opens_a_task_by_its_users_own_credential(house: House) -> None:
    agent, delegation = await story(house)
    task = await house.task(delegation)
    assert task["agent"] == agent.name
    claims = unverified_claims(task["task_token"])
    assert claims["aud"] == house.settings.issuer
    assert claims["uid"] == agent.id
    assert "authorization_details" not in claims
    (opened,) = await house.events("task.opened")
    assert (opened["task"], opened["evidence"]) == (task["id"], "credential")


async def test_an_agent_alone_opens_no_attended_task_but_does_with_evidence_once(house: House) -> None:
    agent, delegation = await story(house)
    alone = await agent.call("POST", "/v1/tasks", delegation=delegation["id"])
    assert (alone.status, alone.code) == (403, "consent_required")
    given = await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence")
    body = {"delegation": delegation["id"], "evidence": given["evidence"]}
    assert (await agent.call("POST", "/v1/tasks", **body)).status == 201
    again = await agent.call("POST", "/v1/tasks", **body)
    assert (again.status, again.code) == (403, "consent_required")


async def test_evidence_is_spent_by_exactly_one_of_many_at_once(house: House) -> None:
    agent, delegation = await story(house)
    given = await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence")
    await agent.sign_in()
    body = {"delegation": delegation["id"], "evidence": given["evidence"]}
    replies = await asyncio.gather(*(agent.call("POST", "/v1/tasks", **body) for _ in range(12)))
    assert sorted(r.status for r in replies) == [201] + [403] * 11


async def test_oa_25_evidence_is_worth_nothing_after_ten_minutes(house: House) -> None:
    agent, delegation = await story(house, seconds=3600)
    first, second = [
        (await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence"))["evidence"] for _ in range(2)
    ]
    house.clock.advance(599)
    assert (await agent.call("POST", "/v1/tasks", delegation=delegation["id"], evidence=first)).status == 201
    house.clock.advance(1)
    late = await agent.call("POST", "/v1/tasks", delegation=delegation["id"], evidence=second)
    assert (late.status, late.code) == (403, "consent_required")


async def test_evidence_is_for_its_own_delegation_and_is_not_lost_by_a_wrong_try(house: House) -> None:
    agent, delegation = await story(house)
    other = await house.delegate(agent)
    given = (await house.alice.does("POST", f"/v1/delegations/{other['id']}/evidence"))["evidence"]
    wrong = await agent.call("POST", "/v1/tasks", delegation=delegation["id"], evidence=given)
    assert (wrong.status, wrong.code) == (403, "consent_required")
    assert (await agent.call("POST", "/v1/tasks", delegation=other["id"], evidence=given)).status == 201


async def test_oa_16_no_other_handle_or_token_is_evidence(house: House) -> None:
    agent, delegation = await story(house)
    task = await house.task(delegation)
    for handle in (
        agent.secret,
        house.alice.credential,
        house.alice.bearer,
        task["task_token"],
        "vkev_" + "0" * 49,
        "",
    ):
        refused = await agent.call("POST", "/v1/tasks", delegation=delegation["id"], evidence=handle)
        assert (refused.status, refused.code) == (403, "consent_required"), handle


async def test_evidence_is_given_by_the_delegations_user_alone(house: House) -> None:
    agent, delegation = await story(house)
    path = f"/v1/delegations/{delegation['id']}/evidence"
    bob = await house.person("bob@acme.com")
    carol = await house.person("carol@acme.com", role="administrator")
    assert (await house.alice.call("POST", path)).status == 201
    assert (await bob.call("POST", path)).status == 404
    assert (await carol.call("POST", path)).status == 403
    assert (await agent.call("POST", path)).status == 403


async def test_a_standing_delegation_opens_so_many_tasks_a_day_and_no_more(house: House) -> None:
    agent, delegation = await story(house, mode="standing", tasks_per_day=3, seconds=7 * 86_400)
    for _ in range(3):
        assert (await agent.call("POST", "/v1/tasks", delegation=delegation["id"])).status == 201
    over = await agent.call("POST", "/v1/tasks", delegation=delegation["id"])
    assert (over.status, over.code) == (429, "too_many")
    assert int(over.header("retry-after") or 0) > 0
    # Alice herself is not counted, and a day later there is room again.
    assert (await house.alice.call("POST", "/v1/tasks", delegation=delegation["id"])).status == 201
    house.clock.advance(86_400 + 1)
    await agent.sign_in()
    assert (await agent.call("POST", "/v1/tasks", delegation=delegation["id"])).status == 201


async def test_the_cap_holds_when_everybody_comes_at_once(house: House) -> None:
    agent, delegation = await story(house, mode="standing", tasks_per_day=4, seconds=86_400)
    await agent.sign_in()
    replies = await asyncio.gather(*(agent.call("POST", "/v1/tasks", delegation=delegation["id"]) for _ in range(12)))
    assert sorted(r.status for r in replies) == [201] * 4 + [429] * 8


async def test_the_cap_holds_over_two_nodes(tmp_path: Path, postgres: Postgres) -> None:
    url = tables.postgresql(postgres)
    async with open_house(tmp_path / "a", database_url=url) as house, second_node(house, tmp_path / "b") as other:
        agent, delegation = await story(house, mode="standing", tasks_per_day=4, seconds=86_400)
        await agent.sign_in()
        twin = Robot(other, agent.id, agent.name, agent.secret, agent.bearer)
        replies = await asyncio.gather(
            *((agent, twin)[n % 2].call("POST", "/v1/tasks", delegation=delegation["id"]) for n in range(16))
        )
        assert sorted(r.status for r in replies) == [201] * 4 + [429] * 12
    postgres.discard(url)


async def test_a_task_is_bound_to_its_agent_and_for_anyone_else_it_does_not_exist(house: House) -> None:
    """REV-03: the answer is the one for what was never there."""
    agent, delegation = await story(house)
    other = await house.agent("other")
    bob = await house.person("bob@acme.com")
    task = await house.task(delegation)
    missing = delegation["id"][:-4] + "0000"
    for somebody in (other, bob):
        real = await somebody.call("POST", "/v1/tasks", delegation=delegation["id"])
        none = await somebody.call("POST", "/v1/tasks", delegation=missing)
        assert real.status == none.status == 404
        assert real.json() | {"request_id": ""} == none.json() | {"request_id": ""}
    stolen = await other.exchange(task["task_token"])
    garbage = await other.exchange("not.a.token")
    assert (stolen.status, stolen.json()) == (garbage.status, garbage.json())
    assert stolen.json()["error"] == "invalid_request"
    assert (await agent.exchange(task["task_token"])).status == 200


async def test_a_task_is_narrower_than_its_delegation_or_it_is_not_opened(house: House) -> None:
    agent, delegation = await story(house, seconds=3600)
    narrow = await house.task(delegation, grants=["github:issues:read@acme-corp/backend"], seconds=60)
    assert narrow["grants"][0].endswith(":issues:read@acme-corp/backend")
    token = await agent.token(narrow["task_token"])
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend/issues")).status == 200
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend/contents/README.md")).status == 403
    for wish in ("github:repo:write@acme-corp/backend", "github:repo:read@acme-corp/payroll", "github:repo:read@*"):
        refused = await house.alice.call("POST", "/v1/tasks", delegation=delegation["id"], grants=[wish])
        assert (refused.status, refused.json()["reason"]) == (403, "not_delegated")


async def test_rev_06_a_task_never_outlives_its_delegation(house: House) -> None:
    _, delegation = await story(house, seconds=100)
    task = await house.task(delegation, seconds=3600)
    assert task["expires_at"] == delegation["expires_at"]


UNCLEAR: list[dict[str, Any]] = [
    {"seconds": 0},
    {"seconds": -1},
    {"seconds": 8 * 3600 + 1},
    {"purpose": "a\x1b[2Jb"},
    {"purpose": "x" * 501},
]


async def test_a_task_that_is_not_a_clear_wish_is_refused(house: House) -> None:
    _, delegation = await story(house)
    for changed in UNCLEAR:
        refused = await house.alice.call("POST", "/v1/tasks", delegation=delegation["id"], **changed)
        assert (refused.status, refused.code) == (400, "invalid_request"), changed
    assert (await house.alice.call("POST", "/v1/tasks", delegation=delegation["id"])).status == 201
