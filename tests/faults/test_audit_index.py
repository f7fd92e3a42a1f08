"""The index of the trail never hurts who appends, and what it has not come to is found all the same."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.house import House, open_house
from tests.support.nodes import pause
from valetkey.server.audit.index.follow import BATCH, Index
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry
from valetkey.server.trail import look as looking

AT_ONCE = 2_000


@pytest.fixture
async def paused(tmp_path: Path, database_url: str | None) -> AsyncIterator[House]:
    """A deployment whose index the test moves."""
    async with open_house(tmp_path / "data", database_url=database_url) as house:
        await pause(house.app)
        yield house


async def noted(house: House) -> int:
    async with house.app.database.read() as db:
        return int((await db.execute(text("SELECT COALESCE(MAX(seq), 0) FROM audit_indexed"))).scalar_one())


async def denied(house: House, count: int) -> list[Entry]:
    """Calls that were denied to Alice's agent, not recorded yet."""
    async with house.app.database.read() as db:
        org = str((await db.execute(text("SELECT org FROM users LIMIT 1"))).scalar_one())
    members = {"user": house.alice.id, "integration": "github", "reason": "not_delegated"}
    return [Entry(event=Event.CALL_DENIED, org=org, members={**members, "number": n}) for n in range(count)]


async def record(house: House, count: int) -> list[str]:
    return list(await asyncio.gather(*(house.app.journal.record(entry) for entry in await denied(house, count))))


async def catch_up(house: House) -> None:
    while await house.app.services.index.follow():
        pass


async def test_two_thousand_appends_at_once_all_succeed_while_the_index_follows(house: House) -> None:
    """The index runs as it does in a server; nobody is refused for it, and it notes the last record in the end."""
    recorded = await record(house, AT_ONCE)
    assert len(set(recorded)) == AT_ONCE
    await catch_up(house)
    [found] = (await house.alice.does("GET", "/v1/audit?reason=not_delegated&limit=1"))["data"]
    assert found["id"] == max(recorded)
    async with house.app.database.read() as db:
        ends = await db.execute(text("SELECT MAX(seq) FROM audit_records"))
        assert await noted(house) == ends.scalar_one()


async def test_whoever_waits_for_a_record_goes_first(paused: House) -> None:
    """While somebody waits nothing is noted; nobody waits any more, and it is."""
    waiting = 3
    asked: list[int] = []

    def is_awaited() -> bool:
        asked.append(0)
        return len(asked) <= waiting

    before = await noted(paused)
    await record(paused, 1)
    index = Index(paused.app.database, is_awaited)
    await index._quiet()
    assert (len(asked), await noted(paused)) == (waiting + 1, before)
    await index.follow()
    assert await noted(paused) > before


async def test_the_journal_says_when_somebody_waits(paused: House) -> None:
    journal = paused.app.journal
    await journal.settle()
    assert not journal.is_awaited
    [first, second] = await denied(paused, 2)
    waiting = asyncio.create_task(journal.record(first))
    await asyncio.sleep(0)
    assert journal.is_awaited
    await waiting
    await journal.settle()
    journal.note(second)
    assert not journal.is_awaited  # nobody waits for an outcome
    await journal.settle()
    async with journal.change():
        assert journal.is_awaited


async def test_what_is_not_noted_yet_is_found_by_its_own_line(paused: House) -> None:
    """Also the end of a thing that began after what was noted, by whose it was; and each record once."""
    await catch_up(paused)
    far = await noted(paused)
    bob = await paused.person("bob@acme.com")
    await paused.connect(bob)
    agent = await paused.agent("bobs", owner=bob)
    delegation = await paused.delegate(agent, owner=bob)
    await paused.alice.does("POST", "/v1/revocations", node=delegation["id"])
    assert await noted(paused) == far
    early = (await bob.does("GET", "/v1/audit?event=node.revoked"))["data"]
    assert [row["node"] for row in early] == [delegation["id"]]
    whole = (await bob.does("GET", "/v1/audit?limit=500"))["data"]
    assert len({row["id"] for row in whole}) == len(whole)
    await catch_up(paused)
    assert (await bob.does("GET", "/v1/audit?event=node.revoked"))["data"] == early
    assert (await bob.does("GET", "/v1/audit?limit=500"))["data"] == whole
    carol = await paused.person("carol@acme.com")
    assert (await carol.does("GET", "/v1/audit?event=node.revoked"))["data"] == []


async def test_what_was_not_looked_at_is_said(paused: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await catch_up(paused)
    await record(paused, 30)
    tab = await paused.signed_in()
    await tab.get("/audit?event=call.denied")
    assert "not looked at" not in tab.text
    monkeypatch.setattr(looking.find, "MOST_UNNOTED", 10)
    await tab.get("/audit?event=call.denied")
    assert "were written too recently and were not looked at" in tab.text


async def test_a_page_after_another_misses_nothing_and_shows_nothing_twice(paused: House) -> None:
    """Half of what is found is noted, half is not."""
    await record(paused, 2 * BATCH)
    await catch_up(paused)
    await record(paused, BATCH)
    seen: list[str] = []
    cursor = ""
    while True:
        page = await paused.alice.does("GET", f"/v1/audit?event=call.denied&limit=25{cursor}")
        seen += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    written = [json.loads(line) async for line in paused.app.journal.export()]
    assert seen == sorted((one["id"] for one in written if one["event"] == "call.denied"), reverse=True)


async def test_a_line_that_is_no_record_does_not_stop_the_index(paused: House) -> None:
    async with paused.app.database.write() as tx:
        await tx.execute(text("UPDATE audit_records SET body = :b WHERE seq = 2"), {"b": b"not a record"})
    await record(paused, BATCH)
    await catch_up(paused)
    assert len((await paused.alice.does("GET", "/v1/audit?event=call.denied&limit=500"))["data"]) == BATCH
