"""Google's way of consenting, in a real browser at a stand-in nobody here wrote; then called as Alice, or not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser.conftest import NewContext, signed_in
from tests.support import google, node
from tests.support.emulate import serving
from tests.support.house import House, open_house
from tests.support.ports import free_port

CLIENT, SECRET = "client-of-acme", "secret-of-acme"
READ_ONLY = "https://www.googleapis.com/auth/calendar.readonly"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    if (why := node.missing()) is not None:
        pytest.skip(why)
    port = free_port()
    own = google.own_file(tmp_path / "own", f"http://127.0.0.1:{port}")
    async with open_house(tmp_path / "data", integrations=own, local=(f"127.0.0.1:{port}",)) as house:
        app = await house.alice.does(
            "POST", "/v1/apps", integration=google.NAME, client_id=CLIENT, client_secret=SECRET
        )
        with serving("google", google.seed(CLIENT, SECRET, app["redirect_uri"]), port):
            yield house


async def test_alice_connects_her_calendar_and_an_agent_reads_it_and_changes_nothing(
    house: House, new_context: NewContext
) -> None:
    context = await new_context()
    await signed_in(house, context)
    page = await context.new_page()
    await page.goto(f"/connections/new?integration={google.NAME}")
    for box in await page.get_by_role("checkbox").all():
        if await box.is_enabled():
            await box.set_checked(await box.get_attribute("value") == READ_ONLY)
    await page.get_by_role("button", name="Go to").click()
    await page.get_by_role("button", name="alice").click()  # its own page, where one picks a person
    await expect(page.get_by_text("is connected")).to_be_visible()
    await house.alice.sign_in()
    [connection] = (await house.alice.does("GET", "/v1/connections"))["data"]
    assert (connection["account"], connection["status"]) == ("alice@acme.com", "linked")

    agent = await house.agent("reader")
    task = await house.task(await house.delegate(agent, f"{google.NAME}:calendars:list,events:read@*"))
    bearer = [("authorization", f"Bearer {await agent.token(task['task_token'], resource=google.AUDIENCE)}")]
    calendars = await house.call("GET", f"/p/{google.NAME}/calendar/v3/users/me/calendarList", headers=bearer)
    assert calendars.status == 200, calendars.body
    assert [c["summary"] for c in calendars.json()["items"]] == ["Alice's own"]
    events = f"/p/{google.NAME}/calendar/v3/calendars/primary/events"
    read = await house.call("GET", events, headers=bearer)
    assert read.status == 200, read.body
    assert [e["summary"] for e in read.json()["items"]] == ["Planning"]
    written = await house.call("POST", events, headers=bearer, json={"summary": "Never"})
    assert (written.status, written.code) == (403, "denied")
    again = await house.call("GET", events, headers=bearer)
    assert [e["summary"] for e in again.json()["items"]] == ["Planning"]
