"""A real PostgreSQL login for one agent, one person, one task: it works in any program, and is gone when it ends."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import Postgres
from tests.support.shop import READ, Store, connected, program, session, stocked


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None, postgres: Postgres) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", postgres, database_url=database_url) as found:
        yield found


async def test_a_login_reads_what_was_delegated_and_nothing_else(at: Store) -> None:
    lent = await at.lent()
    async with session(lent) as db:
        assert await db.fetchval("SELECT count(*) FROM sales.orders") == 8
        assert await db.fetchval("SELECT total FROM sales.totals WHERE owner = 'bob@acme.com'") == 6
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.fetch("SELECT * FROM hr.salaries")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await db.execute("DELETE FROM sales.orders")
        await db.execute("SET default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute("DELETE FROM sales.orders")


async def test_who_acts_for_whom_is_told_by_the_session_and_the_role(at: Store) -> None:
    lent = await at.lent()
    async with session(lent) as db:
        row = await db.fetchrow("SELECT * FROM valetkey.valetkey_caller()")
        assert (row["user_name"], row["agent_name"]) == ("alice@acme.com", "report-writer")
        assert (row["task"], row["lease"]) == (at.task["id"], lent["lease"])
        shown = at.shop.as_superuser(f"SELECT application_name FROM pg_stat_activity WHERE usename = '{lent['user']}'")
        assert shown == f"valetkey {lent['lease']}"
    comment = at.shop.as_superuser(
        f"SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{lent['user']}'"
    )
    assert comment == f"valetkey {lent['lease']}"
    assert await at.shop.owner.fetchval("SELECT user_name FROM valetkey.valetkey_caller()") is None


async def test_the_role_is_as_small_as_a_role_can_be(at: Store) -> None:
    lent = await at.lent()
    row = at.shop.as_superuser(
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolconnlimit,"
        " rolvaliduntil > now(), rolvaliduntil < now() + interval '11 minutes'"
        f" FROM pg_roles WHERE rolname = '{lent['user']}'"
    )
    assert row == "f|f|f|f|f|10|t|t"
    granted = at.shop.as_superuser(
        "SELECT count(*), bool_or(m.admin_option) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member"
        f" WHERE r.rolname = '{lent['user']}'"
    )
    assert granted == "1|f"
    stored = at.shop.as_superuser(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{lent['user']}'")
    assert stored.startswith("SCRAM-SHA-256$4096:")


async def test_revoking_ends_open_sessions_and_the_login_and_says_so(at: Store) -> None:
    lent = await at.lent()
    db = await connected(lent)
    hop = await at.revoke(at.delegation["id"])
    assert hop["outcome"] == "done"
    assert "1 ended at the API." in hop["detail"]
    assert "1 open sessions were ended" in hop["detail"]
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await db.fetchval("SELECT 1")
    db.terminate()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connected(lent)
    assert lent["user"] not in at.shop.roles()
    assert [one["status"] for one in await at.leases()] == ["ended"]
    assert await at.shop.owner.fetchval("SELECT count(*) FROM valetkey.leases") == 0
    assert (await at.lease()).status in (400, 401, 403)


async def test_a_role_ends_with_its_task(at: Store) -> None:
    lent = await at.lent()
    db = await connected(lent)
    await at.house.app.take_back.sweep()
    assert lent["user"] in at.shop.roles()
    at.house.clock.advance(at.task["expires_at"] - at.house.clock.now())
    await at.house.app.take_back.sweep()  # or the one of every second, which may be at it
    assert lent["user"] not in at.shop.roles()
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await db.fetchval("SELECT 1")
    db.terminate()


async def test_psql_takes_it_as_address_as_service_and_as_password_file(at: Store, tmp_path: Path) -> None:
    lent = await at.lent()
    assert set(lent) >= {"host", "port", "user", "password", "database", "expires", "url", "pgpass", "service"}
    count = ("psql", "-XAtq", "-c", "SELECT count(*) FROM sales.customers")
    said = await program(*count, lent["url"], environment={"PATH": "/usr/bin:/bin"})
    assert said == (0, "2\n", "")
    words, services = tmp_path / "pgpass", tmp_path / "services"
    words.write_text(lent["pgpass"] + "\n")
    words.chmod(0o600)
    services.write_text(lent["service"] + "\n")
    environment = {"PATH": "/usr/bin:/bin", "PGPASSFILE": str(words), "PGSERVICEFILE": str(services)}
    assert await program(*count, "service=valetkey", environment=environment) == (0, "2\n", "")
    words.write_text("")
    code, _, wrong = await program(*count, "service=valetkey", environment=environment)
    assert code == 2
    assert "password" in wrong


async def test_nobody_delegates_a_database_without_an_entitlement(at: Store) -> None:
    bob = await at.house.person("bob@acme.com")
    agent = await at.house.agent("bobs-agent", owner=bob)
    body = {"agent": agent.name, "grants": [READ], "purpose": "the same"}
    assert (await bob.call("POST", "/v1/delegations", **body)).status == 403
    await at.entitle("postgres:read@sales.orders", user="bob@acme.com")
    assert (await bob.call("POST", "/v1/delegations", **body)).status == 403
    less = {**body, "grants": ["postgres/analytics:read@sales.orders"]}
    assert (await bob.call("POST", "/v1/delegations", **less)).status == 201
    more = {**body, "grants": ["postgres/analytics:write@sales.orders"]}
    assert (await bob.call("POST", "/v1/delegations", **more)).status == 403


async def test_the_trail_and_the_list_hold_no_password(at: Store) -> None:
    reply = await at.lease()
    lent = json.loads(reply.json()["credential"])
    (opened,) = await at.house.events("lease.opened")
    assert opened["grants"] == [f"postgres/{at.connection['id']}:read@sales.*"]
    assert lent["password"] not in str(await at.house.events())
    listed = (await at.house.alice.call("GET", "/v1/leases")).body.decode()
    assert lent["password"] not in listed
    assert at.shop.password not in (await at.house.alice.call("GET", "/v1/connections")).body.decode()
