"""All tables of a schema are delegated, and a task names one of them: its login is for that table, and stays so."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import Postgres
from tests.support.shop import AUDIENCE, READ, Store, session, stocked

ORDERS = "postgres:read@sales.orders"


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None, postgres: Postgres) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", postgres, READ, database_url=database_url) as found:
        yield found


async def _reads_orders_alone(lent: Any) -> None:
    async with session(lent) as db:
        assert await db.fetchval("SELECT count(*) FROM sales.orders") == 8
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.fetch("SELECT * FROM sales.customers")


async def _is_changed(at: Store, **more: Any) -> None:
    refused = await at.lease(**more)
    assert (refused.status, refused.json()["reason"]) == (403, "resource_changed")
    assert (await at.house.events("lease.refused"))[-1]["reason"] == "resource_changed"


async def test_a_task_narrowed_to_one_table_gets_a_login_for_that_table(at: Store) -> None:
    at.task = await at.house.task(at.delegation, grants=[ORDERS])
    lent = await at.lent()
    await _reads_orders_alone(lent)
    oid = await at.shop.owner.fetchval("SELECT 'sales.orders'::regclass::oid::text")
    (opened,) = await at.house.events("lease.opened")
    assert opened["resource_ids"] == [oid]
    await at.house.app.take_back.sweep()  # and it is still what its task allows
    await _reads_orders_alone(lent)


async def test_a_lease_narrowed_to_one_table_is_for_that_table(at: Store) -> None:
    await _reads_orders_alone(await at.lent(grants=[ORDERS]))


async def test_a_child_narrowed_to_one_table_gets_a_login_for_that_table(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, READ) as at:
        helper = await at.house.agent("helper")
        delegation = await at.house.delegate(at.agent, READ, share_with=["helper"])
        task = await at.house.task(delegation)
        reply = await at.agent.call("POST", f"/v1/tasks/{task['id']}/children", agent="helper", grants=[ORDERS])
        assert reply.status == 201, reply.body
        at.agent, at.task = helper, reply.json()
        await _reads_orders_alone(await at.lent())


@pytest.mark.parametrize("name", ["sales.nothing", "sales.Orders", "sales.orders_pkey", "sales.orders_id_seq"])
async def test_a_name_that_is_no_table_is_refused(at: Store, name: str) -> None:
    at.task = await at.house.task(at.delegation, grants=[f"postgres:read@{name}"])
    await _is_changed(at)


async def test_a_table_of_a_schema_that_was_made_again_is_refused(at: Store) -> None:
    at.task = await at.house.task(at.delegation, grants=[ORDERS])
    await at.shop.owner.execute(
        "ALTER SCHEMA sales RENAME TO old; CREATE SCHEMA sales; CREATE TABLE sales.orders (id int)"
    )
    await _is_changed(at)


async def test_a_name_is_bound_when_its_task_first_uses_it(at: Store) -> None:
    at.task = await at.house.task(at.delegation, grants=[ORDERS])
    await at.lent()
    await at.shop.owner.execute("ALTER TABLE sales.orders RENAME TO old; CREATE TABLE sales.orders (id int)")
    await _is_changed(at)
    at.task = await at.house.task(at.delegation)  # a line that names it in another task does not say what it is here
    await at.lent(grants=[ORDERS])
    await at.shop.owner.execute("DROP TABLE sales.orders; ALTER TABLE sales.old RENAME TO orders")
    await _is_changed(at, grants=[ORDERS])


async def test_another_schema_is_not_reached_by_naming_its_table(at: Store) -> None:
    reply = await at.house.alice.call(
        "POST", "/v1/tasks", delegation=at.delegation["id"], grants=["postgres:read@hr.salaries"]
    )
    assert (reply.status, reply.json()["reason"]) == (403, "not_delegated")
    refused = await at.agent.call(
        "POST",
        "/v1/leases",
        task_token=at.task["task_token"],
        target=AUDIENCE,
        grants=["postgres:read@hr.salaries"],
    )
    assert (refused.status, refused.json()["reason"]) == (403, "not_delegated")
