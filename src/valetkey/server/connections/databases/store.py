"""The only SQL that is spoken to a connected database: roles of ours, the groups they are in, and who acts by them.

Everything runs as the connected login. Values travel as parameters; a statement that takes none (CREATE ROLE) is built
from names and words of our own alphabet alone. Oids decide, names are read from them by the server.
"""

# ruff: noqa: S608 - what is put into a query is a constant of this file or a name that passed `quoted`

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from valetkey.server.connections.databases.model import (
    CONNECTIONS,
    IDLE_SECONDS,
    SCHEMA,
    STATEMENT_SECONDS,
    NewRole,
    Wanted,
    quoted,
)
from valetkey.server.errors import Conflict, Denied

Session = Any
_TABLES: Final = "'r', 'p', 'v', 'm'"
_RELATION: Final = "'pg_catalog.pg_class'::pg_catalog.regclass"
_ROLE: Final = "'pg_catalog.pg_authid'::pg_catalog.regclass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What the database says of itself and of the login."""

    version: int
    database: int
    login: str
    is_superuser: bool
    makes_roles: bool
    now: float


async def server(db: Session) -> Server:
    row = await db.fetchrow(
        """SELECT pg_catalog.current_setting('server_version_num')::int AS version, d.oid::bigint AS database,
                  session_user::text AS login, r.rolsuper, r.rolcreaterole,
                  extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS now
             FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
            WHERE r.rolname = session_user AND d.datname = pg_catalog.current_database()"""
    )
    return Server(
        version=row["version"],
        database=row["database"],
        login=row["login"],
        is_superuser=row["rolsuper"],
        makes_roles=row["rolsuper"] or row["rolcreaterole"],
        now=row["now"],
    )


# Whom a session acts for. It reads `session_user`, which SET ROLE leaves as it is and only a superuser changes; it is
# looked up by name and oid in a table that no lease can read or write, and what its own body means is fixed.
PREPARE: Final = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.leases (
    role_name name PRIMARY KEY, role_oid oid NOT NULL, lease text NOT NULL, user_name text NOT NULL,
    user_id text NOT NULL, agent_name text NOT NULL, agent_id text NOT NULL, task text NOT NULL,
    ends_at timestamptz NOT NULL
);
REVOKE ALL ON {SCHEMA}.leases FROM PUBLIC;
CREATE OR REPLACE FUNCTION {SCHEMA}.valetkey_caller(
    OUT user_name text, OUT user_id text, OUT agent_name text, OUT agent_id text, OUT task text, OUT lease text
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT l.user_name, l.user_id, l.agent_name, l.agent_id, l.task, l.lease
      FROM {SCHEMA}.leases AS l JOIN pg_catalog.pg_roles AS r ON r.rolname = l.role_name AND r.oid = l.role_oid
     WHERE l.role_name = session_user AND l.ends_at > pg_catalog.clock_timestamp()
$$;
REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC;
GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC;
REVOKE ALL ON FUNCTION {SCHEMA}.valetkey_caller() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION {SCHEMA}.valetkey_caller() TO PUBLIC;
"""


async def prepare(db: Session) -> None:
    """The schema that is ours, with the table of live leases and the function that reads it.

    Raises `Conflict` when somebody else owns what is called so.
    """
    # SECURITY: who owns the schema or the table says who acts; a place somebody else prepared is refused, not used.
    # Guarded by tests/attacks/test_database_callers.py::test_a_schema_somebody_else_prepared_is_refused
    theirs = await db.fetchval(
        f"""SELECT count(*) FROM (
              SELECT nspowner AS owner FROM pg_catalog.pg_namespace WHERE nspname = '{SCHEMA}'
              UNION ALL
              SELECT c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = '{SCHEMA}' AND c.relkind NOT IN ('i', 't')
              UNION ALL
              SELECT p.proowner FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
               WHERE n.nspname = '{SCHEMA}'
            ) AS found WHERE owner <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user)"""
    )
    if theirs:
        raise Conflict(
            f"This database has a schema {SCHEMA} that belongs to somebody else.",
            hint="Look at what it is, then drop it or connect by the login that owns it.",
        )
    async with db.transaction():
        await db.execute(PREPARE)


async def table(db: Session, *, schema: str, name: str) -> Any:
    """The table of that very name: its oid and its schema's; None where there is none."""
    return await db.fetchrow(
        f"""SELECT c.oid::bigint AS oid, n.oid::bigint AS schema, n.nspname::text AS of, c.relname::text AS name
              FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ({_TABLES})""",
        schema,
        name,
    )


