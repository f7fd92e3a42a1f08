"""`valetkey login` with a real browser engine: from the address it prints to the program's own page, without script."""

import asyncio
from pathlib import Path

from playwright.async_api import expect

from tests.browser.conftest import NewContext, signed_in
from tests.flows.test_cli_login_command import running
from tests.support.command_line import CommandLine
from tests.support.house import House


async def test_she_allows_it_and_the_browser_brings_the_answer_to_the_program(
    house: House, new_context: NewContext, tmp_path: Path
) -> None:
    context = await new_context(java_script_enabled=False)
    await signed_in(house, context)
    page = await context.new_page()
    async with running(house, tmp_path / "home", "--no-browser") as command:
        await page.goto(command.address)
        await expect(page.get_by_role("heading", name="wants to act as you")).to_be_visible()
        await expect(page.get_by_text(command.asked["name"])).to_be_visible()
        buttons = [await page.get_by_role("button", name=name).bounding_box() for name in ("Cancel", "Allow")]
        sizes = {(round(box["width"]), round(box["height"])) for box in buttons if box is not None}
        assert len(sizes) == 1  # no is as near as yes
        await page.get_by_role("button", name="Allow").click()
        await expect(page.get_by_text("Go back to the terminal")).to_be_visible()
        code, out, _ = await command.ends()
    assert (code, "as alice@acme.com" in out) == (0, True)
    await page.goto("/sessions")
    await expect(page.get_by_text(command.asked["name"])).to_be_visible()
    await page.get_by_role("button", name=f"End this command line of {command.asked['name']}").click()
    await expect(page.get_by_text(command.asked["name"])).not_to_be_visible()


async def test_she_cancels_and_the_program_ends(house: House, new_context: NewContext, tmp_path: Path) -> None:
    context = await new_context()
    await signed_in(house, context)
    page = await context.new_page()
    async with running(house, tmp_path / "home", "--no-browser") as command:
        await page.goto(command.address)
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.get_by_text("Nobody was signed in")).to_be_visible()
        assert (await command.ends())[0] == 3


async def test_two_tabs_of_two_programs_do_not_mix(house: House, new_context: NewContext, tmp_path: Path) -> None:
    context = await new_context()
    await signed_in(house, context)
    one, other = await context.new_page(), await context.new_page()
    async with (
        running(house, tmp_path / "a", "--no-browser") as first,
        running(house, tmp_path / "b", "--no-browser") as second,
    ):
        await asyncio.gather(one.goto(first.address), other.goto(second.address))
        await other.get_by_role("button", name="Allow").click()
        assert (await second.ends())[0] == 0
        assert first.process.returncode is None
        await one.get_by_role("button", name="Cancel").click()
        assert (await first.ends())[0] == 3


async def test_a_page_on_another_computer_shows_the_code_and_leads_nowhere(
    house: House, new_context: NewContext
) -> None:
    context = await new_context(java_script_enabled=False)
    await signed_in(house, context)
    page = await context.new_page()
    line = CommandLine(house, redirect_uri="urn:valetkey:shown")
    await page.goto(line.address())
    await expect(page.get_by_role("heading", name="on another computer wants to act as you")).to_be_visible()
    await page.get_by_role("button", name="Allow").click()
    await expect(page.get_by_role("heading", name="Type this code")).to_be_visible()
    code = await page.locator("code").inner_text()
    assert page.url.endswith("/login/cli")  # the code stands on the page, and in no address
    assert (await line.redeem(code)).status == 201
