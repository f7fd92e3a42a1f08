"""An agent that proves a key of its own (RFC 7523): one assertion, one use, for us alone, for a minute."""

import asyncio
from typing import Any

from tests.support.house import EXCHANGE, GITHUB, JWT, House, Reply
from tests.support.tokens import ABSENT, ASSERTION_TYPE, OwnKey


async def keyed(house: House, name: str = "keyed") -> tuple[str, OwnKey]:
    """An agent with a public key registered instead of a secret."""
    key = OwnKey()
    made = await house.alice.does("POST", "/v1/agents", name=name, jwks=key.jwks)
    assert "secret" not in made
    return made["id"], key


async def presented(house: House, assertion: str, **more: Any) -> Reply:
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        **more,
    }
    return await house.call("POST", "/oauth/token", form=form)


async def test_a_right_assertion_gets_a_token_and_an_exchange(house: House) -> None:
    agent, key = await keyed(house)
    await house.connect()
    issuer, now = house.settings.issuer, house.clock.now()
    reply = await presented(house, key.assertion(agent, issuer, now))
    assert reply.status == 200
    assert reply.json()["scope"] == "self:read tasks:open"
    delegation = await house.alice.does(
        "POST",
        "/v1/delegations",
        agent="keyed",
        grants=["github:repo:read@acme-corp/backend"],
        purpose="review",
    )
    task = await house.task(delegation)
    exchange = {
        "grant_type": EXCHANGE,
        "subject_token": task["task_token"],
        "subject_token_type": JWT,
        "resource": GITHUB,
    }
    got = await presented(house, key.assertion(agent, issuer, now), **exchange)
    assert got.status == 200
    read = await house.gateway(got.json()["access_token"], "GET", "/repos/acme-corp/backend")
    assert read.status == 200


async def test_ja_1_to_3_oa_14_one_changed_fact_and_it_proves_nothing(house: House) -> None:
    agent, key = await keyed(house)
    other, other_key = await keyed(house, "other")
    issuer, now = house.settings.issuer, house.clock.now()
    wrong: dict[str, dict[str, Any]] = {
        "audience is the token endpoint": {"aud": f"{issuer}/oauth/token"},
        "audience is an array": {"aud": [issuer]},
        "audience is an array of two": {"aud": [issuer, "https://elsewhere.example"]},
        "audience has a trailing slash": {"aud": issuer + "/"},
        "audience in other letters": {"aud": issuer.upper()},
        "audience is a prefix": {"aud": issuer[:-1]},
        "audience is the API's": {"aud": f"{issuer}/v1"},
        "audience is missing": {"aud": ABSENT},
        "audience is empty": {"aud": ""},
        "issuer is another agent": {"iss": other},
        "subject is another agent": {"sub": other},
        "both are another agent": {"iss": other, "sub": other},
        "issuer is the agent's name": {"iss": "keyed"},
        "subject is the agent's name": {"sub": "keyed"},
        "issuer is missing": {"iss": ABSENT},
        "subject is missing": {"sub": ABSENT},
        "subject is the user": {"sub": house.alice.id, "iss": house.alice.id},
        "expiry is missing": {"exp": ABSENT},
        "expiry is text": {"exp": str(int(now) + 60)},
        "expiry is a float": {"exp": now + 60.5},
        "expiry is true": {"exp": True},
        "expired": {"iat": int(now) - 120, "exp": int(now) - 60},
        "lives too long": {"exp": int(now) + 3600},
        "lives too long without iat": {"iat": ABSENT, "exp": int(now) + 3600},
        "issued in the future": {"iat": int(now) + 120, "exp": int(now) + 180},
        "not yet": {"nbf": int(now) + 120},
        "jti is missing": {"jti": ABSENT},
        "jti is a number": {"jti": 12345678901},
        "jti is short": {"jti": "x"},
        "jti is huge": {"jti": "x" * 5000},
    }
    for what, changed in wrong.items():
        reply = await presented(house, key.assertion(agent, issuer, now, **changed))
        assert (reply.status, reply.json()["error"]) == (401, "invalid_client"), what
    for assertion in (
        other_key.assertion(agent, issuer, now),
        OwnKey(key.kid).assertion(agent, issuer, now),
        key.assertion(agent, issuer, now)[:-4] + "AAAA",
        "",
        "x.y.z",
        "..",
    ):
        reply = await presented(house, assertion)
        assert reply.status in (400, 401), assertion
    assert (await presented(house, key.assertion(agent, issuer, now))).status == 200


OTHER_HEADERS: list[dict[str, Any]] = [
    {"typ": "dpop+jwt"},
    {"typ": "delegation+jwt"},
    {"typ": "task+jwt"},
    {"typ": "at+jwt"},
    {"alg": "none"},
    {"alg": "HS256"},
    {"alg": "RS256"},
    {"kid": "another"},
    {"kid": ABSENT},
    {"typ": "JWT", "crit": ["exp"]},
    {"typ": "JWT", "jku": "https://evil.example/jwks"},
    {"typ": "JWT", "x5u": "https://evil.example/x"},
    {"typ": "JWT", "b64": False},
]


