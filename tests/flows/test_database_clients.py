"""Programs nobody here wrote use a lease as their manuals say, and are refused when it is taken back."""

import asyncio
from pathlib import Path

import pytest

from tests.support import database_clients, jdbc
from tests.support.postgres import Postgres
from tests.support.shop import READ, stocked

_READS = {
    "count": 8,
    "who": "alice@acme.com",
    "write": "25006",  # this transaction only reads
    "switched": "done",
    "write_again": "42501",  # and nothing else was granted
    "other": "42501",
}


@pytest.mark.skipif(database_clients.CLIENTS.missing() is not None, reason=str(database_clients.CLIENTS.missing()))
async def test_psycopg_and_sqlalchemy_work_with_a_lease_and_not_after_it(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, READ) as at:
        lent = await at.lent()
        seen = await asyncio.to_thread(database_clients.story, lent, tmp_path)
        assert seen["psycopg"] == seen["service"] == _READS
        assert seen["sqlalchemy"] == {
            "counts": [8] * 5,
            "tables": ["customers", "orders"],
            "owners": ["alice@acme.com", "bob@acme.com"],
            "write": "25006",
        }
        assert (await at.revoke(lent["lease"]))["outcome"] == "done"
        after = await asyncio.to_thread(database_clients.story, lent, tmp_path)
        assert after == {step: {"refused": "OperationalError"} for step in seen}


@pytest.mark.skipif(jdbc.missing() is not None, reason=str(jdbc.missing()))
async def test_a_program_in_java_works_with_a_lease_and_not_after_it(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, READ) as at:
        lent = await at.lent()
        assert await asyncio.to_thread(jdbc.story, lent) == ["read 6", "refused 25006"]
        assert (await at.revoke(lent["lease"]))["outcome"] == "done"
        assert await asyncio.to_thread(jdbc.story, lent) == ["no login 28P01"]
