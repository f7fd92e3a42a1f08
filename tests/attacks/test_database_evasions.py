"""A lease against a real server: every statement somebody could think of, and what the database looks like after it."""

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support import evasions
from tests.support.postgres import Postgres
from tests.support.shop import READ, Store, connected, session, stocked
from valetkey.server.connections.databases.model import prefix

WRITE = "postgres/analytics:write@sales.customers"
_SEEN = """
WITH mine AS (
  SELECT * FROM pg_authid WHERE rolname = '{login}' OR starts_with(rolname::text, '{logins}')
     OR starts_with(rolname::text, '{groups}')
)
SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
  SELECT 'order ' || o::text AS line FROM sales.orders o
  UNION ALL SELECT 'customer ' || c::text FROM sales.customers c
  UNION ALL SELECT 'salary ' || s::text FROM hr.salaries s
  UNION ALL SELECT 'live ' || l::text FROM valetkey.leases l
  UNION ALL SELECT 'sequence ' || q.last_value || q.is_called FROM sales.orders_id_seq q
  UNION ALL SELECT 'relation ' || c.oid || c.relname || c.relowner || coalesce(c.relacl::text, '') || c.relrowsecurity
    FROM pg_class c WHERE c.relkind <> 't'
  UNION ALL SELECT 'schema ' || n.oid || n.nspname || n.nspowner || coalesce(n.nspacl::text, '') FROM pg_namespace n
   WHERE n.nspname !~ '^pg_toast'
  UNION ALL SELECT 'function ' || p.oid || p.proname || p.proowner || p.prosrc || coalesce(p.proacl::text, '')
    || coalesce(p.proconfig::text, '') FROM pg_proc p
  UNION ALL SELECT 'role ' || r.oid || r.rolname || r.rolsuper || r.rolcreaterole || r.rolcanlogin || r.rolconnlimit
    || r.rolbypassrls || r.rolreplication || r.rolinherit || coalesce(r.rolvaliduntil::text, '')
    || CASE WHEN starts_with(r.rolname::text, 'vk_') THEN '' ELSE coalesce(r.rolpassword, '') END FROM mine r
  UNION ALL SELECT 'member ' || m.roleid || ' ' || m.member || m.admin_option FROM pg_auth_members m
    WHERE m.roleid IN (SELECT oid FROM mine) OR m.member IN (SELECT oid FROM mine)
  UNION ALL SELECT 'comment ' || d.objoid || d.description FROM pg_shdescription d
    WHERE d.objoid IN (SELECT oid FROM mine UNION SELECT oid FROM pg_database WHERE datname = current_database())
  UNION ALL SELECT 'comment ' || d.objoid || d.description FROM pg_description d WHERE d.objoid >= 16384
  UNION ALL SELECT 'setting ' || s::text FROM pg_db_role_setting s
    LEFT JOIN mine r ON r.oid = s.setrole
    WHERE (s.setrole = 0 OR r.oid IS NOT NULL) AND NOT starts_with(coalesce(r.rolname::text, ''), 'vk_')
  UNION ALL SELECT 'default ' || d::text FROM pg_default_acl d
  UNION ALL SELECT 'large ' || l.oid FROM pg_largeobject_metadata l
  UNION ALL SELECT 'trigger ' || t.tgname FROM pg_trigger t
  UNION ALL SELECT 'policy ' || p.polname FROM pg_policy p
  UNION ALL SELECT 'type ' || t.typname FROM pg_type t
  UNION ALL SELECT 'extension ' || e.extname FROM pg_extension e
  UNION ALL SELECT 'prepared ' || x.gid FROM pg_prepared_xacts x WHERE x.database = current_database()
) AS seen
"""