async def test_jw_01_02_03_06_oa_16_an_assertion_with_another_header_proves_nothing(house: House) -> None:
    agent, key = await keyed(house)
    issuer, now = house.settings.issuer, house.clock.now()
    for right in ({"typ": "JWT"}, {"typ": "client-authentication+jwt"}, {"typ": ABSENT}):
        assert (await presented(house, key.assertion(agent, issuer, now, header=right))).status == 200
    for header in OTHER_HEADERS:
        reply = await presented(house, key.assertion(agent, issuer, now, header=header))
        assert (reply.status, reply.json()["error"]) == (401, "invalid_client"), header


async def test_jw_02_a_key_in_the_header_is_nobodys_key(house: House) -> None:
    agent, key = await keyed(house)
    mine = OwnKey(key.kid)
    header = {"typ": "JWT", "jwk": mine.jwks["keys"][0]}
    reply = await presented(house, mine.assertion(agent, house.settings.issuer, house.clock.now(), header=header))
    assert reply.status == 401


async def test_ja_3_an_assertion_is_used_once_whoever_comes_first(house: House) -> None:
    agent, key = await keyed(house)
    assertion = key.assertion(agent, house.settings.issuer, house.clock.now())
    replies = await asyncio.gather(*(presented(house, assertion) for _ in range(10)))
    assert sorted(r.status for r in replies) == [200] + [401] * 9
    assert (await presented(house, assertion)).status == 401
    # The same jti in another assertion is used as well, also later in its life.
    same = key.assertion(agent, house.settings.issuer, house.clock.now(), jti="only-once-jti")
    assert (await presented(house, same)).status == 200
    house.clock.advance(30)
    again = key.assertion(agent, house.settings.issuer, house.clock.now(), jti="only-once-jti")
    assert (await presented(house, again)).status == 401


async def test_a_jti_is_the_agents_own(house: House) -> None:
    (one, one_key), (two, two_key) = await keyed(house, "one"), await keyed(house, "two")
    issuer, now = house.settings.issuer, house.clock.now()
    assert (await presented(house, one_key.assertion(one, issuer, now, jti="shared-jti"))).status == 200
    assert (await presented(house, two_key.assertion(two, issuer, now, jti="shared-jti"))).status == 200


async def test_the_assertion_stands_alone(house: House) -> None:
    """No second way of client authentication, no other assertion type, no client_id of somebody else."""
    agent, key = await keyed(house)
    other = await house.agent("other")
    issuer, now = house.settings.issuer, house.clock.now()

    def fresh() -> str:
        return key.assertion(agent, issuer, now)

    for more in (
        {"client_secret": other.secret, "client_id": other.id},
        {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
        {"client_assertion_type": ""},
    ):
        assert (await presented(house, fresh(), **more)).status == 400
    assert (await presented(house, fresh(), client_id=other.id)).status == 401
    assert (await presented(house, fresh(), client_id=agent)).status == 200
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": fresh()}
    assert (await house.call("POST", "/oauth/token", form=form, headers=other.basic)).status == 400


async def test_oa_16_an_assertion_opens_no_door_but_this(house: House) -> None:
    agent, key = await keyed(house)
    assertion = key.assertion(agent, house.settings.issuer, house.clock.now())
    assert (await house.gateway(assertion, "GET", "/repos/acme-corp/backend")).status == 401
    whoami = await house.call("GET", "/v1/whoami", headers={"authorization": f"Bearer {assertion}"})
    assert whoami.status == 401
    assert (await presented(house, assertion)).status == 200  # trying it elsewhere did not use it up


async def test_a_suspended_or_revoked_agent_proves_nothing_with_its_key(house: House) -> None:
    """OA-17."""
    agent, key = await keyed(house)
    issuer, now = house.settings.issuer, house.clock.now()
    await house.alice.does("POST", f"/v1/agents/{agent}/suspend")
    assert (await presented(house, key.assertion(agent, issuer, now))).status == 401
    await house.alice.does("POST", f"/v1/agents/{agent}/resume")
    assert (await presented(house, key.assertion(agent, issuer, now))).status == 200
    await house.alice.does("POST", "/v1/revocations", node=agent)
    assert (await presented(house, key.assertion(agent, issuer, now))).status == 401


async def test_a_key_set_that_cannot_be_meant_is_refused_when_registered(house: House) -> None:
    key = OwnKey()
    jwk = key.jwks["keys"][0]
    for jwks in (
        {},
        {"keys": []},
        {"keys": [{}]},
        {"keys": [jwk | {"d": "AAAA"}]},
        {"keys": [jwk | {"kty": "oct", "k": "AAAA"}]},
        {"keys": [jwk | {"alg": "none"}]},
        {"keys": [jwk | {"x": jwk["y"]}]},
        {"keys": [jwk, jwk]},
        {"keys": [{k: v for k, v in jwk.items() if k != "kid"}]},
    ):
        reply = await house.alice.call("POST", "/v1/agents", name="poor", jwks=jwks)
        assert (reply.status, reply.code) == (400, "invalid_request"), jwks
    assert (await house.alice.call("POST", "/v1/agents", name="poor", jwks=key.jwks)).status == 201