async def table_by_oid(db: Session, oid: int) -> Any:
    return await db.fetchrow(
        f"""SELECT c.oid::bigint AS oid, n.oid::bigint AS schema, n.nspname::text AS of, c.relname::text AS name,
                   c.relkind IN ('r', 'p') AS holds_rows
              FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = $1::bigint::oid AND c.relkind IN ({_TABLES})""",
        oid,
    )


async def schema_oid(db: Session, name: str) -> int | None:
    found: int | None = await db.fetchval("SELECT oid::bigint FROM pg_catalog.pg_namespace WHERE nspname = $1", name)
    return found


async def schema_name(db: Session, oid: int) -> str | None:
    found: str | None = await db.fetchval(
        "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE oid = $1::bigint::oid", oid
    )
    return found


async def keep_groups(db: Session, wanted: Sequence[Wanted]) -> None:
    """Give each group role exactly the rights it is to have, making it where it is missing.

    Nothing is written where all is as it should be. Raises `Denied` when the login cannot give a right.
    """
    if not [one for one in wanted if await _differs(db, one)]:
        return
    async with db.transaction():
        # NOTE: no advisory lock: any session in the database could hold one against us, a lease's too.
        await db.execute(f"LOCK TABLE {SCHEMA}.leases IN SHARE ROW EXCLUSIVE MODE")
        for one in wanted:
            await _keep_group(db, one)


async def _differs(db: Session, wanted: Wanted) -> bool:
    expected, actual = await _rights(db, wanted)
    if expected != actual or not expected:
        return True
    return not await db.fetchval("SELECT pg_catalog.has_schema_privilege($1, $2::bigint::oid, 'USAGE')",
        wanted.group, await _schema_of(db, wanted))  # fmt: skip


async def _schema_of(db: Session, wanted: Wanted) -> int:
    if wanted.schema:
        return wanted.schema
    found: int = await db.fetchval(
        "SELECT relnamespace::bigint FROM pg_catalog.pg_class WHERE oid = $1::bigint::oid", wanted.table
    )
    return found


async def _rights(db: Session, wanted: Wanted) -> tuple[set[tuple[int, str]], set[tuple[int, str]]]:
    """The rights a group should have, and those it has: by relation and privilege."""
    tables = [
        row["oid"]
        for row in await db.fetch(
            f"""SELECT c.oid::bigint AS oid FROM pg_catalog.pg_class c
                 WHERE c.relkind IN ({_TABLES}) AND (c.oid = $1::bigint::oid OR c.relnamespace = $2::bigint::oid)""",
            wanted.table,
            wanted.schema,
        )
    ]
    expected = {(oid, right) for oid in tables for right in wanted.rights}
    if "INSERT" in wanted.rights:
        owned = await db.fetch(
            f"""SELECT d.objid::bigint AS oid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid
                 WHERE d.classid = {_RELATION} AND d.refclassid = {_RELATION} AND d.refobjid = ANY($1::bigint[]::oid[])
                   AND d.deptype = 'a' AND s.relkind = 'S'""",
            tables,
        )
        expected |= {(row["oid"], "USAGE") for row in owned}
    actual = await db.fetch(
        f"""SELECT c.oid::bigint AS oid, a.privilege_type AS held
              FROM pg_catalog.pg_shdepend d JOIN pg_catalog.pg_class c ON c.oid = d.objid,
                   pg_catalog.aclexplode(c.relacl) a
             WHERE d.refclassid = {_ROLE} AND d.classid = {_RELATION} AND a.grantee = d.refobjid
               AND d.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1)
               AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())""",
        wanted.group,
    )
    return expected, {(row["oid"], row["held"]) for row in actual}


