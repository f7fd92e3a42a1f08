"""Renewing upstream credentials: how long waiters of one wait beyond the API's own time, and storms of a thousand.

A storm's figure that matters is the number of calls for each expiry, over eight processes; its time is printed. In the
second storm three of the processes are killed while they hold; what that loses is told by the API's own books.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.support import storm as storms
from tests.support.hostile_provider import install
from tests.support.postgres import Postgres
from tests.support.refreshable import LASTS, Refreshable, open_refreshable
from tests.support.storm import storm, workers
from tests.support.struck import accounts, strike

from bench.rows import Row, most_row
from valetkey.server.connections import store as connections

WAITERS = 200
CONNECTIONS = 1_000
PROCESSES = 8
ROUNDS = 7
LATENCY_SECONDS = 0.1
MOST_MILLISECONDS = 250


def rows(server: Postgres | None) -> list[Row]:
    """Both, on SQLite and, where it is there, PostgreSQL."""
    found = [asyncio.run(_waiters("herd", None))]
    if server is not None:
        url = server.database()
        found.append(asyncio.run(_waiters("herd-postgresql", url)))
        server.discard(url)
        found.append(asyncio.run(_storm(server)))
        found.append(asyncio.run(_struck(server)))
    return found


async def _waiters(name: str, database_url: str | None) -> Row:
    with tempfile.TemporaryDirectory(prefix="valetkey-herd-") as folder:
        async with open_refreshable(Path(folder) / "data", database_url) as story:
            waits = [await _round(story, generation) for generation in range(1, ROUNDS + 1)]
            calls = story.provider.calls["a"]
    note = f"ms beyond the API's own {LATENCY_SECONDS * 1000:.0f}, p99 of {WAITERS} waiters, median of {ROUNDS} rounds"
    note += f" ({min(waits):.0f} to {max(waits):.0f}); {calls} calls for {ROUNDS} expiries"
    return most_row(name, median(waits), goal=MOST_MILLISECONDS, note=note)


async def _round(story: Refreshable, generation: int) -> float:
    """The 99th percentile of how long beyond the API's time somebody waited, in milliseconds."""
    app = story.house.app
    story.provider.latency = _latency
    story.house.clock.advance(LASTS)
    async with app.database.read() as db:
        found = await connections.connection(db, story.connection)
    assert found is not None
    facts = found.facts

    async def one() -> float:
        began = time.perf_counter()
        await app.refresh.beyond(facts, generation)
        return (time.perf_counter() - began - LATENCY_SECONDS) * 1000

    waits = sorted(await asyncio.gather(*(one() for _ in range(WAITERS))))
    return waits[int(WAITERS * 0.99) - 1]


async def _latency() -> None:
    await asyncio.sleep(LATENCY_SECONDS)


async def _storm(server: Postgres) -> Row:
    storms.CONNECTIONS = CONNECTIONS
    with tempfile.TemporaryDirectory(prefix="valetkey-storm-") as folder:
        async with (
            storm(Path(folder), server, install) as (house, provider),
            workers(house, provider, Path(folder), PROCESSES) as started,
        ):
            began, rounds, said = time.perf_counter(), 0, []
            while not rounds or any(one != {"renewed": CONNECTIONS} for one in said):
                said = await asyncio.gather(*(worker.told("renew") for worker in started))
                rounds += 1
            seconds = time.perf_counter() - began
            calls, refused = sum(provider.calls.values()), sum(provider.refused.values())
    note = f"upstream calls for each expiry: {CONNECTIONS:,} credentials, {PROCESSES} processes, {seconds:.1f} s"
    note += f" in {rounds} rounds; {refused} refused"
    return most_row("herd-storm", calls / CONNECTIONS, goal=1.0, note=note)


async def _struck(server: Postgres) -> Row:
    storms.CONNECTIONS = CONNECTIONS
    with tempfile.TemporaryDirectory(prefix="valetkey-struck-") as folder:
        async with storm(Path(folder), server, install) as (house, provider):
            began = time.perf_counter()
            aftermath = await strike(house, provider, Path(folder), processes=PROCESSES)
            seconds = time.perf_counter() - began
            found = await accounts(house, provider, aftermath)
    renewed = sum(one.state == "healthy" and one.works and (one.asked, one.refused) == (1, 0) for one in found)
    lost = sum(one.problem == "lost" and one.held_by_killed > 0 and one.answered == 1 for one in found)
    note = (
        f"of {CONNECTIONS:,} credentials neither renewed once nor lost with a killed process, {PROCESSES} processes of"
    )
    note += f" which 3 are killed, starting them included {seconds:.0f} s; {renewed} renewed, {lost} lost"
    return most_row("herd-killed", CONNECTIONS - renewed - lost, goal=0, note=note)
