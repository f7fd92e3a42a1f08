"""A key of one's own: tokens bound to it at issue, useless without it at every door, and what the audit says."""

import base64
import json
from typing import Any

from tests.support.holder import Prover
from tests.support.house import EXCHANGE, GITHUB, JWT, USER_CREDENTIAL, House, Robot

ISSUES = "/p/github/repos/acme-corp/backend/issues"


def claims_of(token: str) -> Any:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def exchange(task_token: str) -> dict[str, str]:
    return {
        "grant_type": EXCHANGE, "subject_token": task_token, "subject_token_type": JWT, "resource": GITHUB,
    }  # fmt: skip


async def bound(house: House, prover: Prover) -> tuple[Robot, Any, str]:
    """An agent, its task, and a delegated credential bound to the prover's key."""
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    task = await house.task(await house.delegate(agent))
    reply = await prover.asks(agent.basic, exchange(task["task_token"]))
    assert reply.status == 200, reply.body
    return agent, task, str(reply.json()["access_token"])


async def test_an_exchange_with_a_proof_gives_a_bound_credential_that_works_with_its_key(house: House) -> None:
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    assert claims_of(token)["cnf"] == {"jkt": prover.holder.jkt}
    reply = await prover.calls(token, "GET", ISSUES + "?state=open&page=1")
    assert reply.status == 200, reply.body
    seen = house.github.requests[-1]
    assert seen.header("dpop") is None
    assert "DPoP" not in str(seen.header("authorization"))
    issued, allowed = (await house.events("token.issued", "call.allowed"))[-2:]
    assert (issued["key"], allowed["token"]) == (prover.holder.jkt, claims_of(token)["jti"])


async def test_the_answer_names_the_type_of_the_token(house: House) -> None:
    prover = Prover(house)
    agent, task, _ = await bound(house, prover)
    assert (await prover.asks(agent.basic, exchange(task["task_token"]))).json()["token_type"] == "DPoP"
    assert (await agent.exchange(task["task_token"])).json()["token_type"] == "Bearer"


async def test_tx_16_a_bound_task_token_needs_its_key_and_passes_none_on(house: House) -> None:
    """TX-16: the result is bound to the key the requester proves now."""
    prover, other = Prover(house), Prover(house)
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    delegation = await house.delegate(agent, mode="standing", tasks_per_day=5)
    api = (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).json()
    assert api["token_type"] == "DPoP"
    opened = await prover.calls(api["access_token"], "POST", "/v1/tasks", json={"delegation": delegation["id"]})
    assert opened.status == 201, opened.body
    task_token = opened.json()["task_token"]
    assert claims_of(task_token)["cnf"] == {"jkt": prover.holder.jkt}

    for refused in (await agent.exchange(task_token), await other.asks(agent.basic, exchange(task_token))):
        assert (refused.status, refused.json()["error"]) == (400, "invalid_request")
    good = await prover.asks(agent.basic, exchange(task_token))
    assert claims_of(good.json()["access_token"])["cnf"] == {"jkt": prover.holder.jkt}

    # A task a person opened is bound to nobody's key; the credential is bound to the key that asks for it.
    theirs = await house.task(delegation)
    assert "cnf" not in claims_of(theirs["task_token"])
    good = await other.asks(agent.basic, exchange(theirs["task_token"]))
    assert claims_of(good.json()["access_token"])["cnf"] == {"jkt": other.holder.jkt}


async def test_tokens_for_the_api_are_bound_for_agents_and_people_alike(house: House) -> None:
    prover = Prover(house)
    agent = await house.agent("pr-reviewer-v2")
    for headers, form in (
        (agent.basic, {"grant_type": "client_credentials"}),
        ({}, {"grant_type": USER_CREDENTIAL, "credential": house.alice.credential}),
    ):
        answer = (await prover.asks(headers, form)).json()
        assert answer["token_type"] == "DPoP"
        assert (await prover.calls(answer["access_token"], "GET", "/v1/whoami")).status == 200
        bearer = {"authorization": f"Bearer {answer['access_token']}"}
        assert (await house.call("GET", "/v1/whoami", headers=bearer)).status == 401


async def test_the_plain_twin_of_exchange_binds_to_the_key_of_its_caller(house: House) -> None:
    prover = Prover(house)
    agent, task, _ = await bound(house, prover)
    api = (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).json()["access_token"]
    body = {"task_token": task["task_token"], "target": GITHUB}
    made = await prover.calls(api, "POST", "/v1/tokens", json=body)
    assert (made.status, made.json()["token_type"]) == (201, "DPoP")
    assert (await prover.calls(made.json()["token"], "GET", ISSUES)).status == 200
    assert (await house.gateway(made.json()["token"], "GET", "/repos/acme-corp/backend/issues")).status == 401


async def test_the_metadata_names_the_algorithms_that_are_taken(house: House) -> None:
    metadata = (await house.call("GET", "/.well-known/oauth-authorization-server")).json()
    assert metadata["dpop_signing_alg_values_supported"] == ["ES256", "Ed25519", "RS256"]
    agent = await house.agent("pr-reviewer-v2")
    for alg in metadata["dpop_signing_alg_values_supported"]:
        prover = Prover(house, alg)
        answer = (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).json()
        assert (await prover.calls(answer["access_token"], "GET", "/v1/whoami")).status == 200
