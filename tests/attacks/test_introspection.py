"""Introspection and revocation at the hands of those who should learn and end nothing. OA-08, OA-15, OA-16, REV-03."""

from typing import Any

from tests.flows.test_service_accounts import program
from tests.support.billing import AUDIENCE, SCOPES, billed, register
from tests.support.house import House, Robot
from tests.support.http import Reply
from tests.support.strangers import other_organization
from tests.support.tokens import OwnKey, signed, unverified_claims, unverified_header

INACTIVE = {"active": False}


async def ask(house: House, caller: Robot, token: str, **more: Any) -> Reply:
    return await house.call("POST", "/oauth/introspect", headers=caller.basic, form={"token": token, **more})


async def give_back(house: House, caller: Robot, token: str, **more: Any) -> Reply:
    return await house.call("POST", "/oauth/revoke", headers=caller.basic, form={"token": token, **more})


async def alive(house: House, agent: Robot, token: str) -> bool:
    return bool((await ask(house, agent, token)).json()["active"])


async def wrong_tokens(house: House, token: str) -> dict[str, str]:
    """Everything a token can be but good."""
    head, payload, signature = token.split(".")
    claims, header = unverified_claims(token), unverified_header(token)
    forged = signed(OwnKey().private, header["kid"], {"typ": header["typ"]}, claims)
    return {
        "nonsense": "nonsense",
        "two dots": "a.b.c",
        "no signature": f"{head}.{payload}.",
        "changed signature": f"{head}.{payload}.{'A' * len(signature)}",
        "another issuer's key": forged,
        "twice": token + token,
        "trailing": token + "\n",
        "a user's": house.alice.bearer,
        "a handle": house.alice.credential,
        "long": "a" * 20_000,
    }


async def test_in_1_the_caller_proves_itself(house: House) -> None:
    agent, _, _, token = await house.ready()
    for path in ("/oauth/introspect", "/oauth/revoke"):
        for headers, more in (
            ({}, {}),
            ({}, {"client_id": agent.id}),
            ({}, {"client_id": agent.id, "client_secret": "vkag_" + "0" * 49}),
            ({"authorization": f"Bearer {house.alice.bearer}"}, {}),
            ({"authorization": f"Bearer {token}"}, {}),
        ):
            reply = await house.call("POST", path, headers=headers, form={"token": token, **more})
            assert (reply.status, reply.json()["error"]) == (401, "invalid_client"), (path, more)
        missing = await house.call("POST", path, headers=agent.basic, form={"x": "y"})
        assert (missing.status, missing.json()["error"]) == (400, "invalid_request")
    assert await alive(house, agent, token)


async def test_in_2_whatever_is_wrong_is_exactly_inactive(house: House) -> None:
    agent, _, _, token = await house.ready()
    assert await alive(house, agent, token)
    for what, wrong in (await wrong_tokens(house, token)).items():
        for hint in ({}, {"token_type_hint": "refresh_token"}, {"token_type_hint": "nonsense"}):
            reply = await ask(house, agent, wrong, **hint)
            assert (reply.status, reply.json()) == (200, INACTIVE), what
            assert reply.header("cache-control") == "no-store"


async def test_oa_15_a_server_learns_of_its_own_audience_alone(house: House) -> None:
    speaker = await program(house, "tokens:introspect", name="billing-api")
    other = await program(house, "tokens:introspect", name="payroll-api")
    silent = await program(house, "audit:read", name="siem")
    await register(house, service_account=speaker.name)
    payroll = {"name": "payroll", "audience": "https://payroll.acme.com", "scopes": SCOPES}
    await house.alice.does("POST", "/v1/resource-servers", service_account=other.name, **payroll)
    agent, _, task = await billed(house)
    await house.connect()
    token = (await agent.exchange(task["task_token"], resource=AUDIENCE)).json()["access_token"]
    assert (await ask(house, speaker, token)).json()["active"] is True
    assert (await ask(house, agent, token)).json()["active"] is True
    bystander = await house.agent("bystander")
    for caller in (other, bystander):
        assert (await ask(house, caller, token)).json() == INACTIVE, caller.name
        # naming the audience changes nothing
        assert (await ask(house, caller, token, resource=AUDIENCE, audience=AUDIENCE)).json() == INACTIVE
    refused = await ask(house, silent, token)
    assert (refused.status, refused.json()["error"]) == (400, "unauthorized_client")
    # a task token is nobody's business but its agent's
    assert (await ask(house, speaker, task["task_token"])).json() == INACTIVE
    assert (await ask(house, agent, task["task_token"])).json()["active"] is True


