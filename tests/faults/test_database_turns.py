"""Handing out and taking back have a session each: a login that takes long to be made holds up no revocation."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.http import Reply
from tests.support.postgres import Postgres
from tests.support.shop import Store, connected, stocked
from valetkey.server.connections.databases.postgres.model import group_of

ORDERS, CUSTOMERS = "postgres/analytics:read@sales.orders", "postgres/analytics:read@sales.customers"


@pytest.fixture
async def at(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", postgres, ORDERS, CUSTOMERS) as found:
        yield found


async def _let_nobody_in(at: Store, lent: dict[str, str]) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await connected(lent)
    assert lent["user"] not in at.shop.roles()


async def test_a_login_that_is_being_made_holds_up_no_revocation(at: Store) -> None:
    lent, goes_on, reached = await at.lent(grants=[ORDERS]), asyncio.Event(), asyncio.Event()

    async def held(step: str) -> None:
        if step == "role":
            reached.set()
            await goes_on.wait()

    at.house.app.databases.step = held
    making = asyncio.create_task(at.lease(grants=[CUSTOMERS]))
    await reached.wait()
    another = asyncio.create_task(at.lease(grants=[ORDERS]))
    assert (await at.revoke(lent["lease"]))["outcome"] == "done"
    await _let_nobody_in(at, lent)
    assert not making.done()
    assert not another.done()  # what is handed out goes one after the other
    goes_on.set()
    assert [(await one).status for one in (making, another)] == [201, 201]


async def test_a_login_held_up_at_the_server_holds_up_no_revocation(at: Store) -> None:
    """Somebody makes a role of the very name its group is to have, and does not say yet whether they mean it."""
    lent = await at.lent(grants=[ORDERS])
    database, table = await at.shop.owner.fetchrow(
        "SELECT d.oid::int, 'sales.customers'::regclass::int FROM pg_database d WHERE datname = current_database()"
    )
    group = group_of(at.house.app.deployment, database=database, scope="read", kind="table", oid=table)
    somebody = await asyncpg.connect(at.shop.server.url(at.shop.name))
    try:
        meant = somebody.transaction()
        await meant.start()
        await somebody.execute(f"CREATE ROLE {group}")
        making = asyncio.create_task(at.lease(grants=[CUSTOMERS]))
        await _is_waiting(at, making)
        assert (await at.revoke(lent["lease"]))["outcome"] == "done"
        await _let_nobody_in(at, lent)
        assert not making.done()
        await meant.rollback()
        assert (await making).status == 201
    finally:
        somebody.terminate()


async def test_a_database_that_says_nothing_of_itself_is_tried_again(at: Store) -> None:
    """It lets the login in and refuses the first question: that is no reason for a sweep to end, nor for a session."""
    lent, mine = await at.lent(grants=[ORDERS]), f"FROM pg_stat_activity WHERE usename = '{at.shop.login}'"
    await at.house.app.services.rotate_database._admins.close()
    before = await at.shop.owner.fetchval(f"SELECT count(*) {mine} AND application_name = 'valetkey'")
    at.shop.as_superuser("REVOKE SELECT ON pg_catalog.pg_database FROM PUBLIC")
    assert (await at.revoke(lent["lease"]))["outcome"] == "pending"
    assert await at.house.app.take_back.sweep() == 0
    assert lent["user"] in at.shop.roles()
    at.shop.as_superuser("GRANT SELECT ON pg_catalog.pg_database TO PUBLIC")
    at.house.clock.advance(60)
    await at.house.app.take_back.sweep()
    await _let_nobody_in(at, lent)
    assert await at.shop.owner.fetchval(f"SELECT count(*) {mine} AND application_name = 'valetkey'") <= before + 1


async def test_a_source_that_breaks_is_tried_again(at: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it fails with, the revocation says so, and the next sweep takes the login back."""
    lent = await at.lent(grants=[ORDERS])

    async def broken(*_: object) -> None:
        raise LookupError("nobody thought of this")

    with monkeypatch.context() as patched:
        for verb in ("shut", "revoke"):
            patched.setattr(at.house.app.databases, verb, broken)
        assert (await at.revoke(lent["lease"]))["outcome"] == "pending"
        assert await at.house.app.take_back.sweep() == 0
    assert lent["user"] in at.shop.roles()
    at.house.clock.advance(60)
    assert await at.house.app.take_back.sweep() == 1
    await _let_nobody_in(at, lent)


async def _is_waiting(at: Store, making: "asyncio.Task[Reply]") -> None:
    mine = f"FROM pg_stat_activity WHERE usename = '{at.shop.login}' AND wait_event_type = 'Lock'"
    while not await at.shop.owner.fetchval(f"SELECT count(*) {mine}"):
        assert not making.done(), making.result().body
