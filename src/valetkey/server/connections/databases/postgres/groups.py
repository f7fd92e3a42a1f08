"""Group roles: each has exactly the rights of one scope on one thing, and a lease's role is in the groups of its lines.

One question to the server says all that a login needs to be known of: the server itself, the tables, and whether each
group is as it should be. Only where one is not is anything written, under a lock, and looked at again. Oids decide,
names are read from them by the server, in the statement it writes for us.
"""

# ruff: noqa: S608 - what is put into a query is a constant of this file or a name that passed `quoted`

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from valetkey.server.connections.databases.model import quoted
from valetkey.server.connections.databases.postgres.model import SCHEMA, Wanted
from valetkey.server.connections.databases.postgres.store import (
    SERVER_COLUMNS,
    SERVER_FROM,
    TABLES,
    Server,
    Session,
    server_of,
)
from valetkey.server.errors import Denied

_RELATION: Final = "'pg_catalog.pg_class'::pg_catalog.regclass"
_ROLE: Final = "'pg_catalog.pg_authid'::pg_catalog.regclass"

# What each group is to have and what it has, as `oid right`. Rights on tables are spelled out; the sequences that
# belong to a table that may be inserted into come with it. (`unnest` of several is grammar, and always of pg_catalog.)
_LOOKED: Final = f"""
SELECT w.name, g.oid IS NOT NULL AS is_there, n.nspname::text AS schema,
       coalesce(pg_catalog.has_schema_privilege(g.oid, n.oid, 'USAGE'), false) AS enters,
       ARRAY(
         SELECT c.oid::text || ' ' || given
           FROM pg_catalog.pg_class c, pg_catalog.unnest(pg_catalog.string_to_array(w.rights, ' ')) AS given
          WHERE c.relkind IN ({TABLES}) AND (c.oid = w.of_table::oid OR c.relnamespace = w.of_schema::oid)
         UNION
         SELECT s.oid::text || ' USAGE'
           FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_depend d ON d.refclassid = {_RELATION} AND d.refobjid = c.oid
           JOIN pg_catalog.pg_class s ON s.oid = d.objid
          WHERE c.relkind IN ({TABLES}) AND (c.oid = w.of_table::oid OR c.relnamespace = w.of_schema::oid)
            AND d.classid = {_RELATION} AND d.deptype = 'a' AND s.relkind = 'S'
            AND 'INSERT' = ANY(pg_catalog.string_to_array(w.rights, ' '))
         ORDER BY 1) AS expected,
       ARRAY(
         SELECT DISTINCT c.oid::text || ' ' || a.privilege_type
           FROM pg_catalog.pg_shdepend d JOIN pg_catalog.pg_class c ON c.oid = d.objid,
                pg_catalog.aclexplode(c.relacl) a
          WHERE d.refclassid = {_ROLE} AND d.refobjid = g.oid AND d.classid = {_RELATION} AND a.grantee = g.oid
            AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
         ORDER BY 1) AS held
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS w(name, rights, of_table, of_schema)
  LEFT JOIN pg_catalog.pg_roles g ON g.rolname = w.name
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = CASE WHEN w.of_schema <> 0 THEN w.of_schema::oid
       ELSE (SELECT c.relnamespace FROM pg_catalog.pg_class c WHERE c.oid = w.of_table::oid) END"""

_STANDING: Final = f"""
SELECT {SERVER_COLUMNS},
       NOT EXISTS (SELECT FROM ({_LOOKED}) AS looked
                    WHERE NOT looked.enters OR looked.expected = '{{}}' OR looked.expected <> looked.held) AS is_right,
       ARRAY(SELECT c.oid::bigint FROM pg_catalog.pg_class c
              WHERE c.oid = ANY($5::bigint[]::oid[]) AND c.relkind IN ({TABLES})) AS there,
       ARRAY(SELECT c.oid::bigint FROM pg_catalog.pg_class c
              WHERE c.oid = ANY($5::bigint[]::oid[]) AND c.relkind IN ('r', 'p')) AS holding
  {SERVER_FROM}"""

_WRITTEN: Final = """
SELECT pg_catalog.format('%s %s ON %s %I.%I %s %I', w.verb, w.held,
         CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname, w.way, w.name) AS statement
  FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[]) AS w(verb, held, of, way, name)
  JOIN pg_catalog.pg_class c ON c.oid = w.of::oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
UNION ALL
SELECT pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', w.schema, w.name)
  FROM unnest($6::text[], $7::text[]) AS w(schema, name)"""

