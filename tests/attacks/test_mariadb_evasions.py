"""A MariaDB lease against a real server: every statement somebody could think of, and what it looks like after."""

import contextlib
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.support import maria_evasions as evasions
from tests.support.maria_shop import ask, session, stocked
from tests.support.mariadb import MariaDB
from tests.support.shop import Store

_ALSO = (
    "CREATE SEQUENCE {sales}.numbers",
    "CREATE PROCEDURE {sales}.clears() SQL SECURITY DEFINER DELETE FROM {sales}.orders",
    "CREATE PROCEDURE {hr}.clears() SQL SECURITY DEFINER DELETE FROM {hr}.salaries",
    "CREATE FUNCTION {sales}.counts() RETURNS int READS SQL DATA RETURN (SELECT count(*) FROM {hr}.salaries)",
    "CREATE VIEW {sales}.names AS SELECT * FROM {sales}.customers",
)
_TABLES = ("global_priv", "db", "tables_priv", "columns_priv", "procs_priv", "roles_mapping", "proxies_priv", "proc",
    "event", "func", "plugin", "servers")  # fmt: skip
_SCHEMA = {
    "TABLES": "TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_TIME, TABLE_COMMENT",
    "COLUMNS": "TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE",
    "STATISTICS": "TABLE_SCHEMA, TABLE_NAME, INDEX_NAME",
    "TRIGGERS": "TRIGGER_SCHEMA, TRIGGER_NAME",
    "SCHEMATA": "SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME",
    "GLOBAL_VARIABLES": "VARIABLE_NAME, VARIABLE_VALUE",
}
_MOVING = "VARIABLE_NAME NOT LIKE 'gtid%' AND VARIABLE_NAME NOT LIKE 'innodb_buffer_pool_load%'"


def looks(at: Store) -> dict[str, Any]:
    """All that somebody could have changed."""
    sales, hr = at.shop.sales, at.shop.hr
    found: dict[str, Any] = {}
    with contextlib.closing(at.shop.server.root()) as db:
        for table in (f"{sales}.orders", f"{sales}.customers", f"{hr}.salaries"):
            found[table] = ask(db, f"SELECT * FROM {table} ORDER BY 1")
        found["sequence"] = ask(db, f"SELECT next_not_cached_value FROM {sales}.numbers")
        for table in _TABLES:
            found[table] = sorted(map(repr, ask(db, f"SELECT * FROM mysql.{table}")))
        for table, columns in _SCHEMA.items():
            where = "TABLE_SCHEMA IN ('mysql')" if table == "none" else "1"
            where = _MOVING if table == "GLOBAL_VARIABLES" else where
            if table in ("TABLES", "COLUMNS", "STATISTICS"):
                where = f"TABLE_SCHEMA IN ('{sales}', '{hr}', 'mysql', 'test')"
            found[table] = sorted(map(repr, ask(db, f"SELECT {columns} FROM information_schema.{table} WHERE {where}")))
    return found


def _names(at: Store, lent: Any) -> dict[str, str]:
    ((role,),) = at.shop.as_root(f"SELECT Role FROM mysql.roles_mapping WHERE User = '{lent['user']}'")
    return {
        "me": lent["user"], "owner": at.shop.login, "role": str(role), "sales": at.shop.sales, "hr": at.shop.hr,
    }  # fmt: skip


def _put(lent: Any, statements: list[str], at: Store) -> list[str]:
    """Each in a session of its own, and every other one as several statements may be put; those that went through."""
    through: list[str] = []
    before = looks(at)
    several = pymysql.constants.CLIENT.MULTI_STATEMENTS
    for number, statement in enumerate(statements):
        with contextlib.closing(session(lent, client_flag=several, local_infile=True)) as db:
            try:
                with db.cursor() as cursor:
                    cursor.execute(statement)
                    while cursor.nextset():
                        pass
                through.append(statement)
            except (pymysql.MySQLError, RuntimeError):
                pass
        if number % 10 == 9 or (through and through[-1] == statement):
            assert looks(at) == before, statement
    assert looks(at) == before
    return through


