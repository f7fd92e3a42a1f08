"""Clients nobody registered here: what they said of themselves, whose APIs they see, what they may give back."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_outside_clients import allow
from tests.support.decoupled import CIBA, DEVICE_CODE, Elsewhere
from tests.support.house import GITHUB, House, Robot
from tests.support.http import Reply
from tests.support.oauth import Client
from tests.support.outside import MAX_AGE, Publisher, is_known, open_outside
from tests.support.strangers import other_organization
from tests.support.tokens import ASSERTION_TYPE

PATH = "/repos/acme-corp/backend"
GRANTS = ["authorization_code", "refresh_token"]
FRESH = {"Cache-Control": "no-store"}
BACK = "https://app.example.com/back"


@pytest.fixture
async def outside(tmp_path: Path, database_url: str | None) -> AsyncIterator[tuple[House, Publisher]]:
    async with open_outside(tmp_path / "data", database_url) as (house, publisher):
        await allow(house)
        await house.connect()
        publisher.publishes(FRESH, grant_types=GRANTS)
        yield house, publisher


def client_of(house: House, publisher: Publisher) -> Client:
    named = Robot(house=house, id=publisher.client_id, secret="", name="outside")
    return Client(house, named, redirect_uri=BACK, is_public=True)


CHANGES: list[dict[str, Any]] = [
    {"client_name": "Reviewer Pro"},
    {"redirect_uris": [BACK, "https://app.example.com/other"]},
    {"client_uri": "https://evil.example/"},
]


@pytest.mark.parametrize("changed", CHANGES)
async def test_ci_7_a_client_that_changed_gets_nothing_more(
    outside: tuple[House, Publisher], changed: dict[str, Any]
) -> None:
    house, publisher = outside
    client = client_of(house, publisher)
    tab = await house.signed_in()
    tokens = await client.tokens(tab)
    tokens = (await client.refresh(tokens["refresh_token"])).json()
    code = (await client.allowed(tab))["code"]
    publisher.publishes(FRESH, **{"grant_types": GRANTS, **changed})
    assert (await client.redeem(code)).json()["error"] == "invalid_grant"
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_client_that_no_longer_refreshes_does_not(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    client, tab = client_of(house, publisher), await house.signed_in()
    tokens = await client.tokens(tab)
    code = (await client.allowed(tab))["code"]
    publisher.publishes(FRESH, grant_types=["authorization_code"])
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "unauthorized_client"
    assert not await house.events("refresh-token.rotated", "refresh-token.reused")
    publisher.publishes(FRESH, grant_types=["refresh_token"])
    assert (await client.redeem(code)).json()["error"] == "unauthorized_client"
    assert (await client.refresh(tokens["refresh_token"])).status == 200
    publisher.publishes(FRESH, grant_types=GRANTS)
    assert (await client.redeem(code)).status == 200


async def test_while_its_host_is_down_nothing_is_said_of_a_client_and_nothing_given(
    outside: tuple[House, Publisher],
) -> None:
    house, publisher = outside
    client, tab = client_of(house, publisher), await house.signed_in()
    tokens = await client.tokens(tab)
    code = (await client.allowed(tab))["code"]
    publisher.host.answers("GET", "/client.json", 502)
    for reply in (
        await client.redeem(code),
        await client.refresh(tokens["refresh_token"]),
        await revoked(house, tokens["refresh_token"], client_id=publisher.client_id),
        await client.post("/oauth/par", client.parameters()),
        await client.post("/oauth/device_authorization", {}),
    ):
        assert (reply.status, reply.json()["error"]) == (503, "temporarily_unavailable"), reply.body
        assert reply.header("retry-after") == "60"
    shown = await client.authorize(tab)
    assert (shown.status, shown.header("location")) == (502, None)
    assert "cannot be read" in tab.text
    publisher.publishes(FRESH, grant_types=GRANTS)
    house.clock.advance(59)
    assert (await client.refresh(tokens["refresh_token"])).status == 503
    house.clock.advance(1)
    assert (await client.refresh(tokens["refresh_token"])).status == 200
    assert not await house.events("code.reused", "refresh-token.reused")


async def test_a_description_that_is_believed_needs_no_host(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    publisher.publishes({"Cache-Control": "max-age=50"}, grant_types=GRANTS)
    client = client_of(house, publisher)
    tokens = await client.tokens(await house.signed_in())
    publisher.host.answers("GET", "/client.json", 502)
    house.clock.advance(49)
    assert (await client.refresh(tokens["refresh_token"])).status == 200
    house.clock.advance(1)
    assert (await client.refresh(tokens["refresh_token"])).status == 503
    publisher.host.answers("GET", "/client.json", 404)
    house.clock.advance(60)
    assert (await client.refresh(tokens["refresh_token"])).status == 401  # gone is an answer


async def test_while_its_keys_cannot_be_read_a_client_is_not_refused(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    uri = publisher.publishes_keys()
    publisher.publishes(MAX_AGE, grant_types=GRANTS, token_endpoint_auth_method="private_key_jwt", jwks_uri=uri)
    publisher.host.answers("GET", "/keys", 503)
    for _ in range(2):  # the second time nobody is asked
        reply = await publisher.asserts(house)
        assert (reply.status, reply.header("retry-after")) == (503, "60")
    assert publisher.host.received("GET", "/keys") == 1
    publisher.host.answers("GET", "/keys", 404)
    house.clock.advance(60)
    assert (await publisher.asserts(house)).status == 401
    publisher.publishes_keys()
    house.clock.advance(60)
    assert is_known(await publisher.asserts(house))


async def test_a_client_that_says_the_same_goes_on(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    client = client_of(house, publisher)
    tokens = await client.tokens(await house.signed_in())
    house.clock.advance(120)
    reply = await client.refresh(tokens["refresh_token"])
    assert reply.status == 200, reply.body
    assert (await house.gateway(reply.json()["access_token"], "GET", PATH)).status == 200


async def test_emptying_the_ceiling_stops_who_was_made_under_it(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    client, tab = client_of(house, publisher), await house.signed_in()
    tokens = await client.tokens(tab)
    code = (await client.allowed(tab))["code"]
    for ceiling in ([], ["github:repo:read@acme-corp/other"]):
        await allow(house, ceiling)
        assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 403, ceiling
    assert (await house.events("call.denied"))[-1]["reason"] == "above_ceiling"
    await allow(house, [])
    for reply in (await client.redeem(code), await client.refresh(tokens["refresh_token"])):
        assert (reply.status, reply.json()["error"]) == (400, "invalid_grant")
    assert client.told(await client.authorize(tab))["error"] == "access_denied"
    await allow(house)
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    assert (await client.refresh(tokens["refresh_token"])).status == 200


async def test_lowering_the_ceiling_leaves_what_is_under_it(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    await allow(house, ["github:repo:read,repo:write@acme-corp/*"])
    client, tab = client_of(house, publisher), await house.signed_in()
    asked = [{"type": "github", "actions": ["repo:read", "repo:write"], "resources": ["acme-corp/backend"]}]
    tokens = await client.tokens(tab, authorization_details=asked)
    label = {"json": {"name": "bug", "color": "ff0000"}}
    await allow(house, ["github:repo:read@acme-corp/backend"])
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    assert (await house.gateway(tokens["access_token"], "POST", f"{PATH}/labels", **label)).status == 403
    await client.authorize(tab, authorization_details=asked, prompt="consent")
    assert "above this agent's ceiling" in tab.text
    await tab.submit("/consent", {"scope": ["0:repo:read", "0:repo:write"]}, button="Allow")
    assert "above the ceiling" in tab.text
    told = client.told(await tab.submit("/consent", {"scope": ["0:repo:read"]}, button="Allow"))
    (granted,) = (await client.redeem(told["code"])).json()["authorization_details"]
    assert granted["actions"] == ["repo:read"]


async def test_an_owned_agent_is_not_under_the_ceiling_of_unknown_clients(outside: tuple[House, Publisher]) -> None:
    house, _ = outside
    agent = await house.agent("own")
    task = await house.task(await house.delegate(agent))
    await allow(house, [])
    assert (await house.gateway(await agent.token(task["task_token"]), "GET", PATH)).status == 200


async def revoked(house: House, token: str, **caller: str) -> Reply:
    return await house.call("POST", "/oauth/revoke", form={"token": token, **caller})


async def test_an_outside_client_gives_back_its_own_and_nobody_elses(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    client, mine = client_of(house, publisher), {"client_id": publisher.client_id}
    tab = await house.signed_in()
    tokens = await client.tokens(tab)
    other = f"{publisher.host.url}/other.json"
    said = publisher.described(client_id=other, grant_types=GRANTS)
    publisher.host.answers("GET", "/other.json", headers=FRESH, json=said)
    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert (await revoked(house, token, client_id=other)).json()["error"] == "unauthorized_client"
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    assert (await revoked(house, tokens["access_token"], **mine)).status == 200
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status in (401, 403)
    assert (await client.refresh(tokens["refresh_token"])).status == 200
    tokens = await client.tokens(tab)
    assert (await revoked(house, tokens["refresh_token"], **mine)).status == 200
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_client_with_a_long_address_loses_what_was_stolen_from_it_too(
    outside: tuple[House, Publisher],
) -> None:
    house, publisher = outside
    long = f"{publisher.host.url}/{'clients/' * 20}client.json"
    said = publisher.described(client_id=long, grant_types=GRANTS)
    publisher.host.answers("GET", long.removeprefix(publisher.host.url), headers=FRESH, json=said)
    client, tab = client_of(house, publisher), await house.signed_in()
    client.robot.id = long
    code = (await client.allowed(tab))["code"]
    tokens = (await client.redeem(code)).json()
    assert (await client.redeem(code)).json()["error"] == "invalid_grant"
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status in (401, 403)
    tokens = await client.tokens(tab)
    fresh = (await client.refresh(tokens["refresh_token"])).json()
    house.clock.advance(61)
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await house.gateway(fresh["access_token"], "GET", PATH)).status in (401, 403)
    assert [e["client"] for e in await house.events("code.reused", "refresh-token.reused")] == [long] * 2


async def test_an_outside_client_with_a_key_may_ask_about_its_own(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    keys = {"token_endpoint_auth_method": "private_key_jwt", "jwks": publisher.key.jwks}
    publisher.publishes(FRESH, grant_types=GRANTS, **keys)
    client = client_of(house, publisher)

    def proof() -> dict[str, str]:
        signed = publisher.key.assertion(publisher.client_id, house.settings.issuer, house.clock.now())
        return {"client_assertion_type": ASSERTION_TYPE, "client_assertion": signed}

    code = (await client.allowed(await house.signed_in()))["code"]
    token = (await client.redeem(code, **proof())).json()["access_token"]
    asked = await house.call("POST", "/oauth/introspect", form={"token": token, **proof()})
    assert asked.json()["active"] is True
    agent = await house.agent("reader")
    theirs = (await agent.exchange((await house.task(await house.delegate(agent)))["task_token"])).json()
    asked = await house.call("POST", "/oauth/introspect", form={"token": theirs["access_token"], **proof()})
    assert asked.json() == {"active": False}


def payroll(name: str = "payroll") -> dict[str, Any]:
    return {
        "name": name,
        "title": "The Secret Payroll",
        "audience": f"https://{name}.evil.example",
        "scopes": [{"name": "salaries:read", "sentence": "read salaries", "tier": "read"}],
    }


def ways_to_name(name: str) -> list[dict[str, Any]]:
    """Every way in which a request names an API that may be registered."""
    nothing: dict[str, Any] = {"resource": None, "authorization_details": None, "scope": None}
    detail = {"type": name, "actions": ["salaries:read"], "resources": ["*"]}
    at = f"https://{name}.evil.example"
    return [
        nothing | {"resource": at},
        nothing | {"resource": at, "scope": "salaries:read"},
        nothing | {"resource": at, "scope": "no:such"},
        nothing | {"resource": [GITHUB, at], "scope": "repo:read"},
        nothing | {"scope": f"{name}:salaries:read"},
        nothing | {"resource": GITHUB, "scope": f"{name}:salaries:read"},
        nothing | {"authorization_details": [detail]},
        nothing | {"authorization_details": [detail | {"actions": ["no:such"]}]},
    ]


async def test_another_organizations_api_is_nobodys_on_the_page(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    mallory = await other_organization(house)
    await mallory.does("POST", "/v1/resource-servers", **payroll())
    client = client_of(house, publisher)
    asked = {"resource": "https://payroll.evil.example", "scope": "salaries:read", "authorization_details": None}
    reply = await client.authorize(await house.signed_in(), **asked)
    assert b"Payroll" not in reply.body
    assert client.told(reply)["error"] == "invalid_target"


async def test_nobody_learns_of_an_audience_before_she_signed_in(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    publisher.publishes(MAX_AGE, grant_types=GRANTS)
    mallory = await other_organization(house)
    await mallory.does("POST", "/v1/resource-servers", **payroll())
    await house.alice.does("POST", "/v1/resource-servers", **payroll("wages"))
    client, signed_in = client_of(house, publisher), await house.signed_in()
    for theirs, hers, nobodys in zip(*map(ways_to_name, ("payroll", "wages", "nobody")), strict=True):
        for asked in (theirs, hers, nobodys):
            tab = house.tab()
            await client.authorize(tab, **asked)
            assert tab.at.startswith("/login?"), asked
            pushed = await client.post("/oauth/par", client.parameters(**asked))
            assert (pushed.status, sorted(pushed.json())) == (201, ["expires_in", "request_uri"]), asked
        theirs_is, nobodys_is = [client.told(await client.authorize(signed_in, **a)) for a in (theirs, nobodys)]
        assert theirs_is == nobodys_is
        assert theirs_is["error"] in ("invalid_target", "invalid_scope", "invalid_authorization_details")
    for asked in (a for a in ways_to_name("wages")[:2]):  # what is her organization's, she is asked
        assert b"The Secret Payroll" in (await client.authorize(signed_in, **asked)).body


async def test_what_is_for_everybody_is_refused_at_once(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    client, nothing = client_of(house, publisher), {"resource": None, "authorization_details": None}
    for asked, error in (
        (nothing | {"resource": GITHUB, "scope": "repo:no"}, None),
        (nothing | {"resource": GITHUB, "scope": "github:no"}, "invalid_scope"),
        (nothing | {"resource": "https://a.example#x"}, "invalid_target"),
        (nothing | {"scope": "repo"}, "invalid_scope"),
        (nothing, "invalid_scope"),
        ({"authorization_details": "[{}]"}, "invalid_authorization_details"),
    ):
        tab = house.tab()
        reply = await client.authorize(tab, **asked)
        assert (client.told(reply)["error"] if error else tab.at[:7]) == (error or "/login?"), asked


async def test_unasked_nobody_learns_what_her_organization_has(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    publisher.publishes(MAX_AGE, grant_types=GRANTS)
    await house.alice.does("POST", "/v1/resource-servers", **payroll("wages"))
    await house.agent("colleague")
    client, tab = client_of(house, publisher), await house.signed_in()

    async def unasked(**asked: Any) -> str:
        return client.told(await client.authorize(tab, prompt="none", **asked))["error"]

    for name in ("wages", "nobody"):
        assert {await unasked(**asked) for asked in ways_to_name(name)} == {"consent_required"}
    assert [await unasked(share_with=name) for name in ("colleague", "nobody")] == ["consent_required"] * 2
    await allow(house, [])
    assert await unasked() == "consent_required"
    assert client.told(await client.authorize(house.tab(), prompt="none"))["error"] == "login_required"
    assert client.told(await client.authorize(tab))["error"] == "access_denied"


async def test_another_organizations_api_is_nobodys_on_a_device_either(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    mallory = await other_organization(house)
    await mallory.does("POST", "/v1/resource-servers", **payroll())
    publisher.publishes(FRESH, grant_types=[DEVICE_CODE])
    device, tab = Elsewhere(client_of(house, publisher)), await house.signed_in()
    for name in ("payroll", "nobody"):
        asked = {"resource": f"https://{name}.evil.example", "scope": "salaries:read", "authorization_details": None}
        assert (await device.begin(**asked)).status == 200
        seen = await device.typed(tab)
        assert b"Payroll" not in seen.body
        assert b"not valid, or it has expired" in seen.body
    await device.begin()
    assert b"GitHub" in (await device.typed(tab)).body


async def test_who_may_ask_nobody_elsewhere_learns_of_no_audience_there(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    mallory = await other_organization(house)
    await mallory.does("POST", "/v1/resource-servers", **payroll())
    keys = {"token_endpoint_auth_method": "private_key_jwt", "jwks": publisher.key.jwks}
    publisher.publishes(FRESH, grant_types=[CIBA], **keys)
    for name in ("payroll", "nobody"):
        signed = publisher.key.assertion(publisher.client_id, house.settings.issuer, house.clock.now())
        form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": signed, "scope": "salaries:read"}
        more = {"resource": f"https://{name}.evil.example", "login_hint": "alice@acme.com"}
        reply = await house.call("POST", "/oauth/backchannel", form=form | more)
        assert reply.json()["error"] == "unauthorized_client"
