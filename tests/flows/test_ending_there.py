"""What ended here is ended at the API too, however much it is and whoever crashed; and what is said of it is true."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.flows.test_connecting import Story, open_story
from tests.support.consent_provider import CLIENT_ID, CLIENT_SECRET, ConsentProvider
from tests.support.house import House, open_house
from tests.support.nodes import pause
from tests.support.refreshable import Refreshable, describe, open_refreshable
from tests.support.upstream import Upstream
from valetkey.server.connections import store as connections
from valetkey.server.connections.ending.end import FIRST_TRY_SECONDS
from valetkey.server.connections.model import Linked
from valetkey.server.connections.refreshing import store as refreshing
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
    story.house.clock.advance(FIRST_TRY_SECONDS)
    await _sweep(story.house)
    assert story.github.tokens == {}
    assert (await _revoked(story, bob.id))["outcome"] == "done"  # asked once more, it is over


async def test_the_grant_is_ended_with_the_last_connection_by_it(story: Story) -> None:
    """Two connections to one account by one app: GitHub knows one consent, and would end both by it."""
    tab = await story.house.signed_in()
    [own] = await story.connected(tab)
    await tab.get("/connections/new?integration=github")
    reply = await tab.submit("/connections/begin", {"permission": ["repo"], "shared": "1"}, follow=False)
    await tab.get(story.github.consent(reply.header("location") or ""))
    shared = next(c for c in await story.connections() if c["shared"])
    assert list(story.github.tokens.values()) == ["alice", "alice"]
    first = await _revoked(story, own["id"])
    assert "Another connection to the same account goes on" in first["detail"]
    assert list(story.github.tokens.values()) == ["alice"]  # hers, and not the organization's
    assert _ended_at(story) == ["token"]
    last = await _revoked(story, shared["id"])
    assert "goes on" not in last["detail"]
    assert story.github.tokens == {}
    assert _ended_at(story) == ["token", "grant"]


async def test_a_connection_to_another_account_keeps_no_grant_alive(story: Story) -> None:
    tab = await story.house.signed_in()
    [own] = await story.connected(tab)
    await story.connected(tab, account="mallory")
    assert "goes on" not in (await _revoked(story, own["id"]))["detail"]
    assert _ended_at(story) == ["grant"]
    assert list(story.github.tokens.values()) == ["mallory"]


def _ended_at(story: Story) -> list[str]:
    """What of the app GitHub was told to end, in order."""
    paths = [seen.path.decode() for seen in story.up.seen if seen.method == "DELETE"]
    return [path.rpartition("/")[2] for path in paths]


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
            assert await _sweep(again) == 0  # who revokes tries first
            again.clock.advance(FIRST_TRY_SECONDS)
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


@contextlib.asynccontextmanager
async def open_linked(folder: Path, database_url: str | None) -> AsyncIterator[Refreshable]:
    """Alice's account, connected by consent at an API that ends single tokens, with a renewal that stands still there.

    `provider.latency` is what it waits for.
    """
    async with open_refreshable(folder, database_url) as linked:
        app, provider = linked.house.app, linked.provider
        describe(app, provider.ends_single_tokens())
        row = await linked.row()
        ring = app.refresh._ring
        async with app.database.write() as tx:
            found = await connections.connection(tx, linked.connection)
            assert found is not None
            again = replace(found, linked=Linked(app=row.app, asked=(), granted=()), credential_generation=2)
            token = Secret("ref-a-1")
            await refreshing.begin_again(tx, replace(row, generation=2), again, token=token, ring=ring)
            assert await connections.link_again(tx, found, again, Secret("acc-a-1"), ring)
        app.authorities.forget(frozenset({linked.connection}))
        linked.expire()
        await linked.house.alice.sign_in()
        yield linked


@pytest.fixture
async def linked(tmp_path: Path, database_url: str | None) -> AsyncIterator[Refreshable]:
    async with open_linked(tmp_path / "data", database_url) as opened:
        yield opened


async def _renewing(linked: Refreshable, *, until: asyncio.Event) -> asyncio.Task[None]:
    """Begin to renew, and come back when the API was asked; it answers after `until`."""
    asked = asyncio.Event()

    async def latency() -> None:
        asked.set()
        await until.wait()

    linked.provider.latency = latency
    app = linked.house.app
    async with app.database.read() as db:
        found = await connections.connection(db, linked.connection)
    assert found is not None
    task = asyncio.create_task(app.refresh._attempt(found, await linked.row(), ("github", "app")))
    await asked.wait()
    linked.provider.latency = None
    return task


async def _ended_there(linked: Refreshable) -> list[str]:
    await linked.house.alice.sign_in()
    return [record["outcome"] for record in await linked.house.events("connection.ended-there")]


@pytest.mark.parametrize("ends", ["the account", "its person", "nothing"])
async def test_what_a_renewal_brings_after_the_end_is_ended_there_too(linked: Refreshable, ends: str) -> None:
    house, let_go = linked.house, asyncio.Event()
    owner = house.alice
    if ends == "its person":
        owner = await house.person("bob@acme.com")
        await _given_to(linked, owner.id)
    renewal = await _renewing(linked, until=let_go)
    if ends != "nothing":
        await house.alice.sign_in()
        node = linked.connection if ends == "the account" else owner.id
        report = await house.alice.does("POST", "/v1/revocations", node=node)
        assert next(hop for hop in report["hops"] if hop["hop"] == "at the API")["outcome"] == "done"
        assert linked.provider.live == set()  # what was stored then; the other is on its way
    let_go.set()
    await renewal
    assert linked.provider.live == ({"acc-a-1", "acc-a-2"} if ends == "nothing" else set())
    assert await _ended_there(linked) == ([] if ends == "nothing" else ["ended", "ended"])
    assert linked.behind.up.received("POST", "/revoke") == (0 if ends == "nothing" else 2)
    assert await _sweep(house) == 0


async def test_what_came_after_the_end_is_tried_again_while_the_api_is_away(linked: Refreshable) -> None:
    let_go = asyncio.Event()
    renewal = await _renewing(linked, until=let_go)
    await linked.house.alice.sign_in()
    await linked.house.alice.does("POST", "/v1/revocations", node=linked.connection)
    linked.provider.ending = "failing"
    let_go.set()
    await renewal
    assert linked.provider.live == {"acc-a-2"}
    linked.provider.ending = "good"
    assert await _sweep(linked.house) == 0  # not yet
    linked.house.clock.advance(16)
    assert await _sweep(linked.house) == 1
    assert linked.provider.live == set()
    assert await _ended_there(linked) == ["ended", "ended"]


@pytest.mark.parametrize("has_ended", [True, False])
async def test_what_cannot_be_kept_after_the_end_is_ended_there_too(linked: Refreshable, has_ended: bool) -> None:
    """A holder that slept, at an API whose refresh tokens serve again: somebody else was given another one."""
    house, provider, let_go = linked.house, linked.provider, asyncio.Event()
    provider.moods = ["no_refresh_token", "no_refresh_token"]
    sleeper = await _renewing(linked, until=let_go)
    house.clock.advance(30)
    awake = asyncio.Event()
    awake.set()
    await (await _renewing(linked, until=awake))
    assert provider.live == {"acc-a-1", "acc-a-2"}
    if has_ended:
        await house.alice.sign_in()
        await house.alice.does("POST", "/v1/revocations", node=linked.connection)
        assert provider.live == {"acc-a-1"}
    provider.ending = "failing"
    let_go.set()
    await sleeper
    assert "acc-a-3" in provider.live
    provider.ending = "good"
    house.clock.advance(16)
    await _sweep(house)
    assert ("acc-a-3" in provider.live) is not has_ended
    assert await _ended_there(linked) == (["ended", "ended"] if has_ended else [])


async def test_what_could_not_be_recorded_is_not_forgotten(linked: Refreshable) -> None:
    """The database takes nothing while it is ended there; it is asked for again, and recorded then."""
    house, provider, let_go = linked.house, linked.provider, asyncio.Event()
    provider.moods = ["no_refresh_token", "no_refresh_token"]
    sleeper = await _renewing(linked, until=let_go)
    house.clock.advance(30)
    awake = asyncio.Event()
    awake.set()
    await (await _renewing(linked, until=awake))
    await house.alice.sign_in()
    await house.alice.does("POST", "/v1/revocations", node=linked.connection)
    provider.ending = "failing"
    let_go.set()
    await sleeper
    provider.ending = "good"
    house.clock.advance(16)
    async with _nothing_is_recorded(house):
        await _sweep(house)
    assert await _ended_there(linked) == ["ended"]
    house.clock.advance(60)
    await _sweep(house)
    assert "acc-a-3" not in provider.live
    assert await _ended_there(linked) == ["ended", "ended"]


@contextlib.asynccontextmanager
async def _nothing_is_recorded(house: House) -> AsyncIterator[None]:
    """As when the disk is full: reading works, and no record can be written."""
    async with house.app.database.write() as tx:
        await tx.execute(text("ALTER TABLE audit_records RENAME TO audit_records_elsewhere"))
    try:
        yield
    finally:
        async with house.app.database.write() as tx:
            await tx.execute(text("ALTER TABLE audit_records_elsewhere RENAME TO audit_records"))


async def test_nothing_is_renewed_for_a_person_who_has_ended(linked: Refreshable) -> None:
    house = linked.house
    for name, calls in (("bob@acme.com", 0), ("", 1)):
        if name:
            bob = await house.person(name)
            await _given_to(linked, bob.id)
            await house.alice.does("POST", "/v1/revocations", node=bob.id)
        else:
            await _given_to(linked, house.alice.id)
        await house.app.due.round()
        await house.app.due.settle()
        assert linked.provider.calls["a"] == calls


async def _given_to(linked: Refreshable, user: str) -> None:
    """The account is this person's from now on."""
    app, ring = linked.house.app, linked.house.app.refresh._ring
    async with app.database.write() as tx:
        found = await connections.connection(tx, linked.connection)
        current = await refreshing.current(tx, linked.connection, ring)
        assert found is not None
        assert current is not None
        row = current[1]
        await tx.execute(text("UPDATE connections SET owner = :owner"), {"owner": user})
        moved = await connections.connection(tx, linked.connection)
        assert moved is not None
        await connections.replace_credential(tx, moved, moved.credential_generation, Secret("acc-a-1"), ring)
        await refreshing.begin_again(tx, row, moved, token=Secret("ref-a-1"), ring=ring)


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
