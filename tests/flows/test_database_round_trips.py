"""How often a database is waited for: each time costs its distance, and a login or a question should cost a few."""

from pathlib import Path

from tests.support.counted import Counted
from tests.support.postgres import Postgres
from tests.support.question import rows
from tests.support.shop import shop, stocked

OBTAIN = 3
"""What its resource is now; how the database is; the role, its groups and its line in one."""
REVOKE = 13
"""Shut it, before others and by itself; what it has elsewhere; forget it; drop what it owns; drop it."""
ASK, AND_END = 7, 9
"""Of a question: as for a login; two to prove who it is; begin, read the statement, run it, fetch; and its end."""


async def test_a_login_waits_for_its_database_a_few_times(tmp_path: Path, postgres: Postgres) -> None:
    async with shop(postgres) as there, Counted(there.place) as wire:
        there.url_place = wire.place
        async with stocked(tmp_path / "data", postgres, there=there) as at:
            begun = wire.round_trips
            await at.revoke((await at.lent())["lease"])
            assert wire.round_trips - begun > OBTAIN + REVOKE  # its group is made with the first, and a session opened
            for _ in range(3):
                begun = wire.round_trips
                lent = await at.lent()
                assert wire.round_trips - begun == OBTAIN
                begun = wire.round_trips
                assert (await at.revoke(lent["lease"]))["outcome"] == "done"
                assert wire.round_trips - begun == REVOKE
            # What somebody took from the group is seen by no further question, and given again.
            (group,) = there.roles("vg_" + lent["user"].split("_")[1])
            await there.owner.execute(f"REVOKE SELECT ON sales.orders FROM {group}")
            begun = wire.round_trips
            await at.lent()
            assert wire.round_trips - begun > OBTAIN
            begun = wire.round_trips
            await at.lent()
            assert wire.round_trips - begun == OBTAIN


async def test_a_question_waits_for_its_database_a_few_times(tmp_path: Path, postgres: Postgres) -> None:
    async with shop(postgres) as there, Counted(there.place) as wire:
        there.url_place = wire.place
        async with stocked(tmp_path / "data", postgres, there=there) as at:
            statement = "SELECT id FROM sales.orders"
            assert len(await rows(at, statement)) == 8
            await at.house.app.questions.settle()
            begun, sessions = wire.round_trips, wire.sessions
            assert len(await rows(at, statement)) == 8
            await at.house.app.questions.settle()
            assert (wire.round_trips - begun, wire.sessions - sessions) == (ASK + AND_END, 1)