async def _keep_group(db: Session, wanted: Wanted) -> None:
    group = quoted(wanted.group)
    if not await db.fetchval("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", wanted.group):
        await db.execute(
            f"CREATE ROLE {group} NOLOGIN NOINHERIT; COMMENT ON ROLE {group} IS 'valetkey: rights on one thing'"
        )
    expected, actual = await _rights(db, wanted)
    schema = await schema_name(db, await _schema_of(db, wanted))
    statements = [await _written(db, f"GRANT USAGE ON SCHEMA %I TO {group}", schema)]
    for oid, right in sorted(actual - expected):
        statements.append(await _on(db, oid, f"REVOKE {right} ON %s FROM {group}"))
    for oid, right in sorted(expected - actual):
        statements.append(await _on(db, oid, f"GRANT {right} ON %s TO {group}"))
    for statement in statements:
        await db.execute(statement)
    # SECURITY: names were read before they were written: whatever moved in between is seen by its oid, and undone.
    expected, actual = await _rights(db, wanted)
    if not expected or expected != actual:
        raise Denied(
            "The connected login cannot give these rights, or the tables changed at this moment.",
            hint="The login must own the tables, or hold their rights WITH GRANT OPTION.",
            reason="not_grantable",
        )


async def _on(db: Session, oid: int, statement: str) -> str:
    """The statement about that relation, by the name it has now."""
    row = await db.fetchrow(
        """SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind
             FROM pg_catalog.pg_class c
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::bigint::oid""",
        oid,
    )
    kind = "SEQUENCE" if row["kind"] == "S" else "TABLE"
    return await _written(db, statement.replace("%s", f"{kind} %I.%I"), row["schema"], row["name"])


async def _written(db: Session, statement: str, *names: str | None) -> str:
    written: str = await db.fetchval("SELECT pg_catalog.format($1, VARIADIC $2::text[])", statement, list(names))
    return written


async def make_role(db: Session, role: NewRole, *, about: Server) -> None:
    """The role, its groups, its comment and its line in the table of live leases: all of it or nothing."""
    name = quoted(role.name)
    if about.version >= 160_000:
        inherits, way = "NOINHERIT", " WITH INHERIT TRUE, SET FALSE, ADMIN FALSE"
        ours = " WITH INHERIT TRUE, SET FALSE"
    else:
        inherits, way, ours = "INHERIT", "", ""
    ends = about.now + role.seconds
    rights = f"LOGIN {inherits} NOCREATEDB NOCREATEROLE CONNECTION LIMIT {CONNECTIONS}"
    lines = [
        f"CREATE ROLE {name} {rights} PASSWORD '{role.verifier}' VALID UNTIL '{_moment(ends)}'",
        *(f"GRANT {quoted(group)} TO {name}{way}" for group in role.groups),
        f"COMMENT ON ROLE {name} IS 'valetkey {role.lease}'",
        f"ALTER ROLE {name} SET application_name = 'valetkey {role.lease}'",
        f"ALTER ROLE {name} SET statement_timeout = '{STATEMENT_SECONDS}s'",
        f"ALTER ROLE {name} SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'",
    ]
    if role.reads_only:
        lines.append(f"ALTER ROLE {name} SET default_transaction_read_only = on")
    if not about.is_superuser:  # to end its sessions and to drop it
        lines.append(f"GRANT {name} TO CURRENT_USER{ours}")
    async with db.transaction():
        await db.execute(";\n".join(lines))
        await db.execute(
            f"""INSERT INTO {SCHEMA}.leases
                SELECT r.rolname, r.oid, $2, $3, $4, $5, $6, $7, pg_catalog.to_timestamp($8)
                  FROM pg_catalog.pg_roles r WHERE r.rolname = $1""",
            role.name, role.lease, role.user_name, role.user_id, role.agent_name, role.agent_id, role.task, ends,
        )  # fmt: skip


def _moment(at: float) -> str:
    return datetime.fromtimestamp(int(at) + 1, UTC).strftime("%Y-%m-%d %H:%M:%S+00")


async def roles(db: Session, beginning: str) -> set[str]:
    """The roles there are whose names begin so."""
    rows = await db.fetch(
        "SELECT rolname::text AS name FROM pg_catalog.pg_roles WHERE pg_catalog.starts_with(rolname::text, $1)",
        beginning,
    )
    return {row["name"] for row in rows}


async def outlived(db: Session, beginning: str) -> list[str]:
    """The roles there are whose names begin so and that let nobody in any more, by the server's own clock."""
    rows = await db.fetch(
        """SELECT rolname::text AS name FROM pg_catalog.pg_roles
            WHERE pg_catalog.starts_with(rolname::text, $1) AND rolvaliduntil < pg_catalog.clock_timestamp()""",
        beginning,
    )
    return [row["name"] for row in rows]


