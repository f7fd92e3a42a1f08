"""A real MariaDB login for one agent, one person, one task: it works in any program, and is gone when it ends."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pymysql
import pytest

from tests.support.maria_shop import ask, session, stocked
from tests.support.mariadb import MariaDB
from tests.support.shop import Store, program


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None, mariadb: MariaDB) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", mariadb, database_url=database_url) as found:
        yield found


async def test_a_login_reads_what_was_delegated_and_nothing_else(at: Store) -> None:
    lent = await at.lent()
    with contextlib.closing(session(lent)) as db:
        assert ask(db, "SELECT count(*) FROM orders") == [(3,)]
        assert ask(db, f"SELECT total FROM {at.shop.sales}.totals WHERE owner = 'bob@acme.com'") == [(3,)]
        for statement in (f"SELECT * FROM {at.shop.hr}.salaries", "DELETE FROM orders", "SELECT * FROM mysql.user"):
            with pytest.raises(pymysql.MySQLError, match="denied"):
                ask(db, statement)
    assert at.shop.as_root(f"SELECT count(*) FROM {at.shop.sales}.orders") == [(3,)]


async def test_the_account_is_as_small_as_an_account_can_be(at: Store) -> None:
    lent = await at.lent()
    granted = [row[0] for row in at.shop.as_root(f"SHOW GRANTS FOR `{lent['user']}`@`%`")]
    (role,) = at.shop.accounts("vg_")
    assert [line.partition(" IDENTIFIED")[0] for line in granted if "USAGE" in line] == [
        f"GRANT USAGE ON *.* TO `{lent['user']}`@`%`",
    ]
    assert f"GRANT `{role}` TO `{lent['user']}`@`%`" in granted
    assert len(granted) == 3
    assert granted[-1].startswith(f"SET DEFAULT ROLE `{role}` FOR")
    assert "MAX_USER_CONNECTIONS 10" in "".join(granted)
    name = at.shop.sales.replace("_", "\\_")
    assert [row[0] for row in at.shop.as_root(f"SHOW GRANTS FOR `{role}`")] == [
        f"GRANT USAGE ON *.* TO `{role}`",
        f"GRANT SELECT ON `{name}`.* TO `{role}`",
    ]


async def test_revoking_ends_open_sessions_and_the_login_and_says_so(at: Store) -> None:
    lent = await at.lent()
    db = session(lent)
    hop = await at.revoke(at.delegation["id"])
    assert hop["outcome"] == "done"
    assert "1 ended at the API." in hop["detail"]
    assert "1 open sessions were ended" in hop["detail"]
    with pytest.raises(pymysql.MySQLError):
        ask(db, "SELECT 1")
    with contextlib.suppress(pymysql.MySQLError):
        db.close()
    with pytest.raises(pymysql.MySQLError, match="denied"):
        session(lent)
    assert lent["user"] not in at.shop.accounts()
    assert at.shop.accounts("vg_") == []
    assert [one["status"] for one in await at.leases()] == ["ended"]
    assert (await at.lease()).status in (400, 401, 403)


async def test_an_account_ends_with_its_task(at: Store) -> None:
    lent = await at.lent()
    db = session(lent)
    await at.house.app.take_back.sweep()
    assert lent["user"] in at.shop.accounts()
    at.house.clock.advance(at.task["expires_at"] - at.house.clock.now())
    await at.house.app.take_back.sweep()  # or the one of every second, which may be at it
    assert lent["user"] not in at.shop.accounts()
    with pytest.raises(pymysql.MySQLError):
        ask(db, "SELECT 1")
    with contextlib.suppress(pymysql.MySQLError):
        db.close()


async def test_its_own_program_takes_it_as_an_option_file(at: Store, tmp_path: Path) -> None:
    lent = await at.lent()
    words = tmp_path / "my.cnf"
    words.write_text(lent["cnf"] + "\n")
    count = ("mariadb", f"--defaults-file={words}", "-BNe", "SELECT count(*) FROM customers")
    assert await program(*count, environment={"PATH": "/usr/bin:/bin"}) == (0, "2\n", "")
    await at.revoke(lent["lease"])
    code, _, wrong = await program(*count, environment={"PATH": "/usr/bin:/bin"})
    assert code == 1
    assert "denied" in wrong


async def test_a_writer_writes_the_one_table_that_was_named(tmp_path: Path, mariadb: MariaDB) -> None:
    async with stocked(tmp_path / "data", mariadb, "mariadb/analytics:write@sales.customers") as at:
        lent = await at.lent()
        with contextlib.closing(session(lent)) as db:
            ask(db, "UPDATE customers SET name = 'Acme Inc.' WHERE id = 1")
            with pytest.raises(pymysql.MySQLError, match="denied"):
                ask(db, "SELECT * FROM orders")
            with pytest.raises(pymysql.MySQLError, match="denied"):
                ask(db, "TRUNCATE customers")
        assert at.shop.as_root(f"SELECT name FROM {at.shop.sales}.customers WHERE id = 1") == [("Acme Inc.",)]


async def test_several_lines_are_one_login(tmp_path: Path, mariadb: MariaDB) -> None:
    grants = ("mariadb/analytics:read@sales.*", "mariadb/analytics:write@sales.customers", "mariadb:read@hr.salaries")
    async with stocked(tmp_path / "data", mariadb, *grants) as at:
        lent = await at.lent()
        assert lent["database"] == ""
        with contextlib.closing(session(lent)) as db:
            ask(db, f"DELETE FROM {at.shop.sales}.customers WHERE id = 2")
            assert ask(db, f"SELECT count(*) FROM {at.shop.hr}.salaries") == [(1,)]
            with pytest.raises(pymysql.MySQLError, match="denied"):
                ask(db, f"DELETE FROM {at.shop.hr}.salaries")


async def test_a_view_is_read_and_never_written(tmp_path: Path, mariadb: MariaDB) -> None:
    view = "CREATE VIEW {sales}.names AS SELECT name FROM {sales}.customers"
    grants = ("mariadb/analytics:read@sales.names", "mariadb/analytics:write@sales.names")
    async with stocked(tmp_path / "data", mariadb, *grants, also=(view,)) as at:
        reply = await at.lease()
        assert (reply.status, reply.json()["reason"]) == (403, "not_leasable")
        lent = await at.lent(grants=[f"mariadb/analytics:read@{at.shop.sales}.names"])
        with contextlib.closing(session(lent)) as db:
            assert len(ask(db, "SELECT * FROM names")) == 2
            with pytest.raises(pymysql.MySQLError, match="denied"):
                ask(db, "UPDATE names SET name = 'x'")
        assert len(at.shop.accounts()) == 1


async def test_nobody_delegates_a_database_without_an_entitlement(at: Store) -> None:
    bob = await at.house.person("bob@acme.com")
    agent = await at.house.agent("bobs-agent", owner=bob)
    sales = at.shop.sales
    body = {"agent": agent.name, "grants": [f"mariadb/analytics:read@{sales}.*"], "purpose": "the same"}
    assert (await bob.call("POST", "/v1/delegations", **body)).status == 403
    await at.entitle(f"mariadb:read@{sales}.orders", user="bob@acme.com")
    assert (await bob.call("POST", "/v1/delegations", **body)).status == 403
    less = {**body, "grants": [f"mariadb/analytics:read@{sales}.orders"]}
    assert (await bob.call("POST", "/v1/delegations", **less)).status == 201
    more = {**body, "grants": [f"mariadb/analytics:write@{sales}.orders"]}
    assert (await bob.call("POST", "/v1/delegations", **more)).status == 403


async def test_the_trail_and_the_list_hold_no_password(at: Store) -> None:
    lent = json.loads((await at.lease()).json()["credential"])
    (opened,) = await at.house.events("lease.opened")
    assert opened["grants"] == [f"mariadb/{at.connection['id']}:read@{at.shop.sales}.*"]
    assert lent["password"] not in str(await at.house.events())
    assert lent["password"] not in (await at.house.alice.call("GET", "/v1/leases")).body.decode()
    assert at.shop.password not in (await at.house.alice.call("GET", "/v1/connections")).body.decode()


async def test_a_question_is_refused_with_the_way_that_there_is(at: Store) -> None:
    bearer = await at.agent.token(at.task["task_token"], resource=at.audience)
    body = {"statement": f"SELECT * FROM {at.shop.sales}.orders", "parameters": []}
    headers = {"authorization": f"Bearer {bearer}"}
    reply = await at.house.call("POST", "/p/mariadb/analytics/query", headers=headers, json=body)
    assert (reply.status, reply.json()["reason"]) == (403, "statement")
    assert "Take a login" in reply.body.decode()
    other = await at.house.call("GET", "/p/mariadb/analytics/tables", headers=headers)
    assert other.status == 403


async def test_everything_is_not_leased_and_no_other_way_is_promised(tmp_path: Path, mariadb: MariaDB) -> None:
    async with stocked(tmp_path / "data", mariadb, entitled=("mariadb:read,write@*",)) as at:
        body = {"agent": at.agent.name, "purpose": "all", "grants": ["mariadb/analytics:read@*"]}
        everything = await at.house.alice.does("POST", "/v1/delegations", **body)
        at.task = await at.house.task(everything)
        refused = await at.lease()
        assert (refused.status, refused.json()["reason"]) == (403, "not_leasable")
        assert "question" not in refused.json()["hint"]


async def test_a_table_of_an_engine_that_reaches_elsewhere_is_not_leased(tmp_path: Path, mariadb: MariaDB) -> None:
    """BLACKHOLE stands for the engines that keep no rows there; it needs no second server."""
    also = ("INSTALL SONAME 'ha_blackhole'", "CREATE TABLE {sales}.away (n int) ENGINE=BLACKHOLE")
    try:
        async with stocked(tmp_path / "data", mariadb, also=also) as at:
            await at.entitle(f"mariadb:write@{at.shop.sales}.orders")
            body = {"agent": at.agent.name, "purpose": "away"}
            for table, status in (("away", 404), ("orders", 201)):
                grants = [f"mariadb/analytics:read@{at.shop.sales}.{table}"]
                reply = await at.house.alice.call("POST", "/v1/delegations", grants=grants, **body)
                assert reply.status == status, reply.body
    finally:
        mariadb.execute("UNINSTALL SONAME 'ha_blackhole'")


async def test_a_table_that_is_gone_is_not_leased(tmp_path: Path, mariadb: MariaDB) -> None:
    async with stocked(tmp_path / "data", mariadb, "mariadb/analytics:read@sales.orders") as at:
        await at.lent()
        at.shop.as_root(f"RENAME TABLE {at.shop.sales}.orders TO {at.shop.sales}.old")
        reply = await at.lease()
        assert (reply.status, reply.json()["reason"]) == (403, "resource_changed")
