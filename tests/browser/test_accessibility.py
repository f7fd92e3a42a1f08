"""Every page is usable by everybody: npm axe-core finds nothing serious, in the light, in the dark and on a phone.

The script is put in by the browser's driver, past the pages' own policy, which stays as it is for everybody else.
"""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Error, Page

from tests.browser.conftest import NewContext, signed_in
from tests.browser.test_consent import ASKED
from tests.support import node
from tests.support.command_line import CommandLine
from tests.support.decoupled import Elsewhere, elsewhere
from tests.support.house import House
from tests.support.people import PASSWORD, with_app, with_password

pytestmark = pytest.mark.skipif(node.missing() is not None, reason=node.missing() or "")

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}
_RUN = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  const where = v => v.nodes.map(n => `${n.target}: ${n.failureSummary}`);
  return found.violations.map(v => ({id: v.id, impact: v.impact, where: where(v)}));
}"""


@dataclass
class Looked:
    """What was looked at, and what axe said."""

    pages: int = 0

    async def at(self, page: Page, name: str) -> None:
        """Nothing serious on the page as it is now, and nothing that has to be scrolled sideways."""
        await page.evaluate((node.module("axe-core") / "axe.min.js").read_text())
        violations = [v for v in await page.evaluate(_RUN) if v["impact"] in ("serious", "critical")]
        assert not violations, (name, page.url, json.dumps(violations, indent=1))
        width = await page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], (name, width)
        self.pages += 1


@pytest.mark.parametrize("look", LOOKS)
async def test_no_page_has_a_serious_violation(house: House, new_context: NewContext, look: str) -> None:
    looked, device = Looked(), await _lived_in(house)
    context = await new_context(**LOOKS[look], bypass_csp=True)
    page = await context.new_page()
    for address in ("/login", "/login?next=%2Fagents", "/login/sso/idp_nobody/callback?state=x"):
        await page.goto(address)
        await looked.at(page, address)
    await _signing_in(page, looked)
    await signed_in(house, context)
    for address in await _addresses(house):
        reply = await page.goto(address)
        assert reply is not None
        assert reply.status == 200, address
        await looked.at(page, address)
    await page.goto("/delegations/dlg_nobodys")
    await looked.at(page, "refused")
    await _asked(house, page, looked, device)
    assert looked.pages >= 20


async def test_what_is_wrong_with_a_page_is_seen(house: House, new_context: NewContext) -> None:
    context = await new_context(bypass_csp=True)
    page = await context.new_page()
    await page.goto("/login")
    await Looked().at(page, "as it is")
    await page.evaluate("document.querySelectorAll('label').forEach(label => label.remove())")
    with pytest.raises(AssertionError, match="label"):
        await Looked().at(page, "without labels")


async def test_the_pages_own_policy_is_still_there(house: House, new_context: NewContext) -> None:
    context: BrowserContext = await new_context()
    page = await context.new_page()
    reply = await page.goto("/login")
    assert reply is not None
    assert "default-src 'none'" in (await reply.all_headers())["content-security-policy"]
    with pytest.raises(Error):
        await page.add_script_tag(content="window.inside = 1")


async def _lived_in(house: House) -> Elsewhere:
    """Something on every page: an agent, a connection, a delegation, a provider, a person, a request that waits."""
    await house.connect()
    await house.alice.does("POST", "/v1/apps", integration="github", client_id="Iv1.acme", client_secret="s3cret")
    agent = await house.agent("issue-triager")
    delegation = await house.delegate(agent, "github:repo:read,issues:write@acme-corp/backend,acme-corp/payroll")
    await house.task(delegation)
    await house.person("bob@acme.com")
    tab = await with_password(house)
    await with_app(house, tab)
    device = await elsewhere(house, connect=False)
    await device.ask()
    return device


async def _addresses(house: House) -> list[str]:
    agents = (await house.alice.does("GET", "/v1/agents"))["data"]
    delegations = (await house.alice.does("GET", "/v1/delegations"))["data"]
    return [
        "/",
        "/delegations",
        f"/delegations/{delegations[0]['id']}",
        "/agents",
        f"/agents/{agents[0]['id']}",
        "/connections",
        "/connections/new?integration=github",
        "/audit",
        "/audit?decision=denied",
        f"/audit/{(await house.events('delegation.recorded'))[0]['id']}",
        "/sessions",
        "/requests",
        "/account",
        "/admin/sign-in",
        "/admin/apps",
        "/admin/databases",
        "/device",
        CommandLine(house).address(),
        CommandLine(house, redirect_uri="urn:valetkey:shown").address(),
    ]


async def _signing_in(page: Page, looked: Looked) -> None:
    """A wrong password, then the right one and the page that asks for the code."""
    for password in ("wrong", PASSWORD):
        await page.goto("/login")
        await page.locator("form[action='/login/password'] input[name=email]").fill("alice@acme.com")
        await page.locator("#password").fill(password)
        await page.locator("form[action='/login/password'] button").first.click()
        await page.wait_for_load_state()
        await looked.at(page, f"signing in with {password}")


async def _asked(house: House, page: Page, looked: Looked, device: Elsewhere) -> None:
    """The pages on which somebody answers: consent, a device, a request."""
    client = device.client
    await page.goto(client.address(authorization_details=json.dumps(ASKED), purpose="triage new issues"))
    await page.get_by_role("heading", name="wants to act for you").wait_for()
    await looked.at(page, "consent")
    await page.goto(CommandLine(house, redirect_uri="urn:valetkey:shown").address())
    await page.get_by_role("button", name="Allow").click()
    await page.get_by_role("heading", name="Type this code").wait_for()
    await looked.at(page, "a code to type")
    await page.goto("/requests")
    await page.locator("a[href^='/requests/req_']").first.click()
    await page.wait_for_load_state()
    await looked.at(page, "request")
    await device.begin(purpose="review the pull request of the day")
    await page.goto("/device?user_code=" + device.started["user_code"])
    await looked.at(page, "device")
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_role("heading", name="Did you start this?").wait_for()
    await looked.at(page, "confirm")
    await page.get_by_role("button", name="Yes, it is mine").click()
    await page.get_by_role("heading", name="wants to act for you").wait_for()
    await looked.at(page, "device consent")
    await page.get_by_role("button", name="Allow").click()
    await page.get_by_role("heading", name="Done").wait_for()
    await looked.at(page, "done")
