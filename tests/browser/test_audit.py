"""The audit page in a real browser: it follows the trail when asked to, and works without script."""

from playwright.async_api import Page, expect

from tests.browser.conftest import NewContext, signed_in
from tests.support.house import House
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry

WORDS = "Somebody failed to sign in as alice@acme.com."
EVIL = "<img src=x onerror=document.title='evil'>"


async def fail(house: House, user: str) -> None:
    await house.app.journal.record(Entry(event=Event.LOGIN_FAILED, org="", members={"user": user}))


async def opened(house: House, new_context: NewContext, **options: object) -> Page:
    context = await new_context(**options)
    await signed_in(house, context)
    page = await context.new_page()
    await page.clock.install()
    await page.goto("/audit?event=login.failed")
    return page


async def test_it_follows_the_trail_when_asked_to(house: House, new_context: NewContext) -> None:
    page = await opened(house, new_context)
    await fail(house, house.alice.id)
    await expect(page.get_by_role("link", name=WORDS)).to_have_count(0)
    await page.get_by_role("button", name="Follow").click()
    await expect(page.get_by_role("link", name=WORDS)).to_have_count(1)
    await fail(house, house.alice.id)
    await page.clock.run_for(5_000)
    await expect(page.get_by_role("link", name=WORDS)).to_have_count(2)
    await page.get_by_role("button", name="Following").click()
    await fail(house, house.alice.id)
    await page.clock.run_for(60_000)
    await expect(page.get_by_role("link", name=WORDS)).to_have_count(2)


async def test_it_holds_still_while_a_record_is_read(house: House, new_context: NewContext) -> None:
    await fail(house, house.alice.id)
    page = await opened(house, new_context)
    await page.get_by_role("button", name="Follow").click()
    await page.get_by_text("Raw record").first.click()
    await fail(house, house.alice.id)
    await page.clock.run_for(10_000)
    await expect(page.get_by_role("link", name=WORDS)).to_have_count(1)


async def test_it_stops_when_the_session_has_ended(house: House, new_context: NewContext) -> None:
    page = await opened(house, new_context)
    await page.get_by_role("button", name="Follow").click()
    await page.context.clear_cookies()
    await page.clock.run_for(5_000)
    await expect(page.get_by_role("button", name="Stopped. Follow again")).to_be_visible()


async def test_hostile_text_that_arrives_while_following_does_nothing(house: House, new_context: NewContext) -> None:
    """AUD-08, UI-03"""
    page = await opened(house, new_context)
    title = await page.title()
    await fail(house, EVIL)
    await page.get_by_role("button", name="Follow").click()
    await expect(page.get_by_role("link", name=f"Somebody failed to sign in as {EVIL}.")).to_have_count(1)
    assert await page.title() == title
    assert await page.locator("img").count() == 0


async def test_without_script_there_is_a_link_instead(house: House, new_context: NewContext) -> None:
    context = await new_context(java_script_enabled=False)
    await signed_in(house, context)
    page = await context.new_page()
    await page.goto("/audit?event=login.failed")
    await fail(house, house.alice.id)
    await expect(page.locator("[data-follow]")).to_be_hidden()
    await page.get_by_role("link", name="Look again").click()
    await expect(page.get_by_role("link", name=WORDS)).to_have_count(1)
