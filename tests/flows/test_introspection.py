"""Introspection and revocation as they are meant: who may know learns at once, and a client gives back what it has."""

from pathlib import Path
from typing import Any

from tests.attacks.test_introspection import INACTIVE, alive, ask, give_back
from tests.flows.test_service_accounts import program
from tests.support import tables
from tests.support.billing import AUDIENCE, billed, register
from tests.support.house import GITHUB, House, Robot, open_house
from tests.support.nodes import second_node
from tests.support.oauth import a_client
from tests.support.postgres import Postgres
from tests.support.tokens import unverified_claims, unverified_header
from valetkey.server.db.schema import refresh_tokens
from valetkey.server.ids import new_handle, new_id
from valetkey.server.oauth.introspect import wants_signed
from valetkey.server.oauth.revocation.endpoint import REFRESH_PURPOSE

PATH = "/repos/acme-corp/backend"


async def test_in_3_the_answer_is_what_the_token_says_in_the_layout_of_its_audience(house: House) -> None:
    speaker = await program(house, "tokens:introspect", name="billing-api")
    await register(house, service_account=speaker.name)
    agent, _, task = await billed(house)
    token = (await agent.exchange(task["task_token"], resource=AUDIENCE)).json()["access_token"]
    said = (await ask(house, speaker, token)).json()
    claims = unverified_claims(token)
    assert said == {"active": True, "token_type": "Bearer", **claims}
    assert said["sub"] == "user:alice@acme.com"
    assert said["act"] == {"sub": "agent:bookkeeper", "uid": agent.id}
    assert said["client_id"] == agent.id
    assert said["aud"] == AUDIENCE
    assert said["authorization_details"] == [{"type": "billing", "actions": ["invoices:read"], "resources": ["*"]}]


async def test_in_3_behind_the_gateway_the_agent_is_the_subject(house: House) -> None:
    agent, _, _, token = await house.ready()
    said = (await ask(house, agent, token)).json()
    assert (said["sub"], said["act"]["sub"]) == ("agent:pr-reviewer-v2", "user:alice@acme.com")
    assert said["aud"] == GITHUB


async def test_whatever_ends_a_token_is_seen_at_once(house: House) -> None:
    """Liveness is asked of the same function as at issue and at the gateway: one changed fact each."""
    speaker = await program(house, "tokens:introspect", name="billing-api")
    await register(house, service_account=speaker.name)
    agent, delegation, task = await billed(house)

    async def fresh() -> str:
        opened = await house.task(delegation)
        return str((await agent.exchange(opened["task_token"], resource=AUDIENCE)).json()["access_token"])

    async def ends(token: str) -> bool:
        return bool((await ask(house, speaker, token)).json() == INACTIVE)

    token = await fresh()
    assert not await ends(token)
    await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    assert await ends(token)
    await house.alice.does("POST", f"/v1/agents/{agent.id}/resume")
    assert not await ends(token)
    await house.alice.does("PUT", f"/v1/agents/{agent.id}/ceiling", ceiling=["github:repo:read@*"])
    assert await ends(token)
    await house.alice.does("PUT", f"/v1/agents/{agent.id}/ceiling", ceiling=["billing:invoices:read@*"])
    assert not await ends(token)
    await house.alice.does("POST", "/v1/revocations", node=unverified_claims(token)["jti"])
    assert await ends(token)
    token = await fresh()
    await house.alice.does("POST", "/v1/revocations", node=unverified_claims(token)["task"])
    assert await ends(token)
    token = await fresh()
    assert not await ends(token)
    house.clock.advance(300)
    assert await ends(token)
    house.clock.advance(-300)
    assert not await ends(token)
    await house.alice.does("POST", "/v1/revocations", node=delegation["id"])
    assert await ends(token)
    assert task


async def test_rv_4_a_revocation_on_one_node_is_seen_by_introspection_on_another(
    tmp_path: Path, postgres: Postgres
) -> None:
    """Also a resource server registered on one is known to the other as soon as it decides about it."""
    async with open_house(tmp_path / "one", database_url=tables.postgresql(postgres)) as house:
        agent, _, _, token = await house.ready()
        async with second_node(house, tmp_path / "two") as other:
            there = Robot(other, agent.id, agent.name, agent.secret)
            assert await alive(other, there, token)
            assert (await give_back(house, agent, token)).status == 200
            assert not await alive(other, there, token)
            await register(house, algorithm="RS256")
            bookkeeper, _, task = await billed(house)
            elsewhere = Robot(other, bookkeeper.id, bookkeeper.name, bookkeeper.secret)
            reply = await elsewhere.exchange(task["task_token"], resource=AUDIENCE)
            assert reply.status == 200, reply.body
            assert unverified_header(reply.json()["access_token"])["alg"] == "RS256"
            await house.alice.does("DELETE", "/v1/resource-servers/billing")
            gone = await elsewhere.exchange(task["task_token"], resource=AUDIENCE)
            assert gone.json()["error"] == "invalid_target"


async def test_in_5_who_accepts_the_signed_form_gets_it(house: House) -> None:
    signed = b"application/token-introspection+jwt"
    for accept, wanted in (
        (signed, True),
        (b"application/json, " + signed, True),
        (signed + b";q=0.5, application/json", False),
        (signed + b";q=0", False),
        (signed + b";q=nonsense", False),
        (b"*/*", False),
        (b"application/*", False),
        (b"application/json", False),
    ):
        assert wants_signed([(b"accept", accept)]) is wanted, accept
    assert not wants_signed([])


