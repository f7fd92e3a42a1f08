"""Revoking: any node of the tree, by whom it belongs to, with a report; the very next call is refused.

OA-17, REV-01 (same node), REV-03, REV-06. That two nodes agree is in tests/faults/test_fence.py.
"""

from typing import Any

from tests.support.house import USER_CREDENTIAL, House
from tests.support.tokens import unverified_claims

PATH = "/repos/acme-corp/backend"
READ = "github:repo:read@acme-corp/backend"


async def test_each_kind_of_node_stops_what_is_under_it_at_once(house: House) -> None:
    """Token, task, delegation, connection, agent, user: the call before is answered, the call after is refused."""
    bob = await house.person("bob@acme.com")
    for kind in ("token", "task", "delegation", "connection", "agent", "user"):
        owner = bob if kind == "user" else house.alice
        agent = await house.agent(f"agent-{kind}")
        link = await house.connect(owner, name=f"link-{kind}")
        grant = f"github/link-{kind}:repo:read@acme-corp/backend"
        delegation = await house.delegate(agent, grant, owner=owner)
        task = await house.task(delegation, owner=owner)
        token = await agent.token(task["task_token"])
        node = {
            "token": unverified_claims(token)["jti"],
            "task": task["id"],
            "delegation": delegation["id"],
            "connection": link["id"],
            "agent": agent.id,
            "user": owner.id,
        }[kind]
        assert (await house.gateway(token, "GET", PATH)).status == 200, kind
        sent = len(house.github.requests)
        report = await house.alice.does("POST", "/v1/revocations", node=node, reason="a test")
        assert report["node"] == node
        assert report["already"] is False
        # A pasted token may serve elsewhere: it is not ended at its API, and that is said.
        outcomes = {hop["hop"]: hop["outcome"] for hop in report["hops"]}
        assert outcomes.pop("at the API") == ("unsupported" if kind in ("connection", "user") else "done"), kind
        assert set(outcomes.values()) == {"done"}
        assert {hop["hop"] for hop in report["hops"]} >= {"credentials", "open calls"}
        refused = await house.gateway(token, "GET", PATH)
        assert (refused.status, refused.code, refused.json()["reason"]) == (403, "revoked", "revoked"), kind
        assert len(house.github.requests) == sent, kind
        again = await agent.exchange(task["task_token"])
        if kind == "token":
            assert again.status == 200  # one token ended, its task goes on
        elif kind == "agent":
            assert again.status == 401
        else:
            assert (again.status, again.json()["error"]) == (400, "invalid_request"), kind
        (record,) = [r for r in await house.events("node.revoked") if r["node"] == node]
        assert record["by"] == house.alice.id
        repeated = await house.alice.does("POST", "/v1/revocations", node=node)
        assert repeated["already"] is True


async def test_what_stands_beside_the_revoked_node_goes_on(house: House) -> None:
    agent, delegation, task, token = await house.ready()
    other_task = await house.task(delegation)
    other = await agent.token(other_task["task_token"])
    second = await agent.token(task["task_token"])
    await house.alice.does("POST", "/v1/revocations", node=unverified_claims(token)["jti"])
    assert (await house.gateway(token, "GET", PATH)).code == "revoked"
    assert (await house.gateway(second, "GET", PATH)).status == 200
    await house.alice.does("POST", "/v1/revocations", node=task["id"])
    assert (await house.gateway(second, "GET", PATH)).code == "revoked"
    assert (await house.gateway(other, "GET", PATH)).status == 200
    assert (await house.alice.does("GET", f"/v1/delegations/{delegation['id']}"))["status"] == "live"


