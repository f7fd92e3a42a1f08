"""Sub-agents: only those the user named, only narrower, never longer, never deeper, and dead when a parent is."""

from itertools import pairwise
from typing import Any

from tests.support.house import House, Robot
from tests.support.tokens import unverified_claims

READ = "github:repo:read@acme-corp/backend"
ISSUES = "github:issues:read@acme-corp/backend"


async def chain(house: House, *names: str, **more: Any) -> tuple[list[Robot], Any, list[Any]]:
    """A task for the first agent and a child for each that follows; the user named all of them."""
    await house.connect()
    return await follow_on(house, *names, **more)


async def follow_on(house: House, *names: str, **more: Any) -> tuple[list[Robot], Any, list[Any]]:
    """The same over the connection that is already there."""
    agents = [await house.agent(name) for name in names]
    delegation = await house.delegate(agents[0], share_with=list(names[1:]), **more)
    tasks = [await house.task(delegation)]
    for parent, sub in pairwise(agents):
        child = await parent.call("POST", f"/v1/tasks/{tasks[-1]['id']}/children", agent=sub.name, grants=[READ])
        assert child.status == 201, child.body
        tasks.append(child.json())
    return agents, delegation, tasks


async def test_a_child_works_inside_what_it_was_given_and_nowhere_else(house: House) -> None:
    (lead, helper), _, (root, _) = await chain(house, "lead", "helper")
    narrow = (await lead.call("POST", f"/v1/tasks/{root['id']}/children", agent="helper", grants=[ISSUES])).json()
    assert narrow["sentence"].startswith(
        "agent:helper, for agent:lead, on behalf of user:alice@acme.com, may issues:read"
    )
    token = await helper.token(narrow["task_token"])
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend/issues")).status == 200
    outside = await house.gateway(token, "GET", "/repos/acme-corp/backend/contents/README.md")
    assert (outside.status, outside.code) == (403, "denied")
    assert (await house.gateway(token, "GET", "/repos/acme-corp/payroll/issues")).status == 403


async def test_the_chain_is_nested_outward_from_who_acts_now_to_the_user(house: House) -> None:
    """TX-9, TX-10, TX-11: `act` says who, nothing else; the acting agent is on top."""
    agents, _, tasks = await chain(house, "lead", "helper", "scout")
    claims = unverified_claims(await agents[2].token(tasks[2]["task_token"]))
    assert claims["sub"] == "agent:scout"
    assert claims["client_id"] == claims["uid"] == agents[2].id
    assert claims["act"] == {
        "sub": "agent:helper",
        "uid": agents[1].id,
        "act": {
            "sub": "agent:lead",
            "uid": agents[0].id,
            "act": {"sub": "user:alice@acme.com", "uid": house.alice.id},
        },
    }


async def test_nobody_the_user_did_not_name_receives_a_part(house: House) -> None:
    lead, stranger = await house.agent("lead"), await house.agent("stranger")
    await house.agent("helper")
    await house.connect()
    task = await house.task(await house.delegate(lead, share_with=["helper"]))
    path = f"/v1/tasks/{task['id']}/children"
    for name in ("stranger", "lead"):
        refused = await lead.call("POST", path, agent=name, grants=[READ])
        assert (refused.status, refused.json()["reason"]) == (403, "not_shared")
    assert (await lead.call("POST", path, agent="helper", grants=[READ])).status == 201
    by_stranger = await stranger.call("POST", path, agent="helper", grants=[READ])
    assert by_stranger.status == 404


async def test_an_agent_the_user_named_for_itself_still_does_not_follow_itself(house: House) -> None:
    """TX-9: the same actor twice in a row is refused."""
    lead = await house.agent("lead")
    await house.connect()
    task = await house.task(await house.delegate(lead, share_with=["lead"]))
    refused = await lead.call("POST", f"/v1/tasks/{task['id']}/children", agent="lead", grants=[READ])
    assert (refused.status, refused.json()["reason"]) == (403, "not_shared")


async def test_a_child_asks_for_more_than_its_parent_in_vain(house: House) -> None:
    """TX-12: scope, resource and lifetime, each by itself."""
    (lead, helper), _, (root, child) = await chain(house, "lead", "helper", seconds=1000)
    path = f"/v1/tasks/{root['id']}/children"
    for wish in (
        "github:repo:write@acme-corp/backend",
        "github:repo:read@acme-corp/payroll",
        "github:repo:read@acme-corp/*",
        "github:repo:read@*",
        "github:repo:read,account:read@*",
    ):
        refused = await lead.call("POST", path, agent="helper", grants=[wish])
        assert refused.status == 403, wish
    assert (await lead.call("POST", path, agent="helper", grants=[])).status == 403
    for seconds in (0, -1, 10**6):
        assert (await lead.call("POST", path, agent="helper", grants=[READ], seconds=seconds)).status == 400
    longer = (await lead.call("POST", path, agent="helper", grants=[READ], seconds=8 * 3600)).json()
    assert longer["expires_at"] == root["expires_at"]
    # The child cannot go back up: neither by the grandparent's task nor by its own.
    up = await helper.call("POST", path, agent="lead", grants=[READ])
    assert up.status == 404
    wider = await helper.exchange(child["task_token"], scope="repo:write")
    assert wider.json()["error"] == "invalid_scope"