def looks(at: Store) -> str:
    """All that somebody could have changed, as one digest. Of its own role a lease may change password and settings.

    Of roles, which are the whole server's, those of this story: other stories have theirs there.
    """
    logins = prefix(at.house.app.deployment)
    groups = logins.replace("vk_", "vg_", 1)
    seen = _SEEN.replace("{login}", at.shop.login).replace("{logins}", logins).replace("{groups}", groups)
    return at.shop.as_superuser(seen)


def _names(at: Store, lent: Any) -> dict[str, str]:
    group = at.shop.as_superuser(
        "SELECT g.rolname FROM pg_auth_members m"
        " JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member"
        f" WHERE r.rolname = '{lent['user']}' LIMIT 1"
    )
    return {"me": lent["user"], "owner": at.shop.login, "group": group, "database": at.shop.name}


async def _put(lent: Any, statements: list[str], at: Store) -> dict[str, str | None]:
    """Each in a session of its own that has first turned off what can be turned off; what came of it."""
    came: dict[str, str | None] = {}
    before = looks(at)
    for number, statement in enumerate(statements):
        async with session(lent) as db:
            if number % 2:  # as it comes, or with the convenience of being read-only taken away
                await db.execute("SET default_transaction_read_only = off")
            try:
                await db.execute(statement, timeout=10)
                came[statement] = None
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                came[statement] = getattr(error, "sqlstate", "") or type(error).__name__
        if number % 10 == 9 or came[statement] is None:
            assert looks(at) == before, statement
    assert looks(at) == before
    return came


async def test_no_statement_gets_out_of_a_lease_that_reads(tmp_path: Path, postgres: Postgres) -> None:
    """SQ-01, SQ-02"""
    async with stocked(tmp_path / "data", postgres, READ) as at:
        lent = await at.lent()
        statements = evasions.lines(evasions.READ, **_names(at, lent))
        assert len(set(statements)) >= 150
        came = await _put(lent, statements, at)
        silent = [one for one, code in came.items() if code is None and one.startswith(evasions.NEEDS_A_REFUSAL)]
        assert not [one for one in silent if not one.startswith(evasions.NEVERTHELESS)]
        async with session(lent) as db:
            assert await db.fetchval("SELECT count(*) FROM sales.orders") == 8


async def test_no_statement_gets_out_of_a_lease_that_writes_one_table(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, WRITE) as at:
        lent = await at.lent()
        statements = [
            one
            for one in evasions.lines(evasions.READ, **_names(at, lent))
            if "sales.customers" not in one  # which is what it may write
        ]
        assert len(set(statements)) >= 150
        came = await _put(lent, statements, at)
        silent = [one for one, code in came.items() if code is None and one.startswith(evasions.NEEDS_A_REFUSAL)]
        assert not [one for one in silent if not one.startswith(evasions.NEVERTHELESS)]
        async with session(lent) as db:
            assert await db.execute("UPDATE sales.customers SET name = 'Acme Inc.' WHERE id = 1") == "UPDATE 1"
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.fetch("SELECT * FROM sales.orders")


async def test_others_sessions_show_nothing(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, READ) as at:
        lent = await at.lent()
        await at.shop.owner.fetch("SELECT 'what the owner asks'")
        async with session(lent) as db:
            rows = await db.fetch("SELECT query FROM pg_stat_activity WHERE usename = $1", at.shop.login)
            assert rows
            assert {row["query"] for row in rows} == {"<insufficient privilege>"}


async def test_a_password_of_its_own_choosing_ends_with_the_lease_too(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, READ) as at:
        lent = await at.lent()
        async with session(lent) as db:
            await db.execute("SET default_transaction_read_only = off")
            await db.execute(f"ALTER ROLE {lent['user']} PASSWORD 'mine'")
            await db.execute(f"ALTER ROLE {lent['user']} SET statement_timeout = 0")
        mine = {**lent, "password": "mine"}
        async with session(mine) as db:
            assert await db.fetchval("SELECT 1") == 1
        assert (await at.revoke(lent["lease"]))["outcome"] == "done"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connected(mine)
        assert lent["user"] not in at.shop.roles()
