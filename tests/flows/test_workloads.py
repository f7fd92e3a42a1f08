"""Agents that prove themselves by the platform they run on: a rule of an administrator, and a token of the platform.

JA-1 to JA-5, SP-1, SP-2, OA-14, OA-15, JW-01 to JW-07, SS-03, SS-04.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.house import House, Robot
from tests.support.http import Reply
from tests.support.outside import Publisher, open_outside
from tests.support.strangers import other_organization
from tests.support.tokens import ABSENT, ASSERTION_TYPE, OwnKey, signed

SPIFFE_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
SUBJECT = {
    "kubernetes": "system:serviceaccount:ci:reviewer",
    "github": "repo:acme-corp/backend:ref:refs/heads/main",
    "spiffe": "spiffe://acme.com/ns/ci/sa/reviewer",
    "generic": "job-7",
}
RULE: dict[str, dict[str, str]] = {
    "kubernetes": {"namespace": "ci", "serviceaccount": "reviewer"},
    "github": {"repository": "acme-corp/backend"},
    "spiffe": {"sub": "spiffe://acme.com/ns/ci/sa/reviewer"},
    "generic": {"sub": "job-7"},
}
KINDS = list(SUBJECT)


@pytest.fixture
async def outside(tmp_path: Path, database_url: str | None) -> AsyncIterator[tuple[House, Publisher]]:
    async with open_outside(tmp_path / "data", database_url) as opened:
        yield opened


class Platform:
    """A platform that runs workloads and signs who they are."""

    def __init__(self, house: House, publisher: Publisher, kind: str) -> None:
        self.house = house
        self.publisher = publisher
        self.kind = kind
        self.key = publisher.key
        self.issuer = "spiffe://acme.com" if kind == "spiffe" else f"{publisher.host.url}/{kind}"

    def keys(self) -> dict[str, Any]:
        """As this platform publishes them."""
        if self.kind != "spiffe":
            return self.key.jwks
        return {"keys": [{k: v for k, v in self.key.jwks["keys"][0].items() if k != "alg"} | {"use": "jwt-svid"}]}

    async def trusted(self, agent: Robot, **more: Any) -> Any:
        body = {
            "issuer": self.issuer,
            "kind": self.kind,
            "jwks_uri": self.publisher.publishes_keys(**self.keys()),
            "rules": [{"agent": agent.name, "claims": RULE[self.kind]}],
            **more,
        }
        return await self.house.alice.does("POST", "/v1/trusted-issuers", **body)

    def token(self, header: dict[str, Any] | None = None, **changed: Any) -> str:
        """A right token of the platform, except for what is changed."""
        more: dict[str, Any] = {"repository": "acme-corp/backend"} if self.kind == "github" else {}
        if self.kind in ("kubernetes", "spiffe"):
            more["aud"] = [self.house.settings.issuer]
        if self.kind == "spiffe":
            more |= {"iss": ABSENT, "jti": ABSENT}
        return self.key.assertion(
            self.issuer,
            self.house.settings.issuer,
            self.house.clock.now(),
            header=header,
            **{"sub": SUBJECT[self.kind], **more, **changed},
        )

    async def presents(self, agent: str | None, token: str | None = None, **more: Any) -> Reply:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": SPIFFE_TYPE if self.kind == "spiffe" else ASSERTION_TYPE,
            "client_assertion": token or self.token(),
            **({} if agent is None else {"client_id": agent}),
            **more,
        }
        return await self.house.call("POST", "/oauth/token", form=form)

    async def is_agent(self, agent: str | None, token: str | None = None, **more: Any) -> bool:
        reply = await self.presents(agent, token, **more)
        if reply.status == 200:
            return True
        assert (reply.status, reply.json()["error"]) == (401, "invalid_client"), reply.body
        return False


async def begun(outside: tuple[House, Publisher], kind: str, **more: Any) -> tuple[Platform, Robot]:
    house, publisher = outside
    platform = Platform(house, publisher, kind)
    agent = await house.agent("reviewer")
    await platform.trusted(agent, **more)
    return platform, agent


@pytest.mark.parametrize("kind", KINDS)
async def test_a_workload_is_the_agent_its_rule_names(outside: tuple[House, Publisher], kind: str) -> None:
    platform, agent = await begun(outside, kind)
    reply = await platform.presents(agent.id)
    assert reply.status == 200
    whoami = await platform.house.call(
        "GET", "/v1/whoami", headers={"authorization": f"Bearer {reply.json()['access_token']}"}
    )
    assert whoami.json()["id"] == agent.id
    (added,) = await platform.house.events("trusted-issuer.added")
    assert (added["kind"], added["issuer"], added["agents"]) == (kind, platform.issuer, [agent.id])


@pytest.mark.parametrize("kind", KINDS)
async def test_ja_1_ja_3_oa_14_one_changed_fact_and_a_workload_is_nobody(
    outside: tuple[House, Publisher], kind: str
) -> None:
    platform, agent = await begun(outside, kind)
    house = platform.house
    other = await house.agent("other")
    issuer, now = house.settings.issuer, int(house.clock.now())
    wrong: dict[str, dict[str, Any]] = {
        "no subject": {"sub": ABSENT},
        "audience of somebody else": {"aud": "https://elsewhere.example"},
        "audience of two": {"aud": [issuer, "https://elsewhere.example"]},
        "no audience": {"aud": ABSENT},
        "an empty list": {"aud": []},
        "audience in other letters": {"aud": issuer.upper()},
        "audience with a slash": {"aud": issuer + "/"},
        "the token endpoint": {"aud": f"{issuer}/oauth/token"},
        "expired": {"iat": now - 7200, "exp": now - 3600},
        "no end": {"exp": ABSENT},
        "an end in text": {"exp": str(now + 60)},
        "an end that is true": {"exp": True},
        "too long": {"exp": now + 86_400},
        "not yet": {"nbf": now + 3_600},
    }
    if kind != "spiffe":
        wrong["another issuer"] = {"iss": platform.issuer + "/"}
        wrong["no issuer"] = {"iss": ABSENT}
    if kind in ("github", "generic"):
        wrong["no jti"] = {"jti": ABSENT}
        wrong["a list of one"] = {"aud": [issuer]}
    if kind == "github":
        wrong["another repository"] = {"repository": "acme-corp/payroll"}
    else:
        wrong["another subject"] = {"sub": SUBJECT[kind] + "2"}
    for what, changed in wrong.items():
        assert not await platform.is_agent(agent.id, platform.token(**changed)), what
    assert not await platform.is_agent(other.id)
    assert not await platform.is_agent(None)  # a workload says which agent it is
    assert not await platform.is_agent("agt_00000000000000000000000000")
    forged = OwnKey(platform.key.kid)
    claims = {"iss": platform.issuer, "sub": SUBJECT[kind], "aud": issuer, "exp": now + 60, "jti": "forged-jti"}
    assert not await platform.is_agent(agent.id, signed(forged.private, forged.kid, {"typ": "JWT"}, claims))
    assert await platform.is_agent(agent.id)


@pytest.mark.parametrize("kind", KINDS)
async def test_jw_01_02_03_06_another_header_proves_no_workload(outside: tuple[House, Publisher], kind: str) -> None:
    platform, agent = await begun(outside, kind)
    for header in (
        {"alg": "none", "typ": "JWT"},
        {"alg": "HS256", "typ": "JWT"},
        {"typ": "at+jwt"},
        {"typ": "oauth-id-jag+jwt"},
        {"typ": "delegation+jwt"},
        {"typ": "JWT", "jku": "https://evil.example/k"},
        {"typ": "JWT", "jwk": platform.key.jwks["keys"][0]},
        {"typ": "JWT", "x5c": ["AAAA"]},
        {"typ": "JWT", "crit": ["exp"]},
        {"typ": "JWT", "kid": "another"},
    ):
        assert not await platform.is_agent(agent.id, platform.token(header=header)), header
    thumb = {"typ": "JWT", "x5t": "AAAA"}
    assert await platform.is_agent(agent.id, platform.token(header=thumb)) is (kind == "github")
    assert await platform.is_agent(agent.id, platform.token(header={"typ": ABSENT}))


@pytest.mark.parametrize("kind", KINDS)
async def test_ja_3_sp_1_where_a_platform_renews_a_file_it_may_be_shown_again(
    outside: tuple[House, Publisher], kind: str
) -> None:
    platform, agent = await begun(outside, kind)
    token = platform.token()
    assert await platform.is_agent(agent.id, token)
    assert await platform.is_agent(agent.id, token) is (kind in ("kubernetes", "spiffe"))
    platform.house.clock.advance(120)
    assert not await platform.is_agent(agent.id, token)  # either way it ends


async def test_sp_1_the_two_types_of_assertion_are_not_mixed(outside: tuple[House, Publisher]) -> None:
    spiffe, agent = await begun(outside, "spiffe")
    assert not await spiffe.is_agent(agent.id, client_assertion_type=ASSERTION_TYPE)
    named = spiffe.token(iss="spiffe://acme.com")
    assert not await spiffe.is_agent(agent.id, named, client_assertion_type=ASSERTION_TYPE)
    generic = Platform(spiffe.house, spiffe.publisher, "generic")
    await generic.trusted(agent)
    assert not await generic.is_agent(agent.id, client_assertion_type=SPIFFE_TYPE)
    own = spiffe.token(sub=agent.id, iss=agent.id)
    assert not await spiffe.is_agent(agent.id, own)


async def test_sp_2_keys_come_from_the_administrator_never_from_the_workload(outside: tuple[House, Publisher]) -> None:
    platform, agent = await begun(outside, "spiffe")
    for domain in ("evil.example", "acme.com.evil.example"):
        assert not await platform.is_agent(agent.id, platform.token(sub=f"spiffe://{domain}/ns/ci/sa/reviewer"))
    assert all(seen.path == b"/keys" for seen in platform.publisher.host.seen)


async def test_ja_5_the_token_endpoint_is_an_audience_only_where_it_was_allowed(
    outside: tuple[House, Publisher],
) -> None:
    platform, agent = await begun(outside, "generic", token_endpoint_audience=True)
    endpoint = f"{platform.house.settings.issuer}/oauth/token"
    assert await platform.is_agent(agent.id, platform.token(aud=endpoint))
    assert await platform.is_agent(agent.id)
    for audience in (endpoint + "/", f"{platform.house.settings.issuer}/oauth/par", [endpoint]):
        assert not await platform.is_agent(agent.id, platform.token(aud=audience)), audience
    once = platform.token(aud=endpoint)
    assert await platform.is_agent(agent.id, once)
    assert not await platform.is_agent(agent.id, once)


async def test_oa_15_an_issuer_without_an_audience_proves_nothing(outside: tuple[House, Publisher]) -> None:
    platform, agent = await begun(outside, "generic")
    house = platform.house
    refused = await house.alice.call(
        "POST",
        "/v1/trusted-issuers",
        issuer="https://other.example",
        kind="generic",
        jwks=platform.key.jwks,
        audience="",
        rules=[{"agent": "reviewer", "claims": {"sub": "x"}}],
    )
    assert refused.status == 400
    async with house.app.database.write() as tx:  # and were it unset in the store, it would refuse as well
        rules = (await tx.execute(text("SELECT rules FROM trusted_issuers"))).scalar_one()
        unset = json.dumps(json.loads(rules) | {"audience": ""})
        await tx.execute(text("UPDATE trusted_issuers SET rules = :rules"), {"rules": unset})
    for audience in ("", ABSENT, house.settings.issuer, [""]):
        assert not await platform.is_agent(agent.id, platform.token(aud=audience))


async def test_a_platform_with_pasted_keys_is_never_asked(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    platform = Platform(house, publisher, "kubernetes")
    agent = await house.agent("reviewer")
    await platform.trusted(agent, jwks_uri=None, jwks=platform.key.jwks)
    assert await platform.is_agent(agent.id)
    assert publisher.host.received("GET", "/keys") == 0


async def test_ss_03_ss_04_keys_are_fetched_seldom_and_only_from_their_address(
    outside: tuple[House, Publisher],
) -> None:
    platform, agent = await begun(outside, "generic")
    host, clock = platform.publisher.host, platform.house.clock
    assert await platform.is_agent(agent.id)
    assert await platform.is_agent(agent.id)
    assert host.received("GET", "/keys") == 1
    # A kid nobody published asks again, once in ten seconds however often it comes.
    for _ in range(5):
        assert not await platform.is_agent(agent.id, platform.token(header={"typ": "JWT", "kid": "unknown"}))
    assert host.received("GET", "/keys") == 1
    clock.advance(10)
    for _ in range(5):
        assert not await platform.is_agent(agent.id, platform.token(header={"typ": "JWT", "kid": "unknown"}))
    assert host.received("GET", "/keys") == 2
    # A redirect, an error or rubbish changes nothing while the keys are fresh; afterwards there are none.
    evil = OwnKey(platform.key.kid)
    host.answers("GET", "/evil", json=evil.jwks)
    host.answers("GET", "/keys", 302, headers={"Location": f"{host.url}/evil"})
    clock.advance(60)
    assert not await platform.is_agent(agent.id, platform.token(header={"typ": "JWT", "kid": "unknown"}))
    assert await platform.is_agent(agent.id)
    clock.advance(300)
    assert not await platform.is_agent(agent.id)
    assert host.received("GET", "/evil") == 0
    # And when they are rotated, the new ones are found.
    clock.advance(60)
    platform.key = OwnKey("new-key")
    platform.publisher.publishes_keys(**platform.keys())
    assert await platform.is_agent(agent.id)


async def test_what_stops_a_workload(outside: tuple[House, Publisher]) -> None:
    platform, agent = await begun(outside, "generic")
    house = platform.house
    (issuer,) = (await house.alice.does("GET", "/v1/trusted-issuers"))["data"]
    await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    assert not await platform.is_agent(agent.id)
    await house.alice.does("POST", f"/v1/agents/{agent.id}/resume")
    assert await platform.is_agent(agent.id)
    await house.alice.does("DELETE", f"/v1/trusted-issuers/{issuer['id']}")
    assert not await platform.is_agent(agent.id)
    assert (await house.alice.call("DELETE", f"/v1/trusted-issuers/{issuer['id']}")).status == 404
    (removed,) = await house.events("trusted-issuer.removed")
    assert removed["issuer"] == platform.issuer
    await platform.trusted(agent)
    assert await platform.is_agent(agent.id)
    await house.alice.does("POST", "/v1/revocations", node=agent.id)
    assert not await platform.is_agent(agent.id)


async def test_only_an_administrator_trusts_and_only_for_the_organizations_own_agents(
    outside: tuple[House, Publisher],
) -> None:
    platform, agent = await begun(outside, "generic")
    house = platform.house
    bob = await house.person("bob@acme.com")
    mallory = await other_organization(house)
    body = {
        "issuer": "https://other.example",
        "kind": "generic",
        "jwks": platform.key.jwks,
        "rules": [{"agent": agent.id, "claims": {"sub": "x"}}],
    }
    for caller in (bob, agent):
        assert (await caller.call("POST", "/v1/trusted-issuers", **body)).status == 403
        assert (await caller.call("GET", "/v1/trusted-issuers")).status == 403
    assert (await mallory.call("POST", "/v1/trusted-issuers", **body)).status == 404
    assert (await mallory.does("GET", "/v1/trusted-issuers"))["data"] == []
    # The same issuer trusted by somebody else, with keys of theirs, makes nobody an agent of ours.
    evil = await house.agent("evil", owner=mallory)
    key = OwnKey(platform.key.kid)
    rules = [{"agent": evil.id, "claims": {"sub": "job-7"}}]
    await mallory.does(
        "POST", "/v1/trusted-issuers", **body | {"issuer": platform.issuer, "jwks": key.jwks, "rules": rules}
    )
    now = house.clock.now()
    theirs = key.assertion(platform.issuer, house.settings.issuer, now, sub="job-7")
    assert not await platform.is_agent(agent.id, theirs)
    assert not await platform.is_agent(evil.id)
    assert await platform.is_agent(agent.id)
    # One issuer is trusted once: what it means is never ambiguous.
    again = await house.alice.call("POST", "/v1/trusted-issuers", **body | {"issuer": platform.issuer})
    assert (again.status, again.code) == (409, "conflict")


@pytest.mark.parametrize(
    "uri", ["http://keys.example/k", "https://10.0.0.1", "ftp://keys.example/k", "https://keys.example/k#x", "keys"]
)
async def test_keys_are_at_one_canonical_https_address(outside: tuple[House, Publisher], uri: str) -> None:
    house, _ = outside
    agent = await house.agent("reviewer")
    reply = await house.alice.call(
        "POST",
        "/v1/trusted-issuers",
        issuer="https://platform.example",
        kind="generic",
        jwks_uri=uri,
        rules=[{"agent": agent.id, "claims": {"sub": "x"}}],
    )
    assert (reply.status, reply.code) == (400, "invalid_request")
