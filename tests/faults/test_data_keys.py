"""Another data key for a deployment that goes on working: stopped anywhere, every record opens (KR-02 to KR-04)."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import LargeBinary, select, update

from tests.support.house import House, open_house
from tests.support.nodes import pause, second_node
from tests.support.sealed import Sealed, key_states, keys_in_use, rotated, seal_everywhere
from tests.support.served import ready_for_work, served
from valetkey.server.app import SEALED, App
from valetkey.server.db.schema import connections, metadata
from valetkey.server.vault import data_keys
from valetkey.server.vault.data_keys import DataKeys, Resealed

NOT_SEALED = {
    "mac", "secret_mac", "management_mac", "user_code_mac", "credential", "public_key", "wrapped", "digest", "body",
    "predecessor",
}  # fmt: skip
"""Binary columns that hold no sealed record."""


def test_every_column_that_may_hold_a_sealed_record_is_sealed_anew() -> None:
    binary = {
        (table.name, column.name)
        for table in metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary) and column.name not in NOT_SEALED
    }
    assert binary == {(column.name, column.blob.name) for column in SEALED}
    assert len(SEALED) == len(binary)


async def test_everything_is_sealed_anew_and_the_old_key_is_gone(house: House) -> None:
    sealed = await seal_everywhere(house)
    [old] = await key_states(house.app)
    begun = await house.alice.does("POST", "/v1/data-keys/rotate")
    assert begun["records"] >= 7
    assert not begun["resumed"]
    cursor, done, step = "", 0, {}
    while not step.get("finished"):
        step = await house.alice.does("POST", "/v1/data-keys/reseal", cursor=cursor)
        cursor, done = step["cursor"], done + step["resealed"]
        assert step["unopened"] == []
    assert done == begun["records"]
    assert step["destroyed"] == [old]
    assert await key_states(house.app) == {old: "destroyed", begun["key"]: "primary"}
    assert set.union(*(await keys_in_use(house.app)).values()) == {begun["key"]}
    assert all((await keys_in_use(house.app)).values())
    await sealed.opens(house.app)
    assert await sealed.repeats(house) == sealed.successor
    trail = {e["event"]: e["key"] for e in await house.events("data-key.rotated", "data-key.destroyed")}
    assert trail == {"data-key.rotated": begun["key"], "data-key.destroyed": old}


async def test_who_is_no_administrator_changes_no_key(house: House) -> None:
    bob, agent = await house.person("bob@acme.com"), await house.agent("pr-reviewer-v2")
    before = await key_states(house.app)
    for stranger in (bob, agent):
        assert (await stranger.call("POST", "/v1/data-keys/rotate")).status == 403
        assert (await stranger.call("POST", "/v1/data-keys/reseal", cursor="")).status == 403
    assert (await house.call("POST", "/v1/data-keys/rotate", json={})).status == 401
    assert (await house.alice.call("POST", "/v1/data-keys/reseal", cursor="users/x")).status == 400
    assert await key_states(house.app) == before


async def test_a_step_seals_a_bounded_number_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_keys, "BATCH", 2)
    for number in range(5):
        await house.connect(name=f"c{number}")
    steps = await rotated(house.app.data_keys)
    assert max(step.resealed for step in steps) == 2
    assert sum(step.resealed for step in steps) == 5 + len((await house.alice.does("GET", "/v1/keys"))["data"])


async def test_it_goes_on_where_it_was_and_takes_no_second_key(house: House) -> None:
    keys = house.app.data_keys
    await seal_everywhere(house)
    first = await keys.begin(org="", by="test")
    await keys.reseal(after="", org="", by="test")
    again = await keys.begin(org="", by="test")
    assert (again.key, again.resumed) == (first.key, True)
    assert again.records < first.records
    assert (await rotated(keys))[-1].finished
    assert not (await keys.begin(org="", by="test")).resumed


async def test_a_record_that_does_not_open_keeps_its_key_and_stops_nothing_else(house: House) -> None:
    one, two = await house.connect(name="one"), await house.connect(name="two")
    table = connections
    async with house.app.database.write() as tx:
        rows = {row.id: row.sealed for row in await tx.execute(select(table.c.id, table.c.sealed))}
        await tx.execute(update(table).where(table.c.id == two["id"]).values(sealed=rows[one["id"]]))
    [old] = await key_states(house.app)
    steps = await rotated(house.app.data_keys)
    assert not steps[-1].finished
    assert [name for step in steps for name in step.unopened] == [f"connections/{two['id']}"]
    assert (await key_states(house.app))[old] == "decrypt-only"
    async with house.app.database.write() as tx:
        await tx.execute(update(table).where(table.c.id == two["id"]).values(sealed=rows[two["id"]]))
    assert (await rotated(house.app.data_keys))[-1].finished
    assert (await key_states(house.app))[old] == "destroyed"


# Stopped anywhere


class Killed(BaseException):
    """The process is no more."""


@contextmanager
def killed(app: App, at: int, *, before: bool) -> Iterator[None]:
    """Die at the `at`-th transaction from now: before its commit, or after it and before anything else."""
    write, count = app.database.write, 0

    @asynccontextmanager
    async def dying() -> AsyncIterator[object]:
        nonlocal count
        count += 1
        mine = count
        async with write() as tx:
            yield tx
            if mine == at and before:
                raise Killed
        if mine == at:
            raise Killed

    app.database.write = dying  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        app.database.write = write  # type: ignore[method-assign]


async def test_kr_02_killed_at_every_step_and_run_again_everything_opens(
    tmp_path: Path, database_url: str | None
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url) as house:
        sealed = await seal_everywhere(house)
    points = 0
    for before in (True, False):
        at, was_killed = 1, True
        while was_killed:
            was_killed = await _killed_and_run_again(tmp_path, database_url, sealed, at=at, before=before)
            at, points = at + 1, points + was_killed
    assert points >= 2 * (2 + len(SEALED))


async def _killed_and_run_again(
    folder: Path, database_url: str | None, sealed: Sealed, *, at: int, before: bool
) -> bool:
    was_killed = False
    async with open_house(folder / "data", database_url=database_url) as house:
        await pause(house.app)
        states = await key_states(house.app)
        assert list(states.values()).count("primary") == 1
        with killed(house.app, at, before=before):
            try:
                await rotated(house.app.data_keys)
            except Killed:
                was_killed = True
    async with open_house(folder / "data", database_url=database_url) as house:
        await sealed.opens(house.app)
        assert (await rotated(house.app.data_keys))[-1].finished
        states = await key_states(house.app)
        [primary] = [key for key, state in states.items() if state == "primary"]
        assert set(states.values()) == {"primary", "destroyed"}
        assert set.union(*(await keys_in_use(house.app)).values()) == {primary}
        await sealed.opens(house.app)
    return was_killed


# Several nodes


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_node_that_heard_nothing_opens_what_is_sealed_anew_and_seals_under_the_new_key(
    house: House, tmp_path: Path
) -> None:
    sealed = await seal_everywhere(house)
    async with second_node(house, tmp_path / "other") as other:
        await rotated(house.app.data_keys)
        states = await key_states(house.app)
        await sealed.opens(other.app)
        assert await sealed.repeats(other) == sealed.successor

        await rotated(house.app.data_keys)
        await house.connect(name="before")
        made = await other.app.keys.rotate("tokens", "ES256")  # seals, and has heard nothing of the last change
        states = await key_states(house.app)
        [primary] = [key for key, state in states.items() if state == "primary"]
        assert (await keys_in_use(house.app))["signing_keys"] == {primary}
        await house.app.keys.reload()
        assert made in house.app.keys.public


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_node_hears_of_the_new_key_by_the_change_feed(house: House, tmp_path: Path) -> None:
    async with second_node(house, tmp_path / "other") as other:
        begun = await house.app.data_keys.begin(org="", by="test")
        assert other.app.data_keys._ring.primary[0].hex() != begun.key
        await other.app.authorities.refresh()
        assert other.app.data_keys._ring.primary[0].hex() == begun.key


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_kr_03_of_two_nodes_that_rotate_at_once_one_wins(house: House, tmp_path: Path) -> None:
    sealed = await seal_everywhere(house)
    async with second_node(house, tmp_path / "other") as other:
        pair: list[DataKeys] = [house.app.data_keys, other.app.data_keys]
        begun = await asyncio.gather(*(keys.begin(org="", by="test") for keys in pair))
        assert len({each.key for each in begun}) == 1
        assert sorted(each.resumed for each in begun) == [False, True]
        ends = await asyncio.gather(*(_to_the_end(keys) for keys in pair))
        assert all(end.finished for end in ends)
        assert sum(len(end.destroyed) for end in ends) == 1
        for node in (house, other):
            await sealed.opens(node.app)
    assert list((await key_states(house.app)).values()) == ["destroyed", "primary"]


async def _to_the_end(keys: DataKeys) -> Resealed:
    cursor = ""
    while True:
        step = await keys.reseal(after=cursor, org="", by="test")
        if step.finished:
            return step
        cursor = step.cursor


# The command


def test_the_command_says_each_step_and_ends(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        ready_for_work(server)
        done = server.valetkey("keys", "rotate-data", "--json")
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines[0].keys() == {"key", "records", "resumed"}
        assert lines[-1]["finished"]
        assert lines[-1]["resealed_in_all"] == lines[0]["records"] >= 3
        assert len(lines[-1]["destroyed"]) == 1
        plain = server.valetkey("keys", "rotate-data")
        assert (plain.returncode, plain.stdout) == (0, "")
        assert "Everything is sealed under" in plain.stderr
        assert "ghp_" not in done.stdout + done.stderr + plain.stderr