async def test_a_revoked_delegation_opens_no_task_and_takes_no_evidence(house: House) -> None:
    agent, delegation, _, _ = await house.ready(mode="standing", tasks_per_day=9)
    evidence = (await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence"))["evidence"]
    await house.alice.does("POST", "/v1/revocations", node=delegation["id"])
    body = {"delegation": delegation["id"]}
    for refused in (
        await house.alice.call("POST", "/v1/tasks", **body),
        await agent.call("POST", "/v1/tasks", **body),
        await agent.call("POST", "/v1/tasks", **body, evidence=evidence),
    ):
        assert (refused.status, refused.code) == (403, "revoked")
    assert (await house.alice.does("GET", f"/v1/delegations/{delegation['id']}"))["status"] == "revoked"


async def test_a_revoked_connection_is_used_for_nothing_new(house: House) -> None:
    agent, delegation, _, _ = await house.ready()
    (link,) = (await house.alice.does("GET", "/v1/connections"))["data"]
    await house.alice.does("POST", "/v1/revocations", node=link["id"])
    assert (await house.alice.does("GET", "/v1/connections"))["data"][0]["status"] == "revoked"
    refused = await house.alice.call("POST", "/v1/delegations", agent=agent.name, grants=[READ], purpose="review")
    assert (refused.status, refused.code) == (403, "connection_required")
    task = await house.task(delegation)
    assert (await agent.exchange(task["task_token"])).status == 400


async def test_revoking_a_cli_credential_ends_it_and_the_tokens_it_got(house: House) -> None:
    bob = await house.person("bob@acme.com")
    assert (await bob.call("GET", "/v1/whoami")).status == 200
    credential = unverified_claims(bob.bearer)["credential"]
    assert credential.startswith("tok_")
    carol = await house.person("carol@acme.com")
    assert (await carol.call("POST", "/v1/revocations", node=credential)).status == 404
    assert (await bob.call("POST", "/v1/revocations", node=credential)).status == 201
    assert (await bob.call("GET", "/v1/whoami")).status == 401
    form = {"grant_type": USER_CREDENTIAL, "credential": bob.credential}
    assert (await house.call("POST", "/oauth/token", form=form)).status == 401
    assert (await house.alice.call("GET", "/v1/whoami")).status == 200


async def test_suspending_stops_at_once_and_resuming_brings_back_only_what_still_lives(house: House) -> None:
    """OA-17: at the gateway, at the exchange, at /v1, for what was minted before."""
    bob = await house.person("bob@acme.com")
    agent = await house.agent("pr-reviewer-v2")
    await house.connect(bob)
    task = await house.task(await house.delegate(agent, owner=bob), owner=bob)
    token = await agent.token(task["task_token"])
    await agent.sign_in()
    for path, reason in (
        (f"/v1/agents/{agent.id}", "agent_suspended"),
        (f"/v1/users/{bob.id}", "user_suspended"),
    ):
        assert (await house.gateway(token, "GET", PATH)).status == 200
        await house.alice.does("POST", f"{path}/suspend")
        refused = await house.gateway(token, "GET", PATH)
        assert (refused.status, refused.json()["reason"]) == (403, reason)
        assert (await agent.exchange(task["task_token"])).status in (400, 401)
        whose = agent if "agents" in path else bob
        assert (await whose.call("GET", "/v1/whoami")).status == 401
        await house.alice.does("POST", f"{path}/resume")
        assert (await house.gateway(token, "GET", PATH)).status == 200
        assert (await whose.call("GET", "/v1/whoami")).status == 200
    # What was revoked does not come back by resuming.
    await house.alice.does("POST", "/v1/revocations", node=agent.id)
    await house.alice.does("POST", f"/v1/agents/{agent.id}/resume")
    assert (await house.gateway(token, "GET", PATH)).code == "revoked"
    assert (await agent.exchange(task["task_token"])).status == 401


async def test_an_agent_stops_with_its_owner(house: House) -> None:
    """OA-17: the agent of somebody who left does not go on acting for others."""
    for stop in ("suspend", "revoke"):
        bob = await house.person(f"bob-{stop}@acme.com")
        agent = await house.agent(f"of-bob-{stop}", owner=bob)
        link = await house.connect(name=f"link-{stop}")
        delegation = await house.delegate(agent, f"github/{link['name']}:repo:read@acme-corp/backend")
        task = await house.task(delegation)
        token = await agent.token(task["task_token"])
        await agent.sign_in()
        assert (await house.gateway(token, "GET", PATH)).status == 200
        if stop == "suspend":
            await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
        else:
            await house.alice.does("POST", "/v1/revocations", node=bob.id)
        assert (await house.gateway(token, "GET", PATH)).status == 403, stop
        assert (await agent.exchange(task["task_token"])).status == 401, stop
        assert (await agent.call("GET", "/v1/whoami")).status == 401, stop
        assert (await house.alice.call("POST", "/v1/tasks", delegation=delegation["id"])).status == 403, stop


async def test_rotating_an_agents_secret_ends_the_old_one_at_once(house: House) -> None:
    agent, _, task, _ = await house.ready()
    assert (await agent.exchange(task["task_token"])).status == 200
    fresh = (await house.alice.does("POST", f"/v1/agents/{agent.id}/rotate"))["secret"]
    assert (await agent.exchange(task["task_token"])).status == 401
    agent.secret = fresh
    assert (await agent.exchange(task["task_token"])).status == 200


async def test_rev_03_what_is_anothers_is_the_same_as_what_is_not_there(house: House) -> None:
    """By a member, for every kind of node; nothing is written."""
    agent, delegation, task, token = await house.ready()
    (link,) = (await house.alice.does("GET", "/v1/connections"))["data"]
    keeper = await house.alice.does("POST", "/v1/service-accounts", name="keeper", scopes=["audit:read"])
    bob = await house.person("bob@acme.com")
    org = unverified_claims(token)["org"]
    nodes = [
        agent.id,
        delegation["id"],
        task["id"],
        link["id"],
        keeper["id"],
        house.alice.id,
        org,
        unverified_claims(token)["jti"],
        unverified_claims(house.alice.bearer)["credential"],
        unverified_claims(house.alice.bearer)["jti"],
        unverified_claims(task["task_token"])["jti"],
    ]
    for node in nodes:
        real = await bob.call("POST", "/v1/revocations", node=node)
        none = await bob.call("POST", "/v1/revocations", node=node[:-6] + "000000")
        assert real.status == none.status == 404, node
        assert real.json() | {"request_id": ""} == none.json() | {"request_id": ""}, node
    assert await house.events("node.revoked") == []
    assert (await house.gateway(token, "GET", PATH)).status == 200


async def test_a_node_that_is_no_id_is_a_mistake_and_not_a_search(house: House) -> None:
    wrong: list[Any] = ["", "alice@acme.com", "tsk_", "tsk_%", "' OR 1=1 --", "tsk_" + "!" * 26, "x" * 5000]
    for node in wrong:
        refused = await house.alice.call("POST", "/v1/revocations", node=node)
        assert (refused.status, refused.code) == (400, "invalid_request"), node
    for reason in ("x" * 501, "a\nb", "a\x1b[31m"):
        refused = await house.alice.call("POST", "/v1/revocations", node=house.alice.id, reason=reason)
        assert refused.status == 400
    assert (await house.alice.call("GET", "/v1/whoami")).status == 200


async def test_ending_the_organization_ends_everybody(house: House) -> None:
    agent, _, task, token = await house.ready()
    org = unverified_claims(token)["org"]
    bob = await house.person("bob@acme.com")
    await house.alice.does("POST", "/v1/revocations", node=org)
    assert (await house.gateway(token, "GET", PATH)).code == "revoked"
    assert (await agent.exchange(task["task_token"])).status == 401
    for person in (house.alice, bob):
        assert (await person.call("GET", "/v1/whoami")).status == 401
