"""The only SQL that is spoken to a connected MariaDB server: accounts of ours, and the roles that have their rights.

Everything runs as the connected login. Statements are built from names of our own alphabet and of the alphabet of
grants; everything else is a value. No statement here is part of a transaction: each that changes an account is one.
"""

# ruff: noqa: S608 - what is put into a query is a constant of this file or a name that was checked

import asyncio
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import pymysql
from pymysql.constants import ER

from valetkey.server.connections.databases.everybody import Open
from valetkey.server.connections.databases.mariadb.model import NewAccount, Right, account, is_ours, named, place_of
from valetkey.server.connections.databases.model import CONNECTIONS, STATEMENT_SECONDS
from valetkey.server.egress.mariadb import Session, number
from valetkey.server.errors import Conflict, Denied

_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.\d+-MariaDB")
_WORD: Final = re.compile(r"\*[0-9A-F]{40}")
_KEEPS_ROWS: Final = frozenset({"InnoDB", "Aria", "MyISAM", "MEMORY", "ROCKSDB", "ARCHIVE", "Columnstore"})
"""Engines whose tables are in that server: others (FEDERATED, CONNECT, SPIDER) reach elsewhere."""
_TABLE: Final = frozenset({"BASE TABLE", "SYSTEM VERSIONED"})
_NO_RIGHT: Final = frozenset(
    {
        ER.DBACCESS_DENIED_ERROR,
        ER.TABLEACCESS_DENIED_ERROR,
        ER.SPECIFIC_ACCESS_DENIED_ERROR,
        ER.ACCESS_DENIED_ERROR,
        ER.NO_SUCH_TABLE,
    }
)
_TURNS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What the server says of itself and of the login. `missing` are the rights the login needs and has not."""

    version: tuple[int, int]
    is_mariadb: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table or view that may be read there. `holds_rows`: it may be written, too."""

    database: str
    name: str
    holds_rows: bool


async def server(db: Session) -> Server:
    ((said, login),) = await db.fetch("SELECT VERSION(), CURRENT_USER()")
    version = _VERSION.match(said)
    user, _, host = login.rpartition("@")
    grantee = f"'{user}'@'{host}'"
    everywhere = {
        row[0]
        for row in await db.fetch(
            "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = %s", grantee
        )
    }
    in_mysql = everywhere | {
        row[0]
        for row in await db.fetch(
            "SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES"
            " WHERE GRANTEE = %s AND TABLE_SCHEMA = 'mysql'",
            grantee,
        )
    }
    needs = {"CREATE USER", "PROCESS", "CONNECTION ADMIN"} - ({"CONNECTION ADMIN"} if "SUPER" in everywhere else set())
    missing = [f"{one} ON *.*" for one in sorted(needs - everywhere)]
    missing += [f"{one} ON mysql.*" for one in sorted({"SELECT", "UPDATE"} - in_mysql)]
    return Server(
        version=(int(version[1]), int(version[2])) if version else (0, 0),
        is_mariadb=version is not None,
        missing=tuple(missing),
    )


async def everybody(db: Session) -> list[Open]:
    """What every account may do without being granted it, and accounts without a name, which sign in as anybody."""
    found = [
        Open(kind="account", what=f"an account without a name at {host}", statement=f"DROP USER ''@{_text(host)}")
        for (host,) in await db.fetch("SELECT Host FROM mysql.user WHERE User = '' ORDER BY Host")
    ]
    found += [
        Open(
            kind="database",
            what=f"rights of everybody in databases like {name}",
            statement=f"DELETE FROM mysql.db WHERE User = '' AND Db = {_text(name)} AND Host = {_text(host)}"
            "; FLUSH PRIVILEGES",
        )
        for name, host in await db.fetch("SELECT Db, Host FROM mysql.db WHERE User = '' ORDER BY Db, Host")
    ]
    if await db.fetch("SELECT 1 FROM mysql.global_priv WHERE User = 'PUBLIC' AND Host = ''"):
        for (line,) in await db.fetch("SHOW GRANTS FOR PUBLIC"):
            right = line.removeprefix("GRANT ").rpartition(" TO ")[0]
            if right and not right.startswith("USAGE ON"):
                found.append(Open(kind="public", what=f"{right} for PUBLIC", statement=f"REVOKE {right} FROM PUBLIC"))
    return found


async def take_away(db: Session, found: Sequence[Open]) -> list[Open]:
    """Run the statements that were listed; those of them that the login may not run, and what is there all the same."""
    left = []
    for one in found:
        try:
            for statement in one.statement.split("; "):
                await db.fetch(statement)
        except pymysql.MySQLError as error:
            if number(error) not in _NO_RIGHT:
                raise
            left.append(one)
    return left + [one for one in await everybody(db) if one not in left]


async def has_database(db: Session, name: str) -> bool:
    rows = await db.fetch("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s", name)
    return (name,) in rows


async def table(db: Session, database: str, name: str) -> Table | None:
    """The table of that very name, letter by letter; None for what is none, or reaches elsewhere."""
    rows = await db.fetch(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES"
        " WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        database,
        name,
    )
    for schema, found, kind, engine in rows:
        # The server compares names as it is set up to; ours are compared here.
        if (schema, found) == (database, name) and (kind == "VIEW" or (kind in _TABLE and engine in _KEEPS_ROWS)):
            return Table(database=schema, name=found, holds_rows=kind != "VIEW")
    return None


