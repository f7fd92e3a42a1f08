"""The database goes away, is renamed, or is put back from a backup while logins are taken back from it."""

from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import Postgres
from tests.support.severed import Severed
from tests.support.shop import READ, Shop, Store, connected, session, shop, stocked
from valetkey.server.connections.databases.model import prefix

STEPS = ["shut", "forget", "owned", "drop"]


def _alone(there: Shop, *statements: str) -> None:
    """Run them from beside the database, when nobody is in it."""
    there.as_superuser(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{there.name}'",
        database="postgres",
    )
    for statement in statements:
        there.as_superuser(statement, database="postgres")


async def _settled(at: Store) -> None:
    at.house.clock.advance(60)
    await at.house.app.take_back.sweep()
    await at.house.app.reconcile.compare()


async def _is_over(at: Store) -> None:
    assert at.shop.roles(prefix(at.house.app.deployment)) == []
    assert [one["status"] for one in await at.leases()] == ["ended"]


@pytest.mark.parametrize("step", STEPS)
async def test_a_database_that_goes_down_while_a_login_is_taken_back_gives_it_back_when_it_is_up(
    step: str, tmp_path: Path, postgres: Postgres
) -> None:
    async with shop(postgres) as there, Severed(there.place) as wire:
        there.url_place = wire.place
        async with stocked(tmp_path / "data", postgres, READ, there=there) as at:
            lent = await at.lent()

            async def goes_down(name: str) -> None:
                if name == step:
                    await wire.down()

            at.house.app.databases.step = goes_down
            assert (await at.revoke(at.delegation["id"]))["outcome"] == "pending"
            (shown,) = await at.leases()
            assert (shown["status"], shown["problem"]) == ("ending", "upstream_failed")
            with pytest.raises(asyncpg.PostgresError):  # NOLOGIN came first, so nobody comes in by another way either
                await connected({**lent, "port": int(there.place.partition(":")[2])})
            await _settled(at)  # it is down still
            assert len(there.roles(lent["user"])) == 1
            await wire.up()
            at.house.app.databases.step = _quiet
            await _settled(at)
            await _is_over(at)


async def test_a_database_that_was_down_all_along_lends_nothing_and_gives_back_when_it_is_up(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with shop(postgres) as there, Severed(there.place) as wire:
        there.url_place = wire.place
        async with stocked(tmp_path / "data", postgres, READ, there=there) as at:
            await at.lent()
            await wire.down()
            assert (await at.lease()).code == "upstream_failed"
            assert (await at.revoke(at.delegation["id"]))["outcome"] == "pending"
            await wire.up()
            await _settled(at)
            assert there.roles(prefix(at.house.app.deployment)) == []
            assert {one["status"] for one in await at.leases()} <= {"ended"}


@pytest.mark.parametrize("step", STEPS)
async def test_a_database_that_is_renamed_while_a_login_is_taken_back_gives_it_back(
    step: str, tmp_path: Path, postgres: Postgres
) -> None:
    async with stocked(tmp_path / "data", postgres, READ) as at:
        lent, there = await at.lent(), at.shop
        await there.owner.close()

        async def is_renamed(name: str) -> None:
            if name == step:
                at.house.app.databases.step = _quiet
                _alone(there, f"ALTER DATABASE {there.name} RENAME TO {there.name}_old")

        at.house.app.databases.step = is_renamed
        await at.revoke(at.delegation["id"])
        with pytest.raises(asyncpg.PostgresError):
            await connected({**lent, "database": f"{there.name}_old"})
        await _settled(at)
        await _is_over(at)
        assert there.as_superuser("SELECT count(*) FROM valetkey.leases", database=f"{there.name}_old") == "0"
        await at.house.app.services.rotate_database._admins.close()
        _alone(there, f"DROP DATABASE {there.name}_old WITH (FORCE)")


@pytest.mark.parametrize("step", STEPS)
async def test_a_database_that_is_put_back_while_a_login_is_taken_back_gives_it_back(
    step: str, tmp_path: Path, postgres: Postgres
) -> None:
    """The backup is of when the login was out: it says so, and nobody acts by it."""
    async with stocked(tmp_path / "data", postgres, READ) as at:
        lent, there = await at.lent(), at.shop
        async with session(lent) as db:
            assert await db.fetchval("SELECT user_name FROM valetkey.valetkey_caller()") == "alice@acme.com"
        await there.owner.close()
        await at.house.app.services.rotate_database._admins.close()
        _alone(there, f"CREATE DATABASE {there.name}_backup TEMPLATE {there.name} OWNER {there.login}")

        async def is_put_back(name: str) -> None:
            if name == step:
                at.house.app.databases.step = _quiet
                _alone(
                    there,
                    f"DROP DATABASE {there.name} WITH (FORCE)",
                    f"ALTER DATABASE {there.name}_backup RENAME TO {there.name}",
                )

        at.house.app.databases.step = is_put_back
        await at.revoke(at.delegation["id"])
        with pytest.raises(asyncpg.PostgresError):
            await connected(lent)
        await _settled(at)
        await _is_over(at)
        assert there.as_superuser("SELECT count(*) FROM valetkey.leases") == "0"


async def _quiet(_name: str) -> None:
    return None
