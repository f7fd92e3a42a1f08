"""`valetkey connect` waits for somebody's browser: the command in a process of its own, the browser beside it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.flows.test_connecting import Story, open_story
from tests.support.served import BIN


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with open_story(tmp_path / "data", None) as opened:
        yield opened


@contextlib.asynccontextmanager
async def waiting(story: Story, home: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The command, once it has said which page to open, and that page."""
    house = story.house
    home.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        f"{BIN}/valetkey", "connect", "github", "--json",
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
        yield process, page
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_waits_for_the_page_and_says_when_the_account_was_only_given_more(
    story: Story, tmp_path: Path
) -> None:
    tab = await story.house.signed_in()
    story.github.granted = "read:org"
    async with waiting(story, tmp_path / "home") as (process, page):
        assert page == f"{story.house.settings.issuer}/connections/new?integration=github"  # nothing of hers is in it
        await story.connected(tab)
        out, err = await asyncio.wait_for(process.communicate(), 60)
    first = json.loads(out)
    assert (process.returncode, first["account"], first["generation"]) == (0, "alice", 1)
    assert "connected before" not in err.decode()
    story.github.granted = "repo,read:org"
    async with waiting(story, tmp_path / "home") as (process, _):
        await story.connected(tab)
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert json.loads(out) == first | {"generation": 2}
    assert "This account was connected before, and stays the same connection." in err.decode()
    assert "The API now gives repo, read:org." in err.decode()
