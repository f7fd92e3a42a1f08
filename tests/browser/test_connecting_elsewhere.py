"""A code from our page is typed at a provider nobody here wrote, in another browser; agreed to there, or not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewContext, signed_in
from tests.support import device_provider, node
from tests.support.house import House, open_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    if (why := node.missing()) is not None:
        pytest.skip(why)
    with device_provider.running() as url:
        own = device_provider.own_file(tmp_path / "own", url)
        place = url.removeprefix("http://")
        async with open_house(tmp_path / "data", integrations=own, local=(place,)) as house:
            app = {"client_id": device_provider.CLIENT, "client_secret": device_provider.SECRET}
            await house.alice.does("POST", "/v1/apps", integration=device_provider.NAME, **app)
            yield house


async def begun(house: House, new_context: NewContext) -> tuple[Page, Page]:
    """Her page with the code, and another browser at the provider, where the code is typed in."""
    context = await new_context()
    await signed_in(house, context)
    page = await context.new_page()
    await page.goto(f"/connections/new?integration={device_provider.NAME}")
    await page.get_by_role("button", name="Agree on another device").click()
    there = await page.get_by_role("link", name="/device").get_attribute("href")
    code = await page.locator("strong.code, .code").first.inner_text()
    other = await (await new_context()).new_page()
    await other.goto(there or "")
    await other.locator("input[name=user_code]").fill(code)
    await other.get_by_role("button", name="Continue").click()
    await other.get_by_role("button", name="Continue").click()  # is it the code that her device shows
    return page, other


async def looks(house: House, page: Page) -> None:
    house.clock.advance(6)
    await page.get_by_role("button", name="look again").click()


async def test_what_she_agrees_to_there_is_connected_here(house: House, new_context: NewContext) -> None:
    page, other = await begun(house, new_context)
    await looks(house, page)
    await expect(page.get_by_text("Acme Reports is connected")).to_have_count(0)
    await other.get_by_placeholder("Enter any login").fill("alice")
    await other.get_by_placeholder("and password").fill("any")
    await other.get_by_role("button", name="Sign-in").click()
    await other.get_by_role("button", name="Continue").click()
    await expect(other.get_by_text("Sign-in Success")).to_be_visible()
    await looks(house, page)
    await expect(page.get_by_text("Acme Reports is connected")).to_be_visible()
    await house.alice.sign_in()
    [connection] = (await house.alice.does("GET", "/v1/connections"))["data"]
    assert (connection["account"], connection["status"]) == ("alice", "linked")


async def test_what_she_refuses_there_is_not(house: House, new_context: NewContext) -> None:
    page, other = await begun(house, new_context)
    await other.get_by_role("link", name="Cancel").click()
    await expect(other.get_by_text("The Sign-in request was interrupted")).to_be_visible()
    await looks(house, page)
    await expect(page.get_by_text("You declined at Acme Reports.")).to_be_visible()
    await house.alice.sign_in()
    assert (await house.alice.does("GET", "/v1/connections"))["data"] == []
