"""A real browser for the stories: Chromium runs once per module, and every context is one person's fresh browser."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.support.chromium import missing, running
from tests.support.house import House

NewContext = Callable[..., Awaitable[BrowserContext]]


@pytest.fixture(scope="module")
def chromium() -> Iterator[str]:
    """The debugging socket of a Chromium of this module's own."""
    if (why := missing()) is not None:
        pytest.skip(why)
    with running() as address:
        yield address


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """The running Chromium, spoken to from this test's loop."""
    async with async_playwright() as playwright:
        connected = await playwright.chromium.connect_over_cdp(chromium)
        yield connected
        await connected.close()


@pytest.fixture
async def new_context(browser: Browser, house: House) -> AsyncIterator[NewContext]:
    """Opens a person's browser, for Playwright's options: `java_script_enabled=False`, `color_scheme="dark"`, …"""
    opened: list[BrowserContext] = []

    async def new(**options: object) -> BrowserContext:
        context = await browser.new_context(base_url=house.settings.origin, **options)  # type: ignore[arg-type]
        context.set_default_timeout(20_000)
        opened.append(context)
        return context

    yield new
    for context in opened:
        await context.close()


@pytest.fixture
async def page(new_context: NewContext) -> Page:
    """One page in a fresh browser."""
    return await (await new_context()).new_page()


async def signed_in(house: House, context: BrowserContext, email: str = "alice@acme.com") -> None:
    """Put somebody's session into a browser, as if they had used a passkey."""
    tab = await house.signed_in(email)
    handle = tab.cookies["__Host-valetkey"]
    await context.add_cookies(
        [{"name": "__Host-valetkey", "value": handle, "url": house.settings.origin, "secure": True, "httpOnly": True}]
    )
