"""The SQL that is spoken to a connected database: roles of ours and who acts by them. Their groups are in `groups`.

Everything runs as the connected login. Values travel as parameters; a statement that takes none (CREATE ROLE) is built
from names and words of our own alphabet alone, and of what people chose as digits. Oids decide, names are read from
them by the server.
"""

# ruff: noqa: S608 - what is put into a query is a constant of this file or a name that passed `quoted`

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from valetkey.server.connections.databases.model import CONNECTIONS, STATEMENT_SECONDS, quoted
from valetkey.server.connections.databases.postgres.model import IDLE_SECONDS, SCHEMA, NewRole, literal
from valetkey.server.errors import Conflict

Session = Any
TABLES: Final = "'r', 'p', 'v', 'm'"
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


SERVER_COLUMNS: Final = """pg_catalog.current_setting('server_version_num')::int AS version, d.oid::bigint AS database,
       session_user::text AS login, r.rolsuper, r.rolcreaterole,
       extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS now"""
SERVER_FROM: Final = """FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
 WHERE r.rolname = session_user AND d.datname = pg_catalog.current_database()"""


async def server(db: Session) -> Server:
    return server_of(await db.fetchrow(f"SELECT {SERVER_COLUMNS} {SERVER_FROM}"))


def server_of(row: Any) -> Server:
    """What these columns say."""
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
             WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ({TABLES})""",
        schema,
        name,
    )


async def table_by_oid(db: Session, oid: int) -> Any:
    return await db.fetchrow(
        f"""SELECT c.oid::bigint AS oid, n.oid::bigint AS schema, n.nspname::text AS of, c.relname::text AS name,
                   c.relkind IN ('r', 'p') AS holds_rows
              FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.oid = $1::bigint::oid AND c.relkind IN ({TABLES})""",
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
    words = (role.lease, role.user_name, role.user_id, role.agent_name, role.agent_id, role.task)
    lines = [
        f"CREATE ROLE {name} {rights} PASSWORD '{role.verifier}' VALID UNTIL '{_moment(ends)}'",
        # Its line first: from here on nobody drops a group (`groups.drop_useless`).
        f"""INSERT INTO {SCHEMA}.leases
            SELECT r.rolname, r.oid, {", ".join(literal(one) for one in words)}, pg_catalog.to_timestamp({ends:.6f})
              FROM pg_catalog.pg_roles r WHERE r.rolname = '{role.name}'""",
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
    # NOTE: several statements that go as one are one transaction, of one round trip (protocol, "simple query").
    await db.execute(";\n".join(lines))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What is left of a role beside its login: its line here, if our table is here, and what it has elsewhere."""

    is_prepared: bool
    elsewhere: tuple[str, ...]


async def remains(db: Session, name: str) -> Remains:
    """Which other databases something belongs to the role in, or it has rights; whether its line may be here."""
    row = await db.fetchrow(
        f"""SELECT pg_catalog.to_regclass('{SCHEMA}.leases') IS NOT NULL AS is_prepared,
                   ARRAY(SELECT DISTINCT d.datname::text FROM pg_catalog.pg_shdepend s
                           JOIN pg_catalog.pg_database d ON d.oid = s.dbid
                          WHERE s.refclassid = {_ROLE} AND d.datname <> pg_catalog.current_database()
                            AND s.refobjid = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1)) AS elsewhere""",
        name,
    )
    return Remains(is_prepared=row["is_prepared"], elsewhere=tuple(row["elsewhere"]))


async def drop_owned(db: Session, name: str) -> None:
    """Whatever is the role's in this database, prepared transactions too."""
    row = await db.fetchrow(
        """SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1) AS is_there,
                  ARRAY(SELECT pg_catalog.format('ROLLBACK PREPARED %L', gid) FROM pg_catalog.pg_prepared_xacts
                         WHERE owner = $1 AND database = pg_catalog.current_database()) AS prepared""",
        name,
    )
    for statement in row["prepared"]:
        await db.execute(statement)
    if row["is_there"]:
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


async def is_prepared(db: Session) -> bool:
    """Whether the table of live leases is in this database."""
    return bool(await db.fetchval(f"SELECT pg_catalog.to_regclass('{SCHEMA}.leases') IS NOT NULL"))