# Groups in which nobody is and that have a right on no table anywhere: their table was dropped, or the last one of
# their schema. What they may still have is USAGE of schemas here; of whatever else somebody gave one, it stays.
_USELESS: Final = f"""
SELECT g.rolname::text AS name,
       ARRAY(SELECT pg_catalog.format('REVOKE USAGE ON SCHEMA %I FROM %I', n.nspname, g.rolname)
               FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a WHERE a.grantee = g.oid) AS statements
  FROM pg_catalog.pg_roles g
 WHERE pg_catalog.starts_with(g.rolname::text, $1)
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m
                    WHERE m.roleid = g.oid AND m.member <> (SELECT oid FROM pg_catalog.pg_roles
                                                             WHERE rolname = session_user))
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_shdepend d
                    WHERE d.refclassid = {_ROLE} AND d.refobjid = g.oid
                      AND (d.classid <> 'pg_catalog.pg_namespace'::pg_catalog.regclass OR d.deptype <> 'a'
                           OR d.dbid <> (SELECT oid FROM pg_catalog.pg_database
                                          WHERE datname = pg_catalog.current_database())))
   AND (pg_catalog.current_setting('server_version_num')::int < 160000
        OR pg_catalog.pg_has_role(g.oid, 'MEMBER WITH ADMIN OPTION'))"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a database is before a login is made. Of the tables asked about: which are there, which hold rows."""

    server: Server
    has_groups: bool
    there: frozenset[int]
    holding: frozenset[int]


async def standing(db: Session, wanted: Sequence[Wanted], tables: Collection[int] = ()) -> Standing:
    """All of it, in one question."""
    row = await db.fetchrow(_STANDING, *_asked(wanted), list(tables))
    return Standing(
        server=server_of(row),
        has_groups=row["is_right"],
        there=frozenset(row["there"]),
        holding=frozenset(row["holding"]),
    )


async def keep(db: Session, wanted: Sequence[Wanted]) -> None:
    """Give each group role exactly the rights it is to have, making it where it is missing.

    Raises `Denied` when the login cannot give a right.
    """
    async with db.transaction():
        # NOTE: no advisory lock: any session in the database could hold one against us, a lease's too. Leases are made
        # and dropped meanwhile: who is being given rights must not hold up who is losing them.
        # Guarded by tests/faults/test_database_turns.py::test_a_login_held_up_at_the_server_holds_up_no_revocation
        await db.execute(f"LOCK TABLE {SCHEMA}.leases IN SHARE UPDATE EXCLUSIVE MODE")
        found = await _looked(db, wanted)
        if lines := [_made(row["name"]) for row in found if not row["is_there"]]:
            await db.execute(";\n".join(lines))
        if lines := await _written(db, found):
            await db.execute(";\n".join(lines))
        # SECURITY: names were read before they were written: whatever moved in between is seen by its oid, and undone.
        if not all(_is_right(row) for row in await _looked(db, wanted)):
            raise Denied(
                "The connected login cannot give these rights, or the tables changed at this moment.",
                hint="The login must own the tables, or hold their rights WITH GRANT OPTION.",
                reason="not_grantable",
            )


async def drop_useless(db: Session, beginning: str) -> int:
    """Drop the groups whose names begin so and that are good for nothing any more; how many were."""
    if not await db.fetch(_USELESS, beginning):
        return 0
    async with db.transaction():
        # SECURITY: against whoever gives a group rights (`keep`), and whoever puts a login into one, which writes its
        # line before (`make_role`): what is dropped is what nobody can be counting on. It waits for nobody long, for
        # revocations wait behind it.
        # Guarded by tests/faults/test_database_groups.py::test_a_login_made_meanwhile_never_loses_its_group
        await db.execute("SET LOCAL lock_timeout = '500ms'")
        await db.execute(f"LOCK TABLE {SCHEMA}.leases IN SHARE ROW EXCLUSIVE MODE")
        found = await db.fetch(_USELESS, beginning)
        for row in found:
            await db.execute(";\n".join([*row["statements"], f"DROP ROLE {quoted(row['name'])}"]))
    return len(found)


async def _looked(db: Session, wanted: Sequence[Wanted]) -> list[Any]:
    return list(await db.fetch(_LOOKED, *_asked(wanted)))


def _asked(wanted: Sequence[Wanted]) -> tuple[list[Any], ...]:
    return (
        [one.group for one in wanted],
        [" ".join(sorted(one.rights)) for one in wanted],
        [one.table for one in wanted],
        [one.schema for one in wanted],
    )


def _is_right(row: Any) -> bool:
    return bool(row["enters"] and row["expected"] and row["expected"] == row["held"])


def _made(name: str) -> str:
    group = quoted(name)
    return f"CREATE ROLE {group} NOLOGIN NOINHERIT; COMMENT ON ROLE {group} IS 'valetkey: rights on one thing'"


async def _written(db: Session, found: Sequence[Any]) -> list[str]:
    """The statements that bring the groups from what they have to what they are to have, as the server writes them."""
    steps = []
    for row in found:
        expected, held = set(row["expected"]), set(row["held"])
        steps += [("REVOKE", *one.split(" ", 1), "FROM", row["name"]) for one in sorted(held - expected)]
        steps += [("GRANT", *one.split(" ", 1), "TO", row["name"]) for one in sorted(expected - held)]
    entered = [row for row in found if row["schema"] is not None]
    rows = await db.fetch(
        _WRITTEN,
        [verb for verb, _, _, _, _ in steps],
        [right for _, _, right, _, _ in steps],
        [int(oid) for _, oid, _, _, _ in steps],
        [way for _, _, _, way, _ in steps],
        [name for _, _, _, _, name in steps],
        [row["schema"] for row in entered],
        [row["name"] for row in entered],
    )
    return [row["statement"] for row in rows]
