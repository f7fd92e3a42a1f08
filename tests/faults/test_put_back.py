"""Yesterday's database put back by hand revives nothing: the server refuses, and says what to do (RB-01, RB-03).

Putting back is what an operator would do without us: the file is copied (SQLite), the dump is loaded (PostgreSQL).
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.house import House, open_house, practice
from tests.support.nodes import pause, second_node
from valetkey.server.app import App, build
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal
from valetkey.server.audit.tree.store import RecordsMissing
from valetkey.server.clock import DrivenClock
from valetkey.server.db import admin
from valetkey.server.db.engine import open_database
from valetkey.server.errors import Conflict
from valetkey.server.listen import Listener
from valetkey.server.restore import restore
from valetkey.server.settings import Settings

READ = "/repos/acme-corp/backend"
ISSUER = "http://localhost:8470"
"""The same at every start, so that a token is refused for what was ended, and not for where it came from."""


@asynccontextmanager
async def github() -> AsyncIterator[str]:
    """One practice GitHub for all the servers of a story."""
    made = practice()
    async with Listener(made, host="127.0.0.1", port=0) as behind:
        made.base_url = behind.url
        yield behind.url


async def put_back(settings: Settings, copy: Path) -> None:
    """The database as it was, without `valetkey db restore`."""
    if settings.database_url is None:
        for name in ("valetkey.db", "valetkey.db-wal", "valetkey.db-shm"):
            (settings.data / name).unlink(missing_ok=True)
        shutil.copy(copy, settings.data / "valetkey.db")
    else:
        await asyncio.to_thread(admin.replace, settings, copy)


async def refused(settings: Settings, clock: DrivenClock) -> Conflict:
    """Why a server with these settings does not start."""
    app = build(settings, clock)
    with pytest.raises(Conflict) as refusal:
        await app.start()
    await app.journal.close()
    await app.database.close()
    return refusal.value


def series(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob("checkpoints-*.ndjson")}


async def test_what_was_revoked_a_moment_before_a_crash_is_not_revived_by_an_old_copy(
    tmp_path: Path, database_url: str | None
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    async with github() as upstream:
        async with open_house(data, database_url=database_url, upstream=upstream, public_url=ISSUER) as house:
            agent, delegation, task, token = await house.ready()
            await asyncio.to_thread(admin.backup, house.settings, copy)
            await pause(house.app)  # no checkpoint by the second any more: what there is, is there for the answer
            await house.alice.does("POST", "/v1/revocations", node=delegation["id"])
            at_the_crash = series(data)
            settings, clock = house.settings, house.clock
        for path, content in at_the_crash.items():
            path.write_bytes(content)
        await put_back(settings, copy)

        refusal = await refused(settings, clock)
        assert "older than its checkpoints" in refusal.public
        assert "valetkey db restore" in refusal.next_step
        assert (
            "older than its checkpoints" in (await refused(settings, clock)).public
        )  # and asking again changes nothing

        await asyncio.to_thread(restore, settings, copy, clock)
        async with open_house(data, database_url=database_url, upstream=upstream, public_url=ISSUER) as again:
            assert (await again.gateway(token, "GET", READ)).status == 401
            agent.house = again
            assert (await agent.exchange(task["task_token"])).status == 401
            assert (await again.call("GET", "/v1/whoami", headers=_bearer(house.alice.bearer))).status == 401
            async with again.app.database.read() as db:
                nodes = (await db.exec_driver_sql("SELECT node FROM revoked")).scalars().all()
            assert delegation["id"] in nodes


@pytest.mark.parametrize("is_whole", [True, False])
async def test_no_server_starts_over_a_gap(tmp_path: Path, database_url: str | None, is_whole: bool) -> None:
    """A record under the last checkpoint is gone from the middle; its twin, with every record there, is served."""
    clock = DrivenClock()
    async with github() as upstream:
        async with open_house(
            tmp_path / "data", database_url=database_url, clock=clock, upstream=upstream, public_url=ISSUER
        ) as house:
            for number in range(12):
                await house.agent(f"agent-{number}")
            await house.app.witness.write()
            settings = house.settings
        database = open_database(settings.database_url, settings.data)
        async with database.write() as tx:
            if not is_whole:
                await tx.execute(text("DELETE FROM audit_records WHERE seq = 9"))
        await database.close()
        app = build(settings, clock)
        if is_whole:
            await app.start()
            await app.close()
            return
        with pytest.raises(RecordsMissing):
            await app.start()
        await app.journal.close()
        await app.database.close()


async def test_the_newest_copy_is_served(tmp_path: Path, database_url: str | None) -> None:
    """The twin: nothing was recorded after the copy."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    async with github() as upstream:
        async with open_house(data, database_url=database_url, upstream=upstream, public_url=ISSUER) as house:
            _, _, _, token = await house.ready()
            settings = house.settings
        await asyncio.to_thread(admin.backup, settings, copy)
        await put_back(settings, copy)
        async with open_house(data, database_url=database_url, upstream=upstream, public_url=ISSUER) as again:
            assert (await again.gateway(token, "GET", READ)).status == 200


