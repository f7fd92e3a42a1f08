"""The device page in a real browser, without script, narrow as a phone: where most people will answer."""

import os

import pytest
from playwright.async_api import BrowserContext

from tests.browser.conftest import NewContext
from tests.support.decoupled import elsewhere
from tests.support.house import House

PHONE = {"width": 360, "height": 740}


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
async def test_a_phone_answers_for_a_device_without_script(
    house: House, new_context: NewContext, color_scheme: str
) -> None:
    device = await elsewhere(house)
    await device.begin(purpose="review the pull request of the day")
    context = await new_context(java_script_enabled=False, viewport=PHONE, color_scheme=color_scheme)
    await seat(house, context)
    page = await context.new_page()
    shots = os.environ.get("VALETKEY_TEST_SHOTS")

    async def shot(name: str) -> None:
        if shots:
            await page.screenshot(path=f"{shots}/{name}-{color_scheme}.png", full_page=True)

    await page.goto("/device?user_code=" + device.started["user_code"])
    await shot("device")
    assert await page.get_by_label("Code").input_value() == device.started["user_code"]
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_role("heading", name="Did you start this?").wait_for()
    await page.get_by_text(device.started["user_code"]).wait_for()
    await shot("confirm")
    await page.get_by_role("button", name="Yes, it is mine").click()
    await page.get_by_role("heading", name="wants to act for you").wait_for()
    await shot("consent")
    await page.get_by_role("button", name="Allow").click()
    await page.get_by_role("heading", name="Done").wait_for()
    await shot("done")
    assert (await device.poll()).status == 200


async def seat(house: House, context: BrowserContext) -> None:
    """Put Alice's session into the browser."""
    handle = (await house.signed_in()).cookies["__Host-valetkey"]
    # NOTE: a secure cookie can be planted for https only; the engine then sends it to http://localhost just as well.
    url = house.settings.origin.replace("http://", "https://")
    await context.add_cookies(
        [{"name": "__Host-valetkey", "value": handle, "url": url, "secure": True, "httpOnly": True, "sameSite": "Lax"}]
    )