async def test_another_organization_learns_and_ends_nothing(house: House) -> None:
    """REV-03, OA-08: neither by a client of its own, nor by a resource server of its own with a like name."""
    await register(house)
    agent, _, task = await billed(house)
    token = (await agent.exchange(task["task_token"], resource=AUDIENCE)).json()["access_token"]
    mallory = await other_organization(house)
    made = await mallory.does("POST", "/v1/service-accounts", name="spy", scopes=["tokens:introspect"])
    spy = Robot(house, made["id"], "spy", made["secret"])
    taken = await mallory.call(
        "POST", "/v1/resource-servers", name="billing2", audience=AUDIENCE, scopes=SCOPES, service_account="spy"
    )
    assert (taken.status, taken.code) == (409, "conflict")
    near = {"name": "near", "audience": AUDIENCE + "/x", "scopes": SCOPES, "service_account": "spy"}
    await mallory.does("POST", "/v1/resource-servers", **near)
    thief = await house.agent("thief", owner=mallory, ceiling=[])
    for caller in (spy, thief):
        for one in (token, task["task_token"]):
            assert (await ask(house, caller, one)).json() == INACTIVE
            reply = await give_back(house, caller, one)
            assert (reply.status, reply.json()["error"]) == (400, "unauthorized_client")
    assert (await mallory.call("POST", "/v1/revocations", node=unverified_claims(token)["jti"])).status == 404
    assert await alive(house, agent, token)


async def test_rv_3_only_the_client_it_was_issued_to_ends_a_token(house: House) -> None:
    agent, _, task, token = await house.ready()
    other = await house.agent("other")
    for one in (token, task["task_token"]):
        reply = await give_back(house, other, one)
        assert (reply.status, reply.json()["error"]) == (400, "unauthorized_client")
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 200
    assert not await house.events("node.revoked")
    for what, wrong in (await wrong_tokens(house, token)).items():
        reply = await give_back(house, agent, wrong)
        assert reply.status in (200, 400), what
        assert reply.status == 200 or what == "a user's", what
    assert (await house.alice.call("GET", "/v1/whoami")).status == 200
    assert await alive(house, agent, token)


async def test_oa_16_the_signed_answer_opens_no_door(house: House) -> None:
    """IN-5: it names its own kind, nests what it says, and has neither sub nor exp."""
    agent, _, task, token = await house.ready()
    headers = agent.basic | {"accept": "application/token-introspection+jwt"}
    reply = await house.call("POST", "/oauth/introspect", headers=headers, form={"token": token})
    answer = reply.body.decode()
    assert reply.header("content-type") == "application/token-introspection+jwt"
    claims = unverified_claims(answer)
    assert claims.keys() == {"iss", "aud", "iat", "token_introspection"}
    assert claims["aud"] == agent.id
    assert claims["token_introspection"]["active"] is True
    assert (await house.gateway(answer, "GET", "/repos/acme-corp/backend")).status == 401
    assert (await house.call("GET", "/v1/whoami", headers={"authorization": f"Bearer {answer}"})).status == 401
    assert (await agent.exchange(answer)).json()["error"] == "invalid_request"
    assert (await ask(house, agent, answer)).json() == INACTIVE
    assert (await give_back(house, agent, answer)).status == 200
    assert await alive(house, agent, token)
    inactive = await house.call("POST", "/oauth/introspect", headers=headers, form={"token": "nonsense"})
    assert unverified_claims(inactive.body.decode())["token_introspection"] == INACTIVE
    assert task