@pytest.mark.parametrize("act", ["suspend", "narrow", "session"])
async def test_whatever_narrows_or_ends_is_attested_before_its_answer(house: House, act: str) -> None:
    agent, delegation, _, _ = await house.ready("github:repo:read,issues:write@acme-corp/backend")
    tab = await house.signed_in()
    await pause(house.app)
    before = sum(map(len, series(house.settings.data).values()))
    match act:
        case "suspend":
            await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
        case "narrow":
            await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/narrow", seconds=60)
        case "session":
            await tab.get("/account")
            await tab.submit("/logout", {})
    assert sum(map(len, series(house.settings.data).values())) > before
    heads = {head["writer"]: head["seq"] for head in _last(house.settings.data)["heads"]}
    assert heads == {writer: seq for writer, seq, _ in await house.app.journal.heads()}


async def test_many_revocations_at_once_share_checkpoints_of_one_series(house: House) -> None:
    agents = [await house.agent(f"agent-{number}") for number in range(12)]
    await pause(house.app)
    await asyncio.gather(*(house.alice.does("POST", "/v1/revocations", node=agent.id) for agent in agents))
    [content] = series(house.settings.data).values()
    numbers = [json.loads(line)["n"] for line in content.splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert house.app.journal.since_checkpoint == 0


async def test_a_revocation_stands_when_no_checkpoint_can_be_written(house: House, tmp_path: Path) -> None:
    _, delegation, _, token = await house.ready()
    await pause(house.app)
    await house.app.witness.write()
    [path] = series(house.settings.data)
    kept = path.rename(tmp_path / "kept")
    path.mkdir()
    try:
        await house.alice.does("POST", "/v1/revocations", node=delegation["id"])
        assert house.app.witness.failure == "IsADirectoryError"
        assert (await house.gateway(token, "GET", READ)).status in (401, 403)
    finally:
        path.rmdir()
        kept.rename(path)


# Restored properly, and other nodes


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_restore_on_one_node_sets_the_checkpoints_of_another_aside(
    tmp_path: Path, database_url: str | None
) -> None:
    async with _two_nodes(tmp_path, database_url) as (settings, other, copy, clock, token):
        clock.advance(60)
        await asyncio.to_thread(restore, settings, copy, clock)
        assert not series(settings.data)
        [mine] = series(other.data)
        app = build(other, clock)
        await app.start()
        try:
            assert list(other.data.glob(f"{mine.name}.before-*"))
            assert mine not in series(other.data)
            assert await _verdict(app, other, token) == 401
        finally:
            await app.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_database_put_back_by_hand_is_refused_by_the_other_node_too(
    tmp_path: Path, database_url: str | None
) -> None:
    async with _two_nodes(tmp_path, database_url) as (settings, other, copy, clock, _):
        clock.advance(60)
        await put_back(settings, copy)
        for each in (settings, other):
            assert "older than its checkpoints" in (await refused(each, clock)).public
        assert series(other.data)


async def test_a_restore_of_before_gives_up_nothing_that_was_attested_since(tmp_path: Path) -> None:
    """The database put back holds a genuine record of a restore, but an earlier one."""
    data, copy, later = tmp_path / "data", tmp_path / "copy", tmp_path / "later"
    async with open_house(data) as house:
        settings, clock = house.settings, house.clock
    await asyncio.to_thread(admin.backup, settings, copy)
    clock.advance(60)
    await asyncio.to_thread(restore, settings, copy, clock)
    async with open_house(data, clock=clock):
        pass
    await asyncio.to_thread(admin.backup, settings, later)
    async with open_house(data, clock=clock):
        pass  # which records that it started
    await put_back(settings, later)
    assert "older than its checkpoints" in (await refused(settings, clock)).public


async def test_a_restore_record_nobody_here_made_gives_up_nothing(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    async with open_house(data) as house:
        settings, clock = house.settings, house.clock
        await asyncio.to_thread(admin.backup, settings, copy)
        await house.agent("pr-reviewer-v2")
    await put_back(settings, copy)
    database = open_database(None, settings.data)
    journal = Journal(database, clock)
    await journal.start()
    for members in ({"at": "2099-01-01T00:00:00.000Z", "proof": "00" * 32}, {"at": "2099-01-01T00:00:00.000Z"}, {}):
        await journal.record(Entry(event=Event.DATABASE_RESTORED, org="", members=members))
    await journal.close()
    await database.close()
    assert "older than its checkpoints" in (await refused(settings, clock)).public


async def test_a_restore_stopped_before_it_voided_is_not_served_and_can_be_run_again(
    tmp_path: Path, database_url: str | None
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    async with open_house(data, database_url=database_url) as house:
        settings, clock = house.settings, house.clock
        await asyncio.to_thread(admin.backup, settings, copy)
        await house.agent("pr-reviewer-v2")
    await asyncio.to_thread(admin.replace, settings, copy)
    assert "older than its checkpoints" in (await refused(settings, clock)).public
    clock.advance(60)
    before = series(data)
    await asyncio.to_thread(restore, settings, copy, clock)
    for path, content in before.items():  # as if it had been stopped before it set them aside
        path.write_bytes(content)
    async with open_house(data, database_url=database_url, clock=clock):
        assert len(list(data.glob("*.before-*"))) >= 2


@asynccontextmanager
async def _two_nodes(
    folder: Path, database_url: str | None
) -> AsyncIterator[tuple[Settings, Settings, Path, DrivenClock, str]]:
    """Both saw more than the copy holds, and both have stopped."""
    copy = folder / "copy"
    async with github() as upstream:
        async with open_house(
            folder / "data", database_url=database_url, upstream=upstream, public_url=ISSUER
        ) as house:
            _, delegation, _, token = await house.ready()
            async with second_node(house, folder / "other") as other:
                await asyncio.to_thread(admin.backup, house.settings, copy)
                await house.alice.does("POST", "/v1/revocations", node=delegation["id"])
                await other.app.witness.write()
            settings, theirs = house.settings, other.settings
        yield settings, theirs, copy, house.clock, token


async def _verdict(app: App, settings: Settings, token: str) -> int:
    async with Listener(app.asgi, host="127.0.0.1", port=settings.port):
        house = House(app, f"http://127.0.0.1:{settings.port}", practice(), DrivenClock(), replace(settings))
        return (await house.gateway(token, "GET", READ)).status


def _last(folder: Path) -> Any:
    [content] = series(folder).values()
    return json.loads(content.splitlines()[-1])


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
