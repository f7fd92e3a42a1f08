"""Approvals in a real browser: answered by mouse, keyboard and passkey; by a bot, a frame, a second click not."""

import os

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import NewContext, signed_in
from tests.browser.test_accessibility import LOOKS, Looked
from tests.browser.test_signing_in import authenticator
from tests.flows.test_approvals import PATH, asking, held, post
from tests.flows.test_approvals_proven import dangerous
from tests.support import node
from tests.support.house import House
from tests.support.people import PASSWORD, add_passkey, with_password

expect.set_options(timeout=20_000)

BOTS = (
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com",
    "WhatsApp/2.23.20.0",
)


async def opened(house: House, new_context: NewContext, approval: str, **options: object) -> Page:
    """Her browser on the page of an approval."""
    context = await new_context(**options)
    await signed_in(house, context)
    page = await context.new_page()
    await page.goto(f"/approvals/{approval}")
    return page


async def shot(page: Page, name: str) -> None:
    if folder := os.environ.get("VALETKEY_TEST_SHOTS"):
        await page.screenshot(path=f"{folder}/{name}.png", full_page=True)


async def answers(house: House) -> list[tuple[str, str]]:
    return [(r["answer"], r.get("message", "")) for r in await house.events("approval.answered")]


@pytest.mark.parametrize("script", [True, False])
async def test_she_approves_and_it_is_sent(house: House, new_context: NewContext, script: bool) -> None:
    _, _, _, token = await asking(house)
    page = await opened(house, new_context, await held(house, token), java_script_enabled=script)
    await expect(page.get_by_role("heading", name="pr-reviewer-v2 asks before it does this")).to_be_visible()
    await page.get_by_role("button", name="Approve once").click()
    await expect(page.get_by_role("status")).to_contain_text("Approved; the agent has not sent it yet")
    assert (await post(house, token)).status == 201
    await page.reload()
    await expect(page.get_by_role("status")).to_contain_text("Approved and sent, once")
    await expect(page.get_by_role("button", name="Take it back")).to_be_hidden()


async def test_she_denies_with_a_word(house: House, new_context: NewContext) -> None:
    _, _, _, token = await asking(house)
    page = await opened(house, new_context, await held(house, token), java_script_enabled=False)
    await page.get_by_label("What to tell the agent").fill("ask in the review")
    await page.get_by_role("button", name="Deny").click()
    await expect(page.get_by_role("status")).to_contain_text("Denied")
    await expect(page.get_by_text("ask in the review")).to_be_visible()
    told = (await post(house, token)).json()
    assert (told["reason"], told["message_from_person"]) == ("approval_denied", "ask in the review")
    assert house.github.received("POST", PATH) == 0


async def test_she_comes_too_late(house: House, new_context: NewContext) -> None:
    _, _, _, token = await asking(house)
    page = await opened(house, new_context, await held(house, token))
    house.clock.advance(600)
    await page.get_by_role("button", name="Approve once").click()
    await expect(page.get_by_role("status")).to_contain_text("Its time is over; nothing was sent")
    await expect(page.get_by_role("alert")).to_contain_text("its time is over")
    await expect(page.get_by_role("button", name="Approve once")).to_be_hidden()
    await house.alice.sign_in()
    assert await answers(house) == []


async def test_a_double_click_is_one_answer(house: House, new_context: NewContext) -> None:
    _, _, _, token = await asking(house)
    page = await opened(house, new_context, await held(house, token))
    await page.get_by_role("button", name="Approve once").dblclick()
    await expect(page.get_by_role("status")).to_contain_text("Approved")
    assert await answers(house) == [("approved", "")]
    assert (await post(house, token)).status == 201
    assert house.github.received("POST", PATH) == 1


async def test_of_two_tabs_the_first_counts(house: House, new_context: NewContext) -> None:
    _, _, _, token = await asking(house)
    first = await opened(house, new_context, await held(house, token))
    second = await first.context.new_page()
    await second.goto(first.url)
    await first.get_by_role("button", name="Deny").click()
    await expect(first.get_by_role("status")).to_contain_text("Denied")
    await second.get_by_role("button", name="Approve once").click()
    await expect(second.get_by_role("status")).to_contain_text("Denied")
    await expect(second.get_by_role("alert")).to_contain_text("This was answered")
    assert await answers(house) == [("denied", "")]
    assert house.github.received("POST", PATH) == 0


async def test_ui_01_whoever_previews_the_link_answers_nothing(house: House, new_context: NewContext) -> None:
    agent, _, _, token = await asking(house)
    approval = await held(house, token)
    for bot in BOTS:
        page = await (await new_context(user_agent=bot)).new_page()
        await page.goto(f"/approvals/{approval}")
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert PATH not in await page.content()
        hers = await opened(house, new_context, approval, user_agent=bot)  # a preview in her own browser
        await hers.goto(f"/approvals/{approval}?answer=approve")
        await hers.goto(f"/approvals/{approval}/prove")
    assert await held(house, token) == approval
    assert (await agent.call("GET", f"/v1/approvals/{approval}")).json()["status"] == "pending"
    assert await answers(house) == []


