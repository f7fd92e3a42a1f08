"""Clients nobody registered here: what they said of themselves, whose APIs they see, what they may give back."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_outside_clients import allow
from tests.support.decoupled import DEVICE_CODE, Elsewhere
from tests.support.house import House, Robot
from tests.support.http import Reply
from tests.support.oauth import Client
from tests.support.outside import Publisher, open_outside
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


async def test_a_client_that_says_the_same_goes_on(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    client = client_of(house, publisher)
    tokens = await client.tokens(await house.signed_in())
    house.clock.advance(120)
    reply = await client.refresh(tokens["refresh_token"])
    assert reply.status == 200, reply.body
    assert (await house.gateway(reply.json()["access_token"], "GET", PATH)).status == 200


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


async def test_another_organizations_api_is_nobodys_on_the_page(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    mallory = await other_organization(house)
    await mallory.does(
        "POST",
        "/v1/resource-servers",
        name="payroll",
        title="The Secret Payroll",
        audience="https://payroll.evil.example",
        scopes=[{"name": "salaries:read", "sentence": "read salaries", "tier": "read"}],
    )
    client = client_of(house, publisher)
    asked = {"resource": "https://payroll.evil.example", "scope": "salaries:read", "authorization_details": None}
    reply = await client.authorize(await house.signed_in(), **asked)
    assert b"Payroll" not in reply.body
    assert client.told(reply)["error"] == "invalid_target"


async def test_another_organizations_api_is_nobodys_on_a_device_either(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    mallory = await other_organization(house)
    server = {
        "name": "payroll",
        "title": "The Secret Payroll",
        "audience": "https://payroll.evil.example",
        "scopes": [{"name": "salaries:read", "sentence": "read salaries", "tier": "read"}],
    }
    await mallory.does("POST", "/v1/resource-servers", **server)
    publisher.publishes(FRESH, grant_types=[DEVICE_CODE])
    device = Elsewhere(client_of(house, publisher))
    asked = {"resource": server["audience"], "scope": "salaries:read", "authorization_details": None}
    assert (await device.begin(**asked)).status == 200
    tab = await house.signed_in()
    seen = await device.typed(tab)
    assert b"Payroll" not in seen.body
    assert b"not valid, or it has expired" in seen.body
    await device.begin()
    assert b"GitHub" in (await device.typed(tab)).body
