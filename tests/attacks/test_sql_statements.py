"""SQ-02: statements that begin like a question and do more, held against PostgreSQL's own grammar before they run.

The barrier is the rights of the role that would run it; this line only keeps such a statement from getting there.
"""

import subprocess
import sys

import pytest

from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.integrations.sql.statement import MOST_BYTES, read_statement

DOES_MORE = """
INSERT INTO sales.orders VALUES (1)
UPDATE sales.orders SET id = 1
DELETE FROM sales.orders
MERGE INTO sales.orders o USING sales.items i ON o.id = i.id WHEN MATCHED THEN DELETE
TRUNCATE sales.orders
WITH x AS (DELETE FROM sales.orders RETURNING *) SELECT * FROM x
WITH x AS (INSERT INTO sales.orders VALUES (1) RETURNING *) SELECT * FROM x
WITH x AS (UPDATE sales.orders SET id = 1 RETURNING *) SELECT * FROM x
SELECT * FROM (WITH x AS (DELETE FROM sales.orders RETURNING *) SELECT * FROM x) y
SELECT (WITH x AS (DELETE FROM sales.orders RETURNING 1) SELECT 1 FROM x)
SELECT * INTO evil FROM sales.orders
SELECT * INTO TEMP evil FROM sales.orders
SELECT * FROM sales.orders FOR UPDATE
SELECT * FROM sales.orders FOR NO KEY UPDATE
SELECT * FROM sales.orders FOR SHARE SKIP LOCKED
SELECT * FROM (SELECT * FROM sales.orders FOR KEY SHARE) x
CREATE TABLE evil (id int)
CREATE TABLE evil AS SELECT 1
CREATE TEMP TABLE evil (id int)
CREATE VIEW evil AS SELECT 1
CREATE MATERIALIZED VIEW evil AS SELECT 1
CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE OR REPLACE PROCEDURE evil() LANGUAGE plpgsql AS 'BEGIN END'
CREATE EXTENSION dblink
CREATE ROLE evil LOGIN
CREATE SCHEMA evil
CREATE TRIGGER evil AFTER INSERT ON sales.orders EXECUTE FUNCTION evil()
CREATE RULE evil AS ON SELECT TO sales.orders DO INSTEAD NOTHING
CREATE SERVER evil FOREIGN DATA WRAPPER postgres_fdw
CREATE SUBSCRIPTION evil CONNECTION 'host=evil' PUBLICATION p
CREATE EVENT TRIGGER evil ON ddl_command_start EXECUTE FUNCTION evil()
DROP TABLE sales.orders
DROP OWNED BY CURRENT_USER
REASSIGN OWNED BY CURRENT_USER TO postgres
ALTER TABLE sales.orders ADD COLUMN evil int
ALTER ROLE CURRENT_USER PASSWORD 'evil'
ALTER ROLE CURRENT_USER SET default_transaction_read_only = off
ALTER ROLE CURRENT_USER VALID UNTIL 'infinity'
ALTER SYSTEM SET log_statement = 'none'
ALTER DATABASE postgres SET default_transaction_read_only = off
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC
GRANT ALL ON sales.orders TO PUBLIC
REVOKE ALL ON sales.orders FROM PUBLIC
SECURITY LABEL ON TABLE sales.orders IS 'evil'
COMMENT ON TABLE sales.orders IS 'evil'
COPY sales.orders TO '/tmp/evil'
COPY sales.orders FROM '/etc/passwd'
COPY (SELECT 1) TO PROGRAM 'id'
COPY sales.orders TO STDOUT
DO 'BEGIN END'
DO LANGUAGE plpgsql $$BEGIN DELETE FROM sales.orders; END$$
CALL evil()
EXPLAIN SELECT 1
EXPLAIN ANALYZE DELETE FROM sales.orders
EXPLAIN (ANALYZE, VERBOSE) SELECT 1
PREPARE evil AS DELETE FROM sales.orders
EXECUTE evil
DEALLOCATE ALL
DECLARE evil CURSOR FOR SELECT 1
FETCH ALL FROM evil
CLOSE ALL
SET ROLE postgres
SET SESSION AUTHORIZATION postgres
SET LOCAL default_transaction_read_only = off
SET search_path = evil
SET TRANSACTION READ WRITE
RESET ALL
RESET default_transaction_read_only
SHOW ALL
DISCARD ALL
BEGIN
BEGIN READ WRITE
COMMIT
ROLLBACK
SAVEPOINT evil
PREPARE TRANSACTION 'evil'
COMMIT PREPARED 'evil'
LISTEN evil
NOTIFY evil, 'x'
UNLISTEN *
LOCK TABLE sales.orders
VACUUM sales.orders
ANALYZE sales.orders
CLUSTER sales.orders
REINDEX TABLE sales.orders
REFRESH MATERIALIZED VIEW sales.orders
CHECKPOINT
LOAD 'evil'
IMPORT FOREIGN SCHEMA evil FROM SERVER evil INTO sales
SELECT set_config('role', 'postgres', false)
SELECT set_config('default_transaction_read_only', 'off', false)
SELECT pg_catalog.set_config('search_path', 'evil', true)
SELECT current_setting('valetkey.user')
SELECT pg_read_file('/etc/passwd')
SELECT pg_read_binary_file('/etc/passwd')
SELECT pg_ls_dir('/')
SELECT pg_stat_file('/etc/passwd')
SELECT lo_import('/etc/passwd')
SELECT lo_export(1, '/tmp/evil')
SELECT lo_creat(-1)
SELECT lo_create(0)
SELECT lo_unlink(1)
SELECT lo_from_bytea(0, 'x')
SELECT lo_put(1, 0, 'x')
SELECT loread(1, 1)
SELECT lowrite(1, 'x')
SELECT * FROM dblink('host=evil', 'SELECT 1') AS t(a int)
SELECT dblink_exec('host=evil', 'DELETE FROM x')
SELECT dblink_connect('host=evil')
SELECT query_to_xml('DELETE FROM sales.orders', true, true, '')
SELECT query_to_xmlschema('SELECT 1', true, true, '')
SELECT table_to_xml('sales.orders', true, true, '')
SELECT database_to_xml(true, true, '')
SELECT cursor_to_xml('evil', 1, true, true, '')
SELECT schema_to_xml('sales', true, true, '')
SELECT ts_stat('DELETE FROM x')
SELECT * FROM ts_stat('SELECT 1')
SELECT ts_rewrite('a'::tsquery, 'SELECT 1')
SELECT nextval('sales.orders_id_seq')
SELECT setval('sales.orders_id_seq', 1)
SELECT currval('sales.orders_id_seq')
SELECT lastval()
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_xact_lock(1)
SELECT pg_advisory_unlock_all()
SELECT pg_notify('evil', 'x')
SELECT pg_sleep(1000)
SELECT pg_sleep_for('1 hour')
SELECT pg_cancel_backend(1)
SELECT pg_terminate_backend(1)
SELECT pg_reload_conf()
SELECT pg_rotate_logfile()
SELECT pg_switch_wal()
SELECT pg_create_restore_point('evil')
SELECT pg_logical_emit_message(true, 'evil', 'x')
SELECT pg_replication_origin_create('evil')
SELECT pg_create_logical_replication_slot('evil', 'x')
SELECT pg_export_snapshot()
SELECT txid_current()
SELECT pg_current_xact_id()
SELECT pg_stat_reset()
SELECT pg_get_functiondef(1)
SELECT pg_get_viewdef('sales.orders')
SELECT has_table_privilege('sales.orders', 'select')
SELECT to_regclass('sales.orders')
SELECT 'sales.orders'::regclass
SELECT 'evil'::regproc
SELECT 1::evil.domain
SELECT cast('x' AS evil.type)
SELECT evil()
SELECT evil.f()
SELECT sales.count(*)
SELECT "COUNT"(*)
SELECT 1 OPERATOR(evil.+) 2
SELECT * FROM sales.orders ORDER BY id USING OPERATOR(evil.<)
SELECT 'a' COLLATE evil."C"
SELECT 1 = ANY (SELECT 1) AND 1 OPERATOR(evil.=) ALL (SELECT 1)
SELECT * FROM evil()
SELECT * FROM ROWS FROM (generate_series(1, 2), evil()) AS t
SELECT 1 FROM sales.orders GROUP BY evil()
SELECT 1 FROM sales.orders ORDER BY evil()
SELECT 1 FROM sales.orders LIMIT evil()
SELECT count(*) FILTER (WHERE evil()) FROM sales.orders
SELECT sum(1) OVER (PARTITION BY evil()) FROM sales.orders
SELECT CASE WHEN evil() THEN 1 END
SELECT ARRAY[evil()]
SELECT (ARRAY[1])[evil()]
SELECT 1 WHERE 1 IN (SELECT evil())
VALUES (evil())
WITH t AS (SELECT evil()) SELECT * FROM t
SELECT * FROM orders
SELECT * FROM pg_authid
SELECT * FROM pg_catalog.pg_authid
SELECT * FROM pg_stat_activity
SELECT * FROM information_schema.tables
SELECT * FROM pg_toast.pg_toast_1
SELECT * FROM pg_temp.evil
SELECT * FROM pg_temp_3.evil
SELECT * FROM "pg_catalog"."pg_shadow"
SELECT * FROM U&"pg\\005fcatalog"."pg_shadow"
SELECT * FROM other.sales.orders
WITH pg_shadow AS (SELECT 1) SELECT * FROM pg_shadow
SELECT (WITH pg_authid AS (SELECT 1) SELECT 1), (SELECT rolname FROM pg_authid LIMIT 1)
SELECT * FROM sales.orders TABLESAMPLE evil(1)
SELECT * FROM XMLTABLE('/x' PASSING '<x/>' COLUMNS a int)
SELECT xmlparse(DOCUMENT '<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>')
SELECT xmlelement(name x)
""".strip().splitlines()

