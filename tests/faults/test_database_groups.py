"""Group roles go when what they were for is gone and nobody is in them; one that is needed stays."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import Postgres
from tests.support.question import rows
from tests.support.shop import Store, connected, session, stocked
from valetkey.server.connections.databases.postgres import groups, store
from valetkey.server.connections.databases.postgres.model import group_prefix

ORDERS, CUSTOMERS = "postgres/analytics:read@sales.orders", "postgres/analytics:read@sales.customers"


@pytest.fixture
async def at(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", postgres, ORDERS, CUSTOMERS) as found:
        yield found


def _groups(at: Store) -> list[str]:
    return at.shop.roles(group_prefix(at.house.app.deployment))


async def test_the_group_of_a_dropped_table_goes_and_that_of_another_stays(at: Store) -> None:
    for grant in (ORDERS, CUSTOMERS):
        await at.revoke((await at.lent(grants=[grant]))["lease"])
    both = _groups(at)
    await at.house.app.reconcile.compare()
    assert _groups(at) == both  # nobody is in them, and they are good for something
    await at.shop.owner.execute("DROP TABLE sales.customers")
    await at.house.app.reconcile.compare()
    (left,) = _groups(at)
    assert left in both
    async with session(await at.lent(grants=[ORDERS])) as db:
        assert await db.fetchval("SELECT count(*) FROM sales.orders") == 8
    assert (await at.lease(grants=[CUSTOMERS])).json()["reason"] == "resource_changed"


async def test_a_group_somebody_is_in_goes_when_they_are_gone(at: Store) -> None:
    lent = await at.lent(grants=[CUSTOMERS])
    await at.shop.owner.execute("DROP TABLE sales.customers")
    await at.house.app.reconcile.compare()
    assert len(_groups(at)) == 1
    await (await connected(lent)).close()
    assert (await at.revoke(lent["lease"]))["outcome"] == "done"
    await at.house.app.reconcile.compare()
    assert _groups(at) == []


@pytest.mark.parametrize("right", ["SELECT ON hr.salaries", "USAGE ON SCHEMA hr"])
async def test_what_somebody_gave_a_group_of_ours_is_not_ours_to_take(at: Store, right: str) -> None:
    """Of a table: it stays as it is. Of a schema: as we give it ourselves, so it goes."""
    await at.revoke((await at.lent(grants=[CUSTOMERS]))["lease"])
    (group,) = _groups(at)
    await at.shop.owner.execute(f"GRANT {right} TO {group}; DROP TABLE sales.customers")
    await at.house.app.reconcile.compare()
    assert _groups(at) == ([group] if "SELECT" in right else [])


async def test_the_group_of_a_schema_is_made_anew_when_it_has_tables_again(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres) as at:
        await at.revoke((await at.lent())["lease"])
        await at.shop.owner.execute("DROP TABLE sales.customers, sales.orders CASCADE")
        await at.house.app.reconcile.compare()
        assert _groups(at) == []
        await at.shop.owner.execute("CREATE TABLE sales.again AS SELECT 7 AS n")
        async with session(await at.lent()) as db:
            assert await db.fetchval("SELECT n FROM sales.again") == 7
        assert await rows(at, "SELECT n FROM sales.again") == [[7]]


async def test_a_login_made_meanwhile_never_loses_its_group(at: Store) -> None:
    """Whoever has written its line and not its groups yet is waited for, and not for long."""
    lent = await at.lent(grants=[CUSTOMERS])
    (group,) = _groups(at)
    await at.shop.owner.execute("DROP TABLE sales.customers")
    assert (await at.revoke(lent["lease"]))["outcome"] == "done"
    line = "INSERT INTO valetkey.leases VALUES ('somebody', 1, '', '', '', '', '', '', now())"
    async with at.shop.owner.transaction():
        await at.shop.owner.execute(line)
        async with at.house.app.services.rotate_database._admins.session(at.connection["id"], taking_back=True) as db:
            with pytest.raises(asyncpg.LockNotAvailableError):
                await groups.drop_useless(db, group_prefix(at.house.app.deployment))
        assert _groups(at) == [group]
    await store.forget_the_gone(at.shop.owner)
    await at.house.app.reconcile.compare()
    assert _groups(at) == []
