"""Making and dropping roles while something breaks: what is there and what is lent come together again, both ways."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import Postgres
from tests.support.shop import READ, Store, connected, stocked
from valetkey.server.connections.databases.model import prefix
from valetkey.server.credentials import lend, store
from valetkey.server.credentials.lease import Narrowing, State
from valetkey.server.credentials.sources.model import Holder
from valetkey.server.errors import UpstreamFailed
from valetkey.server.ids import new_id
from valetkey.server.integrations.databases import POSTGRES


@pytest.fixture
async def at(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", postgres, READ) as found:
        yield found


class Broken(Exception):
    """The process ended here."""


def breaks_at(at: Store, step: str, error: Exception) -> None:
    async def told(name: str) -> None:
        if name == step:
            at.house.app.databases.step = quiet
            raise error

    async def quiet(_name: str) -> None:
        return None

    at.house.app.databases.step = told


async def settled(at: Store) -> None:
    """Long enough after it, everything that sweeps has swept."""
    at.house.clock.advance(200)
    await at.house.app.take_back.sweep()
    await at.house.app.reconcile.compare()


def made_here(at: Store) -> list[str]:
    """The roles of this deployment's leases."""
    return at.shop.roles(prefix(at.house.app.deployment))


@pytest.mark.parametrize("step", ["groups", "role", "made"])
async def test_a_role_that_was_made_unseen_is_dropped(at: Store, step: str) -> None:
    breaks_at(at, step, UpstreamFailed(detail="the answer got lost"))
    assert (await at.lease()).status == 502
    await settled(at)
    assert made_here(at) == []
    assert [one["status"] for one in await at.leases()] == ["ended"]
    await at.shop.owner.execute("SELECT 1")


@pytest.mark.parametrize("step", ["groups", "role", "made"])
async def test_what_a_process_left_behind_that_ended_while_it_made_a_role_is_dropped(at: Store, step: str) -> None:
    being_made = await _a_lease(at)
    breaks_at(at, step, Broken())
    with pytest.raises(Broken):
        await at.house.app.databases.obtain(*being_made)
    await settled(at)
    assert made_here(at) == []


@pytest.mark.parametrize("step", ["shut", "forget", "owned", "drop", "dropped"])
async def test_a_revocation_that_breaks_off_anywhere_is_finished_later(at: Store, step: str) -> None:
    lent = await at.lent()
    breaks_at(at, step, UpstreamFailed(detail="gone"))
    hop = await at.revoke(at.delegation["id"])
    assert hop["outcome"] == "pending"
    with pytest.raises(asyncpg.PostgresError):  # whatever broke off: nobody comes in
        await connected(lent)
    await settled(at)
    assert made_here(at) == []
    assert [one["status"] for one in await at.leases()] == ["ended"]


async def test_what_cannot_be_dropped_is_shut(at: Store) -> None:
    lent = await at.lent()
    db = await connected(lent)
    at.shop.as_superuser("CREATE TABLE public.left_behind ()")
    at.shop.as_superuser(f'ALTER TABLE public.left_behind OWNER TO "{lent["user"]}"')
    at.shop.as_superuser("CREATE VIEW public.on_it AS SELECT 1 FROM public.left_behind")
    hop = await at.revoke(at.delegation["id"])
    assert hop["outcome"] == "pending"
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await db.fetchval("SELECT 1")
    db.terminate()
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await connected(lent)
    (shown,) = await at.leases()
    assert (shown["status"], shown["problem"]) == ("ending", "upstream_failed")
    at.shop.as_superuser("DROP VIEW public.on_it")
    await settled(at)
    assert made_here(at) == []


async def test_a_role_nobody_knows_is_dropped_and_a_lease_without_a_role_is_ended(at: Store) -> None:
    lent = await at.lent()
    stray = lent["user"][:-4] + "0000"
    await at.shop.owner.execute(f'CREATE ROLE "{stray}" LOGIN; GRANT "{stray}" TO CURRENT_USER')
    assert await at.house.app.reconcile.compare() == 1
    assert made_here(at) == [lent["user"]]
    at.shop.as_superuser(f'DROP OWNED BY "{lent["user"]}"; DROP ROLE "{lent["user"]}"')
    assert await at.house.app.reconcile.compare() == 1
    assert [one["status"] for one in await at.leases()] == ["ended"]
    assert [e["why"] for e in await at.house.events("lease.ended")] == ["stray", "gone_there"]
    assert await at.house.app.reconcile.compare() == 0