NOT_ONE = [
    "",
    " ",
    ";",
    "-- nothing",
    "SELECT 1; SELECT 2",
    "SELECT 1; COMMIT; DELETE FROM sales.orders",
    "SELECT 1;;DELETE FROM sales.orders",
    "/* */ SELECT 1; /* */ DROP TABLE sales.orders",
    "SELECT 1 \\; DELETE FROM sales.orders",
    "SELECT 'a\\'; DELETE FROM sales.orders; --'",
    "SELECT $$a$$; DELETE FROM sales.orders; --$$",
    "SELEC 1",
    "SELECT (",
    "SELECT 1 /* never closed",
    "SELECT 'never closed",
    "SELECT 1\0",
    "SELECT 1\x1b[2J",
    "SELECT '\u202egnp.exe'",
    "SELECT 1" + " " * MOST_BYTES,
    "SELECT '\ud800'",
]


@pytest.mark.parametrize("text", DOES_MORE)
def test_what_is_not_a_plain_question_is_refused(text: str) -> None:
    with pytest.raises(Denied, match="not let through") as refused:
        read_statement(text)
    assert refused.value.members["reason"] == "statement"


@pytest.mark.parametrize("text", DOES_MORE)
def test_no_comment_or_case_changes_that(text: str) -> None:
    for spelled in (f"/* SELECT */ {text}", f"--\n{text} -- ;", text.replace(" ", "/**/ "), f"{text};", f"\t\n{text}"):
        with pytest.raises((Denied, InvalidRequest)):
            read_statement(spelled)