async def keep_role(db: Session, role: str, rights: Sequence[Right]) -> None:
    """Give the role exactly these rights, making it where it is missing. Nothing is written where all is as it should
    be. Raises `Denied` when the login cannot give a right.
    """
    expected = {f"GRANT USAGE ON *.* TO {named(role)}", *(_grant(role, one) for one in rights)}
    actual = await _grants(db, role)
    if actual == expected:
        return
    refused = Denied(
        "The connected login cannot give these rights, or the tables changed at this moment.",
        hint="The login must hold the rights on the database or the tables WITH GRANT OPTION.",
        reason="not_grantable",
    )
    try:
        if actual is None:
            await db.fetch(f"CREATE ROLE IF NOT EXISTS {named(role)}")
        elif actual - expected:
            await db.fetch(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {named(role)}")
        for one in rights:
            await db.fetch(_grant(role, one))
    except pymysql.MySQLError as error:
        if number(error) in _NO_RIGHT:
            raise refused from None
        raise
    if await _grants(db, role) != expected:
        raise refused


async def make_account(db: Session, new: NewAccount) -> None:
    """The account, which has no right yet and lets nobody in: that is the last step, `open_account`."""
    name = account(new.name)
    if _WORD.fullmatch(new.word) is None:
        raise ValueError("not what a server keeps of a password")
    tls = "SSL" if new.tls else "NONE"
    await db.fetch(
        f"CREATE USER {name} IDENTIFIED VIA mysql_native_password USING '{new.word}' REQUIRE {tls}"
        f" WITH MAX_USER_CONNECTIONS {CONNECTIONS} MAX_STATEMENT_TIME {STATEMENT_SECONDS} ACCOUNT LOCK"
    )


async def give_role(db: Session, name: str, role: str, rights: Sequence[Right]) -> None:
    """The account has the rights of the role, in every session from its beginning."""
    for turn in range(_TURNS):
        try:
            await db.fetch(f"GRANT {named(role)} TO {account(name)}")
            break
        except pymysql.MySQLError as error:
            # A role that nobody has is dropped by whoever sees it, another process perhaps, a moment ago.
            if number(error) != ER.INVALID_ROLE or turn == _TURNS - 1:
                raise
        await keep_role(db, role, rights)
    await db.fetch(f"SET DEFAULT ROLE {named(role)} FOR {account(name)}")


async def open_account(db: Session, name: str) -> None:
    """From now on it lets its holder in."""
    await db.fetch(f"ALTER USER {account(name)} ACCOUNT UNLOCK")


async def accounts(db: Session, beginning: str) -> set[str]:
    """The accounts there are whose names begin so, and those that are gone and still have a session."""
    like = beginning.replace("_", r"\_") + "%"
    rows = await db.fetch("SELECT User FROM mysql.user WHERE User LIKE %s AND Host = '%%' AND is_role = 'N'", like)
    rows += await db.fetch("SELECT USER FROM information_schema.PROCESSLIST WHERE USER LIKE %s", like)
    return {row[0] for row in rows if is_ours(row[0])}


async def shut(db: Session, names: Collection[str]) -> int:
    """No new session by any of these accounts, and none that is open; how many were ended."""
    # SECURITY: first nobody comes in, durably; then whoever is in is shown out. Dropping comes last and may fail.
    # Guarded by tests/faults/test_mariadb_leases.py::test_a_revocation_that_breaks_off_anywhere_is_finished_later
    for name in names:
        await db.fetch(f"ALTER USER IF EXISTS {account(name)} ACCOUNT LOCK")
    return await show_out(db, names)


async def show_out(db: Session, names: Collection[str]) -> int:
    """End every session of these accounts, and see that each has ended; how many were. Raises `Conflict`."""
    ended: set[int] = set()
    if not names:
        return 0
    for turn in range(_TURNS):
        open_now = {
            row[0]
            for row in await db.fetch(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE USER IN (" + ", ".join(["%s"] * len(names)) + ")",
                *names,
            )
        }
        if not open_now:
            return len(ended)
        if turn:
            await asyncio.sleep(0.03)
        for one in open_now:
            try:
                await db.fetch(f"KILL CONNECTION {int(one)}")
            except pymysql.MySQLError as error:
                if number(error) != ER.NO_SUCH_THREAD:
                    raise
        ended |= open_now
    raise Conflict("A session of this account has not ended yet.")


async def drop_account(db: Session, name: str) -> None:
    await db.fetch(f"DROP USER IF EXISTS {account(name)}")


async def drop_unused_roles(db: Session, beginning: str) -> None:
    """Roles of ours that no account has: their rights are lent to nobody."""
    rows = await db.fetch(
        "SELECT u.User FROM mysql.user u WHERE u.is_role = 'Y' AND u.User LIKE %s AND NOT EXISTS ("
        "SELECT 1 FROM mysql.roles_mapping m WHERE m.Role = u.User AND m.Admin_option = 'N')",
        beginning.replace("_", r"\_") + "%",
    )
    for (role,) in rows:
        await db.fetch(f"DROP ROLE IF EXISTS {named(role)}")


def _text(value: str) -> str:
    """As a literal, under the `sql_mode` of our sessions, which is the usual one as far as backslashes go."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _grant(role: str, right: Right) -> str:
    return f"GRANT {', '.join(right.rights)} ON {place_of(right)} TO {named(role)}"


async def _grants(db: Session, role: str) -> set[str] | None:
    """The rights a role has, as the server writes them; None where there is no such role."""
    try:
        return {row[0] for row in await db.fetch(f"SHOW GRANTS FOR {named(role)}")}
    except pymysql.MySQLError as error:
        if number(error) == ER.NONEXISTING_GRANT:
            return None
        raise
