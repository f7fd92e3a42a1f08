"""Statements that try to get out of a MariaDB lease, one a line, to be put to a real server one by one.

`{me}` is the lease's own account, `{owner}` the login that made it, `{role}` the role that has the rights, `{sales}`
and `{hr}` the databases.
"""

from typing import Final

READ: Final = r"""
DELETE FROM {sales}.orders
UPDATE {sales}.orders SET total = 0
INSERT INTO {sales}.orders (owner, total) VALUES ('mallory', 1)
INSERT IGNORE INTO {sales}.customers VALUES (9, 'x')
INSERT INTO {sales}.customers SELECT 9, 'x' ON DUPLICATE KEY UPDATE name = 'x'
REPLACE INTO {sales}.customers VALUES (1, 'x')
TRUNCATE {sales}.orders
TRUNCATE TABLE {sales}.customers
DELETE o, c FROM {sales}.orders o JOIN {sales}.customers c
UPDATE {sales}.orders o, {sales}.customers c SET o.total = 0, c.name = 'x'
DELETE FROM {sales}.orders RETURNING *
INSERT INTO {sales}.customers VALUES (9, 'x') RETURNING *
WITH o AS (SELECT 1) DELETE FROM {sales}.orders
/*!50000 DELETE */ FROM {sales}.orders
/*M!100000 DELETE FROM {sales}.orders */
SELECT 1 /*! INTO OUTFILE '/tmp/out' */
PREPARE gone FROM 'DELETE FROM {sales}.orders'
EXECUTE IMMEDIATE 'DELETE FROM {sales}.orders'
EXECUTE IMMEDIATE CONCAT('DROP TABLE ', '{sales}.orders')
BEGIN NOT ATOMIC DELETE FROM {sales}.orders; END
BEGIN NOT ATOMIC DECLARE EXIT HANDLER FOR SQLEXCEPTION ROLLBACK; EXECUTE IMMEDIATE 'DELETE FROM {sales}.orders'; END
EXPLAIN DELETE FROM {sales}.orders
ANALYZE DELETE FROM {sales}.orders
ANALYZE TABLE {sales}.orders
OPTIMIZE TABLE {sales}.orders
REPAIR TABLE {sales}.orders
CREATE TABLE {sales}.mine (n int)
CREATE TABLE {sales}.mine AS SELECT * FROM {sales}.orders
CREATE TABLE {sales}.mine LIKE {sales}.orders
CREATE TEMPORARY TABLE mine (n int)
CREATE TEMPORARY TABLE {sales}.mine AS SELECT 1
CREATE OR REPLACE TABLE {sales}.orders (n int)
CREATE TABLE test.mine (n int)
CREATE TABLE mysql.mine (n int)
CREATE TABLE {sales}.mine (n int) ENGINE=FEDERATED CONNECTION='mysql://x@127.0.0.1/mysql/user'
CREATE TABLE {sales}.mine (n int) ENGINE=CONNECT TABLE_TYPE=CSV FILE_NAME='/etc/passwd'
CREATE DATABASE mine
DROP DATABASE {sales}
ALTER DATABASE {sales} CHARACTER SET latin1
DROP TABLE {sales}.orders
DROP TABLE IF EXISTS {sales}.orders
ALTER TABLE {sales}.orders ADD COLUMN n int
ALTER TABLE {sales}.orders ENGINE=MyISAM
ALTER TABLE {sales}.orders DISABLE KEYS
ALTER TABLE {sales}.orders DISCARD TABLESPACE
RENAME TABLE {sales}.orders TO {sales}.mine
RENAME TABLE {sales}.orders TO {hr}.orders
CREATE INDEX mine ON {sales}.orders (total)
DROP INDEX `PRIMARY` ON {sales}.orders
CREATE SEQUENCE {sales}.mine
SELECT NEXT VALUE FOR {sales}.numbers
SELECT SETVAL({sales}.numbers, 100)
CREATE VIEW {sales}.mine AS SELECT * FROM {sales}.orders
CREATE OR REPLACE VIEW {sales}.totals AS SELECT 1
ALTER VIEW {sales}.totals AS SELECT 1
DROP VIEW {sales}.totals
CREATE DEFINER={owner}@`%` SQL SECURITY DEFINER VIEW {sales}.mine AS SELECT * FROM {hr}.salaries
CREATE FUNCTION {sales}.mine() RETURNS int RETURN 1
CREATE PROCEDURE {sales}.mine() DELETE FROM {sales}.orders
CREATE DEFINER={owner}@`%` PROCEDURE {sales}.mine() SQL SECURITY DEFINER DELETE FROM {sales}.orders
CREATE FUNCTION mine RETURNS STRING SONAME 'mine.so'
CREATE AGGREGATE FUNCTION {sales}.mine(x int) RETURNS int BEGIN RETURN 1; END
CREATE PACKAGE {sales}.mine PROCEDURE p(); END
CALL {sales}.clears()
CALL {hr}.clears()
SELECT {sales}.counts()
CREATE TRIGGER {sales}.mine BEFORE INSERT ON {sales}.orders FOR EACH ROW SET NEW.total = 0
DROP TRIGGER {sales}.mine
CREATE EVENT {sales}.mine ON SCHEDULE EVERY 1 DAY DO DELETE FROM {sales}.orders
ALTER EVENT {sales}.mine ENABLE
CREATE SERVER mine FOREIGN DATA WRAPPER mysql OPTIONS (HOST '127.0.0.1')
CREATE USER mallory
CREATE USER mallory IDENTIFIED BY 'x'
CREATE OR REPLACE USER `{me}`@`%` IDENTIFIED BY 'x'
ALTER USER `{me}`@`%` ACCOUNT UNLOCK
ALTER USER `{me}`@`%` WITH MAX_USER_CONNECTIONS 0
ALTER USER `{me}`@`%` REQUIRE NONE WITH MAX_STATEMENT_TIME 0
ALTER USER {owner}@`%` IDENTIFIED BY 'x'
ALTER USER root@`127.0.0.1` IDENTIFIED BY 'x'
SET PASSWORD FOR root@`127.0.0.1` = PASSWORD('x')
SET PASSWORD FOR {owner}@`%` = PASSWORD('x')
DROP USER {owner}@`%`
DROP USER `{me}`@`%`
RENAME USER `{me}`@`%` TO mallory@`%`
CREATE ROLE mine
CREATE ROLE mine WITH ADMIN CURRENT_USER
DROP ROLE `{role}`
GRANT `{role}` TO mallory@`%`
GRANT `{role}` TO PUBLIC
GRANT `{role}` TO `{me}`@`%` WITH ADMIN OPTION
REVOKE `{role}` FROM `{me}`@`%`
REVOKE ADMIN OPTION FOR `{role}` FROM {owner}@`%`
SET DEFAULT ROLE NONE FOR {owner}@`%`
SET ROLE mysql
SET ROLE `{role}2`
GRANT ALL ON *.* TO `{me}`@`%`
GRANT ALL ON {sales}.* TO `{me}`@`%`
GRANT SELECT ON {hr}.* TO `{me}`@`%`
GRANT SELECT ON {hr}.* TO `{role}`
GRANT DELETE ON {sales}.orders TO `{role}`
GRANT SELECT ON {sales}.orders TO PUBLIC
GRANT SELECT ON {sales}.orders TO `{me}`@`%` WITH GRANT OPTION
GRANT PROXY ON root@`127.0.0.1` TO `{me}`@`%`
GRANT EXECUTE ON PROCEDURE {sales}.clears TO `{me}`@`%`
REVOKE ALL PRIVILEGES, GRANT OPTION FROM {owner}@`%`
FLUSH PRIVILEGES
FLUSH TABLES
FLUSH TABLES {sales}.orders WITH READ LOCK
FLUSH TABLES WITH READ LOCK
FLUSH LOGS
RESET MASTER
RESET QUERY CACHE
PURGE BINARY LOGS BEFORE NOW()
SHUTDOWN
LOCK TABLES {sales}.orders WRITE
LOCK TABLES {sales}.orders READ
BACKUP STAGE START
BACKUP LOCK {sales}.orders
SET GLOBAL read_only = 1
SET GLOBAL general_log = 1
SET GLOBAL general_log_file = '/tmp/out'
SET GLOBAL max_connections = 1
SET GLOBAL init_connect = 'SELECT 1'
SET GLOBAL event_scheduler = ON
SET GLOBAL local_infile = 1
SET SESSION sql_log_bin = 0
SET SESSION binlog_format = 'STATEMENT'
SET SESSION gtid_domain_id = 7
SET @@session.pseudo_thread_id = 1
SET SESSION SESSION_TRACK_SYSTEM_VARIABLES = '*'
INSTALL PLUGIN mine SONAME 'mine.so'
INSTALL SONAME 'mine'
UNINSTALL PLUGIN mysql_native_password
LOAD DATA INFILE '/etc/passwd' INTO TABLE {sales}.customers
LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE {sales}.customers
LOAD XML INFILE '/etc/passwd' INTO TABLE {sales}.customers
SELECT * FROM {sales}.orders INTO OUTFILE '/tmp/out'
SELECT 'x' INTO DUMPFILE '/tmp/out'
SELECT LOAD_FILE('/etc/passwd') IS NULL OR 1 / 0 = (SELECT 1 FROM {hr}.salaries)
SELECT * FROM {hr}.salaries
SELECT * FROM {sales}.orders o JOIN {hr}.salaries s
SELECT (SELECT amount FROM {hr}.salaries LIMIT 1)
SELECT * FROM {sales}.orders WHERE EXISTS (SELECT 1 FROM {hr}.salaries)
SELECT * FROM {sales}.orders UNION SELECT * FROM {hr}.salaries
TABLE {hr}.salaries
VALUES (1, (SELECT amount FROM {hr}.salaries))
HANDLER {hr}.salaries OPEN
HANDLER {sales}.orders OPEN AS h; HANDLER {hr}.salaries READ FIRST
USE {hr}
USE mysql
DESCRIBE {hr}.salaries
SHOW CREATE TABLE {hr}.salaries
SHOW COLUMNS FROM {hr}.salaries
SHOW INDEX FROM {hr}.salaries
CHECK TABLE {hr}.salaries
CHECKSUM TABLE {hr}.salaries
SELECT * FROM mysql.user
SELECT * FROM mysql.global_priv
SELECT * FROM mysql.db
SELECT * FROM mysql.proc
SELECT * FROM mysql.roles_mapping
UPDATE mysql.global_priv SET Priv = '{}'
DELETE FROM mysql.db
INSERT INTO mysql.tables_priv (Host, Db, User, Table_name) VALUES ('%', '{hr}', '{me}', 'salaries')
UPDATE information_schema.TABLES SET TABLE_NAME = 'x'
DELETE FROM information_schema.PROCESSLIST
SHOW GRANTS FOR root@`127.0.0.1`
SHOW GRANTS FOR {owner}@`%`
SHOW CREATE USER root@`127.0.0.1`
SHOW BINARY LOGS
SHOW MASTER STATUS
SHOW SLAVE STATUS
SHOW ENGINE INNODB STATUS
SHOW CREATE PROCEDURE {sales}.clears
KILL 1
KILL USER root
KILL USER {owner}
KILL USER {owner}@`127.0.0.1`
KILL USER {owner}@`%`
KILL QUERY 2
CHANGE MASTER TO MASTER_HOST = '127.0.0.1'
START SLAVE
STOP SLAVE
CACHE INDEX {sales}.orders IN mine
LOAD INDEX INTO CACHE {sales}.orders
HELP 'x'; DELETE FROM {sales}.orders
SELECT 1; DELETE FROM {sales}.orders
BINLOG 'AAAA'
SET STATEMENT sql_log_bin = 0 FOR DELETE FROM {sales}.orders
SET STATEMENT max_statement_time = 0 FOR DELETE FROM {sales}.orders
CREATE TABLE {sales}.mine (n int, FOREIGN KEY (n) REFERENCES {hr}.salaries (amount))
SELECT * FROM {sales}.orders PROCEDURE ANALYSE()
DELETE FROM {sales}.totals
UPDATE {sales}.names SET name = 'x'
INSERT INTO {sales}.names VALUES (9, 'x')
"""