async def test_ui_02_the_page_is_not_shown_in_a_frame(house: House, new_context: NewContext) -> None:
    _, _, _, token = await asking(house)
    page = await opened(house, new_context, await held(house, token))
    frame = f'<iframe src="{page.url}" width="800" height="600"></iframe>'
    await page.context.route(
        "https://evil.example/**", lambda route: route.fulfill(status=200, content_type="text/html", body=frame)
    )
    await page.goto("https://evil.example/")
    assert "asks before it does this" not in await page.frames[1].content()


@pytest.mark.parametrize("button", ["Approve once", "Deny"])
async def test_the_keyboard_is_enough(house: House, new_context: NewContext, button: str) -> None:
    _, _, _, token = await asking(house)
    page = await opened(house, new_context, await held(house, token))
    wanted = page.get_by_role("button", name=button, exact=True)
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("it => it === document.activeElement"):
            break
    outline = await wanted.evaluate("it => getComputedStyle(it).outlineStyle")
    assert outline != "none"
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_contain_text("Approved" if button == "Approve once" else "Denied")


async def enrolled(house: House, new_context: NewContext) -> tuple[BrowserContext, Page]:
    """Her browser, with a passkey made in it; call it inside `authenticator`."""
    context = await new_context()
    await signed_in(house, context)
    return context, await context.new_page()


async def add_one(page: Page) -> None:
    await page.goto("/account")
    await page.get_by_label("Name").fill("laptop")
    await page.get_by_role("button", name="Add a passkey").click()
    await expect(page.get_by_text("laptop", exact=True)).to_be_visible()


async def test_what_is_dangerous_is_signed_by_her_passkey(house: House, new_context: NewContext) -> None:
    token, approval = await dangerous(house)
    _, page = await enrolled(house, new_context)
    async with authenticator(page):
        await add_one(page)
        await page.goto(f"/approvals/{approval}")
        await shot(page, "passkey")
        await page.get_by_role("button", name="Approve once with my passkey").click()
        await expect(page.get_by_role("status")).to_contain_text("Approved")
    [record] = await house.events("approval.answered")
    assert record["passkey"] in record["proof"]
    await house.gateway(token, "DELETE", "/repos/acme-corp/backend")
    assert house.github.received("DELETE", "/repos/acme-corp/backend") == 1


async def test_without_that_passkey_the_browser_says_so(house: House, new_context: NewContext) -> None:
    _, approval = await dangerous(house)
    await add_passkey(house, await house.signed_in())  # on another device of hers
    _, page = await enrolled(house, new_context)
    async with authenticator(page):
        await page.goto(f"/approvals/{approval}")
        await page.get_by_role("button", name="Approve once with my passkey").click()
        await expect(page.get_by_text("The browser got no passkey")).to_be_visible()
        await expect(page.get_by_text("A passkey needs JavaScript")).to_be_hidden()
    unscripted = await opened(house, new_context, approval, java_script_enabled=False)
    await expect(unscripted.get_by_role("button", name="Approve once")).to_be_hidden()
    await expect(unscripted.get_by_text("A passkey needs JavaScript")).to_be_visible()
    assert await answers(house) == []
    await unscripted.get_by_role("button", name="Deny").click()
    await expect(unscripted.get_by_role("status")).to_contain_text("Denied")


async def test_who_has_no_passkey_signs_in_anew_without_script(house: House, new_context: NewContext) -> None:
    _, approval = await dangerous(house)
    await with_password(house)
    page = await opened(house, new_context, approval, java_script_enabled=False)
    await expect(page.get_by_role("button", name="Approve once")).to_be_hidden()
    await page.get_by_role("button", name="Prove it is me").click()
    house.clock.advance(1)
    await page.get_by_label("E-mail", exact=True).fill("alice@acme.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("button", name="Approve once").click()
    await expect(page.get_by_role("status")).to_contain_text("Approved")
    assert await answers(house) == [("approved", "")]


@pytest.mark.skipif(node.missing() is not None, reason=node.missing() or "")
@pytest.mark.parametrize("look", LOOKS)
async def test_everybody_can_use_it(house: House, new_context: NewContext, look: str) -> None:
    _, danger = await dangerous(house)
    looked = Looked()
    page = await opened(house, new_context, danger, **LOOKS[look], bypass_csp=True)
    await looked.at(page, "to be proven")
    await shot(page, f"to-be-proven-{look}")
    await add_passkey(house, await house.signed_in())
    await page.reload()
    await page.get_by_role("button", name="Approve once with my passkey").wait_for()
    await looked.at(page, "by passkey")
    await shot(page, f"by-passkey-{look}")
    for button in ("Approve once with my passkey", "Deny"):
        box = await page.get_by_role("button", name=button).bounding_box()
        assert box is not None
        assert box["height"] >= 44
    await page.goto("/approvals")
    await looked.at(page, "what waits")
    await shot(page, f"what-waits-{look}")
    await page.goto(f"/approvals/{danger}")
    await page.get_by_label("What to tell the agent").fill("not today")
    await page.get_by_role("button", name="Deny").click()
    await page.get_by_role("status").get_by_text("Denied").wait_for()
    await looked.at(page, "denied")
    await page.goto("/approvals")
    await looked.at(page, "nothing waits")
