"""What ended here is ended at the API too, however much it is and whoever crashed; and what is said of it is true."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.flows.test_connecting import Story, open_story
from tests.support.consent_provider import CLIENT_ID, CLIENT_SECRET, ConsentProvider
from tests.support.house import House, open_house
from tests.support.nodes import pause
from tests.support.upstream import Upstream
from valetkey.server.connections import store as connections
from valetkey.server.connections.model import Linked
from valetkey.server.ids import new_id
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.revocation.revoke import revoke
from valetkey.server.secret import Secret


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with open_story(tmp_path / "data", database_url) as opened:
        yield opened


@pytest.mark.parametrize(("accounts", "outcome"), [(50, "done"), (51, "pending")])
async def test_more_accounts_than_are_ended_at_once_are_pending(story: Story, accounts: int, outcome: str) -> None:
    await pause(story.house.app)
    bob = await story.house.person("bob@acme.com")
    await _connected(story, bob.id, accounts)
    hop = await _revoked(story, bob.id)
    assert (hop["outcome"], "More are still to be ended." in hop["detail"]) == (outcome, outcome == "pending")
    assert len(story.github.tokens) == accounts - 50
    await _sweep(story.house)
    assert story.github.tokens == {}
    assert (await _revoked(story, bob.id))["outcome"] == "done"  # asked once more, it is over


@pytest.mark.parametrize("is_the_end", [True, False])
async def test_an_organization_that_ended_is_swept_at_its_apis_after_a_crash(
    tmp_path: Path, database_url: str | None, is_the_end: bool
) -> None:
    async with Upstream() as up:
        github = ConsentProvider(up).install()
        async with open_house(tmp_path / "data", database_url=database_url, upstream=up.url) as house:
            app = {"integration": "github", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
            story = Story(house, up, github, await house.alice.does("POST", "/v1/apps", **app))
            [connection] = await story.connected(await house.signed_in())
            await pause(house.app)
            async with house.app.database.read() as db:
                org = str((await db.execute(text("SELECT org FROM connections"))).scalar())
            # It is durable, and the process died before any of its hops was asked.
            node, journal = org if is_the_end else new_id("org"), house.app.journal
            await revoke(node, org=org, by=house.alice.id, reason="", journal=journal, clock=house.clock, hops=())
            assert len(github.tokens) == 1
        async with open_house(
            tmp_path / "data", database_url=database_url, upstream=up.url, sign_in=False, clock=house.clock
        ) as again:
            await pause(again.app)
            assert await _sweep(again) == int(is_the_end)
            assert len(github.tokens) == int(not is_the_end)
            async with again.app.database.read() as db:
                ended = await db.execute(text("SELECT connection, state FROM upstream_revocations"))
                assert [tuple(row) for row in ended] == ([(connection["id"], "ended")] if is_the_end else [])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("server_error", "(server_error)"),
        ("<b>alice@acme.com</b> owes us money", "(refused)"),
        ("call us at +49 30 815", "(refused)"),
    ],
)
async def test_an_error_of_the_api_is_shown_if_it_is_a_name_and_nothing_else_it_says(
    story: Story, said: str, shown: str
) -> None:
    story.github.extra = {"error": said, "error_description": "owes us money"}
    tab = await story.house.signed_in()
    reply = await tab.get(story.github.consent(await story.sent(tab)))
    assert reply.status == 502
    assert f"GitHub did not take its own code {shown}." in tab.text
    page = reply.body.decode()
    assert (said in page) == (shown == f"({said})")
    assert not any(words in page for words in ("owes us", "alice@acme.com</b>", "815"))


async def _connected(story: Story, user: str, count: int) -> None:
    """So many accounts, each with a token that works at the API."""
    app, up = story.house.app, story.up
    async with app.database.read() as db:
        org = str((await db.execute(text("SELECT org FROM users LIMIT 1"))).scalar())
    async with app.database.write() as tx:
        for number in range(count):
            token = f"gho_practice{number:04}"
            story.github.tokens[token] = f"account-{number}"
            facts = ConnectionFacts(
                id=new_id("con"), org=org, owner=user, integration="github", name=f"mine-{number}",
                account=f"account-{number}", base_url=up.url, powers=frozenset({"*"}), generation=1,
            )  # fmt: skip
            await connections.add(
                tx, facts, hosts=frozenset({up.url.removeprefix("http://")}), credential=Secret(token),
                ring=app.refresh._ring, now=int(story.house.clock.now()),
                linked=Linked(app=story.app["id"], asked=("repo",), granted=("repo",)),
            )  # fmt: skip


async def _revoked(story: Story, node: str) -> Any:
    """What the report says of the API."""
    await story.house.alice.sign_in()
    report = await story.house.alice.does("POST", "/v1/revocations", node=node)
    return next(hop for hop in report["hops"] if hop["hop"] == "at the API")


async def _sweep(house: House) -> int:
    end_there = next(stop.__self__ for stop in house.app.services.hops if stop.__qualname__ == "EndThere.stop")
    swept: int = await end_there.sweep()
    return swept
