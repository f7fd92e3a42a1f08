"""Clients nobody registered here, all the way: what they said of themselves, whose they are, what they give back."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_outside_clients import allow
from tests.support.house import House, Robot
from tests.support.oauth import Client
from tests.support.outside import Publisher, open_outside

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
async def test_ci_7_a_client_that_changed_redeems_and_refreshes_nothing(
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