@pytest.mark.parametrize("text", NOT_ONE)
def test_what_is_no_single_statement_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        read_statement(text)


CHAINS = [
    ("1+", "1", ""), ("(", "1", ")"), ("- ", "1", ""), ("NOT ", "true", ""), ("ARRAY[", "1", "]"),
    ("(SELECT ", "1", ")"), ("1 UNION SELECT ", "1", ""), ("a.", "b", ""), ("CASE WHEN ", "1", " THEN 1 END"),
    ("1,", "1", ""),
    ("a AND ", "b", ""),
]  # fmt: skip


@pytest.mark.parametrize(("before", "middle", "after"), CHAINS)
def test_the_longest_chains_end_in_a_refusal_and_not_in_a_crash(before: str, middle: str, after: str) -> None:
    """In a process of its own: what is feared is the end of the process."""
    room = MOST_BYTES - len("SELECT ") - len(middle)
    times = room // len(before + after)
    text = "SELECT " + before * times + middle + after * times
    program = (
        "import sys\n"
        "from valetkey.server.errors import ValetkeyError\n"
        "from valetkey.server.integrations.sql.statement import read_statement\n"
        "try: read_statement(sys.stdin.read()); print('read')\n"
        "except ValetkeyError: print('refused')\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], input=text, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-500:]
    assert ran.stdout.strip() in ("read", "refused")
