"""Checkpoints leave the database at least every second or 256 records, whatever happens to their file (AUD-01, AUD-04).

Order decides here, not time: a test waits until something was written, never for how long.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from tests.support.house import House, open_house
from tests.support.http import call
from tests.support.nodes import pause
from valetkey.server.audit import witness
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry
from valetkey.server.audit.verify import Report
from valetkey.server.audit.verify_files import verify_export
from valetkey.server.listen import Listener


@pytest.fixture
async def paused(tmp_path: Path) -> AsyncIterator[House]:
    """A deployment whose watching the test does."""
    async with open_house(tmp_path / "data") as house:
        await pause(house.app)
        yield house


def series(house: House) -> Path:
    return house.settings.data / f"checkpoints-{house.app.journal.writer}.ndjson"


def numbers(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_bytes().splitlines()]


async def record(house: House, count: int) -> None:
    entries = [Entry(event=Event.LOGIN_FAILED, org="", members={"number": n}) for n in range(count)]
    await asyncio.gather(*(house.app.journal.record(entry) for entry in entries))


async def verified(house: House, folder: Path, *, at_least: int = 0, without_last: int = 0) -> Report:
    """As an auditor with the pin: the checkpoints are copied first, then the records exported."""
    copy, export = folder / "copy.ndjson", folder / "export.ndjson"
    copy.write_bytes(series(house).read_bytes())
    lines = [line async for line in house.app.journal.export()]
    kept = lines[: len(lines) - without_last]
    export.write_bytes(b"".join(line + b"\n" for line in kept))
    return verify_export(export, copy, [house.app.pin], at_least=at_least)


@contextlib.asynccontextmanager
async def watching(house: House) -> AsyncIterator[None]:
    watch = asyncio.create_task(house.app.witness.watch())
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is a file or a number, which ring no bell
            await asyncio.sleep(0)


async def test_256_records_are_covered_without_waiting_for_the_second(
    paused: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "EVERY_SECONDS", 3600.0)
    await paused.app.witness.write()
    known = numbers(series(paused))
    async with watching(paused):
        await record(paused, witness.EVERY_RECORDS)
        await until(lambda: len(numbers(series(paused))) > len(known))
    report = await verified(paused, tmp_path)
    assert report.ok
    assert report.uncovered < witness.EVERY_RECORDS


async def test_a_single_record_is_covered_within_the_second(
    paused: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert witness.EVERY_SECONDS <= 1.0
    monkeypatch.setattr(witness, "EVERY_SECONDS", 0.01)
    await paused.app.witness.write()
    async with watching(paused):
        await record(paused, 1)
        await until(lambda: paused.app.journal.since_checkpoint == 0)
        await until(lambda: paused.app.witness._writing is None or paused.app.witness._writing.done())
    report = await verified(paused, tmp_path)
    assert (report.ok, report.uncovered) == (True, 0)


async def test_nothing_is_written_while_nothing_is_recorded(paused: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "EVERY_SECONDS", 0.0)
    await paused.app.witness.write()
    before = numbers(series(paused))
    async with watching(paused):
        for _ in range(50):
            await asyncio.sleep(0)
    assert numbers(series(paused)) == before


async def test_a_line_torn_by_a_crash_is_taken_off_and_the_series_goes_on(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        await record(house, 3)
    path = series(house)
    whole = numbers(path)
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines()[-1][:100])
    async with open_house(tmp_path / "data") as house:
        await record(house, 1)
        await house.app.witness.write()
        assert numbers(path)[: len(whole)] == whole
        assert numbers(path) == list(range(1, len(numbers(path)) + 1))
        assert (await verified(house, tmp_path)).ok


async def test_a_tail_cut_off_before_the_last_checkpoint_is_detected_with_the_pinned_key(
    paused: House, tmp_path: Path
) -> None:
    await record(paused, 5)
    await paused.app.witness.write()
    assert (await verified(paused, tmp_path)).ok
    report = await verified(paused, tmp_path, without_last=2)
    assert not report.ok
    assert report.first_bad is not None
    assert (report.first_bad.writer, report.first_bad.seq) == ("w1", report.records + 1)


async def test_a_tail_cut_from_both_is_detected_by_whoever_saw_the_last_checkpoint(
    paused: House, tmp_path: Path
) -> None:
    await paused.app.witness.write()
    await record(paused, 5)
    await paused.app.witness.write()
    seen = numbers(series(paused))[-1]
    series(paused).write_bytes(b"".join(line + b"\n" for line in series(paused).read_bytes().splitlines()[:-1]))
    assert (await verified(paused, tmp_path, without_last=5)).ok
    assert not (await verified(paused, tmp_path, without_last=5, at_least=seen)).ok


async def test_a_checkpoint_that_cannot_be_written_is_said_by_readyz_and_written_later(
    paused: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "EVERY_SECONDS", 0.01)
    await paused.app.witness.write()
    kept = series(paused).rename(tmp_path / "kept")
    series(paused).mkdir()
    async with Listener(paused.app.health, host="127.0.0.1", port=0) as health:
        async with watching(paused):
            await record(paused, 1)
            await until(lambda: paused.app.witness.failure)
            reply = await call(health.url, "GET", "/readyz")
            assert (reply.status, reply.body) == (503, b"checkpoints: IsADirectoryError\n")
            series(paused).rmdir()
            kept.rename(series(paused))
            await until(lambda: paused.app.witness.failure is None)  # without another record
        assert (await call(health.url, "GET", "/readyz")).status == 200
    report = await verified(paused, tmp_path)
    assert (report.ok, report.uncovered) == (True, 0)


async def test_a_full_disk_leaves_no_half_line_behind(
    paused: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paused.app.witness.write()
    before = series(paused).read_bytes()
    await record(paused, 1)
    real = witness.os.write
    monkeypatch.setattr(witness.os, "write", lambda descriptor, data: real(descriptor, data[:40]))
    with pytest.raises(OSError, match="in part"):
        await paused.app.witness.write()
    monkeypatch.undo()
    assert series(paused).read_bytes() == before
    await paused.app.witness.write()
    assert (await verified(paused, tmp_path)).ok


async def test_stopping_in_the_middle_of_a_checkpoint_does_not_write_one_number_twice(
    paused: House, tmp_path: Path
) -> None:
    await record(paused, 1)
    for _ in range(20):
        writing = asyncio.create_task(paused.app.witness.write())
        for _ in range(3):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    await paused.app.witness.write()
    assert numbers(series(paused)) == list(range(1, len(numbers(series(paused))) + 1))
    assert (await verified(paused, tmp_path)).ok


async def test_a_signer_that_fails_is_said_by_readyz_too(paused: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "EVERY_SECONDS", 0.01)

    def broken() -> tuple[str, object]:
        raise RuntimeError("the key cannot be opened")

    signer, paused.app.witness._signer = paused.app.witness._signer, broken  # type: ignore[assignment]
    async with watching(paused):
        await record(paused, 1)
        await until(lambda: paused.app.witness.failure == "RuntimeError")
        paused.app.witness._signer = signer
        await until(lambda: paused.app.witness.failure is None)


async def test_the_files_are_for_their_owner_alone(paused: House) -> None:
    """OP-04: the folder 0700, everything in it 0600."""
    await paused.app.witness.write()
    data = paused.settings.data
    assert data.stat().st_mode & 0o777 == 0o700
    for path in data.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


async def test_a_checkpoint_reads_the_heads_and_never_the_whole_trail(paused: House) -> None:
    asked: list[str] = []
    event.listen(paused.app.database._reader.sync_engine, "before_cursor_execute", lambda *seen: asked.append(seen[2]))
    await paused.app.journal.heads()
    [statement] = [each for each in asked if "audit_records" in each]
    async with paused.app.database.read() as connection:
        plan = [row.detail for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
    assert any("SEARCH audit_records" in step for step in plan)
    assert not any("SCAN audit_records" in step for step in plan)


async def test_a_checkpoint_under_way_is_finished_before_the_database_closes(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        heads, reading = house.app.journal.heads, asyncio.Event()

        async def slow() -> Any:
            async with house.app.database.read():
                reading.set()
                for _ in range(200):  # turns of the loop: the server is closing meanwhile
                    await asyncio.sleep(0)
                return await heads()

        house.app.journal.heads = slow  # type: ignore[method-assign]
        await house.app.journal.record(Entry(event=Event.LOGIN_FAILED, org="", members={}))
        writing = asyncio.create_task(house.app.witness.write())
        await reading.wait()
    assert writing.done()
    assert not house.app.journal.since_checkpoint