SILENT: Final = """
SELECT * FROM {sales}.orders FOR UPDATE
SELECT * FROM {sales}.orders LOCK IN SHARE MODE
SELECT GET_LOCK('valetkey', 1)
SELECT SLEEP(0)
SET SESSION max_statement_time = 0
SET SESSION sql_mode = 'ANSI'
SET SESSION TRANSACTION READ WRITE
SET @a = 1
DO RELEASE_ALL_LOCKS()
SET ROLE NONE
START TRANSACTION READ WRITE
XA START 'x'
SHOW DATABASES
SHOW PROCESSLIST
SELECT LOAD_FILE('/etc/passwd')
HANDLER {sales}.orders OPEN
"""
"""What any account may say, of its own session: it goes through, and changes nothing all the same."""

ANSWERS: Final = (
    "CHECK TABLE", "ANALYZE TABLE", "OPTIMIZE TABLE", "REPAIR TABLE", "CHECKSUM TABLE", "CACHE INDEX", "LOAD INDEX",
    "DROP TABLE IF EXISTS", "SELECT * FROM {sales}.orders PROCEDURE", "SET SESSION SESSION_TRACK", "PREPARE gone",
    "SHOW INDEX", "EXPLAIN", "SELECT 1 /*!", "BEGIN NOT ATOMIC DECLARE EXIT HANDLER", "KILL USER",
)  # fmt: skip
"""What may answer in a row what it would not do, or means nothing: there it is only looked at that nothing changed."""


def lines(text: str, **names: str) -> list[str]:
    """The statements, filled in."""
    found = text.strip().splitlines()
    for name, value in names.items():
        found = [line.replace("{" + name + "}", value) for line in found]
    return found