async def test_a_renamed_database_gives_nothing_more_and_gives_its_roles_back(at: Store) -> None:
    lent = await at.lent()
    await at.shop.owner.close()
    await at.house.app.services.rotate_database._admins.close()
    at.shop.as_superuser(f"ALTER DATABASE {at.shop.name} RENAME TO {at.shop.name}_old", database="postgres")
    try:
        assert (await at.lease()).code == "connection_required"
        assert (await at.revoke(at.delegation["id"]))["outcome"] == "done"
        assert lent["user"] not in at.shop.roles()
    finally:
        await at.house.app.services.rotate_database._admins.close()
        at.shop.as_superuser(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{at.shop.name}_old'",
            database="postgres",
        )
        at.shop.as_superuser(f"ALTER DATABASE {at.shop.name}_old RENAME TO {at.shop.name}", database="postgres")


async def test_a_table_that_was_made_again_is_another_table(tmp_path: Path, postgres: Postgres) -> None:
    named = "postgres/analytics:read@sales.customers"
    async with stocked(tmp_path / "data", postgres, named) as at:
        await at.lent()
        await at.shop.owner.execute("DROP TABLE sales.customers; CREATE TABLE sales.customers (id int)")
        refused = await at.lease()
        assert (refused.status, refused.json()["reason"]) == (403, "resource_changed")


async def test_more_than_a_database_should_carry_is_not_lent(at: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lend, "MOST_OUT_PER_CONNECTION", 1)
    await at.lent()
    refused = await at.lease()
    assert (refused.status, refused.code) == (429, "too_many")
    assert len(made_here(at)) == 1


async def _a_lease(at: Store) -> Any:
    """A lease that is written and not made yet, as the process knows it that ends now."""
    await at.lent()
    async with at.house.app.database.write() as tx:
        (known,) = await store.not_over(tx, limit=10)
        lease = replace(known, id=new_id("lse"), state=State.OPENING, opened_at=int(at.house.clock.now()))
        await store.add(tx, lease)
        await store.take(tx, known, tries=1, next_at=0)
    narrow = Narrowing(permissions=frozenset({"read"}), resource_ids=("1",), scopes=frozenset({"read"}))
    return lease, narrow, POSTGRES, Holder(user="alice@acme.com", agent="report-writer")


async def test_cycles_leave_no_role_and_no_longer_access_lists(at: Store) -> None:
    """SQ-03b, a bounded number of them: what grows with leases would have grown."""
    lists = "SELECT sum(cardinality(relacl)) FROM pg_class WHERE relnamespace = 'sales'::regnamespace"
    await at.revoke((await at.lent())["lease"])
    before = at.shop.as_superuser(lists)
    groups = at.shop.roles(prefix(at.house.app.deployment).replace("vk_", "vg_", 1))
    assert len(groups) == 1
    for _ in range(25):
        lent = await at.lent()
        assert at.shop.as_superuser(lists) == before
        assert (await at.revoke(lent["lease"]))["outcome"] == "done"
    assert made_here(at) == []
    assert at.shop.as_superuser(lists) == before
    assert at.shop.roles(prefix(at.house.app.deployment).replace("vk_", "vg_", 1)) == groups


async def test_many_at_once_are_all_shut_before_the_first_is_dropped(at: Store) -> None:
    """R10, a bounded number of them."""
    lent = [await at.lent() for _ in range(30)]
    opened = [await connected(one) for one in lent[:5]]
    logins = "SELECT count(*) FROM pg_roles WHERE rolcanlogin AND rolname = ANY('{" + ",".join(
        one["user"] for one in lent
    )
    seen: list[str] = []

    async def told(step: str) -> None:
        if step == "drop" and not seen:
            seen.append(at.shop.as_superuser(logins + "}')"))

    at.house.app.databases.step = told
    hop = await at.revoke(at.delegation["id"])
    assert seen == ["0"]
    assert hop["outcome"] == "done"
    assert "30 ended at the API." in hop["detail"]
    assert "open sessions were ended" in hop["detail"]
    assert made_here(at) == []
    for db in opened:
        db.terminate()
