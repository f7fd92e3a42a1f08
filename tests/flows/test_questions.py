"""Single questions to a database, judged and recorded one by one, by an agent that holds no login of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres
from tests.support.question import ask, lines, rows
from tests.support.shop import Store, stocked


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None, postgres: Postgres) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", postgres, database_url=database_url) as found:
        yield found


async def test_a_question_over_delegated_tables_is_answered_line_by_line(at: Store) -> None:
    reply = await ask(at, "SELECT id, owner FROM sales.orders WHERE id <= $1 ORDER BY id", 2)
    assert reply.status == 200, reply.body
    assert reply.header("content-type") == "application/x-ndjson"
    assert lines(reply) == [
        {"columns": [{"name": "id", "type": "int4"}, {"name": "owner", "type": "text"}]},
        [1, "alice@acme.com"],
        [2, "alice@acme.com"],
        {"end": "complete", "rows": 2},
    ]


async def test_one_table_that_was_not_delegated_is_enough_to_refuse_it(at: Store) -> None:
    await at.entitle("postgres:read@hr.salaries")  # she could have delegated it, and did not
    both = "SELECT c.name, {} FROM sales.customers c, {} AS x"
    assert len(await rows(at, both.format("x.total", "sales.orders"))) == 16
    reply = await ask(at, both.format("x.amount", "hr.salaries"))
    assert (reply.status, reply.json()["reason"]) == (403, "not_delegated")
    (denied,) = await at.house.events("call.denied")
    assert (denied["resource"], denied["reason"]) == ("hr.salaries", "not_delegated")
