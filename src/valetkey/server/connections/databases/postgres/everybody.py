"""The SQL that reads the rights of PUBLIC, and takes them away."""

from typing import Any, Final

from valetkey.server.connections.databases.everybody import Open

_WRITERS: Final = [
    "lo_creat", "lo_create", "lo_from_bytea", "lo_import", "lo_export", "lo_open", "lo_put", "lo_truncate",
    "lo_truncate64", "lo_unlink", "lowrite", "pg_logical_emit_message",
]  # fmt: skip
"""Functions that write without a table: large objects, and records of the write-ahead log."""

_RIGHTS: Final = """
WITH schemas AS (
    SELECT oid, nspname, nspacl, nspowner FROM pg_catalog.pg_namespace
     WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'valetkey') AND nspname !~ '^pg_(toast|temp)'
)
SELECT 'database' AS kind, a.privilege_type || ' in the database ' || d.datname AS what,
       format('REVOKE %s ON DATABASE %I FROM PUBLIC', a.privilege_type, d.datname) AS statement
  FROM pg_catalog.pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
 WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type IN ('TEMPORARY', 'CREATE')
UNION ALL
SELECT 'schema', 'CREATE in the schema ' || s.nspname,
       format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC', s.nspname)
  FROM schemas s, aclexplode(coalesce(s.nspacl, acldefault('n', s.nspowner))) a
 WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'
UNION ALL
SELECT 'table', a.privilege_type || ' on ' || s.nspname || '.' || c.relname,
       format('REVOKE %s ON %s %I.%I FROM PUBLIC', a.privilege_type,
              CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, s.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN schemas s ON s.oid = c.relnamespace, aclexplode(c.relacl) a
 WHERE a.grantee = 0 AND a.privilege_type <> 'SELECT'
UNION ALL
SELECT 'table', a.privilege_type || ' on a column of ' || s.nspname || '.' || c.relname,
       format('REVOKE %s (%I) ON TABLE %I.%I FROM PUBLIC', a.privilege_type, t.attname, s.nspname, c.relname)
  FROM pg_catalog.pg_attribute t JOIN pg_catalog.pg_class c ON c.oid = t.attrelid
  JOIN schemas s ON s.oid = c.relnamespace, aclexplode(t.attacl) a
 WHERE a.grantee = 0 AND a.privilege_type <> 'SELECT'
UNION ALL
SELECT 'writer', 'EXECUTE on ' || p.proname,
       format('REVOKE EXECUTE ON FUNCTION pg_catalog.%I(%s) FROM PUBLIC', p.proname,
              pg_get_function_identity_arguments(p.oid))
  FROM pg_catalog.pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY($1) AND a.grantee = 0
UNION ALL
SELECT 'function', s.nspname || '.' || p.proname || ', which '
       || CASE WHEN p.prosecdef THEN 'runs as its owner' ELSE 'reaches other servers' END,
       format('REVOKE EXECUTE ON ROUTINE %I.%I(%s) FROM PUBLIC', s.nspname, p.proname,
              pg_get_function_identity_arguments(p.oid))
  FROM pg_catalog.pg_proc p JOIN schemas s ON s.oid = p.pronamespace,
       aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 WHERE a.grantee = 0 AND p.prorettype <> 'trigger'::regtype
   AND (p.prosecdef OR EXISTS (
        SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
         WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
           AND e.extname IN ('dblink', 'adminpack', 'file_fdw', 'postgres_fdw')))
ORDER BY 1, 2
"""


async def rights(db: Any) -> list[Open]:
    """Every right of PUBLIC in this database that writes, or runs as somebody else."""
    rows = await db.fetch(_RIGHTS, _WRITERS)
    return [Open(kind=row["kind"], what=row["what"], statement=row["statement"]) for row in rows]


async def take_away(db: Any, found: list[Open]) -> None:
    """Run the statements that were listed. What the login may not take away is a warning there, and is seen again."""
    for one in found:
        await db.execute(one.statement)
