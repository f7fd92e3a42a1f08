"""Cross-app access: an identity provider says that an agent acts for a person now. Evidence, no permission. IJ-1 to 6.

The provider's word opens a task under a delegation that exists; what comes out is for one resource, the scopes both
name, and the minutes of a credential.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from tests.flows.test_outside_clients import agreed, allow
from tests.support.holder import Prover
from tests.support.house import GITHUB, House, Person, Robot
from tests.support.http import Reply
from tests.support.outside import Publisher, open_outside
from tests.support.tokens import ABSENT, OwnKey, unverified_claims
from valetkey.server.db.schema import external_identities

TYP = "oauth-id-jag+jwt"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ISSUER = "https://login.acme.com/t1"
SUBJECT = "00u-alice"
PATH = "/repos/acme-corp/backend"


@pytest.fixture
async def outside(tmp_path: Path, database_url: str | None) -> AsyncIterator[tuple[House, Publisher]]:
    async with open_outside(tmp_path / "data", database_url) as opened:
        yield opened


class Provider:
    """The company's identity provider."""

    def __init__(self, house: House, publisher: Publisher) -> None:
        self.house = house
        self.key = publisher.key
        self.publisher = publisher

    async def trusted(self, **more: Any) -> Any:
        uri = self.publisher.publishes_keys()
        body = {"issuer": ISSUER, "kind": "idp", "jwks_uri": uri, **more}
        return await self.house.alice.does("POST", "/v1/trusted-issuers", **body)

    async def knows(self, person: Person, subject: str = SUBJECT, issuer: str = ISSUER) -> None:
        """The person signed in by this provider before."""
        async with self.house.app.database.write() as tx:
            row = {"issuer": issuer, "subject": subject, "user": person.id, "created_at": 0}
            await tx.execute(insert(external_identities).values(row))

    def word(self, agent: str, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A right ID-JAG for this client, except for what is changed."""
        said = {"sub": SUBJECT, "client_id": agent, "scope": "repo:read", "resource": GITHUB, **changed}
        return self.key.assertion(
            ISSUER, self.house.settings.issuer, self.house.clock.now(), header=header or {"typ": TYP}, **said
        )


async def presents(agent: Robot, assertion: str, **more: Any) -> Reply:
    form = {"grant_type": GRANT, "assertion": assertion, "resource": GITHUB, **more}
    headers = agent.basic
    return await agent.house.call("POST", "/oauth/token", headers=headers, form=form)


async def begun(outside: tuple[House, Publisher], *grants: str, **more: Any) -> tuple[Provider, Robot]:
    house, publisher = outside
    provider = Provider(house, publisher)
    await provider.trusted(**more)
    await provider.knows(house.alice)
    agent = await house.agent("reviewer")
    await house.connect()
    await house.delegate(agent, *grants)
    return provider, agent


def refusal(reply: Reply) -> tuple[int, str]:
    return reply.status, str(reply.json()["error"])


async def test_a_right_word_opens_a_task_under_the_delegation_that_exists(outside: tuple[House, Publisher]) -> None:
    provider, agent = await begun(outside)
    house = provider.house
    reply = await presents(agent, provider.word(agent.id))
    answer = reply.json()
    assert reply.status == 200
    assert "refresh_token" not in answer  # IJ-3
    assert (answer["token_type"], answer["scope"], reply.header("cache-control")) == ("Bearer", "repo:read", "no-store")
    claims = unverified_claims(answer["access_token"])
    assert (claims["sub"], claims["act"]["sub"], claims["aud"]) == (
        "agent:reviewer",
        "user:alice@acme.com",
        "https://api.github.com",
    )
    assert claims["exp"] - claims["iat"] <= 900
    assert (await house.gateway(answer["access_token"], "GET", PATH)).status == 200
    (opened,) = await house.events("task.opened")
    (accepted,) = await house.events("id-jag.accepted")
    assert (opened["evidence"], opened["user"], accepted["task"]) == ("id_jag", house.alice.id, opened["task"])


async def test_ij_1_one_changed_fact_and_the_word_is_nobodys(outside: tuple[House, Publisher]) -> None:
    provider, agent = await begun(outside)
    house = provider.house
    other = await house.agent("other")
    issuer, now = house.settings.issuer, int(house.clock.now())
    wrong: dict[str, dict[str, Any]] = {
        "another issuer": {"iss": "https://login.evil.example"},
        "the issuer with a slash": {"iss": ISSUER + "/"},
        "no issuer": {"iss": ABSENT},
        "an audience of one in a list": {"aud": [issuer]},
        "two audiences": {"aud": [issuer, "https://elsewhere.example"]},
        "another audience": {"aud": "https://elsewhere.example"},
        "the token endpoint": {"aud": f"{issuer}/oauth/token"},
        "no audience": {"aud": ABSENT},
        "another client": {"client_id": other.id},
        "the client's name": {"client_id": "reviewer"},
        "no client": {"client_id": ABSENT},
        "clients in a list": {"client_id": [agent.id]},
        "no end": {"exp": ABSENT},
        "expired": {"iat": now - 300, "exp": now - 60},
        "too long": {"exp": now + 3_600},
        "no beginning": {"iat": ABSENT},
        "not yet": {"iat": now + 120, "exp": now + 180},
        "no jti": {"jti": ABSENT},
        "a jti that is a number": {"jti": 12345678},
        "somebody unknown": {"sub": "00u-nobody"},
        "an e-mail address": {"sub": "alice@acme.com", "email": "alice@acme.com"},
        "no subject": {"sub": ABSENT},
        "our own id": {"sub": house.alice.id},
    }
    for what, changed in wrong.items():
        assert refusal(await presents(agent, provider.word(agent.id, **changed))) == (400, "invalid_grant"), what
    for header in (
        {"typ": "JWT"},
        {"typ": ABSENT},
        {"typ": "at+jwt"},
        {"typ": TYP, "alg": "none"},
        {"typ": TYP, "jwk": provider.key.jwks["keys"][0]},
        {"typ": TYP, "kid": "another"},
    ):
        word = provider.word(agent.id, header=header)
        assert refusal(await presents(agent, word)) == (400, "invalid_grant"), header
    evil = Provider(house, provider.publisher)
    evil.key = OwnKey(provider.key.kid)
    assert refusal(await presents(agent, evil.word(agent.id))) == (400, "invalid_grant")
    for rubbish in ("x", "x.y.z", "..", agent.secret):
        assert refusal(await presents(agent, rubbish)) == (400, "invalid_grant")
    assert await house.events("task.opened") == []
    assert (await presents(agent, provider.word(agent.id))).status == 200


async def test_ij_1_a_word_is_used_once_whoever_comes_first(outside: tuple[House, Publisher]) -> None:
    provider, agent = await begun(outside)
    word = provider.word(agent.id)
    replies = await asyncio.gather(*(presents(agent, word) for _ in range(6)))
    assert sorted(reply.status for reply in replies) == [200] + [400] * 5
    assert len(await provider.house.events("task.opened")) == 1


async def test_ij_1_another_agent_that_finds_the_word_cannot_use_it_nor_use_it_up(
    outside: tuple[House, Publisher],
) -> None:
    provider, agent = await begun(outside)
    thief = await provider.house.agent("thief")
    await provider.house.delegate(thief)
    word = provider.word(agent.id)
    assert refusal(await presents(thief, word)) == (400, "invalid_grant")
    assert (await presents(agent, word)).status == 200


async def test_ij_2_the_result_is_for_the_named_resource_and_the_common_scopes(
    outside: tuple[House, Publisher],
) -> None:
    provider, agent = await begun(outside, "github:repo:read,issues:write@acme-corp/backend")

    async def scopes(said: Any, asked: str | None = None) -> str:
        more = {} if asked is None else {"scope": asked}
        reply = await presents(agent, provider.word(agent.id, scope=said), **more)
        body = reply.json()
        return str(body["scope"] if reply.status == 200 else body["error"])

    assert await scopes("repo:read") == "repo:read"
    assert await scopes("repo:read issues:write") == "issues:write repo:read"
    assert await scopes("repo:read issues:write", "issues:write") == "issues:write"
    assert await scopes("repo:read", "issues:write") == "invalid_scope"
    assert await scopes("issues:read") == "issues:read"  # part of repo:read, which is delegated
    assert await scopes("repo:write") == "issues:write repo:read"  # all of it that is delegated
    assert await scopes("hooks:write") == "invalid_scope"
    assert await scopes("repo:read hooks:write") == "repo:read"
    assert await scopes("") == "invalid_scope"
    assert await scopes(7) == "invalid_grant"
    assert await scopes(ABSENT) == "issues:write repo:read"
    for resource in ("https://api.slack.com", f"{GITHUB}/repos", [], ["https://api.slack.com"]):
        word = provider.word(agent.id, resource=resource)
        assert refusal(await presents(agent, word)) == (400, "invalid_target"), resource
    assert refusal(await presents(agent, provider.word(agent.id, resource=7))) == (400, "invalid_grant")
    assert (await presents(agent, provider.word(agent.id, resource=[GITHUB, "https://x.example"]))).status == 200
    for resources in ([], [GITHUB, "https://api.slack.com"], ["https://api.slack.com"]):
        word = provider.word(agent.id)
        assert refusal(await presents(agent, word, resource=resources)) == (400, "invalid_target"), resources


async def test_ij_2_details_in_the_word_narrow_and_are_never_passed_over(outside: tuple[House, Publisher]) -> None:
    provider, agent = await begun(outside, "github:repo:read@acme-corp/backend,acme-corp/payroll")
    detail = {"type": "github", "actions": ["repo:read"], "resources": ["acme-corp/backend"]}
    reply = await presents(agent, provider.word(agent.id, authorization_details=[detail]))
    token = reply.json()["access_token"]
    assert (await provider.house.gateway(token, "GET", PATH)).status == 200
    assert (await provider.house.gateway(token, "GET", "/repos/acme-corp/payroll")).status == 403
    for wrong, error in (
        ([detail | {"resources": ["acme-corp/secret"]}], "invalid_scope"),
        ([detail | {"actions": ["hooks:write"]}], "invalid_scope"),
        ([detail | {"until": "noon"}], "invalid_authorization_details"),
        ([], "invalid_authorization_details"),
        ("x", "invalid_authorization_details"),
    ):
        word = provider.word(agent.id, authorization_details=wrong)
        assert refusal(await presents(agent, word)) == (400, error), wrong


async def test_a_word_alone_permits_nothing(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    provider = Provider(house, publisher)
    await provider.trusted()
    await provider.knows(house.alice)
    agent = await house.agent("reviewer")
    reply = await presents(agent, provider.word(agent.id))
    assert refusal(reply) == (400, "invalid_grant")
    assert "delegat" in reply.json()["error_description"]
    await house.connect()
    delegation = await house.delegate(agent)
    assert (await presents(agent, provider.word(agent.id))).status == 200
    await house.alice.does("POST", "/v1/revocations", node=delegation["id"])
    assert refusal(await presents(agent, provider.word(agent.id))) == (400, "invalid_grant")


@pytest.mark.parametrize("ended", ["expired", "agent", "user"])
async def test_what_has_ended_is_not_begun_again_by_a_word(outside: tuple[House, Publisher], ended: str) -> None:
    provider, agent = await begun(outside)
    house = provider.house
    bob = await house.person("bob@acme.com", role="administrator")
    if ended == "expired":
        house.clock.advance(86_400)
        assert refusal(await presents(agent, provider.word(agent.id))) == (400, "invalid_grant")
    elif ended == "agent":
        await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
        assert refusal(await presents(agent, provider.word(agent.id))) == (401, "invalid_client")
    else:
        await bob.does("POST", "/v1/users/alice@acme.com/suspend")
        assert (await presents(agent, provider.word(agent.id))).status in (400, 401)


async def test_ij_4_only_who_proves_itself_may_bring_a_word(outside: tuple[House, Publisher]) -> None:
    provider, agent = await begun(outside)
    house, publisher = outside
    publisher.publishes()
    form = {"grant_type": GRANT, "assertion": provider.word(publisher.client_id), "resource": GITHUB}
    public = await house.call("POST", "/oauth/token", form=form | {"client_id": publisher.client_id})
    assert refusal(public) == (400, "unauthorized_client")
    nobody = await house.call("POST", "/oauth/token", form=form | {"assertion": provider.word(agent.id)})
    assert refusal(nobody) == (401, "invalid_client")
    keeper = await house.alice.does("POST", "/v1/service-accounts", name="keeper", scopes=["audit:read"])
    service = form | {"client_id": keeper["id"], "client_secret": keeper["secret"]}
    assert refusal(await house.call("POST", "/oauth/token", form=service)) == (400, "unauthorized_client")


async def test_ij_6_a_tenant_of_the_same_issuer_is_not_ours(outside: tuple[House, Publisher]) -> None:
    provider, agent = await begun(outside, tenant={"tid": "acme"})
    for changed in ({}, {"tid": "evil"}, {"tid": ["acme"]}, {"tid": "ACME"}):
        assert refusal(await presents(agent, provider.word(agent.id, **changed))) == (400, "invalid_grant"), changed
    assert (await presents(agent, provider.word(agent.id, tid="acme"))).status == 200


async def test_an_issuer_of_workloads_vouches_for_no_person(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    provider = Provider(house, publisher)
    agent = await house.agent("reviewer")
    await provider.trusted(kind="generic", rules=[{"agent": "reviewer", "claims": {"sub": SUBJECT}}])
    await provider.knows(house.alice)
    await house.connect()
    await house.delegate(agent)
    assert refusal(await presents(agent, provider.word(agent.id))) == (400, "invalid_grant")


async def test_a_word_for_one_person_opens_nothing_of_another(outside: tuple[House, Publisher]) -> None:
    provider, agent = await begun(outside)
    bob = await provider.house.person("bob@acme.com")
    await provider.knows(bob, subject="00u-bob")
    reply = await presents(agent, provider.word(agent.id, sub="00u-bob"))
    assert refusal(reply) == (400, "invalid_grant")


async def test_an_administrators_delegation_is_one_too(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    provider = Provider(house, publisher)
    await provider.trusted()
    bob = await house.person("bob@acme.com")
    await provider.knows(bob)
    agent = await house.agent("reviewer")
    shared = await house.connect(shared=True)
    grants = ["github:repo:read@acme-corp/backend"]
    await house.alice.does("POST", f"/v1/connections/{shared['id']}/entitlements", user="bob@acme.com", grants=grants)
    made = await house.delegate(agent, *grants, user="bob@acme.com")
    assert made["basis"] == "administrator"
    reply = await presents(agent, provider.word(agent.id))
    assert reply.status == 200, reply.body
    assert unverified_claims(reply.json()["access_token"])["act"]["sub"] == "user:bob@acme.com"


async def test_a_client_nobody_registered_brings_a_word_once_she_agreed_to_it(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    provider = Provider(house, publisher)
    await provider.trusted()
    await provider.knows(house.alice)
    await house.connect()
    await allow(house)
    publisher.publishes(token_endpoint_auth_method="private_key_jwt", jwks=publisher.key.jwks)

    async def brings() -> Reply:
        more = {"grant_type": GRANT, "assertion": provider.word(publisher.client_id), "resource": GITHUB}
        return await publisher.asserts(house, **more)

    assert refusal(await brings()) == (400, "invalid_grant")
    agent = await agreed(house, publisher)
    assert refusal(await brings()) == (400, "invalid_grant")
    await house.alice.does(
        "POST", "/v1/delegations", agent=agent.name, grants=["github:repo:read@acme-corp/backend"], purpose="review"
    )
    reply = await brings()
    assert reply.status == 200, reply.body
    assert unverified_claims(reply.json()["access_token"])["uid"] == agent.id
    # CI-7: it is not the client she agreed to any more.
    publisher.publishes(token_endpoint_auth_method="private_key_jwt", jwks=publisher.key.jwks, client_name="Other")
    house.clock.advance(60)
    assert refusal(await brings()) == (400, "invalid_grant")


async def test_oa_16_a_word_opens_no_other_door(outside: tuple[House, Publisher]) -> None:
    provider, agent = await begun(outside)
    house = provider.house
    word = provider.word(agent.id)
    assert (await house.gateway(word, "GET", PATH)).status == 401
    assert (await house.call("GET", "/v1/whoami", headers={"authorization": f"Bearer {word}"})).status == 401
    assert (await agent.exchange(word)).status == 400
    assert (await presents(agent, word)).status == 200


async def test_dp_11_the_key_that_is_proven_is_in_the_credential(outside: tuple[House, Publisher]) -> None:
    """DP-11: also for who registered that nothing else is ever issued to it."""
    provider, agent = await begun(outside)
    house, prover = provider.house, Prover(provider.house)
    await house.alice.does(
        "PUT",
        f"/v1/agents/{agent.id}/client",
        redirect_uris=["https://agent.example/callback"],
        dpop_bound_access_tokens=True,
    )
    assert refusal(await presents(agent, provider.word(agent.id))) == (400, "invalid_dpop_proof")
    form = {"grant_type": GRANT, "assertion": provider.word(agent.id), "resource": GITHUB}
    answer = (await prover.asks(agent.basic, form)).json()
    assert answer["token_type"] == "DPoP"
    assert unverified_claims(answer["access_token"])["cnf"] == {"jkt": prover.holder.jkt}
    assert (await house.gateway(answer["access_token"], "GET", PATH)).status == 401
    assert (await prover.calls(answer["access_token"], "GET", f"/p/github{PATH}")).status == 200
