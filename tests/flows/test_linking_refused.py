"""What an API gave for nothing is ended there; nobody can begin without end."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.flows.test_connecting import Story, _swept, open_story
from tests.support.consent_provider import CLIENT_ID
from tests.support.nodes import pause


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with open_story(tmp_path / "data", database_url) as opened:
        yield opened


async def another_account(story: Story) -> None:
    """Alice connects her account again, and signs in at GitHub as somebody else."""
    tab = await story.house.signed_in()
    [mine] = await story.connected(tab)
    await tab.get(f"/connections/new?reconnect={mine['id']}")
    reply = await tab.submit("/connections/begin", {"permission": ["repo"]}, follow=False)
    back = story.github.consent(reply.header("location") or "", account="mallory")
    assert (await tab.get(back)).status == 403
    assert "another account" in tab.text


async def test_what_was_given_for_another_account_is_ended_there(story: Story) -> None:
    await another_account(story)
    assert list(story.github.tokens.values()) == ["alice"]
    [connection] = await story.connections()
    assert (connection["account"], connection["generation"]) == ("alice", 1)
    [refused] = await story.house.events("connection.link-refused")
    assert (refused["reason"], refused["account"], refused["outcome"]) == ("another_account", "mallory", "being_ended")
    [ended] = await story.house.events("connection.ended-there")
    assert (ended["connection"], ended["outcome"]) == (refused["connection"], "ended")
    assert "gho_practice" not in str([refused, ended])


async def test_what_the_api_did_not_end_then_is_tried_again(story: Story) -> None:
    await pause(story.house.app)
    story.github.ending_status = 503
    await another_account(story)
    assert sorted(story.github.tokens.values()) == ["alice", "mallory"]
    story.github.ending_status = 204
    story.house.clock.advance(16)
    await _swept(story)
    assert list(story.github.tokens.values()) == ["alice"]
    async with story.house.app.database.read() as db:
        assert "gho_practice" not in str((await db.execute(text("SELECT * FROM connections"))).all())


async def test_what_others_use_of_the_same_account_is_not_ended(story: Story) -> None:
    """Mallory's own connection lives by the same consent: the one credential is ended, and not the consent."""
    tab = await story.house.signed_in()
    await story.connected(tab, account="mallory")
    mine = next(c for c in await story.connected(tab) if c["account"] == "alice")
    await tab.get(f"/connections/new?reconnect={mine['id']}")
    reply = await tab.submit("/connections/begin", {"permission": ["repo"]}, follow=False)
    assert (await tab.get(story.github.consent(reply.header("location") or "", account="mallory"))).status == 403
    assert sorted(story.github.tokens.values()) == ["alice", "mallory"]
    [refused] = await story.house.events("connection.link-refused")
    assert refused["outcome"] == "being_ended"
    [ended] = await story.house.events("connection.ended-there")
    assert (ended["connection"], ended["outcome"]) == (refused["connection"], "ended")
    assert story.up.received("DELETE", f"/applications/{CLIENT_ID}/grant") == 0


async def test_a_person_begins_thirty_times_in_ten_minutes_and_no_more(story: Story) -> None:
    await story.house.person("bob@acme.com")
    tab, bob = await story.house.signed_in(), await story.house.signed_in("bob@acme.com")
    for _ in range(30):
        await story.sent(tab)
    await tab.get("/connections/new?integration=github")
    reply = await tab.submit("/connections/begin", {"permission": ["repo"]}, follow=False)
    assert reply.status == 429
    assert "You began to connect accounts 30 times within ten minutes." in tab.text
    await story.sent(bob)  # the twin: another person
    story.house.clock.advance(600)
    await story.sent(tab)


async def test_the_same_account_with_more_is_seen_by_who_waits_for_it(story: Story) -> None:
    tab = await story.house.signed_in()
    story.github.granted = "read:org"
    [first] = await story.connected(tab)
    [same] = await story.connections()
    assert same == first
    story.github.granted = "repo,read:org"
    [again] = await story.connected(tab)
    assert again == first | {"generation": 2}
