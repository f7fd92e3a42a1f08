"""ID tokens: who signed in, for one client, by an id that is never given to anyone else; and they open no door."""

from typing import Any

import jwt
import pytest

from tests.attacks.test_introspection import INACTIVE, ask, give_back
from tests.support.billing import let
from tests.support.decoupled import elsewhere
from tests.support.house import House, Robot
from tests.support.oauth import a_client
from tests.support.tokens import unverified_claims, unverified_header
from valetkey.server.oauth.id_token import IdTokens, at_hash
from valetkey.server.principals.model import Role, Status, User
from valetkey.server.tokens.mint import SignedIn

BILLING: dict[str, Any] = {
    "name": "billing",
    "title": "Billing",
    "audience": "https://billing.acme.com",
    "scopes": [{"name": "invoices:read", "sentence": "read invoices", "tier": "read"}],
}
PATH = "/repos/acme-corp/backend"
TYPE = "urn:ietf:params:oauth:token-type:"


def minted(house: House, client: str, *scopes: str, **more: Any) -> str:
    services = house.app.services
    org = "org_" + "0" * 26
    alice = User(id=house.alice.id, org=org, email="alice@acme.com", role=Role.MEMBER, status=Status.ACTIVE)
    signed_in = SignedIn(auth_time=int(house.clock.now()) - 30, acr="urn:valetkey:acr:passkey", amr=("hwk", "user"))
    given = IdTokens(services.keys, services.clock, services.settings)
    return given.id_token(alice, client, scopes=frozenset(scopes or ("openid",)), signed_in=signed_in, **more)


async def test_oc_3_a_client_learns_who_signed_in_and_how(house: House) -> None:
    agent = await house.agent("reader")
    token = minted(house, agent.id, "openid", "email", nonce="n-0S6_WzA2Mj", access_token="abc")
    assert unverified_header(token)["typ"] == "JWT"
    keys = jwt.PyJWKSet.from_json((await house.call("GET", "/.well-known/jwks.json")).body.decode())
    key = keys[unverified_header(token)["kid"]].key
    options = {"verify_exp": False, "verify_iat": False}
    said = jwt.decode(
        token, key, algorithms=["ES256"], audience=agent.id, issuer=house.settings.issuer, options=options
    )
    now = int(house.clock.now())
    assert said == {
        "iss": house.settings.issuer,
        "sub": house.alice.id,
        "aud": agent.id,
        "iat": now,
        "exp": now + 300,
        "auth_time": now - 30,
        "acr": "urn:valetkey:acr:passkey",
        "amr": ["hwk", "user"],
        "nonce": "n-0S6_WzA2Mj",
        "at_hash": "ungWv48Bz-pBQUDeXa4iIw",
        "email": "alice@acme.com",
    }
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, algorithms=["ES256"], audience="another", options=options)


async def test_an_address_is_told_only_when_it_was_asked_for(house: House) -> None:
    assert "email" not in unverified_claims(minted(house, "agt_1"))
    with pytest.raises(ValueError, match="openid"):
        minted(house, "agt_1", "email")


async def test_oa_16_an_id_token_is_never_accepted_as_anything_else(house: House) -> None:
    """At every door, also where it names that very door as its audience."""
    agent, _, task, token = await house.ready()
    issuer = house.settings.issuer
    for audience in (agent.id, issuer, f"{issuer}/v1", "https://api.github.com", unverified_claims(token)["aud"]):
        stolen = minted(house, audience, "openid", "email")
        assert (await house.gateway(stolen, "GET", PATH)).status == 401
        assert (await house.call("GET", "/v1/whoami", headers={"authorization": f"Bearer {stolen}"})).status == 401
        for kind in ("jwt", "access_token", "id_token"):
            reply = await agent.exchange(stolen, subject_token_type=TYPE + kind)
            assert (reply.status, reply.json()["error"]) == (400, "invalid_request"), kind
            actor = await agent.exchange(task["task_token"], actor_token=stolen, actor_token_type=TYPE + kind)
            assert (actor.status, actor.json()["error"]) == (400, "invalid_request"), kind
        assert (await ask(house, agent, stolen)).json() == INACTIVE
        assert (await give_back(house, agent, stolen)).status == 200
        form = {
            "grant_type": "client_credentials",
            "client_assertion": stolen,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }
        assert (await house.call("POST", "/oauth/token", form=form)).status == 401
        impostor = Robot(house, agent.id, agent.name, stolen)
        assert (await impostor.exchange(task["task_token"])).status == 401
    assert (await house.gateway(token, "GET", PATH)).status == 200


async def test_oc_3_a_code_for_openid_is_worth_an_id_token(house: House) -> None:
    client = await a_client(house)
    asked: dict[str, Any] = {"scope": "openid", "nonce": "n-0S6_WzA2Mj"}
    answer = await client.tokens(await house.signed_in(), **asked)
    assert "openid" in answer["scope"].split()
    said = unverified_claims(answer["id_token"])
    assert (said["aud"], said["sub"], said["nonce"]) == (client.robot.id, house.alice.id, "n-0S6_WzA2Mj")
    assert said["at_hash"] == at_hash(answer["access_token"])
    assert said["auth_time"] <= house.clock.now()
    assert said["acr"]
    assert said["amr"]
    assert "email" not in said
    assert "id_token" not in (await client.refresh(answer["refresh_token"])).json()


async def test_oc_3_who_asks_over_the_backchannel_for_openid_learns_the_same(house: House) -> None:
    agent = await elsewhere(house)
    for scope, is_told in (("openid", True), (None, False)):
        await agent.ask(scope=scope)
        await agent.answered(await house.signed_in())
        house.clock.advance(5)
        answer = (await agent.poll()).json()
        assert ("id_token" in answer) is is_told, answer
        if is_told:
            said = unverified_claims(answer["id_token"])
            assert (said["aud"], said["sub"]) == (agent.client.robot.id, house.alice.id)
            assert said["at_hash"] == at_hash(answer["access_token"])


async def test_oc_3_nobody_who_did_not_ask_gets_an_id_token(house: House) -> None:
    client = await a_client(house)
    assert "id_token" not in await client.tokens(await house.signed_in(), nonce="n")


async def test_ra_5_the_documents_say_what_is_served(house: House) -> None:
    document = (await house.call("GET", "/.well-known/openid-configuration")).json()
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]
    assert document["scopes_supported"] == ["openid", "offline_access"]
    await house.alice.does("POST", "/v1/resource-servers", **BILLING)
    document = (await house.call("GET", "/.well-known/oauth-authorization-server")).json()
    assert "github" in document["authorization_details_types_supported"]
    assert "billing" not in document["authorization_details_types_supported"]


async def test_at_3_a_resource_server_learns_how_she_signed_in(house: House) -> None:
    """AT-3: at the code and when refreshed the same."""
    client = await a_client(house)
    await house.alice.does("POST", "/v1/resource-servers", **BILLING)
    await let(house, client.robot, "billing:invoices:read@*")
    asked: dict[str, Any] = {"resource": BILLING["audience"], "scope": "invoices:read", "authorization_details": None}
    first = await client.tokens(await house.signed_in(), **asked)
    house.clock.advance(70)
    second = (await client.refresh(first["refresh_token"])).json()
    said = [unverified_claims(answer["access_token"]) for answer in (first, second)]
    facts = [{name: one.get(name) for name in ("auth_time", "acr", "amr")} for one in said]
    assert facts[0] == facts[1]
    assert None not in facts[0].values()
