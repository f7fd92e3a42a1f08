"""A credential that ends is renewed once, whoever needs it; what goes wrong is a state one sees, never a loop."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.hostile_provider import RETRY_AFTER, Mood
from tests.support.nodes import second_node
from tests.support.refreshable import LASTS, Refreshable, describe, open_refreshable, together
from valetkey.server.connections import store as connections
from valetkey.server.connections.refreshing import refresh as module
from valetkey.server.errors import Unavailable
from valetkey.server.vault.errors import VaultError

WRITE = {"method": "POST", "json": {"title": "hello"}}


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[Refreshable]:
    async with open_refreshable(tmp_path / "data", database_url) as opened:
        yield opened


async def test_a_credential_that_ended_is_renewed_before_it_is_used(story: Refreshable) -> None:
    assert (await story.call()).status == 200
    assert story.provider.calls["a"] == 0
    story.expire()
    assert (await story.call()).status == 200
    assert (await story.call()).status == 200
    assert story.provider.calls["a"] == 1
    assert story.behind.up.last.header("authorization") == b"Bearer acc-a-2"
    assert await story.recorded() == [("refreshed", "")]


async def test_rt_01_two_hundred_calls_at_its_end_make_one_request(story: Refreshable) -> None:
    story.expire()
    token = await story.behind.agent.token(story.behind.task["task_token"])
    replies = await together(200, lambda: story.house.gateway(token, "GET", "/repos/acme/pub/issues"))
    assert {reply.status for reply in replies} == {200}
    assert (story.provider.calls["a"], story.provider.refused["a"]) == (1, 0)


async def test_rt_02_waiters_of_another_node_look_again_and_ask_nothing(story: Refreshable, tmp_path: Path) -> None:
    if story.house.app.database.is_sqlite:
        return  # one process serves a SQLite file
    story.expire()
    token = await story.behind.agent.token(story.behind.task["task_token"])
    async with second_node(story.house, tmp_path / "b") as b:
        describe(b.app, story.provider.oauth())
        at_provider, let_go = asyncio.Event(), asyncio.Event()

        async def latency() -> None:
            at_provider.set()
            await let_go.wait()

        story.provider.latency = latency
        first = asyncio.create_task(story.house.gateway(token, "GET", "/repos/acme/pub/issues"))
        await at_provider.wait()
        others = [asyncio.create_task(b.gateway(token, "GET", "/repos/acme/pub/issues")) for _ in range(20)]
        await asyncio.wait(others, timeout=0.2)
        assert not any(task.done() for task in others)
        let_go.set()
        assert {(await task).status for task in (first, *others)} == {200}
        assert story.provider.calls["a"] == 1


async def test_rt_02_who_waits_too_long_is_told_to_come_again(story: Refreshable) -> None:
    story.expire()
    row = await story.row()
    async with story.house.app.journal.change() as change:
        held = row.taken("somebody-else", story.house.clock.now())
        assert await module.store.swap(change.tx, row, held)
    story.house.app.refresh.patience_seconds = 0
    reply = await story.call()
    assert (reply.status, reply.json()["code"]) == (503, "unavailable")
    assert reply.header("retry-after") == "2"
    assert story.provider.calls["a"] == 0
    story.house.clock.advance(30)  # whoever held it has died
    story.house.app.refresh.patience_seconds = 20
    assert (await story.call()).status == 200
    assert story.provider.calls["a"] == 1
    assert await story.recorded() == [("refresh-failed", "unanswered"), ("refreshed", "")]


async def test_rt_05_a_token_that_is_not_good_here_renews_nothing(story: Refreshable) -> None:
    story.expire()
    token = await story.behind.agent.token(story.behind.task["task_token"])
    await story.house.alice.sign_in()
    await story.house.alice.does("POST", "/v1/revocations", node=story.behind.task["id"])
    await story.house.app.authorities.refresh()
    for refused in ("x.y.z", token):
        assert (await story.house.gateway(refused, "GET", "/repos/acme/pub/issues")).status in (401, 403)
    assert story.provider.calls["a"] == 0
    assert (await story.row()).state == "healthy"


async def test_rt_06_an_answer_without_a_refresh_token_keeps_the_one_there_is(story: Refreshable) -> None:
    story.provider.moods = ["no_refresh_token"]
    for expected in (1, 2):
        story.expire()
        assert (await story.call()).status == 200
        assert story.provider.calls["a"] == expected
    assert story.provider.refused["a"] == 0


async def test_a_refusal_for_good_is_told_with_a_link_and_never_asked_again(story: Refreshable) -> None:
    story.expire()
    story.provider.revoke("a")
    for _ in range(3):
        reply = await story.call()
        assert (reply.status, reply.json()["code"]) == (403, "connection_required")
        assert "/connect?code=" in reply.json()["link"]
    await story.house.app.due.round()
    await story.house.app.due.settle()
    assert story.provider.calls["a"] == 1
    assert await story.recorded() == [("needs-reconnect", "invalid_grant")]
    await story.house.alice.sign_in()
    listed = await story.house.alice.does("GET", "/v1/connections")
    assert [c["status"] for c in listed["data"]] == ["needs_reconnect"]


@pytest.mark.parametrize("mood", ["takes_and_drops", "takes_and_fails"])
async def test_rt_03_a_token_used_up_by_an_answer_that_was_lost_is_a_state_and_no_loop(
    story: Refreshable, mood: Mood
) -> None:
    story.expire()
    story.provider.moods = [mood]
    assert (await story.call()).status == 503
    story.house.clock.advance(10)
    reply = await story.call()
    assert (reply.status, reply.json()["code"]) == (403, "connection_required")
    assert (await story.call()).status == 403
    assert story.provider.calls["a"] == 2
    assert (await story.recorded())[-1] == ("needs-reconnect", "lost")


async def test_rt_07_a_refusal_is_not_believed_when_somebody_else_was_faster(story: Refreshable) -> None:
    """A holder that slept comes back: its token is used up, because another one renewed the credential meanwhile."""
    story.expire()
    at_provider, let_go = asyncio.Event(), asyncio.Event()

    async def latency() -> None:
        if story.provider.calls["a"] == 1:
            at_provider.set()
            await let_go.wait()

    story.provider.latency = latency
    app = story.house.app
    row = await story.row()
    async with app.database.read() as db:
        found = await connections.connection(db, story.connection)
    assert found is not None
    sleeper = asyncio.create_task(app.refresh._attempt(found, row, ("github", row.app)))
    await at_provider.wait()
    story.house.clock.advance(30)
    assert (await story.call()).status == 200
    let_go.set()
    await sleeper
    assert (await story.call()).status == 200
    assert (story.provider.calls["a"], story.provider.refused["a"]) == (2, 1)
    assert (await story.row()).state == "healthy"
    assert [event for event, _ in await story.recorded()] == ["refresh-failed", "refreshed"]


async def test_rt_07_an_answer_that_arrives_late_is_kept(story: Refreshable) -> None:
    """The other way about: the sleeper got the one good answer, and who came after it was refused."""
    story.expire()
    answered, let_go = asyncio.Event(), asyncio.Event()
    app = story.house.app
    row = await story.row()
    async with app.database.read() as db:
        found = await connections.connection(db, story.connection)
    assert found is not None
    keep = app.refresh._kept

    async def sleepy(*args: object) -> None:
        answered.set()
        await let_go.wait()
        await keep(*args)  # type: ignore[arg-type]

    app.refresh._kept = sleepy  # type: ignore[method-assign, assignment]
    sleeper = asyncio.create_task(app.refresh._attempt(found, row, ("github", row.app)))
    await answered.wait()
    app.refresh._kept = keep  # type: ignore[method-assign]
    story.house.clock.advance(30)
    assert (await story.call()).status == 403
    assert (await story.row()).problem == "lost"
    let_go.set()
    await sleeper
    assert (await story.row()).state == "healthy"
    assert (await story.call()).status == 200
    assert story.provider.calls["a"] == 2


async def test_rt_08_what_is_under_way_is_never_dropped_to_make_room(
    story: Refreshable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_UNDER_WAY", 1)
    story.expire()
    at_provider, let_go = asyncio.Event(), asyncio.Event()

    async def latency() -> None:
        at_provider.set()
        await let_go.wait()

    story.provider.latency = latency
    refresh = story.house.app.refresh
    async with story.house.app.database.read() as db:
        found = await connections.connection(db, story.connection)
    assert found is not None
    first = asyncio.create_task(refresh.beyond(found.facts, 1))
    await at_provider.wait()
    other = dataclasses.replace(found.facts, id="con_other")
    with pytest.raises(Unavailable):
        await refresh.beyond(other, 1)
    second = asyncio.create_task(refresh.beyond(found.facts, 1))  # the same one still shares what is under way
    await asyncio.sleep(0)
    let_go.set()
    await asyncio.gather(first, second)
    assert story.provider.calls["a"] == 1
    assert not refresh._under_way


async def test_rt_11_two_connections_never_share_a_wait(story: Refreshable) -> None:
    refresh = story.house.app.refresh
    async with story.house.app.database.read() as db:
        found = await connections.connection(db, story.connection)
    assert found is not None
    same = refresh._key(found.facts, 1)
    for other in (
        refresh._key(found.facts, 2),
        refresh._key(dataclasses.replace(found.facts, id=found.facts.id + "1"), 1),
        refresh._key(dataclasses.replace(found.facts, org="org_2"), 1),
        refresh._key(dataclasses.replace(found.facts, integration="slack"), 1),
    ):
        assert other != same


async def test_rt_10_a_read_in_flight_when_the_credential_was_replaced_is_sent_once_more(story: Refreshable) -> None:
    story.house.clock.advance(61)  # it has lived a while
    assert (await story.call()).status == 200  # what the path names has just been looked up
    await _replaced_elsewhere(story)
    before = len(story.behind.calls)
    assert (await story.call()).status == 200
    assert [s.header("authorization") for s in story.behind.calls[before:] if s.path != b"/token"] == [
        b"Bearer acc-a-1",
        b"Bearer acc-a-2",
    ]
    assert story.provider.calls["a"] == 1


async def test_rt_10_a_write_is_not_sent_twice(story: Refreshable) -> None:
    story.house.clock.advance(61)
    assert (await story.call()).status == 200
    await _replaced_elsewhere(story)
    # It was replaced between the gateway's own question and the call: reading still works with the old one.
    accepts = story.provider.accepts
    story.provider.accepts = lambda seen: seen.method == "GET" or accepts(seen)  # type: ignore[method-assign]
    reply = await story.call("POST", json={"title": "hello"})
    assert (reply.status, reply.json()["code"]) == (503, "unavailable")
    assert reply.header("retry-after") == "1"
    sent = [s for s in story.behind.calls if s.method == "POST" and s.path != b"/token"]
    assert [s.header("authorization") for s in sent] == [b"Bearer acc-a-1"]
    assert (await story.call("POST", json={"title": "hello"})).status == 200
    assert story.provider.calls["a"] == 1


async def test_rt_10_a_credential_the_api_ended_is_renewed_once_and_not_again_at_once(story: Refreshable) -> None:
    story.house.clock.advance(61)
    story.provider.access["a"] = "acc-a-lost"
    assert (await story.call()).status == 200
    assert story.provider.calls["a"] == 1
    story.provider.access["a"] = "acc-a-lost"
    reply = await story.call()
    assert (reply.status, reply.json()["code"]) == (403, "connection_required")
    assert story.provider.calls["a"] == 1


@pytest.mark.parametrize("mood", ["too_many_said", "failing_said", "unavailable_said"])
async def test_retry_after_is_honoured(story: Refreshable, mood: Mood) -> None:
    story.expire()
    story.provider.moods = [mood]
    reply = await story.call()
    assert reply.status == 503
    assert RETRY_AFTER <= int(reply.header("retry-after") or 0) <= RETRY_AFTER + 1
    story.house.clock.advance(RETRY_AFTER - 2)
    assert (await story.call()).status == 503
    assert story.provider.calls["a"] == 1
    story.house.clock.advance(3)
    assert (await story.call()).status == 200
    assert story.provider.calls["a"] == 2


@pytest.mark.parametrize("mood", ["too_many", "failing", "hangs", "dribbles", "no_json"])
async def test_an_api_that_does_not_answer_properly_is_asked_again_later(story: Refreshable, mood: Mood) -> None:
    story.expire()
    story.house.app.refresh.call_seconds = 0.3
    story.provider.moods = [mood]
    replies = await together(5, story.call)
    assert {(reply.status, reply.json()["code"]) for reply in replies} == {(503, "unavailable")}
    assert story.provider.calls["a"] == 1
    assert (await story.row()).state == "waiting"
    assert "ref-a-1" not in str(await story.recorded())
    story.house.clock.advance(10)
    assert (await story.call()).status == 200
    assert [event for event, _ in await story.recorded()] == ["refresh-failed", "refreshed"]


async def test_a_refusal_inside_a_200_is_a_refusal(story: Refreshable) -> None:
    story.expire()
    story.provider.moods = ["error_in_200"]
    assert (await story.call()).status == 403
    assert await story.recorded() == [("needs-reconnect", "bad_refresh_token")]
    assert "ref-a-1" not in (await story.house.alice.call("GET", "/v1/audit?limit=500")).body.decode()


async def test_a_credential_that_still_lives_is_used_while_the_api_gives_no_other(story: Refreshable) -> None:
    story.house.clock.advance(LASTS - 5)
    story.provider.mood = "failing"
    assert (await story.call()).status == 200
    assert story.provider.calls["a"] == 1
    story.house.clock.advance(5)
    assert (await story.call()).status == 503


async def test_it_is_renewed_early_in_the_background_and_calls_go_on(story: Refreshable) -> None:
    due = story.house.app.due
    await due.round()
    await due.settle()
    assert story.provider.calls["a"] == 0
    story.house.clock.advance(LASTS - 100)
    assert (await story.call()).status == 200
    await due.round()
    await due.settle()
    assert story.provider.calls["a"] == 1
    assert (await story.call()).status == 200  # its old credential is dead: GitHub's rule
    assert (await story.row()).generation == 2


async def test_a_revoked_connection_is_not_renewed(story: Refreshable) -> None:
    await story.house.alice.does("POST", "/v1/revocations", node=story.connection)
    story.expire()
    await story.house.app.due.round()
    await story.house.app.due.settle()
    assert story.provider.calls["a"] == 0


async def test_a_refresh_token_goes_to_the_address_it_was_made_for(story: Refreshable) -> None:
    story.expire()
    elsewhere = dataclasses.replace(story.provider.oauth(), token_url=f"{story.behind.up.url}/elsewhere")
    describe(story.house.app, elsewhere)
    assert (await story.call()).json()["code"] == "connection_required"
    assert story.behind.up.received("POST", "/elsewhere") == 0
    assert story.provider.calls["a"] == 0
    assert await story.recorded() == [("needs-reconnect", "changed")]


async def test_rb_02_a_credential_put_back_is_refused(story: Refreshable) -> None:
    app = story.house.app
    async with app.database.read() as db:
        old = (await db.execute(text("SELECT sealed, credential_generation FROM connections"))).one()
    story.expire()
    assert (await story.call()).status == 200
    async with app.database.write() as tx:
        await tx.execute(
            text("UPDATE connections SET sealed = :sealed, credential_generation = :number"),
            {"sealed": old.sealed, "number": old.credential_generation},
        )
    app.authorities.forget(frozenset({story.connection}))
    with pytest.raises(VaultError):
        await story.row()
    assert (await story.call()).status == 500


async def test_one_api_that_fails_is_left_alone_and_another_is_not(story: Refreshable) -> None:
    story.expire()
    story.provider.mood = "failing"
    for number in range(1, 6):
        assert not story.house.app.refresh.resting()
        assert (await story.call()).status == 503
        row = await story.row()
        assert row.due_at is not None
        assert story.provider.calls["a"] == number
        if number < 5:
            story.house.clock.advance(row.due_at - story.house.clock.now())
    assert (await story.row()).app in story.house.app.refresh.resting()
    assert story.house.app.refresh._breaker(("slack", "app_other")).seconds_left(story.house.clock.now()) == 0
    story.provider.mood = "good"
    story.house.clock.advance(max(31, row.due_at - story.house.clock.now()))
    assert (await story.call()).status == 200
    assert not story.house.app.refresh.resting()


async def _replaced_elsewhere(story: Refreshable) -> None:
    """Another node renewed it: this one still remembers the one before."""
    app = story.house.app
    async with app.database.read() as db:
        found = await connections.connection(db, story.connection)
    assert found is not None
    row = await story.row()
    await app.refresh._attempt(found, row, ("github", row.app))