async def test_the_chain_is_only_so_deep(house: House) -> None:
    agents, _, tasks = await chain(house, "a1", "a2", "a3", "a4")
    assert tasks[-1]["depth"] == house.settings.max_depth == 3
    deeper = await agents[3].call("POST", f"/v1/tasks/{tasks[3]['id']}/children", agent="a2", grants=[READ])
    assert (deeper.status, deeper.json()["reason"]) == (403, "too_deep")


async def test_the_ceiling_is_the_intersection_over_the_chain(house: House) -> None:
    lead = await house.agent("lead")
    await house.agent("low", ceiling=["github:issues:read@acme-corp/backend"])
    await house.connect()
    task = await house.task(await house.delegate(lead, share_with=["low"]))
    path = f"/v1/tasks/{task['id']}/children"
    refused = await lead.call("POST", path, agent="low", grants=[READ])
    assert (refused.status, refused.json()["reason"]) == (403, "above_ceiling")
    assert (await lead.call("POST", path, agent="low", grants=[ISSUES])).status == 201


async def test_lowering_the_ceiling_of_an_earlier_agent_stops_the_childs_next_call(house: House) -> None:
    """OA-09, OA-17: whatever was true at issue is asked again at every call."""
    (lead, helper), _, (_, child) = await chain(house, "lead", "helper")
    token = await helper.token(child["task_token"])
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend/issues")).status == 200
    await house.alice.does("PUT", f"/v1/agents/{lead.id}/ceiling", ceiling=["github:org:read@*"])
    refused = await house.gateway(token, "GET", "/repos/acme-corp/backend/issues")
    assert (refused.status, refused.json()["reason"]) == (403, "above_ceiling")
    again = await helper.exchange(child["task_token"])
    assert again.json()["error"] == "invalid_scope"


async def test_rev_06_revoking_any_parent_kills_the_childs_token(house: House) -> None:
    await house.connect()
    for which in ("root", "middle", "delegation", "lead", "helper"):
        names = [f"{name}-{which}" for name in ("lead", "helper", "scout")]
        agents, delegation, tasks = await follow_on(house, *names)
        token = await agents[2].token(tasks[2]["task_token"])
        assert (await house.gateway(token, "GET", "/repos/acme-corp/backend/issues")).status == 200
        node = {
            "root": tasks[0]["id"],
            "middle": tasks[1]["id"],
            "delegation": delegation["id"],
            "lead": agents[0].id,
            "helper": agents[1].id,
        }[which]
        await house.alice.does("POST", "/v1/revocations", node=node)
        refused = await house.gateway(token, "GET", "/repos/acme-corp/backend/issues")
        assert (refused.status, refused.code) == (403, "revoked"), which
        assert (await agents[2].exchange(tasks[2]["task_token"])).status == 400, which


async def test_revoking_a_child_leaves_its_parent_alone(house: House) -> None:
    (lead, helper), _, (root, child) = await chain(house, "lead", "helper")
    above, below = await lead.token(root["task_token"]), await helper.token(child["task_token"])
    await lead.call("POST", "/v1/revocations", node=child["id"])
    assert (await house.gateway(below, "GET", "/repos/acme-corp/backend/issues")).code == "revoked"
    assert (await house.gateway(above, "GET", "/repos/acme-corp/backend/issues")).status == 200


async def test_a_child_may_not_end_its_parent(house: House) -> None:
    (lead, helper), _, (root, _) = await chain(house, "lead", "helper")
    refused = await helper.call("POST", "/v1/revocations", node=root["id"])
    assert refused.status == 404
    assert (await lead.exchange(root["task_token"])).status == 200
    assert (await lead.call("POST", "/v1/revocations", node=root["id"])).status == 201


async def test_rev_06_the_childs_token_ends_with_the_first_of_its_parents(house: House) -> None:
    agents, _, tasks = await chain(house, "lead", "helper", seconds=100)
    house.clock.advance(40)
    claims = unverified_claims(await agents[1].token(tasks[1]["task_token"], requested_expires_in=900))
    assert claims["exp"] == tasks[0]["expires_at"]
    token = await agents[1].token(tasks[1]["task_token"])
    house.clock.advance(60)
    late = await house.gateway(token, "GET", "/repos/acme-corp/backend/issues")
    assert (late.status, late.code) == (401, "expired")


async def test_a_token_narrowed_to_reading_itself_makes_no_children(house: House) -> None:
    (lead, _), _, (root, _) = await chain(house, "lead", "helper")
    form = {"grant_type": "client_credentials", "scope": "self:read"}
    lead.bearer = (await house.call("POST", "/oauth/token", headers=lead.basic, form=form)).json()["access_token"]
    refused = await lead.call("POST", f"/v1/tasks/{root['id']}/children", agent="helper", grants=[READ])
    assert (refused.status, refused.json()["reason"]) == (403, "scope")
    minting = {"task_token": root["task_token"], "target": "https://api.github.com"}
    assert (await lead.call("POST", "/v1/tokens", **minting)).json()["reason"] == "scope"
