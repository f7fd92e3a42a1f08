"""A resource server of the organization's own: registered, delegated like any API, and it verifies by itself."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from jwcrypto import jwk as jwcrypto_jwk
from jwcrypto import jwt as jwcrypto_jwt

from tests.support.billing import AUDIENCE, GRANT, SCOPES, billed, let, register
from tests.support.house import House, Robot, open_house
from tests.support.tokens import unverified_claims, unverified_header
from valetkey.verify.errors import InvalidToken
from valetkey.verify.keys import parse_jwks
from valetkey.verify.verifier import Verifier

NOT_THE_CLOCK = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


async def keys_of(house: House) -> bytes:
    return (await house.call("GET", "/.well-known/jwks.json")).body


async def verifier(house: House, audience: str = AUDIENCE, **more: Any) -> Verifier:
    keys = parse_jwks(await keys_of(house))
    return Verifier(house.settings.issuer, audience, keys=keys, clock=house.clock, **more)


async def test_at_1_to_at_4_stock_readers_of_rfc_9068_understand_it(house: House) -> None:
    """OA-01: `sub` is the person, `act` the agent; three other libraries verify it and read the same."""
    await register(house)
    agent, delegation, task = await billed(house)
    reply = await agent.exchange(task["task_token"], resource=AUDIENCE)
    answer = reply.json()
    assert reply.status == 200, reply.body
    assert answer["scope"] == "invoices:read"
    assert answer["authorization_details"] == [{"type": "billing", "actions": ["invoices:read"], "resources": ["*"]}]
    token = answer["access_token"]
    header, claims = unverified_header(token), unverified_claims(token)
    assert header.keys() == {"alg", "kid", "typ"}
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    assert claims["sub"] == "user:alice@acme.com"
    assert claims["act"] == {"sub": "agent:bookkeeper", "uid": agent.id}
    assert claims["client_id"] == agent.id != claims["aud"]
    assert (claims["aud"], claims["scope"], claims["iss"]) == (AUDIENCE, "invoices:read", house.settings.issuer)
    assert {"exp", "iat", "jti", "task", "delegation", "org"} <= claims.keys()
    published = await keys_of(house)
    key = jwt.PyJWKSet.from_json(published.decode())[header["kid"]].key
    by_pyjwt = jwt.decode(
        token, key, algorithms=["ES256"], audience=AUDIENCE, issuer=claims["iss"], options=NOT_THE_CLOCK
    )
    by_joserfc = joserfc_jwt.decode(token, KeySet.import_key_set(json.loads(published)), algorithms=["ES256"])
    by_jwcrypto = jwcrypto_jwt.JWT(algs=["ES256"], check_claims={"aud": AUDIENCE, "iss": claims["iss"]})
    by_jwcrypto.leeway = 10**9  # the clock of the story is not the machine's
    by_jwcrypto.deserialize(token, jwcrypto_jwk.JWKSet.from_json(published.decode()))
    assert by_pyjwt == by_joserfc.claims == json.loads(by_jwcrypto.claims) == claims
    seen = (await verifier(house)).verify(token)
    assert (seen.user.name, seen.agent.name) == ("user:alice@acme.com", "agent:bookkeeper")
    assert (seen.scopes, seen.grants[0].connection) == ({"invoices:read"}, None)
    assert delegation["sentence"].startswith(
        "agent:bookkeeper, on behalf of user:alice@acme.com, may invoices:read on everything at billing.acme.com"
    )
    explained = await house.alice.does("POST", "/v1/tokens/explain", token=token)
    assert explained["valid"]
    assert explained["sentence"].startswith("agent:bookkeeper, on behalf of user:alice@acme.com, may invoices:read")


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "RS256"])
async def test_at_6_a_server_is_registered_with_the_algorithm_it_can_verify(house: House, algorithm: str) -> None:
    await register(house, algorithm=algorithm)
    agent, _, task = await billed(house)
    token = (await agent.exchange(task["task_token"], resource=AUDIENCE)).json()["access_token"]
    assert unverified_header(token)["alg"] == algorithm
    assert (await verifier(house)).verify(token).user.name == "user:alice@acme.com"
    with pytest.raises(InvalidToken):
        (await verifier(house, "https://other.example")).verify(token)
    with pytest.raises(InvalidToken):
        (await verifier(house, layout="agent")).verify(token)


async def test_a_sub_agents_credential_names_every_earlier_actor(house: House) -> None:
    await register(house)
    helper = await house.agent("helper")
    await let(house, helper)
    agent, _, task = await billed(house, share_with=["helper"])
    child = await agent.call("POST", f"/v1/tasks/{task['id']}/children", agent="helper", grants=[GRANT])
    reply = await helper.exchange(child.json()["task_token"], resource=AUDIENCE)
    token = reply.json()["access_token"]
    claims = unverified_claims(token)
    assert claims["sub"] == "user:alice@acme.com"
    assert claims["act"] == {
        "sub": "agent:helper",
        "uid": helper.id,
        "act": {"sub": "agent:bookkeeper", "uid": agent.id},
    }
    seen = (await verifier(house)).verify(token)
    assert [who.name for who in seen.chain] == ["agent:bookkeeper", "agent:helper"]


async def test_members_of_the_organization_delegate_it_like_any_api(house: House) -> None:
    """Nothing has to be connected; ceiling, scopes and resources bound it as everywhere."""
    await register(house)
    bob = await house.person("bob@acme.com")
    agent = await house.agent("bookkeeper", owner=bob)
    above = await bob.call("POST", "/v1/delegations", agent=agent.name, grants=[GRANT], purpose="read invoices")
    assert (above.status, above.json()["reason"]) == (403, "above_ceiling")
    await let(house, agent, "billing:invoices:read@*")
    delegation = await house.delegate(agent, "billing:invoices:read@customer-42", owner=bob)
    task = await house.task(delegation, owner=bob)
    answer = (await agent.exchange(task["task_token"], resource=AUDIENCE + "/")).json()
    assert unverified_claims(answer["access_token"])["sub"] == "user:bob@acme.com"
    assert answer["authorization_details"][0]["resources"] == ["customer-42"]
    for grants, status in (
        (["billing:invoices:pay@*"], 403),
        (["billing:nonsense@*"], 403),
        (["billing/someone:invoices:read@*"], 403),
        (["nowhere:invoices:read@*"], 403),
    ):
        reply = await bob.call("POST", "/v1/delegations", agent=agent.name, grants=grants, purpose="more")
        assert reply.status == status, (grants, reply.body)
    for changed in ({"scope": "invoices:pay"}, {"scope": "repo:read"}):
        reply = await agent.exchange(task["task_token"], resource=AUDIENCE, **changed)
        assert reply.json()["error"] == "invalid_scope"
    other = '[{"type":"billing","actions":["invoices:read"],"resources":["customer-43"]}]'
    reply = await agent.exchange(task["task_token"], resource=AUDIENCE, authorization_details=other)
    assert reply.json()["error"] == "invalid_scope"


async def test_nobody_delegates_it_for_somebody_else(house: House) -> None:
    """An administrator speaks for others over shared connections with entitlements, and here is neither."""
    await register(house)
    await house.person("bob@acme.com")
    agent = await house.agent("bookkeeper")
    await let(house, agent)
    body = {"agent": agent.name, "grants": [GRANT], "purpose": "read invoices"}
    reply = await house.alice.call("POST", "/v1/delegations", user="bob@acme.com", **body)
    assert reply.status == 403
    assert (await house.alice.call("POST", "/v1/delegations", **body)).status == 201


async def test_what_cannot_be_enforced_there_cannot_be_promised(house: House) -> None:
    """Calls that do not pass here are not counted; a danger tier is never part of a standing delegation."""
    danger = {"name": "books:close", "sentence": "close the books", "tier": "danger"}
    await register(house, scopes=[*SCOPES, danger])
    agent = await house.agent("bookkeeper")
    await let(house, agent, "billing:invoices:read,books:close@*")
    body = {"agent": agent.name, "purpose": "keep the books"}
    counted = await house.alice.call("POST", "/v1/delegations", grants=[GRANT], max_calls=3, **body)
    assert (counted.status, counted.code) == (400, "invalid_request")
    standing = {"mode": "standing", "tasks_per_day": 2, "seconds": 86_400}
    close = await house.alice.call("POST", "/v1/delegations", grants=["billing:books:close@*"], **standing, **body)
    assert (close.status, close.json()["reason"]) == (403, "danger_standing")
    assert (await house.alice.call("POST", "/v1/delegations", grants=[GRANT], **standing, **body)).status == 201


async def test_registering_and_removing_are_in_the_trail(house: House) -> None:
    made = await register(house)
    await house.alice.does("DELETE", "/v1/resource-servers/billing")
    (registered,) = await house.events("resource-server.registered")
    assert (registered["resource_server"], registered["audience"], registered["by"]) == (
        made["id"],
        AUDIENCE,
        house.alice.id,
    )
    (removed,) = await house.events("node.revoked")
    assert (removed["node"], removed["by"]) == (made["id"], house.alice.id)


async def test_it_is_found_by_its_very_audience(house: House) -> None:
    """RI-5: one trailing slash says nothing; any other difference is another audience (OA-15)."""
    await register(house)
    agent, _, task = await billed(house)
    assert (await agent.exchange(task["task_token"], resource=AUDIENCE + "/")).status == 200
    for other in (AUDIENCE + "//", AUDIENCE.upper(), AUDIENCE[:-1], AUDIENCE + "/x", AUDIENCE + "#", "billing"):
        reply = await agent.exchange(task["task_token"], resource=other)
        assert reply.json()["error"] == "invalid_target", other
    shown = {i["name"]: i for i in (await house.alice.does("GET", "/v1/integrations"))["data"]}
    assert shown["billing"]["gateway"] == ""
    assert shown["github"]["gateway"]


async def test_it_is_known_after_a_restart(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        await register(house)
        agent, _, task = await billed(house)
    async with open_house(tmp_path / "data", sign_in=False, clock=house.clock) as again:
        there = Robot(again, agent.id, agent.name, agent.secret)
        reply = await there.exchange(task["task_token"], resource=AUDIENCE)
        # the issuer's address is another, for the port is: so the task token is a stranger's
        assert reply.json()["error"] == "invalid_request"
        assert again.app.catalogue["billing"].audience == AUDIENCE
