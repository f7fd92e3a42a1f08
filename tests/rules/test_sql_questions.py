"""What a plain question in SQL is, and which tables it reads."""

import pytest

from valetkey.server.integrations.sql.statement import read_statement

ORDERS, ITEMS, CUSTOMERS = ("sales", "orders"), ("sales", "items"), ("sales", "customers")

ONE, TWO = [ORDERS], [ORDERS, ITEMS]

QUESTIONS = {
    "SELECT * FROM sales.orders": ONE,
    "TABLE sales.orders": ONE,
    "VALUES (1, 'a'), (2, 'b')": [],
    "select 1;": [],
    "SELECT o.id FROM sales.orders o JOIN sales.items i USING (id) WHERE i.n BETWEEN 1 AND $1": TWO,
    "SELECT 1 FROM sales.orders o WHERE EXISTS (SELECT 1 FROM sales.items i WHERE i.id = o.id)": TWO,
    "WITH t AS MATERIALIZED (SELECT * FROM sales.orders) SELECT * FROM t UNION ALL SELECT * FROM t": ONE,
    "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r": [],
    "SELECT g, sum(x) FILTER (WHERE x > 1) FROM sales.orders GROUP BY GROUPING SETS ((g), ()) HAVING true": ONE,
    "SELECT rank() OVER w FROM sales.orders WINDOW w AS (PARTITION BY g ORDER BY x DESC NULLS LAST)": ONE,
    "SELECT * FROM sales.orders, LATERAL (SELECT * FROM sales.items LIMIT 1) q ORDER BY 1 OFFSET 2": TWO,
    "SELECT * FROM generate_series(1, 10) WITH ORDINALITY AS g(i, n)": [],
    "SELECT extract(year FROM y), y AT TIME ZONE 'utc', interval '1 day', current_date FROM sales.orders": ONE,
    "SELECT trim(both 'x' FROM n), substring(n FROM 1 FOR 2), position('a' IN n), n LIKE 'b%' FROM sales.orders": ONE,
    "SELECT CASE WHEN a THEN 1 ELSE 2 END, coalesce(b, 1), nullif(b, 2), greatest(1, 2) FROM sales.orders": ONE,
    "SELECT a IS NULL, b IS TRUE, NOT c, d IS DISTINCT FROM e, f = ANY (ARRAY[1, 2]) FROM sales.orders": ONE,
    "SELECT j ->> 'a', '{}'::jsonb, cast(n AS numeric(10, 2)), t::timestamptz FROM sales.orders": ONE,
    "SELECT array(SELECT id FROM sales.items), (x).y, a[1:2], row(1, 2), n COLLATE \"C\" FROM sales.orders": TWO,
    "SELECT pg_catalog.count(*), 1 OPERATOR(pg_catalog.+) 2 FROM ONLY sales.orders": ONE,
    'SELECT sales.orders.id FROM SALES."orders" -- a remark': ONE,
    "SELECT * FROM sales.orders NATURAL LEFT JOIN sales.customers EXCEPT TABLE sales.orders": [ORDERS, CUSTOMERS],
}  # fmt: skip


@pytest.mark.parametrize("text", QUESTIONS)
def test_a_question_says_which_tables_it_reads(text: str) -> None:
    assert set(read_statement(text).tables) == set(QUESTIONS[text])


@pytest.mark.parametrize("text", QUESTIONS)
def test_what_is_sent_is_our_print_and_reads_the_same(text: str) -> None:
    once = read_statement(text)
    again = read_statement(once.text)
    assert "--" not in once.text
    assert ";" not in once.text
    assert again.text == once.text
    assert set(again.tables) == set(once.tables)


def test_names_are_those_the_server_will_see() -> None:
    assert read_statement('SELECT 1 FROM "Sales"."Weird ""one"""').tables == (("Sales", 'Weird "one"'),)
    assert read_statement("SELECT 1 FROM SALES.Orders").tables == (ORDERS,)