async def shut(db: Session, names: Collection[str]) -> int:
    """No new session by any of these roles, and none that is open; how many were ended."""
    rows = await db.fetch("SELECT rolname::text AS name FROM pg_catalog.pg_roles WHERE rolname = ANY($1)", list(names))
    there = [row["name"] for row in rows]
    if not there:
        return 0
    # SECURITY: first nobody comes in, durably; then whoever is in is shown out. Dropping comes last and may fail.
    # Guarded by tests/faults/test_database_leases.py::test_what_cannot_be_dropped_is_shut
    await db.execute(";\n".join(f"ALTER ROLE {quoted(name)} NOLOGIN" for name in there))
    ended: int = await db.fetchval(
        """SELECT count(*) FROM (SELECT pg_catalog.pg_terminate_backend(pid) AS told
             FROM pg_catalog.pg_stat_activity WHERE usename = ANY($1)) AS each WHERE told""",
        there,
    )
    left = await db.fetch(
        """SELECT pg_catalog.pg_terminate_backend(pid, 3000) AS gone FROM pg_catalog.pg_stat_activity
            WHERE usename = ANY($1)""",
        there,
    )
    if not all(row["gone"] for row in left):
        raise Conflict("A session of this role has not ended yet.")
    return ended


async def forget(db: Session, name: str) -> None:
    """It acts for nobody any more."""
    await db.execute(f"DELETE FROM {SCHEMA}.leases WHERE role_name = $1", name)


async def forget_the_gone(db: Session) -> None:
    """Lines of roles that are gone, which a backup that was put back brought along. They speak for nobody; they go."""
    await db.execute(
        f"""DELETE FROM {SCHEMA}.leases AS l WHERE NOT EXISTS (
              SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = l.role_name AND r.oid = l.role_oid)"""
    )


async def owning_in(db: Session, name: str) -> list[str]:
    """The databases in which something belongs to the role, or it has rights."""
    rows = await db.fetch(
        f"""SELECT DISTINCT d.datname::text AS name FROM pg_catalog.pg_shdepend s
              JOIN pg_catalog.pg_database d ON d.oid = s.dbid
             WHERE s.refclassid = {_ROLE}
               AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1)""",
        name,
    )
    return [row["name"] for row in rows]


async def drop_owned(db: Session, name: str) -> None:
    """Whatever is the role's in this database, prepared transactions too."""
    for row in await db.fetch(
        """SELECT pg_catalog.format('ROLLBACK PREPARED %L', gid) AS statement FROM pg_catalog.pg_prepared_xacts
            WHERE owner = $1 AND database = pg_catalog.current_database()""",
        name,
    ):
        await db.execute(row["statement"])
    if await db.fetchval("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", name):
        await db.execute(f"DROP OWNED BY {quoted(name)}")


async def drop_role(db: Session, name: str) -> None:
    await db.execute(f"DROP ROLE IF EXISTS {quoted(name)}")


async def database_named(db: Session, oid: int) -> str | None:
    """What a database is called now."""
    found: str | None = await db.fetchval(
        "SELECT datname::text FROM pg_catalog.pg_database WHERE oid = $1::bigint::oid", oid
    )
    return found


async def take_the_turn(db: Session) -> None:
    """Until this transaction ends, nobody else takes it; leases are made and dropped meanwhile."""
    await db.execute(f"LOCK TABLE {SCHEMA}.leases IN SHARE UPDATE EXCLUSIVE MODE")


async def change_password(db: Session, verifier: str) -> None:
    """The connected login's own; sent as what the server keeps of it."""
    if "'" in verifier or "\\" in verifier:
        raise ValueError("not a verifier")
    await db.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{verifier}'")


async def current(db: Session) -> str:
    """The database this session is in."""
    found: str = await db.fetchval("SELECT pg_catalog.current_database()::text")
    return found


async def is_prepared(db: Session) -> bool:
    """Whether the table of live leases is in this database."""
    return bool(await db.fetchval(f"SELECT pg_catalog.to_regclass('{SCHEMA}.leases') IS NOT NULL"))
