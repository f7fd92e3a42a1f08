"""Pretending to be somebody else inside a database: `valetkey_caller()` says who acts, whatever a session does."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.house import open_house
from tests.support.postgres import Postgres
from tests.support.shop import Store, connect_shop, session, shop, stocked
from valetkey.server.clock import DrivenClock
from valetkey.server.connections.databases.postgres import store
from valetkey.server.connections.databases.postgres.model import NewRole, verifier
from valetkey.server.secret import Secret

POLICY = """
CREATE POLICY own ON sales.orders
 USING (owner = (SELECT user_name FROM valetkey.valetkey_caller()))
 WITH CHECK (owner = (SELECT user_name FROM valetkey.valetkey_caller()));
ALTER TABLE sales.orders ENABLE ROW LEVEL SECURITY;
"""
WRITE = "postgres/analytics:write@sales.orders"
CALLER = "SELECT (valetkey.valetkey_caller()).user_name"


@pytest.fixture
async def at(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", postgres, WRITE) as found:
        await found.shop.owner.execute(POLICY)
        yield found


async def test_a_person_sees_and_writes_her_own_rows_through_her_agent(at: Store) -> None:
    async with session(await at.lent()) as db:
        assert await db.fetchval("SELECT count(*) FROM sales.orders") == 5
        assert await db.execute("UPDATE sales.orders SET total = 0 WHERE owner = 'bob@acme.com'") == "UPDATE 0"
        assert await db.execute("INSERT INTO sales.orders (owner, total) VALUES ('alice@acme.com', 9)") == "INSERT 0 1"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute("INSERT INTO sales.orders (owner, total) VALUES ('bob@acme.com', 9)")


FORGERIES = [
    "SET ROLE {owner}",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION {owner}",
    "SET SESSION AUTHORIZATION postgres",
    "SET LOCAL SESSION AUTHORIZATION {other}",
    "SELECT set_config('session_authorization', '{other}', false)",
    "SELECT set_config('role', '{other}', false)",
    "SET ROLE {other}",
    "SET search_path = pg_temp, sales, valetkey",
    "SELECT set_config('search_path', 'pg_temp', false)",
    "SET valetkey.user = 'bob@acme.com'",
    "SELECT set_config('valetkey.user', 'bob@acme.com', false)",
    "SET application_name = 'valetkey lse_other'",
    "INSERT INTO valetkey.leases SELECT * FROM valetkey.leases",
    "UPDATE valetkey.leases SET user_name = 'bob@acme.com'",
    "DELETE FROM valetkey.leases",
    "SELECT * FROM valetkey.leases",
    "LOCK TABLE valetkey.leases IN ACCESS SHARE MODE",
    "CREATE TEMP TABLE leases (role_name name, role_oid oid, user_name text)",
    "CREATE TABLE pg_temp.leases (role_name name)",
    "CREATE FUNCTION pg_temp.valetkey_caller() RETURNS text LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION valetkey.valetkey_caller(int) RETURNS text LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION valetkey.valetkey_caller() RETURNS text LANGUAGE sql AS 'SELECT 1'",
    "ALTER FUNCTION valetkey.valetkey_caller() SECURITY INVOKER",
    "ALTER FUNCTION valetkey.valetkey_caller() SET search_path = pg_temp",
    "DROP FUNCTION valetkey.valetkey_caller()",
    "CREATE SCHEMA mine",
    "ALTER ROLE {me} RENAME TO {other}",
    "ALTER ROLE {other} RENAME TO gone",
    "CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, PROCEDURE = nameeq)",
    "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
    "CREATE VIEW public.pg_roles AS SELECT 1",
    "ALTER TABLE sales.orders DISABLE ROW LEVEL SECURITY",
    "DROP POLICY own ON sales.orders",
    "SET row_security = off",
    "DO $$ BEGIN PERFORM set_config('role', 'postgres', false); END $$",
]


async def test_no_session_says_that_it_acts_for_somebody_else(at: Store) -> None:
    bob = await at.house.person("bob@acme.com")
    await at.entitle("postgres:write@sales.orders", user="bob@acme.com")
    agent = await at.house.agent("bobs-agent", owner=bob)
    delegation = await at.house.delegate(agent, WRITE, owner=bob)
    task = await at.house.task(delegation, owner=bob)
    body = {"task_token": task["task_token"], "target": "https://postgres.databases.invalid"}
    reply = await agent.call("POST", "/v1/leases", **body)
    assert reply.status == 201
    mine = await at.lent()
    other = json.loads(reply.json()["credential"])["user"]
    names = {"owner": at.shop.login, "other": other, "me": mine["user"]}
    said = []
    async with session(mine) as db:
        for forgery in FORGERIES:
            statement = forgery.format(**names)
            try:
                await db.execute(statement)
            except asyncpg.PostgresError as error:
                said.append((statement, error.sqlstate))
            assert await db.fetchval(CALLER) == "alice@acme.com", statement
            assert await db.fetchval("SELECT session_user::text") == mine["user"], statement
            visible = "SELECT count(*) FROM sales.orders WHERE owner <> 'alice@acme.com'"
            try:
                assert await db.fetchval(visible) == 0, statement
            except asyncpg.InsufficientPrivilegeError:
                assert "row_security" in statement  # off means: an error rather than fewer rows
                await db.execute("RESET row_security")
    refused = {statement for statement, _ in said}
    allowed = [f.format(**names) for f in FORGERIES if f.format(**names) not in refused]
    assert all(
        one.startswith(("SET ", "SELECT set_config('search", "SELECT set_config('valetkey")) for one in allowed
    ), allowed
    assert not [one for one in allowed if "ROLE" in one or "AUTHORIZATION" in one]


async def test_a_group_tells_no_more_and_gives_no_more_than_the_role_has(at: Store) -> None:
    """PostgreSQL 14 and 15 let a member SET ROLE to its group; from 16 on not even that."""
    lent = await at.lent()
    version = int(at.shop.as_superuser("SHOW server_version_num"))
    group = at.shop.as_superuser(
        "SELECT g.rolname FROM pg_auth_members m"
        " JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member"
        f" WHERE r.rolname = '{lent['user']}'"
    )
    async with session(lent) as db:
        if version >= 160_000:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await db.execute(f'SET ROLE "{group}"')
            return
        await db.execute(f'SET ROLE "{group}"')
        assert await db.fetchval(CALLER) == "alice@acme.com"
        assert await db.fetchval("SELECT count(*) FROM sales.orders WHERE owner <> 'alice@acme.com'") == 0
        for more in (
            "SELECT * FROM hr.salaries",
            "CREATE TABLE sales.mine (n int)",
            f'GRANT "{group}" TO PUBLIC',
            f'GRANT "{group}" TO {at.shop.login}',
            f'ALTER ROLE "{group}" LOGIN',
            "GRANT SELECT ON sales.orders TO PUBLIC",
        ):
            try:
                await db.execute(more)
            except asyncpg.PostgresError:
                continue
            assert "PUBLIC" in more  # a warning says that nothing was granted
    assert (
        at.shop.as_superuser(
            "SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a WHERE a.grantee = 0 AND c.relname = 'orders'"
        )
        == "0"
    )


async def test_a_name_that_is_sql_is_only_a_name(at: Store) -> None:
    """What people chose goes into a statement that takes no parameters."""
    names = ["O'Brien'); DROP TABLE sales.orders; --", 'a"b\\c$$d', "é\u202e\U0001f600", "\\'||current_user||\\'"]
    about = await store.server(at.shop.owner)
    for strings in ("on", "off"):
        await at.shop.owner.execute(f"SET standard_conforming_strings = {strings}")
        for number, name in enumerate(names):
            role = f"vk_0123abcd_{strings:0>16}{number}"
            made = NewRole(
                name=role, lease="lse_1", verifier=verifier(Secret("x"), b"0123456789abcdef"), groups=(),
                reads_only=True, seconds=60, user_name=name, user_id="usr_1", agent_name=name, agent_id="agt_1",
                task="tsk_1",
            )  # fmt: skip
            await store.make_role(at.shop.owner, made, about=about)
            row = await at.shop.owner.fetchrow("SELECT * FROM valetkey.leases WHERE role_name = $1", role)
            assert (row["user_name"], row["agent_name"], row["lease"]) == (name, name, "lse_1")
            await store.drop_role(at.shop.owner, role)
    assert await at.shop.owner.fetchval("SELECT count(*) FROM sales.orders") == 8


async def test_a_lease_that_is_over_acts_for_nobody_even_where_its_role_is_still_there(at: Store) -> None:
    lent = await at.lent()
    async with session(lent) as db:
        at.shop.as_superuser("UPDATE valetkey.leases SET ends_at = now() - interval '1 second'")
        assert await db.fetchval(CALLER) is None
        assert await db.fetchval("SELECT count(*) FROM sales.orders") == 0


async def test_a_schema_somebody_else_prepared_is_refused(tmp_path: Path, postgres: Postgres) -> None:
    async with shop(postgres) as there:
        there.as_superuser("CREATE SCHEMA valetkey; CREATE TABLE valetkey.leases (role_name name)")
        async with open_house(tmp_path / "data", clock=DrivenClock(), local=(there.place,)) as house:
            body = {"integration": "postgres", "credential": there.url, "name": "analytics"}
            refused = await house.alice.call("POST", "/v1/connections", **body)
            assert refused.status in (403, 409, 502), refused.body
            there.as_superuser("DROP SCHEMA valetkey CASCADE")
            assert (await connect_shop(house, there))["name"] == "analytics"
