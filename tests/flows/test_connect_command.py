"""`valetkey connect` waits for somebody's browser: the command in a process of its own, the browser beside it."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_connecting import Story, open_story
from tests.flows.test_connecting_by_code import sent
from tests.support.served import BIN
from tests.support.tab import Tab


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with open_story(tmp_path / "data", None) as opened:
        yield opened


@contextlib.asynccontextmanager
async def waiting(story: Story, home: Path, *more: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The command, once it has said which page to open, and that page."""
    house = story.house
    home.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        f"{BIN}/valetkey", "connect", "github", "--json", *more,
        env={
            "PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8",
            "VALETKEY_URL": house.settings.issuer, "VALETKEY_TOKEN": house.alice.credential,
        },
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        page = ""
        while not page.startswith(house.settings.issuer):
            line = await asyncio.wait_for(process.stderr.readline(), 60)
            assert line, "it ended without an address"
            page = line.decode().strip()
        yield process, page.removeprefix(house.settings.issuer)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, Any, str]:
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, json.loads(out), err.decode()


async def opened(tab: Tab, page: str) -> None:
    """She opens what the command printed, in a browser anywhere, and goes on."""
    assert re.fullmatch(r"/connect\?code=[A-Z]{4}-[A-Z]{4}", page)  # a code, and nothing of hers
    await tab.get(page)
    await tab.submit("/connect")


async def test_it_waits_for_her_and_says_when_the_account_was_only_given_more(story: Story, tmp_path: Path) -> None:
    tab = await story.house.signed_in()
    story.github.granted = "read:org"
    async with waiting(story, tmp_path / "home") as (process, page):
        await opened(tab, page)
        await tab.get(story.github.consent(await sent(tab, "read:org")))
        status, first, err = await ended(process)
    assert (status, first["account"], first["generation"]) == (0, "alice", 1)
    assert "connected before" not in err
    story.github.granted = "repo,read:org"
    async with waiting(story, tmp_path / "home") as (process, page):
        await opened(tab, page)
        await tab.get(story.github.consent(await sent(tab, "repo", "read:org")))
        status, second, err = await ended(process)
    assert second == first | {"generation": 2}
    assert "This account was connected before, and stays the same connection." in err
    assert "The API now gives repo, read:org." in err


async def test_it_says_why_nothing_was_connected(story: Story, tmp_path: Path) -> None:
    await story.house.person("bob@acme.com")
    alice, bob = await story.house.signed_in(), await story.house.signed_in("bob@acme.com")
    async with waiting(story, tmp_path / "home") as (process, page):
        await opened(alice, page)
        await alice.submit("/connections/begin", button="No, decline")
        status, problem, _ = await ended(process)
    assert (status, problem["code"], problem["exit_code"]) == (3, "cancelled", 3)
    assert problem["detail"] == "Nothing was connected. You declined on the page."
    async with waiting(story, tmp_path / "home") as (process, page):
        await opened(bob, page)
        status, problem, _ = await ended(process)
    assert (status, problem["code"], problem["reason"]) == (5, "denied", "another_person")
    async with waiting(story, tmp_path / "home") as (process, page):
        story.house.clock.advance(600)
        status, problem, _ = await ended(process)
    assert (status, problem["detail"]) == (3, "Nothing was connected. Nobody finished it within ten minutes.")


async def test_what_cannot_be_begun_is_refused_before_anybody_waits(story: Story, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended without an address"):
        async with waiting(story, tmp_path / "home", "--scope", "no:such"):
            pass
