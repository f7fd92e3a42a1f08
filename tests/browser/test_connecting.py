"""Accounts connected in real browsers, at stand-ins nobody here wrote; and what two browsers cannot do to others."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewContext, signed_in
from tests.support import node
from tests.support.emulate import serving
from tests.support.house import House, open_house
from tests.support.ports import free_port

expect.set_options(timeout=20_000)

CLIENT, SECRET = "client-of-acme", "secret-of-acme"
BASES = {"github": "", "slack": "/api", "linear": ""}
PERMISSIONS = {"github": ["repo", "read:user"], "slack": ["channels:read"], "linear": ["read"]}

USES = {
    "github": (
        "github:repo:read@acme-corp/backend",
        "https://api.github.com",
        ("GET", "/p/github/repos/acme-corp/backend"),
        ("GET", "/p/github/repos/acme-corp/payroll"),
    ),
    "slack": (
        "slack:channels:read@*",
        "https://slack.com/api",
        ("POST", "/p/slack/conversations.list"),
        ("POST", "/p/slack/chat.postMessage"),
    ),
}
"""A line, its API, a call it allows and one it does not. Linear's are in tests/flows/test_linear_stand_in.py."""


def seed(service: str, redirect_uri: str) -> Any:
    app = {"client_id": CLIENT, "client_secret": SECRET, "name": "Valetkey at Acme", "redirect_uris": [redirect_uri]}
    people: dict[str, Any] = {
        "github": {
            "users": [{"login": "alice", "name": "Alice", "email": "alice@acme.com"}],
            "orgs": [{"login": "acme-corp", "name": "Acme", "members": [{"login": "alice", "role": "admin"}]}],
            "repos": [
                {"owner": "acme-corp", "name": name, "private": True, "auto_init": True}
                for name in ("backend", "payroll")
            ],
            "oauth_apps": [app],
        },
        "slack": {
            "team": {"name": "Acme", "domain": "acme"},
            "users": [{"name": "alice", "real_name": "Alice", "email": "alice@acme.com"}],
            "channels": [{"name": "general", "topic": "all"}],
            "oauth_apps": [{**app, "scopes": ["channels:read"], "user_scopes": ["channels:read"]}],
        },
        "linear": {
            "organization": {"name": "Acme", "url_key": "acme"},
            "users": [{"name": "Alice", "email": "alice@acme.com"}],
            "oauth_apps": [{**app, "scopes": ["read", "write"], "actor": "user"}],
        },
    }
    return {service: people[service]}


@pytest.fixture
def service(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "github"))


@pytest.fixture
async def house(tmp_path: Path, service: str) -> AsyncIterator[House]:
    """A deployment whose organization has an app at the stand-in."""
    if (why := node.missing()) is not None:
        pytest.skip(why)
    port = free_port()
    url = f"http://127.0.0.1:{port}{BASES[service]}"
    more: dict[str, Any] = {"upstream": url} if service == "github" else {
        "upstreams": {service: url}, "local": (f"127.0.0.1:{port}",)
    }  # fmt: skip
    async with open_house(tmp_path / "data", **more) as house:
        app = await house.alice.does("POST", "/v1/apps", integration=service, client_id=CLIENT, client_secret=SECRET)
        with serving(service, seed(service, app["redirect_uri"]), port):
            yield house


async def chosen(page: Page, service: str) -> None:
    """Go to the page, tick, and be sent to the API."""
    await page.goto("/connections")
    await page.get_by_role("link", name=service, exact=False).first.click()
    for box in await page.get_by_role("checkbox").all():
        value = await box.get_attribute("value")
        if await box.is_enabled():
            await box.set_checked(value in PERMISSIONS[service])
    await page.get_by_role("button", name="Go to").click()


@pytest.mark.parametrize("service", ["github", "slack", "linear"], indirect=True)
async def test_alice_connects_her_account_at_a_stand_in(house: House, service: str, new_context: NewContext) -> None:
    context = await new_context()
    await signed_in(house, context)
    page = await context.new_page()
    await chosen(page, service)
    await page.get_by_role("button", name="alice").click()  # its own page, where one picks a person
    await expect(page.get_by_text("is connected")).to_be_visible()
    await house.alice.sign_in()
    [connection] = (await house.alice.does("GET", "/v1/connections"))["data"]
    assert connection["account"].lower().startswith("alice")
    assert connection["status"] == "linked"
    if service in USES:
        await used(house, *USES[service])


async def used(house: House, grant: str, resource: str, allowed: tuple[str, str], denied: tuple[str, str]) -> None:
    """An agent's call reaches the API as Alice, and one she did not give does not."""
    agent = await house.agent("reader")
    task = await house.task(await house.delegate(agent, grant))
    token = await agent.token(task["task_token"], resource=resource)
    for (method, path), status in ((allowed, 200), (denied, 403)):
        reply = await house.call(method, path, headers=[("authorization", f"Bearer {token}")])
        assert reply.told == status, reply.body
        if status == 200:
            assert b'"ok":false' not in reply.body.replace(b" ", b"")
            assert b"backend" in reply.body or b"general" in reply.body


async def test_oa_10_oa_12_two_browsers(house: House, new_context: NewContext) -> None:
    """Mallory begins, Bob finishes: nothing. Alice finishes in another browser of hers: nothing."""
    await house.person("mallory@acme.com")
    mallory, alice, elsewhere = [await new_context() for _ in range(3)]
    await signed_in(house, mallory, "mallory@acme.com")
    await signed_in(house, alice)
    await signed_in(house, elsewhere)
    for began, finishes, words in ((mallory, alice, "Somebody else began"), (alice, elsewhere, "another browser")):
        page = await began.new_page()
        await chosen(page, "github")
        other = await finishes.new_page()
        await other.goto(page.url)  # the link she was sent
        await other.get_by_role("button").first.click()
        await expect(other.get_by_text(words)).to_be_visible()
    await house.alice.sign_in()
    assert (await house.alice.does("GET", "/v1/connections"))["data"] == []
