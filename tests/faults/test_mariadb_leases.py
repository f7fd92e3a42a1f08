"""Making and dropping accounts while something breaks: what is there and what is lent come together again."""

import contextlib
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.support.maria_shop import ask, session, stocked
from tests.support.mariadb import MariaDB
from tests.support.shop import Store
from valetkey.server.connections.databases.model import prefix
from valetkey.server.credentials import lend, store
from valetkey.server.credentials.lease import Narrowing, State
from valetkey.server.credentials.sources.model import Holder
from valetkey.server.errors import UpstreamFailed
from valetkey.server.ids import new_id
from valetkey.server.integrations.databases import MARIADB


@pytest.fixture
async def at(tmp_path: Path, mariadb: MariaDB) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", mariadb) as found:
        yield found


class Broken(Exception):
    """The process ended here."""


def breaks_at(at: Store, step: str, error: Exception) -> None:
    async def told(name: str) -> None:
        if name == step:
            at.house.app.mariadb.step = quiet
            raise error

    async def quiet(_name: str) -> None:
        return None

    at.house.app.mariadb.step = told


async def settled(at: Store) -> None:
    """Long enough after it, everything that sweeps has swept."""
    at.house.clock.advance(200)
    await at.house.app.take_back.sweep()
    await at.house.app.reconcile.compare()
    await at.house.app.reconcile.compare()  # roles that the first left to nobody


def made_here(at: Store) -> list[str]:
    """The accounts and roles of this deployment's leases."""
    accounts = prefix(at.house.app.deployment)
    return [*at.shop.accounts(accounts), *at.shop.accounts(accounts.replace("vk_", "vg_"))]


@pytest.mark.parametrize("step", ["role", "account", "open", "made"])
async def test_an_account_that_was_made_unseen_is_dropped(at: Store, step: str) -> None:
    breaks_at(at, step, UpstreamFailed(detail="the answer got lost"))
    assert (await at.lease()).status == 502
    await settled(at)
    assert made_here(at) == []
    assert [one["status"] for one in await at.leases()] == ["ended"]


@pytest.mark.parametrize("step", ["role", "account", "open", "made"])
async def test_what_a_process_left_behind_that_ended_while_it_made_an_account_is_dropped(at: Store, step: str) -> None:
    being_made = await _a_lease(at)
    breaks_at(at, step, Broken())
    with pytest.raises(Broken):
        await at.house.app.mariadb.obtain(*being_made)
    await settled(at)
    assert made_here(at) == []


@pytest.mark.parametrize("step", ["shut", "drop", "dropped"])
async def test_a_revocation_that_breaks_off_anywhere_is_finished_later(at: Store, step: str) -> None:
    lent = await at.lent()
    db = session(lent)
    breaks_at(at, step, UpstreamFailed(detail="gone"))
    hop = await at.revoke(at.delegation["id"])
    assert hop["outcome"] == "pending"
    with pytest.raises(pymysql.MySQLError, match=r"denied|locked"):  # whatever broke off: nobody comes in
        session(lent)
    with pytest.raises(pymysql.MySQLError):  # and nobody is in
        ask(db, "SELECT 1")
    _left(db)
    await settled(at)
    assert made_here(at) == []
    assert [one["status"] for one in await at.leases()] == ["ended"]


async def test_an_account_nobody_knows_is_dropped_and_a_lease_without_an_account_is_ended(at: Store) -> None:
    lent = await at.lent()
    stray = lent["user"][:-4] + "0000"
    at.shop.as_root(f"CREATE USER `{stray}`@`%` IDENTIFIED BY 'x'")
    assert await at.house.app.reconcile.compare() == 1
    assert at.shop.accounts(prefix(at.house.app.deployment)) == [lent["user"]]
    at.shop.as_root(f"DROP USER `{lent['user']}`@`%`")
    assert await at.house.app.reconcile.compare() == 1
    assert [one["status"] for one in await at.leases()] == ["ended"]
    assert [e["why"] for e in await at.house.events("lease.ended")] == ["stray", "gone_there"]
    assert await at.house.app.reconcile.compare() == 0


async def test_a_session_whose_account_was_dropped_by_hand_ends_too(at: Store) -> None:
    """MariaDB leaves sessions open whose account is gone; the comparison sees them as accounts that are there."""
    lent = await at.lent()
    db = session(lent)
    at.shop.as_root(f"DROP USER `{lent['user']}`@`%`")
    assert ask(db, "SELECT 1") == [(1,)]
    await at.revoke(lent["lease"])
    with pytest.raises(pymysql.MySQLError):
        ask(db, "SELECT 1")
    _left(db)


async def test_a_session_that_came_in_while_its_account_was_dropped_is_seen_by_the_next_comparison(at: Store) -> None:
    lent = await at.lent()
    stray = lent["user"][:-4] + "0000"
    at.shop.as_root(f"CREATE USER `{stray}`@`%` IDENTIFIED BY 'x'")
    db = session({**lent, "user": stray, "password": "x", "database": ""})
    at.shop.as_root(f"DROP USER `{stray}`@`%`")
    assert await at.house.app.reconcile.compare() == 1
    with pytest.raises(pymysql.MySQLError):
        ask(db, "SELECT 1")
    _left(db)


