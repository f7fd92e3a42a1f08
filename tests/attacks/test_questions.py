"""SQ-01, SQ-02 at the door for single questions: what was tried against leases changes nothing, and reads nothing."""

from pathlib import Path

import pytest

from tests.attacks.test_database_evasions import looks
from tests.attacks.test_sql_statements import DOES_MORE, NOT_ONE
from tests.support import evasions
from tests.support.postgres import Postgres
from tests.support.question import ask, lines, rows, token
from tests.support.shop import Store, stocked
from valetkey.server.connections.databases.postgres.model import question_prefix


async def _nothing_changes(at: Store, statements: list[str], *, answers: frozenset[int]) -> None:
    bearer = await token(at)
    for table in ("sales.orders", "sales.customers", "sales.totals"):
        assert (await ask(at, f"SELECT count(*) FROM {table}", bearer=bearer)).status == 200
    await at.house.app.questions.settle()
    before = looks(at)
    for number, statement in enumerate(statements):
        reply = await ask(at, statement, bearer=bearer)
        assert reply.status in answers, (statement, reply.body)
        if reply.status == 200 or number % 25 == 24:
            await at.house.app.questions.settle()
            assert looks(at) == before, statement
    await at.house.app.questions.settle()
    assert looks(at) == before


async def test_no_statement_of_the_readers_suite_gets_through(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres) as at:
        await _nothing_changes(at, [*DOES_MORE, *NOT_ONE], answers=frozenset({400, 403}))


async def test_no_statement_of_the_leases_suite_changes_anything(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres) as at:
        names = {"me": "CURRENT_USER", "owner": at.shop.login, "group": at.shop.login, "database": at.shop.name}
        statements = evasions.lines(evasions.READ, **names)
        await _nothing_changes(at, statements, answers=frozenset({200, 400, 403}))


async def test_a_name_with_a_dot_is_no_other_table(tmp_path: Path, postgres: Postgres) -> None:
    also = 'CREATE TABLE sales."orders.x" (n int); CREATE SCHEMA "sales.orders"; CREATE TABLE "sales.orders".x (n int)'
    async with stocked(tmp_path / "data", postgres, also=also) as at:
        assert len(await rows(at, 'SELECT * FROM "sales"."orders"')) == 8
        for named in ('"sales.orders".x', 'sales."orders.x"'):
            reply = await ask(at, f"SELECT * FROM {named}")
            assert (reply.status, reply.json()["reason"]) == (403, "statement")


@pytest.mark.parametrize(("at_step", "status"), [("role", 403), ("asks", 403), ("nowhere", 200)])
async def test_a_table_made_anew_after_the_decision_is_not_read(
    tmp_path: Path, postgres: Postgres, at_step: str, status: int
) -> None:
    async with stocked(tmp_path / "data", postgres) as at:

        async def swapped(step: str) -> None:
            if step == at_step:
                await at.shop.owner.execute(
                    "DROP TABLE sales.customers; CREATE TABLE sales.customers AS SELECT * FROM hr.salaries"
                )

        at.house.app.question_roles.step = swapped
        reply = await ask(at, "SELECT * FROM sales.customers")
        assert reply.status == status, reply.body
        assert (b"Globex" in reply.body) == (status == 200)
        assert len(await at.house.events("call.allowed")) == 1  # it was allowed, for what it was then


async def test_a_row_of_a_hundred_megabytes_never_gets_here(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres) as at:
        wide = "SELECT repeat(owner, $1) FROM sales.orders WHERE id = 1"
        assert await rows(at, wide, 2) == [["alice@acme.com" * 2]]
        reply = await ask(at, wide, 8_000_000)
        assert lines(reply)[1:] == [{"end": "bytes", "rows": 0}]


async def test_errors_tell_nothing_that_was_not_delegated(tmp_path: Path, postgres: Postgres) -> None:
    also = """
        CREATE VIEW sales.hidden AS SELECT (person || amount)::int AS n FROM hr.salaries;
        CREATE VIEW sales.of_others WITH (security_barrier) AS SELECT 1 / (amount - 1) AS n FROM hr.salaries
    """
    async with stocked(tmp_path / "data", postgres, also=also) as at:
        reply = await ask(at, "SELECT n FROM sales.hidden")
        assert (reply.status, reply.json()["sqlstate"]) == (400, "22P02")
        assert b"alice" not in reply.body.replace(b"alice@acme.com may", b"")
        assert (await ask(at, "SELECT n FROM sales.of_others")).json()["sqlstate"] == "22012"
        unknown = await ask(at, "SELECT salary FROM sales.orders")
        assert (unknown.status, unknown.json()["sqlstate"]) == (400, "42703")
        assert "salary" in unknown.json()["detail"]  # its own word, about a table it may read


async def test_a_failure_among_the_rows_is_the_last_line(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres) as at:
        late = "SELECT 1 / (n - 100) FROM sales.customers, generate_series(1, 200) n WHERE id = 1"
        *_, last = lines(await ask(at, late))
        assert (last["end"], last["sqlstate"]) == ("failed", "22012")


async def test_a_role_that_nobody_ended_is_swept_when_it_lets_nobody_in(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres) as at:
        await rows(at, "SELECT id FROM sales.orders")
        roles, mark = at.house.app.question_roles, question_prefix(at.house.app.deployment)
        await roles.settle()
        left = f"{mark}0123456789abcdef0123"
        for ends, swept in (("infinity", 0), ("2020-01-01", 1)):
            at.shop.as_superuser(f"DROP ROLE IF EXISTS {left}; CREATE ROLE {left} LOGIN VALID UNTIL '{ends}'")
            await at.shop.owner.execute("SELECT 1")
            at.shop.as_superuser(f"GRANT {left} TO {at.shop.login} WITH ADMIN OPTION")
            assert await roles.sweep() == swept
            assert (left in at.shop.roles(mark)) == (not swept)