async def test_rv_1_giving_back_a_credential_ends_it_and_it_alone(house: House) -> None:
    agent, _, task, token = await house.ready()
    second = await agent.token(task["task_token"])
    for more in ({}, {"token_type_hint": "refresh_token"}):
        reply = await give_back(house, agent, token, **more)  # twice: the second time there is nothing to end
        assert reply.status == 200
    assert (await house.gateway(token, "GET", PATH)).status == 403
    assert (await house.gateway(second, "GET", PATH)).status == 200
    revoked = await house.events("node.revoked")
    assert [r["node"] for r in revoked] == [unverified_claims(token)["jti"]] * 2
    assert revoked[0]["by"] == agent.id
    unknown = await give_back(house, agent, "unknown")
    assert (unknown.status, unknown.json()) == (200, {})


async def shared(house: House) -> tuple[Robot, Robot, Any, str]:
    """Two agents, of which the second may receive part of what the first was given; a task and its credential."""
    helper = await house.agent("helper")
    agent, _, task, token = await house.ready(share_with=["helper"])
    return agent, helper, task, token


async def test_rv_5_giving_back_a_task_token_ends_the_task_and_all_that_came_of_it(house: House) -> None:
    agent, helper, task, token = await shared(house)
    child = await agent.call("POST", f"/v1/tasks/{task['id']}/children", agent="helper", grants=[READ])
    below = await helper.token(child.json()["task_token"])
    assert (await house.gateway(below, "GET", PATH)).status == 200
    assert (await give_back(house, agent, task["task_token"])).status == 200
    for one in (token, below):
        assert (await house.gateway(one, "GET", PATH)).status == 403
    assert (await agent.exchange(task["task_token"])).status == 400


async def test_rv_5_what_was_handed_on_ends_with_the_credential_it_came_from(house: House) -> None:
    agent, helper, task, token = await shared(house)
    kind = "urn:ietf:params:oauth:token-type:access_token"
    below = await helper.token(token, subject_token_type=kind)
    again = await agent.token(task["task_token"])
    assert (await house.gateway(below, "GET", PATH)).status == 200
    assert (await give_back(house, agent, token)).status == 200
    assert (await house.gateway(below, "GET", PATH)).status == 403
    assert not await alive(house, helper, below)
    assert (await house.gateway(again, "GET", PATH)).status == 200  # its sibling lives


async def refresh(house: House, client: str, task: str | None, delegation: str, agent: str) -> tuple[str, str]:
    """A refresh token as its row says; returns the handle and its family."""
    handle, family = new_handle("rf"), new_id("tok")
    now = int(house.clock.now())
    async with house.app.database.write() as tx:
        await tx.execute(
            refresh_tokens.insert().values(
                mac=house.app.services.mac.mac(REFRESH_PURPOSE, "rf", handle),
                id=new_id("tok"),
                family=family,
                client=client,
                org=(await house.alice.does("GET", "/v1/whoami"))["organization"]["id"],
                user=house.alice.id,
                agent=agent,
                delegation=delegation,
                task=task,
                facts="{}",
                created_at=now,
                expires_at=now + 3600,
                replays=0,
            )
        )
    return handle.reveal(), family


async def test_rv_2_giving_back_a_refresh_token_ends_its_family_and_its_task(house: House) -> None:
    agent, delegation, task, token = await house.ready()
    other = await house.agent("other")
    handle, family = await refresh(house, agent.id, task["id"], delegation["id"], agent.id)
    stolen = await give_back(house, other, handle)
    assert (stolen.status, stolen.json()["error"]) == (400, "unauthorized_client")
    assert (await house.gateway(token, "GET", PATH)).status == 200
    for hint in ({}, {"token_type_hint": "access_token"}):
        assert (await give_back(house, agent, handle, **hint)).status == 200
    assert (await house.gateway(token, "GET", PATH)).status == 403
    assert {family, task["id"]} <= {r["node"] for r in await house.events("node.revoked")}
    mistyped = handle[:-1] + ("0" if handle[-1] != "0" else "1")
    for unknown in (new_handle("rf").reveal(), mistyped):
        assert (await give_back(house, agent, unknown)).status == 200


READ = "github:repo:read@acme-corp/backend"


async def test_a_refresh_token_is_known_to_its_own_client_alone(house: House) -> None:
    client = await a_client(house)
    other = await house.agent("bookkeeper")
    first = (await client.tokens(await house.signed_in()))["refresh_token"]
    assert (await ask(house, other, first)).json() == INACTIVE
    said = (await ask(house, client.robot, first)).json()
    assert said.keys() == {"active", "client_id", "exp"}
    assert (said["active"], said["client_id"]) == (True, client.robot.id)
    assert said["exp"] > house.clock.now()
    reply = await client.refresh(first)  # asking spent nothing, and another's asking ended nothing
    assert reply.status == 200
    successor = reply.json()["refresh_token"]
    assert (await ask(house, client.robot, first)).json() == INACTIVE
    assert (await ask(house, client.robot, successor)).json()["active"] is True
    house.clock.advance(said["exp"] - int(house.clock.now()))
    assert (await ask(house, client.robot, successor)).json() == INACTIVE


async def test_a_refresh_token_that_was_given_back_is_not_active(house: House) -> None:
    client = await a_client(house)
    token = (await client.tokens(await house.signed_in()))["refresh_token"]
    assert (await ask(house, client.robot, token)).json()["active"] is True
    assert (await give_back(house, client.robot, token)).status == 200
    assert (await ask(house, client.robot, token)).json() == INACTIVE