@pytest.mark.parametrize("grant", ["read@sales.*", "write@sales.customers"])
async def test_no_statement_gets_out_of_a_lease(tmp_path: Path, mariadb: MariaDB, grant: str) -> None:
    """SQ-01, SQ-02"""
    async with stocked(tmp_path / "data", mariadb, f"mariadb/analytics:{grant}", also=_ALSO) as at:
        lent = await at.lent()
        names = _names(at, lent)
        statements = [
            one
            for one in evasions.lines(evasions.READ, **names)
            if grant.startswith("read") or f"{at.shop.sales}.customers" not in one  # which is what it may write
        ]
        assert len(set(statements)) >= 150
        owner = f"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{at.shop.login}'"
        its_session = at.shop.as_root(owner)
        assert its_session
        through = _put(lent, statements, at)
        assert at.shop.as_root(owner) == its_session  # nobody killed it
        may_answer = tuple(line.replace("{sales}", at.shop.sales) for line in evasions.ANSWERS)
        assert [one for one in through if not one.startswith(may_answer)] == []
        silent = evasions.lines(evasions.SILENT, **names)
        assert set(_put(lent, silent, at)) >= {one for one in silent if "orders" not in one}
        with contextlib.closing(session(lent)) as db:
            table = "orders" if grant.startswith("read") else "customers"
            assert ask(db, f"SELECT count(*) > 1 FROM {at.shop.sales}.{table}") == [(1,)]
            assert ask(db, "SELECT LOAD_FILE('/etc/passwd')") == [(None,)]


async def test_a_database_of_a_similar_name_is_not_read(tmp_path: Path, mariadb: MariaDB) -> None:
    async with stocked(tmp_path / "data", mariadb) as at:
        similar = at.shop.sales.replace("_", "x", 1)
        at.shop.as_root(f"CREATE DATABASE {similar}", f"CREATE TABLE {similar}.secrets (n int)")
        try:
            with contextlib.closing(session(await at.lent())) as db:
                assert ask(db, f"SELECT count(*) FROM {at.shop.sales}.orders") == [(3,)]
                with pytest.raises(pymysql.MySQLError, match="denied"):
                    ask(db, f"SELECT * FROM {similar}.secrets")
        finally:
            at.shop.as_root(f"DROP DATABASE {similar}")


async def test_others_sessions_and_accounts_show_nothing(tmp_path: Path, mariadb: MariaDB) -> None:
    async with stocked(tmp_path / "data", mariadb) as at:
        lent = await at.lent()
        with contextlib.closing(session(lent)) as db:
            assert {row[1] for row in ask(db, "SHOW PROCESSLIST")} == {lent["user"]}
            assert {row[0] for row in ask(db, "SELECT USER FROM information_schema.PROCESSLIST")} == {lent["user"]}
            assert at.shop.hr not in {row[0] for row in ask(db, "SHOW DATABASES")}
            seen = ask(db, "SELECT GRANTEE FROM information_schema.USER_PRIVILEGES")
            assert at.shop.login not in str(seen)


async def test_a_password_of_its_own_choosing_ends_with_the_lease_too(tmp_path: Path, mariadb: MariaDB) -> None:
    async with stocked(tmp_path / "data", mariadb) as at:
        lent = await at.lent()
        with contextlib.closing(session(lent)) as db:
            ask(db, "SET PASSWORD = PASSWORD('mine')")
            ask(db, "SET DEFAULT ROLE NONE")
        mine = {**lent, "password": "mine", "database": ""}
        with contextlib.closing(session(mine)) as db:
            assert ask(db, "SELECT 1") == [(1,)]
        assert (await at.revoke(lent["lease"]))["outcome"] == "done"
        with pytest.raises(pymysql.MySQLError, match="denied"):
            session(mine)
        assert lent["user"] not in at.shop.accounts()


async def test_ten_sessions_and_no_more(tmp_path: Path, mariadb: MariaDB) -> None:
    async with stocked(tmp_path / "data", mariadb) as at:
        lent = await at.lent()
        with contextlib.ExitStack() as opened:
            for _ in range(10):
                opened.enter_context(contextlib.closing(session(lent)))
            with pytest.raises(pymysql.MySQLError, match="max_user_connections"):
                session(lent)
