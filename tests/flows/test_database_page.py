"""An administrator connects a database on a page, and what was typed there is seen nowhere again."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import House, open_house
from tests.support.postgres import Postgres
from tests.support.shop import READ, Shop, Store, session, shop
from tests.support.tab import Tab
from valetkey.server.clock import DrivenClock
from valetkey.server.principals.login.model import FRESH_SECONDS

PAGE = "/admin/databases"


@dataclass
class Story:
    house: House
    shop: Shop
    tab: Tab

    def form(self, **more: Any) -> dict[str, Any]:
        return {"address": self.shop.url, "name": "analytics", **more}

    async def connections(self) -> list[Any]:
        listed = (await self.house.alice.does("GET", "/v1/connections"))["data"]
        return [one for one in listed if one["integration"] == "postgres"]

    def superuser_takes_away(self) -> None:
        """What the page says stands in the way."""
        assert self.tab.reply is not None
        shown = self.tab.text.partition("say what becomes of it. ")[2].partition(" Connect a database")[0]
        assert shown.startswith("REVOKE ")
        self.shop.as_superuser(shown)


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None, postgres: Postgres) -> AsyncIterator[Story]:
    async with (
        shop(postgres) as there,
        open_house(tmp_path / "data", database_url=database_url, clock=DrivenClock(), local=(there.place,)) as house,
    ):
        yield Story(house, there, await house.signed_in())


async def test_a_database_is_connected_on_the_page_once_nobody_may_write_there_unasked(story: Story) -> None:
    tab = story.tab
    await tab.get("/connections")
    assert PAGE in tab.links()
    await tab.get(PAGE)
    reply = await tab.submit(PAGE, story.form())
    assert reply.status == 400
    assert "TEMPORARY ON DATABASE" in tab.text
    assert await story.connections() == []
    while reply.status == 400:
        story.superuser_takes_away()
        reply = await tab.submit(PAGE, story.form())
    assert (reply.status, tab.at) == (200, PAGE)
    (connection,) = await story.connections()
    assert (connection["name"], connection["shared"]) == ("analytics", True)
    assert connection["id"] in tab.text
    at = Store(story.house, story.shop, connection, await story.house.agent("report-writer"), None, None)
    await at.entitle("postgres:read@sales.*")
    at.delegation = await story.house.delegate(at.agent, READ)
    at.task = await story.house.task(at.delegation)
    async with session(await at.lent()) as db:
        assert await db.fetchval("SELECT count(*) FROM sales.orders") == 8


@pytest.mark.parametrize("is_right", [True, False])
async def test_the_address_is_shown_nowhere_again(story: Story, is_right: bool) -> None:
    tab, password = story.tab, story.shop.password if is_right else "of-nobody-0123"
    address = story.shop.url.replace(story.shop.password, password)
    await tab.get(PAGE)
    reply = await tab.submit(PAGE, story.form(address=address, everybody="keep"))
    assert reply.status == (200 if is_right else 400)
    assert ("does not let this login in" in tab.text) is not is_right
    for target in (None, PAGE, "/connections", "/audit"):
        if target is not None:
            await tab.get(target)
        assert tab.reply is not None
        assert password.encode() not in tab.reply.body
    assert len(await story.connections()) == is_right
    assert password not in str(await story.house.events())
    kept = [one["everybody"] for one in await story.house.events("connection.created")]
    assert kept == (["keep"] if is_right else [])


@pytest.mark.parametrize("wrong", [{"name": "a/b"}, {"everybody": "perhaps"}, {"address": "mysql://a:b@h/d"}])
async def test_what_the_other_doors_refuse_is_refused_here(story: Story, wrong: dict[str, str]) -> None:
    await story.tab.get(PAGE)
    assert (await story.tab.submit(PAGE, story.form(**{"everybody": "keep", **wrong}))).status == 400
    assert await story.connections() == []
    assert (await story.tab.submit(PAGE, story.form(everybody="keep"))).status == 200
    assert len(await story.connections()) == 1


async def test_nobody_else_connects_one_and_no_other_site_has_one_connected(story: Story) -> None:
    await story.house.person("bob@acme.com")
    bob, form = await story.house.signed_in("bob@acme.com"), story.form(everybody="keep")
    assert (await bob.get(PAGE)).status == 403
    await bob.get("/connections")
    assert (await bob.post(PAGE, {**form, "csrf": bob.csrf})).status == 403
    await story.tab.get(PAGE)
    csrf = story.tab.csrf
    assert (await story.tab.post(PAGE, {**form, "csrf": bob.csrf if bob.csrf != csrf else ""})).status == 403
    assert (await story.tab.post(PAGE, {**form, "csrf": csrf}, headers={"origin": "https://evil.test"})).status == 403
    assert await story.connections() == []
    assert (await story.tab.post(PAGE, {**form, "csrf": csrf})).status == 303
    assert len(await story.connections()) == 1


@pytest.mark.parametrize("is_late", [True, False])
async def test_who_signed_in_long_ago_proves_themselves_again(story: Story, is_late: bool) -> None:
    await story.tab.get(PAGE)
    story.house.clock.advance(FRESH_SECONDS + is_late)
    reply = await story.tab.submit(PAGE, story.form(everybody="keep"), follow=False)
    assert reply.status == 303
    assert (reply.header("location") or "").startswith("/login?" if is_late else PAGE)
    await story.house.alice.sign_in()
    assert len(await story.connections()) == (not is_late)
