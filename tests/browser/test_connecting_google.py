"""Google's way of consenting, in a real browser at a stand-in nobody here wrote; then called as Alice, or not."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewContext, signed_in
from tests.support import google, node
from tests.support.emulate import serving
from tests.support.google import CALENDAR, DRIVE, MAIL, Api
from tests.support.house import House, open_house
from tests.support.http import Reply
from tests.support.ports import free_port

CLIENT, SECRET = "client-of-acme", "secret-of-acme"
ALLOWED = "https://www.googleapis.com/auth/"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    if (why := node.missing()) is not None:
        pytest.skip(why)
    port = free_port()
    for api in (MAIL, DRIVE, CALENDAR):
        own = google.own_file(tmp_path / "own", api, f"http://127.0.0.1:{port}")
    async with open_house(tmp_path / "data", integrations=own, local=(f"127.0.0.1:{port}",)) as house:
        redirects = [
            (await house.alice.does("POST", "/v1/apps", integration=api.name, client_id=CLIENT, client_secret=SECRET))[
                "redirect_uri"
            ]
            for api in (MAIL, DRIVE, CALENDAR)
        ]
        with serving("google", google.seed(CLIENT, SECRET, *redirects), port):
            yield house


async def connected(house: House, new_context: NewContext, api: Api, permission: str, grant: str) -> "Called":
    """Alice agrees there to one permission; an agent of hers gets a credential for `grant`."""
    context = await new_context()
    await signed_in(house, context)
    page = await context.new_page()
    await page.goto(f"/connections/new?integration={api.name}")
    for box in await page.get_by_role("checkbox").all():
        if await box.is_enabled():
            await box.set_checked(await box.get_attribute("value") == ALLOWED + permission)
    await page.get_by_role("button", name="Go to").click()
    await page.get_by_role("button", name="alice").click()  # its own page, where one picks a person
    await expect(page.get_by_text("is connected")).to_be_visible()
    await house.alice.sign_in()
    [connection] = (await house.alice.does("GET", "/v1/connections"))["data"]
    assert (connection["account"], connection["status"]) == ("alice@acme.com", "linked")
    agent = await house.agent("reader")
    task = await house.task(await house.delegate(agent, f"{api.name}:{grant}"))
    return Called(house, api, await agent.token(task["task_token"], resource=api.audience))


class Called:
    """One of the APIs as the agent has it."""

    def __init__(self, house: House, api: Api, token: str) -> None:
        self._house, self._api, self._token = house, api, token

    async def __call__(self, method: str, path: str, **more: Any) -> Reply:
        headers = [("authorization", f"Bearer {self._token}")]
        return await self._house.call(method, f"/p/{self._api.name}{path}", headers=headers, **more)

    async def reads(self, path: str) -> Any:
        reply = await self("GET", path)
        assert reply.status == 200, reply.body
        return reply.json()

    async def is_denied(self, method: str, path: str, **more: Any) -> None:
        reply = await self(method, path, **more)
        assert (reply.status, reply.code) == (403, "denied"), reply.body


async def test_alice_connects_her_calendar_and_an_agent_reads_it_and_changes_nothing(
    house: House, new_context: NewContext
) -> None:
    call = await connected(house, new_context, CALENDAR, "calendar.readonly", "calendars:list,events:read@*")
    calendars = await call.reads("/calendar/v3/users/me/calendarList")
    assert [c["summary"] for c in calendars["items"]] == ["Alice's own"]
    events = "/calendar/v3/calendars/primary/events"
    assert [e["summary"] for e in (await call.reads(events))["items"]] == ["Planning"]
    await call.is_denied("POST", events, json={"summary": "Never"})
    assert [e["summary"] for e in (await call.reads(events))["items"]] == ["Planning"]


async def test_alice_connects_her_mail_and_an_agent_reads_it_and_sends_none(
    house: House, new_context: NewContext
) -> None:
    call = await connected(house, new_context, MAIL, "gmail.readonly", "mail:read@*")
    messages = "/gmail/v1/users/me/messages"
    [message] = (await call.reads(f"{messages}?q=Lunch"))["messages"]
    assert (await call.reads(f"{messages}/{message['id']}"))["snippet"] == "At noon?"
    mail = {"raw": "VG86IGJvYkBhY21lLmNvbQ0KU3ViamVjdDogTm8NCg0KTm8"}
    await call.is_denied("POST", f"{messages}/send", json=mail)
    await call.is_denied("POST", f"{messages}/{message['id']}/trash")
    assert len((await call.reads(messages))["messages"]) == 1


async def test_alice_connects_her_drive_and_an_agent_reads_one_file_and_shares_none(
    house: House, new_context: NewContext
) -> None:
    call = await connected(house, new_context, DRIVE, "drive.readonly", "files:read@file-plan")
    assert (await call.reads("/drive/v3/files/file-plan"))["name"] == "plan"
    await call.is_denied("GET", "/drive/v3/files/file-payroll")
    await call.is_denied("GET", "/drive/v3/files")
    await call.is_denied("PATCH", "/drive/v3/files/file-plan", json={"name": "Never"})
    await call.is_denied("POST", "/drive/v3/files/file-plan/permissions", json={"type": "anyone", "role": "reader"})
    assert (await call.reads("/drive/v3/files/file-plan"))["name"] == "plan"
