"""The consent page in a real browser, with script off: allow, untick, cancel, a second tab, and no frame around it."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import BrowserContext, Page, Request, expect

from tests.browser.conftest import NewContext
from tests.support.house import House
from tests.support.oauth import Client, a_client

expect.set_options(timeout=20_000)

PATH = "/repos/acme-corp/backend"
ASKED = [
    {
        "type": "github",
        "actions": ["repo:read", "issues:write"],
        "resources": ["acme-corp/backend", "acme-corp/payroll"],
    }
]


@pytest.fixture
async def client(house: House) -> Client:
    return await a_client(house)


async def _seated(house: House, context: BrowserContext) -> None:
    """Put Alice's session into a browser, through its own protocol: a `__Host-` cookie has no domain to be named."""
    handle = (await house.signed_in()).cookies["__Host-valetkey"]
    page = await context.new_page()
    session = await context.new_cdp_session(page)
    cookie = {
        "name": "__Host-valetkey",
        "value": handle,
        "path": "/",
        "secure": True,
        "httpOnly": True,
        "sameSite": "Lax",
    }
    done = await session.send("Network.setCookie", cookie | {"url": house.settings.origin.replace("http:", "https:")})
    assert done["success"]
    await page.close()


async def _opened(
    house: House, new_context: NewContext, client: Client, **options: object
) -> tuple[BrowserContext, Page, list[str]]:
    """Alice's browser, without script, on the consent page; and where the client would have been told something."""
    context = await new_context(java_script_enabled=False, **options)
    await _seated(house, context)
    told: list[str] = []

    async def client_site(route: object, request: Request) -> None:
        told.append(request.url)
        await route.fulfill(status=200, body="back at the agent")  # type: ignore[attr-defined]

    await context.route("https://agent.example/**", client_site)
    page = await context.new_page()
    await page.goto(
        house.settings.origin + client.address(authorization_details=json.dumps(ASKED), purpose="triage new issues")
    )
    return context, page, told


def _said(told: list[str]) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(told[-1]).query).items()}


async def test_she_unticks_narrows_and_allows(house: House, new_context: NewContext, client: Client) -> None:
    _, page, told = await _opened(house, new_context, client)
    await expect(page.get_by_role("heading", name="pr-reviewer-v2 wants to act for you")).to_be_visible()
    await page.get_by_label("open, change and comment on issues").uncheck()
    await page.get_by_label("On these, and nothing else").fill("acme-corp/backend")
    await page.get_by_role("button", name="Allow").click()
    await expect(page.get_by_text("back at the agent")).to_be_visible()
    tokens = (await client.redeem(_said(told)["code"])).json()
    detail = tokens["authorization_details"][0]
    assert (detail["actions"], detail["resources"]) == (["repo:read"], ["acme-corp/backend"])
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200


async def test_she_cancels(house: House, new_context: NewContext, client: Client) -> None:
    _, page, told = await _opened(house, new_context, client)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("back at the agent")).to_be_visible()
    assert (_said(told)["error"], _said(told)["iss"]) == ("access_denied", house.settings.issuer)


async def test_cancel_and_allow_weigh_the_same(house: House, new_context: NewContext, client: Client) -> None:
    for width in (390, 1280):
        _, page, _ = await _opened(house, new_context, client, viewport={"width": width, "height": 900})
        sizes = []
        for name in ("Cancel", "Allow"):
            box = await page.get_by_role("button", name=name).bounding_box()
            assert box is not None
            sizes.append((round(box["width"]), round(box["height"]), round(box["y"])))
        assert sizes[0] == sizes[1]
        assert sizes[0][1] >= 44


async def test_a_second_tab_is_a_request_of_its_own(house: House, new_context: NewContext, client: Client) -> None:
    context, first, told = await _opened(house, new_context, client)
    second = await context.new_page()
    await second.goto(house.settings.origin + client.address(purpose="another errand"))
    await second.get_by_role("button", name="Cancel").click()
    await expect(second.get_by_text("back at the agent")).to_be_visible()
    await first.bring_to_front()
    await first.get_by_role("button", name="Allow").click()
    await expect(first.get_by_text("back at the agent")).to_be_visible()
    assert (await client.redeem(_said(told)["code"])).status == 200


async def test_ui_02_the_page_is_not_shown_in_a_frame(house: House, new_context: NewContext, client: Client) -> None:
    context, page, _ = await _opened(house, new_context, client)
    shown = page.url
    await context.route(
        "https://evil.example/**",
        lambda route: route.fulfill(
            status=200, content_type="text/html", body=f'<iframe src="{shown}" width="800" height="600"></iframe>'
        ),
    )
    await page.goto("https://evil.example/")
    framed = page.frames[1]
    assert "wants to act for you" not in await framed.content()
