"""Signing in with a real browser engine: passkeys with its own authenticator, and everything else without script."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Page, expect

from tests.browser.conftest import NewContext
from tests.support.house import House
from tests.support.people import PASSWORD
from valetkey.server.principals.login.model import one_time_code
from valetkey.server.secret import SecretBytes


@asynccontextmanager
async def authenticator(page: Page) -> AsyncIterator[None]:
    """A platform authenticator that says yes to everything, with a verified user."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield
    await session.detach()


async def invited(house: House, email: str) -> str:
    """An invitation's code."""
    return str((await house.alice.does("POST", "/v1/users", email=email))["code"])


async def by_code(page: Page, code: str, target: str = "/login") -> None:
    """Sign in with a one-time code."""
    await page.goto(target)
    await page.get_by_text("I have a one-time code").click()
    await page.get_by_label("One-time code").fill(code)
    await page.get_by_role("button", name="Sign in with the code").click()


async def test_a_passkey_is_made_and_used(house: House, page: Page) -> None:
    async with authenticator(page):
        await by_code(page, await invited(house, "bob@acme.com"), "/login?next=%2Fsessions")
        await expect(page.get_by_text("You have no way to sign in again yet")).to_be_visible()
        await page.get_by_label("Name").fill("Bob’s laptop")
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.get_by_text("Bob’s laptop", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.goto("/sessions")
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page.get_by_text("this browser")).to_be_visible()
        assert page.url == f"{house.settings.origin}/sessions"
        house.clock.advance(601)
        await page.goto("/account")
        await page.get_by_role("link", name="Prove it is me").click()
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page.get_by_role("button", name="Add a passkey")).to_be_visible()


async def test_a_browser_without_a_passkey_says_so(house: House, page: Page) -> None:
    async with authenticator(page):
        await page.goto("/login")
        await page.get_by_role("button", name="Use a passkey").click()
        await expect(page.get_by_text("The browser got no passkey")).to_be_visible()


async def test_password_and_code_without_script(house: House, new_context: NewContext) -> None:
    page = await (await new_context(java_script_enabled=False)).new_page()
    await by_code(page, await invited(house, "bob@acme.com"))
    await expect(page.get_by_role("button", name="Add a passkey")).to_be_hidden()
    await page.get_by_label("Password", exact=False).first.fill(PASSWORD)
    await page.get_by_label("The same again").fill(PASSWORD)
    await page.get_by_role("button", name="Set the password").click()
    await page.get_by_role("button", name="Set up an app").click()
    key = await page.locator(".key code").inner_text()
    secret = SecretBytes(base64.b32decode(key.replace(" ", "")))

    def code() -> str:
        return one_time_code(secret, int(house.clock.now()) // 30)

    await page.get_by_label("Code from the app").fill(code())
    await page.get_by_role("button", name="Confirm").click()
    assert await page.locator(".codes li").count() == 10
    await page.get_by_role("link", name="I have kept them").click()
    await expect(page.get_by_text("10 recovery codes left.")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    house.clock.advance(30)
    await expect(page.get_by_role("button", name="Use a passkey")).to_be_hidden()
    await page.get_by_label("E-mail", exact=True).fill("bob@acme.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_label("Code").fill(code())
    await page.get_by_role("button", name="Go on").click()
    await expect(page.get_by_role("heading", name="Hello, bob@acme.com")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await page.goto("/")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_ui_06_a_browser_holds_two_cookies_at_most_and_script_sees_none(house: House, page: Page) -> None:
    for _ in range(20):
        await page.goto("/login?next=%2Fagents")
    (cookie,) = await page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["secure"]) == ("__Host-valetkey-guest", True, True)
    assert await page.evaluate("document.cookie") == ""
