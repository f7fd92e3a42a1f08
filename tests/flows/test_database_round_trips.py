"""How often a database is waited for: each time costs its distance, and a login should cost a few."""

from pathlib import Path

from tests.support.counted import Counted
from tests.support.postgres import Postgres
from tests.support.question import rows
from tests.support.shop import READ, Store, shop, stocked

WRITES = "postgres/analytics:write@sales.orders"
OBTAIN = 3
"""What its resource is; how the database is; the role, its groups and its line in one."""
REVOKE = 11
QUESTION = 9


async def _obtained(at: Store, wire: Counted) -> tuple[int, str]:
    before = wire.round_trips
    lent = await at.lent()
    return wire.round_trips - before, lent["lease"]


async def test_a_login_waits_for_its_database_a_few_times(tmp_path: Path, postgres: Postgres) -> None:
    async with shop(postgres) as there, Counted(there.place) as wire:
        there.url_place = wire.place
        async with stocked(tmp_path / "data", postgres, READ, WRITES, there=there) as at:
            first, _ = await _obtained(at, wire)
            assert first > OBTAIN  # its groups are made
            second, lease = await _obtained(at, wire)
            opened = wire.sessions
            found = []
            for _ in range(3):
                number, lease = await _obtained(at, wire)
                before = wire.round_trips
                assert (await at.revoke(lease))["outcome"] == "done"
                found.append((number, wire.round_trips - before))
            print(first, second, found, opened)
            before = wire.round_trips
            assert len(await rows(at, "SELECT id FROM sales.orders")) == 8
            await at.house.app.questions.settle()
            before = wire.round_trips
            assert len(await rows(at, "SELECT id FROM sales.orders")) == 8
            print("question", wire.round_trips - before)
            await at.house.app.questions.settle()
            print("question and its end", wire.round_trips - before)
            await at.shop.owner.execute("REVOKE SELECT ON sales.orders FROM " + at.shop.roles("vg_")[0])