async def test_a_statement_that_runs_ends_with_its_login(at: Store) -> None:
    lent = await at.lent()
    db, came = session(lent, read_timeout=60), []
    begun = threading.Event()

    def run() -> None:
        begun.set()
        try:
            came.append(ask(db, "SELECT SLEEP(50)"))
        except pymysql.MySQLError as error:
            came.append(error)

    running = threading.Thread(target=run)
    running.start()
    begun.wait(10)
    assert (await at.revoke(at.delegation["id"]))["outcome"] == "done"
    running.join(20)
    assert not running.is_alive()
    assert isinstance(came[0], pymysql.MySQLError)
    _left(db)


async def test_rights_somebody_put_into_a_role_of_ours_are_not_lent(at: Store) -> None:
    await at.lent()
    (role,) = at.shop.accounts(prefix(at.house.app.deployment).replace("vk_", "vg_"))
    at.shop.as_root(f"GRANT SELECT, DELETE ON {at.shop.hr}.* TO `{role}`", f"GRANT FILE ON *.* TO `{role}`")
    lent = await at.lent()
    with contextlib.closing(session(lent)) as db:
        assert ask(db, "SELECT count(*) FROM orders") == [(3,)]
        with pytest.raises(pymysql.MySQLError, match="denied"):
            ask(db, f"SELECT * FROM {at.shop.hr}.salaries")
    assert len(at.shop.as_root(f"SHOW GRANTS FOR `{role}`")) == 2


async def test_what_the_login_cannot_give_is_not_lent(at: Store) -> None:
    at.shop.as_root(f"REVOKE SELECT ON {at.shop.sales}.* FROM {at.shop.login}@'%'")
    refused = await at.lease()
    assert (refused.status, refused.json()["reason"]) in ((403, "not_grantable"), (403, "resource_changed"))
    await settled(at)
    assert made_here(at) == []


async def test_a_server_that_was_away_gives_its_accounts_back(at: Store) -> None:
    """Whoever takes back asks, though everybody else is told that nobody answers there."""
    lent = await at.lent()
    await at.house.app.services.databases._kinds["mariadb"]._admins.close()
    place = at.shop.server.place
    reachable = at.house.app.services.databases._kinds["mariadb"]._admins._reachable

    async def silent() -> None:
        failed = UpstreamFailed()
        failed.is_unreached = True
        raise failed

    for _ in range(5):
        with pytest.raises(UpstreamFailed):
            await reachable.ask(place, silent)
    assert (await at.lease()).code == "upstream_failed"
    assert (await at.revoke(at.delegation["id"]))["outcome"] == "done"
    assert lent["user"] not in at.shop.accounts()


async def test_a_session_of_ours_that_was_ended_there_holds_up_nobody(at: Store) -> None:
    ours = f"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{at.shop.login}'"
    at.shop.as_root(*(f"KILL {one}" for (one,) in at.shop.as_root(ours)))
    lent = await at.lent()
    at.shop.as_root(*(f"KILL {one}" for (one,) in at.shop.as_root(ours)))
    hop = await at.revoke(at.delegation["id"])
    assert (hop["outcome"], "1 ended at the API." in hop["detail"]) == ("done", True)
    assert lent["user"] not in at.shop.accounts()


async def test_an_account_that_only_begins_as_ours_is_let_be(at: Store) -> None:
    theirs = prefix(at.house.app.deployment) + "THEIRS"
    at.shop.as_root(f"CREATE USER `{theirs}`@`%`")
    try:
        assert await at.house.app.reconcile.compare() == 0
        assert at.shop.accounts(theirs) == [theirs]
    finally:
        at.shop.as_root(f"DROP USER `{theirs}`@`%`")


async def test_more_than_a_database_should_carry_is_not_lent(at: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lend, "MOST_OUT_PER_CONNECTION", 1)
    await at.lent()
    refused = await at.lease()
    assert (refused.status, refused.code) == (429, "too_many")
    assert len(at.shop.accounts(prefix(at.house.app.deployment))) == 1


async def test_cycles_leave_no_account_and_no_role(at: Store) -> None:
    """SQ-03b, a bounded number of them: what grows with leases would have grown."""
    rows = (
        "SELECT (SELECT count(*) FROM mysql.global_priv) + (SELECT count(*) FROM mysql.db)"
        " + (SELECT count(*) FROM mysql.roles_mapping) + (SELECT count(*) FROM mysql.tables_priv)"
    )
    before = at.shop.as_root(rows)
    for _ in range(20):
        assert (await at.revoke((await at.lent())["lease"]))["outcome"] == "done"
    assert made_here(at) == []
    assert at.shop.as_root(rows) == before


async def _a_lease(at: Store) -> Any:
    """A lease that is written and not made yet, as the process knows it that ends now."""
    await at.lent()
    async with at.house.app.database.write() as tx:
        (known,) = await store.not_over(tx, limit=10)
        lease = replace(known, id=new_id("lse"), state=State.OPENING, opened_at=int(at.house.clock.now()))
        await store.add(tx, lease)
        await store.take(tx, known, tries=1, next_at=0)
    narrow = Narrowing(permissions=frozenset({"read"}), resource_ids=("1",), scopes=frozenset({"read"}))
    return lease, narrow, MARIADB, Holder(user="alice@acme.com", agent="report-writer")


def _left(db: Any) -> None:
    with contextlib.suppress(pymysql.MySQLError):
        db.close()
