"""Statements that try to get out of a lease that only reads, one a line, to be put to a real server one by one.

`{me}` is the lease's own role, `{owner}` the login that owns everything, `{group}` the role that has the rights,
`{database}` the database. A line may hold several statements: they go out as one message.
"""

READ = r"""
DELETE FROM sales.orders
UPDATE sales.orders SET total = 0
INSERT INTO sales.orders (owner, total) VALUES ('mallory', 1)
TRUNCATE sales.orders
MERGE INTO sales.customers c USING (SELECT 1 AS id) s ON c.id = s.id WHEN MATCHED THEN DELETE
WITH gone AS (DELETE FROM sales.orders RETURNING *) SELECT * FROM gone
WITH new AS (INSERT INTO sales.customers VALUES (9, 'x') RETURNING *) SELECT * FROM new
WITH changed AS (UPDATE sales.customers SET name = 'x' RETURNING *) SELECT count(*) FROM changed
SELECT 1; DELETE FROM sales.orders
COMMIT; DELETE FROM sales.orders
ROLLBACK; BEGIN READ WRITE; DELETE FROM sales.orders; COMMIT
BEGIN READ WRITE; UPDATE sales.orders SET total = 0; COMMIT
BEGIN; SET TRANSACTION READ WRITE; UPDATE sales.orders SET total = 0; COMMIT
START TRANSACTION READ WRITE; TRUNCATE sales.orders; COMMIT
SET default_transaction_read_only = off; DELETE FROM sales.orders
RESET default_transaction_read_only; DELETE FROM sales.orders
RESET ALL; DELETE FROM sales.orders
DISCARD ALL
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; DELETE FROM sales.orders
SET transaction_read_only = off; DELETE FROM sales.orders
SELECT set_config('transaction_read_only', 'off', false); DELETE FROM sales.orders
SELECT set_config('default_transaction_read_only', 'off', false); DELETE FROM sales.orders
/* read */ DELETE FROM sales.orders
-- read only\nDELETE FROM sales.orders
/* /* nested */ */ UPDATE sales.orders SET total = 0
SELECT 1 /* ; */ ; /**/ DELETE /**/ FROM /**/ sales.orders
EXPLAIN ANALYZE DELETE FROM sales.orders
EXPLAIN (ANALYZE, BUFFERS) INSERT INTO sales.customers VALUES (9, 'x')
EXPLAIN ANALYZE WITH gone AS (DELETE FROM sales.orders RETURNING *) SELECT * FROM gone
PREPARE gone AS DELETE FROM sales.orders; EXECUTE gone
PREPARE changed (int) AS UPDATE sales.orders SET total = $1; EXECUTE changed (0)
DECLARE c CURSOR FOR DELETE FROM sales.orders RETURNING *
BEGIN; DECLARE c CURSOR FOR SELECT * FROM sales.orders; FETCH c; DELETE FROM sales.orders WHERE CURRENT OF c
SELECT * FROM sales.orders FOR UPDATE
SELECT * FROM sales.orders FOR NO KEY UPDATE
SELECT * FROM sales.orders FOR SHARE
SELECT * FROM sales.orders FOR KEY SHARE
LOCK TABLE sales.orders IN ACCESS EXCLUSIVE MODE
LOCK TABLE sales.orders IN SHARE MODE
SELECT * INTO sales.copy FROM sales.orders
SELECT * INTO TEMP copy FROM sales.orders
CREATE TABLE sales.copy AS SELECT * FROM sales.orders
CREATE TABLE public.copy AS SELECT * FROM sales.orders
CREATE TEMP TABLE copy (n int)
CREATE TEMPORARY TABLE copy AS SELECT 1
CREATE TABLE pg_temp.copy (n int)
CREATE UNLOGGED TABLE sales.copy (n int)
CREATE TEMP VIEW copy AS SELECT 1
CREATE TEMP SEQUENCE copy
CREATE VIEW sales.copy AS SELECT * FROM sales.orders
CREATE MATERIALIZED VIEW sales.copy AS SELECT * FROM sales.orders
REFRESH MATERIALIZED VIEW sales.totals
CREATE SCHEMA mine
CREATE SCHEMA AUTHORIZATION CURRENT_USER
CREATE INDEX ON sales.orders (total)
CREATE SEQUENCE sales.mine
CREATE TYPE sales.mine AS (n int)
CREATE DOMAIN sales.mine AS int
CREATE FUNCTION sales.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE FUNCTION public.mine() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN 1; END'
CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'DELETE FROM sales.orders RETURNING 1'
CREATE PROCEDURE public.mine() LANGUAGE sql AS 'DELETE FROM sales.orders'
CREATE AGGREGATE public.mine(int) (SFUNC = int4pl, STYPE = int)
CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, PROCEDURE = int4eq)
CREATE CAST (text AS int) WITH INOUT
CREATE TRIGGER mine BEFORE INSERT ON sales.orders FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()
CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION pg_sleep()
CREATE RULE mine AS ON SELECT TO sales.orders DO INSTEAD SELECT 1
CREATE POLICY mine ON sales.orders USING (true)
CREATE STATISTICS sales.mine ON id, total FROM sales.orders
CREATE PUBLICATION mine FOR TABLE sales.orders
CREATE SUBSCRIPTION mine CONNECTION 'host=127.0.0.1' PUBLICATION mine
CREATE EXTENSION dblink
CREATE EXTENSION IF NOT EXISTS plpgsql
CREATE EXTENSION file_fdw
CREATE SERVER mine FOREIGN DATA WRAPPER postgres_fdw
CREATE FOREIGN DATA WRAPPER mine
CREATE LANGUAGE plpython3u
CREATE TABLESPACE mine LOCATION '/tmp'
CREATE DATABASE mine
DROP DATABASE {database}
ALTER DATABASE {database} SET default_transaction_read_only = off
ALTER DATABASE {database} OWNER TO {me}
CREATE ROLE mine
CREATE ROLE mine SUPERUSER LOGIN
CREATE USER mine IN ROLE {group}
DROP ROLE {owner}
DROP OWNED BY {owner}
DROP OWNED BY {group}
REASSIGN OWNED BY {owner} TO {me}
ALTER ROLE {me} SUPERUSER
ALTER ROLE {me} CREATEROLE
ALTER ROLE {me} CREATEDB
ALTER ROLE {me} REPLICATION
ALTER ROLE {me} BYPASSRLS
ALTER ROLE {me} VALID UNTIL 'infinity'
ALTER ROLE {me} CONNECTION LIMIT -1
ALTER ROLE {me} INHERIT
ALTER ROLE {me} RENAME TO mine
ALTER ROLE {owner} PASSWORD 'mine'
ALTER ROLE {owner} SET search_path = pg_temp
ALTER ROLE {group} LOGIN PASSWORD 'mine'
ALTER ROLE ALL SET default_transaction_read_only = off
COMMENT ON ROLE {me} IS 'somebody else'
COMMENT ON TABLE sales.orders IS 'mine'
COMMENT ON DATABASE {database} IS 'mine'
SECURITY LABEL ON TABLE sales.orders IS 'mine'
GRANT {group} TO {owner}
GRANT {owner} TO {me}
GRANT pg_write_all_data TO {me}
GRANT pg_read_server_files TO CURRENT_USER
GRANT {me} TO {owner}
GRANT {me} TO PUBLIC
GRANT INSERT ON sales.orders TO {me}
GRANT ALL ON SCHEMA sales TO {me}
GRANT ALL ON ALL TABLES IN SCHEMA sales TO {me}
GRANT SET ON PARAMETER log_statement TO {me}
REVOKE {group} FROM {me}
REVOKE ALL ON sales.orders FROM {owner}
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON TABLES TO {me}
ALTER TABLE sales.orders OWNER TO {me}
ALTER TABLE sales.orders ADD COLUMN mine int
ALTER TABLE sales.orders DISABLE TRIGGER ALL
ALTER TABLE sales.orders RENAME TO gone
ALTER SCHEMA sales RENAME TO gone
ALTER SCHEMA sales OWNER TO {me}
ALTER SEQUENCE sales.orders_id_seq RESTART
ALTER FUNCTION valetkey.valetkey_caller() OWNER TO {me}
ALTER SYSTEM SET log_statement = 'none'
DROP TABLE sales.orders
DROP TABLE IF EXISTS sales.orders CASCADE
DROP SCHEMA sales CASCADE
DROP SCHEMA valetkey CASCADE
DROP VIEW sales.totals
SET ROLE {owner}
SET ROLE postgres
SET ROLE {group}; DELETE FROM sales.orders
SET LOCAL ROLE pg_write_all_data
SET SESSION AUTHORIZATION postgres
SET SESSION AUTHORIZATION {owner}; DELETE FROM sales.orders
SELECT set_config('role', 'postgres', false)
SELECT set_config('session_authorization', 'postgres', false)
SELECT set_config('role', '{owner}', true); DELETE FROM sales.orders
SET session_replication_role = replica
SET log_statement = 'none'
SET lo_compat_privileges = on
SET allow_system_table_mods = on
SET zero_damaged_pages = on
SET row_security = off; SELECT * FROM hr.salaries
LOAD 'auto_explain'
SET local_preload_libraries = 'x'
SELECT nextval('sales.orders_id_seq')
SELECT setval('sales.orders_id_seq', 1)
SELECT currval('sales.orders_id_seq')
SELECT * FROM sales.orders_id_seq
SELECT lo_creat(-1)
SELECT lo_create(4711)
SELECT lo_from_bytea(0, 'x')
SELECT lo_import('/etc/passwd')
SELECT lo_export(1, '/tmp/x')
SELECT lo_put(1, 0, 'x')
SELECT lo_unlink(1)
SELECT lo_open(1, 131072)
SELECT pg_read_file('/etc/passwd')
SELECT pg_read_binary_file('PG_VERSION')
SELECT pg_ls_dir('.')
SELECT pg_stat_file('PG_VERSION')
SELECT pg_file_write('x', 'x', false)
SELECT pg_ls_logdir()
SELECT pg_current_logfile()
COPY sales.orders TO '/tmp/x'
COPY sales.orders FROM '/tmp/x'
COPY sales.orders TO PROGRAM 'cat'
COPY (SELECT 1) TO PROGRAM 'id'
COPY sales.customers FROM PROGRAM 'id'
COPY (DELETE FROM sales.orders RETURNING *) TO STDOUT
DO $$ BEGIN DELETE FROM sales.orders; END $$
DO $$ BEGIN EXECUTE 'DEL' || 'ETE FROM sales.orders'; END $$
DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', false); DELETE FROM sales.orders; END $$
DO LANGUAGE plpgsql $$ BEGIN CREATE TABLE sales.mine (n int); END $$
CALL pg_sleep(1)
SELECT query_to_xml('DELETE FROM sales.orders', true, true, '')
SELECT query_to_xml('SELECT * FROM hr.salaries', true, true, '')
SELECT table_to_xml('hr.salaries', true, true, '')
SELECT database_to_xml(true, true, '')
SELECT cursor_to_xml('c', 1, true, true, '')
SELECT * FROM dblink('dbname={database}', 'DELETE FROM sales.orders') AS t(n int)
SELECT dblink_exec('dbname={database}', 'DELETE FROM sales.orders')
SELECT ts_stat('DELETE FROM sales.orders')
SELECT ts_rewrite('a'::tsquery, 'DELETE FROM sales.orders')
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> session_user
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = '{owner}'
SELECT pg_reload_conf()
SELECT pg_rotate_logfile()
SELECT pg_switch_wal()
SELECT pg_create_restore_point('x')
SELECT pg_promote()
SELECT pg_logical_emit_message(true, 'x', 'y')
SELECT pg_create_physical_replication_slot('x')
SELECT pg_create_logical_replication_slot('x', 'pgoutput')
SELECT pg_replication_origin_create('x')
SELECT pg_stat_reset()
SELECT pg_stat_reset_shared('bgwriter')
SELECT pg_log_backend_memory_contexts(pid) FROM pg_stat_activity WHERE usename = '{owner}'
SELECT pg_import_system_collations('pg_catalog')
SELECT pg_extension_config_dump('pg_class', '')
SELECT binary_upgrade_set_next_pg_type_oid(1)
SELECT * FROM pg_authid
SELECT * FROM pg_shadow
SELECT * FROM pg_user_mapping
SELECT * FROM pg_hba_file_rules
SELECT * FROM pg_file_settings
SELECT * FROM pg_largeobject
SELECT * FROM pg_statistic
SELECT * FROM hr.salaries
SELECT count(*) FROM hr.salaries WHERE amount / 0 > 1
SELECT * FROM valetkey.leases
DELETE FROM valetkey.leases
INSERT INTO valetkey.leases DEFAULT VALUES
UPDATE pg_catalog.pg_authid SET rolsuper = true
DELETE FROM pg_catalog.pg_class
INSERT INTO pg_catalog.pg_auth_members DEFAULT VALUES
UPDATE pg_settings SET setting = 'off' WHERE name = 'default_transaction_read_only'
UPDATE information_schema.tables SET table_name = 'x'
VACUUM sales.orders
VACUUM FULL
ANALYZE sales.orders
CLUSTER sales.orders
REINDEX TABLE sales.orders
CHECKPOINT
PREPARE TRANSACTION 'mine'
BEGIN READ WRITE; SELECT 1; PREPARE TRANSACTION 'mine'
SAVEPOINT a
BEGIN; SAVEPOINT a; DELETE FROM sales.orders; ROLLBACK TO a; DELETE FROM sales.customers; COMMIT
NOTIFY valetkey, 'x'
LISTEN valetkey
SELECT pg_notify('valetkey', 'x')
SELECT pg_advisory_lock(1)
SELECT pg_advisory_unlock_all()
SELECT pg_export_snapshot()
BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '00000003-00000001-1'; COMMIT
IMPORT FOREIGN SCHEMA public FROM SERVER mine INTO sales
"""

NEEDS_A_REFUSAL = (
    "DELETE", "UPDATE", "INSERT", "TRUNCATE", "MERGE", "CREATE", "ALTER", "DROP", "COPY", "LOAD", "COMMENT", "REASSIGN",
    "WITH", "EXPLAIN", "DO", "SECURITY", "SELECT lo_", "SELECT pg_read", "SELECT pg_ls", "SELECT pg_create",
    "CHECKPOINT", "SELECT nextval", "SELECT setval", "SELECT dblink",
)  # fmt: skip
"""What begins so has to end in an error: doing nothing in silence would not be enough."""
NEVERTHELESS = (
    "CREATE EXTENSION IF NOT EXISTS plpgsql",  # it is there already
    "UPDATE pg_settings",  # another way to write SET, of one's own session
    "DROP OWNED BY vg_",  # a member may say it; the group owns nothing, and its rights are not the member's to revoke
)
"""What goes through for a reason, and changes nothing all the same."""


def lines(text: str, **names: str) -> list[str]:
    """The statements, filled in."""
    found = [line.replace(r"\n", "\n") for line in text.strip().splitlines()]
    for name, value in names.items():
        found = [line.replace("{" + name + "}", value) for line in found]
    return found
