"""Hundreds of credentials that end in the same second, and processes that all want all of them.

A thousand over eight processes are a row of the bench.
"""

import asyncio
from pathlib import Path

from tests.support.hostile_provider import install
from tests.support.postgres import Postgres
from tests.support.storm import CONNECTIONS, PROCESSES, states, storm, workers


async def test_rt_01_all_that_end_together_are_renewed_once_each_over_all_processes(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with (
        storm(tmp_path, postgres, install) as (house, provider),
        workers(house, provider, tmp_path, PROCESSES) as started,
    ):
        said = await asyncio.gather(*(worker.told("renew") for worker in started))
        for _ in range(5):  # who was told to come again comes again
            assert all(set(one) <= {"renewed", "unavailable"} for one in said), said
            said = await asyncio.gather(*(worker.told("renew") for worker in started))
        assert said == [{"renewed": CONNECTIONS}] * PROCESSES
        assert (sum(provider.calls.values()), max(provider.calls.values())) == (CONNECTIONS, 1)
        assert sum(provider.refused.values()) == 0
        assert await states(house) == {"healthy 2": CONNECTIONS}
