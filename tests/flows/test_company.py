"""Signing in by the company's own provider, npm oidc-provider: a second one nobody here wrote, and a strict one.

It tells e-mail addresses and groups at its userinfo endpoint alone, and how somebody signed in by `acr` and `amr`.
"""

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.flows.test_sso import to_provider
from tests.support import node
from tests.support.company import Company, Employee, company
from tests.support.house import House, open_house
from tests.support.http import Reply
from tests.support.people import is_in
from tests.support.tab import Tab
from valetkey.server.clock import DrivenClock

pytestmark = pytest.mark.skipif(node.missing() is not None, reason=node.missing() or "")

CAROL = {"email": "carol@acme.com", "email_verified": True, "groups": ["staff", "platform"], "acr": "phr"}
DAVE = {"email": "dave@acme.com", "email_verified": True, "groups": ["staff"], "acr": "urn:acme:password"}
PEOPLE = {
    "carol-1": CAROL | {"amr": ["hwk", "user"]},
    "dave-1": DAVE | {"amr": ["pwd"]},
    "erin-1": {"email": "erin@acme.com", "email_verified": False, "groups": ["platform"], "amr": ["pwd"]},
}
Story = tuple[House, Company, Any]


@contextlib.asynccontextmanager
async def opened(folder: Path, database_url: str | None) -> AsyncIterator[Story]:
    """A house whose organization signs in at the company's provider."""
    with company(PEOPLE) as there:
        clock, place = DrivenClock(at=float(int(time.time()))), urlsplit(there.issuer).netloc
        async with open_house(folder, database_url=database_url, clock=clock, local=(place,)) as house:
            made = await house.alice.does(
                "POST",
                "/v1/identity-providers",
                name="Acme",
                issuer=there.issuer,
                client_id="valetkey",
                client_secret=there.client_secret,
                enrolls=True,
                domains=["acme.com"],
                group_claim="groups",
                roles={"platform": "administrator"},
            )
            await there.knows(made["redirect_uri"])
            yield house, there, made


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with opened(tmp_path / "data", database_url) as made:
        yield made


async def sign_in(tab: Tab, there: Company, made: Any, login: str, change: tuple[str, str] = ("", "")) -> Reply:
    """There and back; `change` is what the browser changes in the address it was sent to."""
    address = await to_provider(tab, made)
    return await tab.get(await Employee(there).signs_in(address.replace(*change), login), follow=False)


async def role_of(house: House, email: str) -> str | None:
    users = (await house.alice.does("GET", "/v1/users"))["data"]
    return next((user["role"] for user in users if user["email"] == email), None)


async def test_groups_set_the_role_and_the_level_is_carried(story: Story) -> None:
    house, there, made = story
    tab = house.tab()
    reply = await sign_in(tab, there, made, "carol-1")
    assert is_in(reply), tab.text
    assert await role_of(house, "carol@acme.com") == "administrator"
    last = (await house.events("login.succeeded"))[-1]
    assert (last["amr"], last["acr"]) == (["hwk", "user"], "urn:valetkey:acr:passkey")
    assert is_in(await sign_in(house.tab(), there, made, "dave-1"))
    assert await role_of(house, "dave@acme.com") == "member"
    last = (await house.events("login.succeeded"))[-1]
    assert (last["amr"], last["acr"]) == (["pwd"], "urn:valetkey:acr:one")


async def test_a_group_that_is_lost_there_is_lost_here_at_the_next_sign_in(story: Story) -> None:
    house, there, made = story
    assert is_in(await sign_in(house.tab(), there, made, "carol-1"))
    await there.lies(userinfo={"groups": ["staff"]})
    assert is_in(await sign_in(house.tab(), there, made, "carol-1"))
    assert await role_of(house, "carol@acme.com") == "member"


async def test_an_address_it_does_not_vouch_for_enrolls_nobody(story: Story) -> None:
    house, there, made = story
    assert (await sign_in(house.tab(), there, made, "erin-1")).status == 403
    assert await role_of(house, "erin@acme.com") is None
    assert is_in(await sign_in(house.tab(), there, made, "dave-1"))


async def test_what_is_told_of_another_person_is_not_taken(story: Story) -> None:
    house, there, made = story
    await there.lies(userinfo={"sub": "carol-1", "groups": ["platform"]})
    assert (await sign_in(house.tab(), there, made, "dave-1")).status == 502
    assert await role_of(house, "dave@acme.com") is None
    await there.lies()
    assert is_in(await sign_in(house.tab(), there, made, "dave-1"))


@pytest.mark.parametrize(
    "lies",
    [
        {"claims": {"iss": "https://other.example"}},
        {"claims": {"aud": "another-app"}},
        {"claims": {"aud": ["valetkey", "another-app"]}},
        {"claims": {"nonce": "another"}},
        {"claims": {"exp": 1_000_000_000}},
        {"key": True},
    ],
    ids=["iss", "aud", "aud-of-two", "nonce", "exp", "key"],
)
async def test_a_token_that_is_wrong_in_one_fact_signs_nobody_in(story: Story, lies: dict[str, Any]) -> None:
    house, there, made = story
    await there.lies(**lies)
    assert (await sign_in(house.tab(), there, made, "dave-1")).status == 401
    assert await role_of(house, "dave@acme.com") is None
    await there.lies(claims={"acr": "urn:acme:password"})  # signed anew just so, and true
    assert is_in(await sign_in(house.tab(), there, made, "dave-1"))


async def test_what_a_browser_changes_on_the_way_there_signs_nobody_in(story: Story) -> None:
    house, there, made = story
    assert (await sign_in(house.tab(), there, made, "dave-1", ("&nonce=", "&nonce=x"))).status == 401
    # Another application of the company gets the code; it is worth nothing with our name and secret.
    assert (
        await sign_in(house.tab(), there, made, "dave-1", ("client_id=valetkey", "client_id=another-app"))
    ).status in (
        401,
        502,
    )
    tab = house.tab()
    back = await Employee(there).signs_in(await to_provider(tab, made), "dave-1")
    assert "&iss=" in back
    assert (await tab.get(back.replace("&iss=", "&iss=https%3A%2F%2Fother.example&was="), follow=False)).status == 403
    assert await role_of(house, "dave@acme.com") is None
