"""Being told in a browser, as far as it goes without a push service: the worker registers, shows and opens.

Chromium's own push service is the network's; what it would carry is handed to the worker by the debugging protocol.
"""

import json

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewContext, signed_in
from tests.support.house import House

expect.set_options(timeout=20_000)

SHOWN = """async () => {
  const found = await (await navigator.serviceWorker.ready).getNotifications();
  return found.map((one) => [one.title, one.body, one.data.link]);
}"""


async def test_the_button_registers_the_worker_and_says_so_when_there_is_no_push_service(
    house: House, new_context: NewContext
) -> None:
    context = await new_context(permissions=["notifications"])
    await signed_in(house, context)
    page = await context.new_page()
    problems: list[str] = []
    page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    await page.goto("/approvals")
    await page.get_by_role("button", name="Tell me in this browser").click()
    await expect(page.get_by_role("alert")).to_contain_text("did not get a subscription from its push service")
    scope = await page.evaluate("async () => (await navigator.serviceWorker.ready).scope")
    assert scope == f"{house.settings.origin}/"
    assert problems == []
    await house.alice.sign_in()
    assert await house.events("notice-address.added") == []


async def test_without_leave_nothing_is_asked_for(house: House, new_context: NewContext) -> None:
    context = await new_context()
    await signed_in(house, context)
    page = await context.new_page()
    await page.add_init_script("Notification.requestPermission = async () => 'denied'")
    await page.goto("/approvals")
    await page.get_by_role("button", name="Tell me in this browser").click()
    await expect(page.get_by_role("alert")).to_contain_text("does not let Valetkey show notices")
    assert await page.evaluate("async () => (await navigator.serviceWorker.getRegistrations()).length") == 0


async def test_without_script_there_is_no_button_and_the_page_works(house: House, new_context: NewContext) -> None:
    context = await new_context(java_script_enabled=False)
    await signed_in(house, context)
    page = await context.new_page()
    await page.goto("/approvals")
    await expect(page.get_by_role("button", name="Tell me in this browser")).to_be_hidden()
    await expect(page.get_by_text("Being told in this browser needs JavaScript")).to_be_visible()


@pytest.mark.parametrize(
    ("sent", "body", "link"),
    [
        ({"body": "One waits.", "link": "{origin}/approvals/apr_1"}, "One waits.", "{origin}/approvals/apr_1"),
        ({"body": "One waits.", "link": "https://evil.example/"}, "One waits.", "{origin}/approvals"),
        ({"body": "One waits.", "link": "javascript:alert(1)"}, "One waits.", "{origin}/approvals"),
        ({"body": 7}, "A call waits for your answer.", "{origin}/approvals"),
    ],
)
async def test_what_is_pushed_is_shown_and_leads_to_our_own_pages_alone(
    house: House, new_context: NewContext, sent: dict[str, str], body: str, link: str
) -> None:
    context = await new_context(permissions=["notifications"])
    await signed_in(house, context)
    page = await context.new_page()
    await page.goto("/approvals")
    session = await context.new_cdp_session(page)
    known: list[str] = []
    session.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: known.extend(one["registrationId"] for one in event["registrations"]),
    )
    await session.send("ServiceWorker.enable")
    await page.evaluate("navigator.serviceWorker.register('/worker.js', { scope: '/' })")
    await page.evaluate("async () => { await navigator.serviceWorker.ready }")
    origin = house.settings.origin
    data = json.dumps(
        {name: str(value).format(origin=origin) if name == "link" else value for name, value in sent.items()}
    )
    await session.send(
        "ServiceWorker.deliverPushMessage", {"origin": origin, "registrationId": known[-1], "data": data}
    )
    await page.wait_for_function(
        "navigator.serviceWorker.ready.then((it) => it.getNotifications()).then((n) => n.length)"
    )
    assert await page.evaluate(SHOWN) == [["Valetkey", body, link.format(origin=origin)]]


async def test_the_pages_can_be_put_on_a_home_screen(house: House, new_context: NewContext) -> None:
    """By what a phone reads: the manifest is found, taken without a fault, and its pictures are there."""
    context = await new_context()
    await signed_in(house, context)
    page = await context.new_page()
    problems: list[str] = []
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    await page.goto("/approvals")
    session = await context.new_cdp_session(page)
    found = await session.send("Page.getAppManifest")
    assert (found["url"], found["errors"]) == (f"{house.settings.origin}/manifest.webmanifest", [])
    said = json.loads(found["data"])
    assert (said["display"], said["start_url"], said["scope"]) == ("standalone", "/approvals", "/")
    sizes = await page.evaluate(
        """async (icons) => Promise.all(icons.map(async (one) => {
            const image = new Image();
            image.src = one.src;
            await image.decode();
            return `${image.naturalWidth}x${image.naturalHeight}`;
        }))""",
        said["icons"],
    )
    assert sizes == [icon["sizes"] for icon in said["icons"]]
    touch = await page.locator("link[rel=apple-touch-icon]").get_attribute("href")
    assert touch in [icon["src"] for icon in said["icons"]]
    assert problems == []
