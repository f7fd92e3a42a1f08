"""Single questions to a database, judged and recorded one by one, by an agent that holds no login of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres
from tests.support.question import ask, lines, rows, token
from tests.support.severed import Severed
from tests.support.shop import AUDIENCE, Store, shop, stocked
from valetkey.client.errors import Denied, NotAuthenticated
from valetkey.client.proving import ProofKey
from valetkey.client.sync import Client
from valetkey.server.connections.databases.postgres.model import question_prefix

ALL = "postgres:read@sales.*"
CUSTOMERS = "postgres/analytics:read@sales.customers"
ORDERS = "postgres/analytics:read@sales.orders"


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


async def test_the_record_says_every_table_before_and_the_rows_after(at: Store) -> None:
    found = await rows(at, "SELECT c.name, o.id FROM sales.customers c JOIN sales.orders o ON c.id = o.id")
    (allowed,) = await at.house.events("call.allowed")
    parts = [allowed, *allowed["also"]]
    assert {part["resource"] for part in parts} == {"sales.customers", "sales.orders"}
    assert {part["operation"] for part in parts} == {"rows/read"}
    assert all(part["resource_id"].isdecimal() for part in parts)
    await at.house.app.questions.settle()
    (finished,) = await at.house.events("call.finished")
    assert (finished["rows"], finished["status"], finished["ended"]) == (len(found), 200, "complete")


async def test_what_a_task_remembers_counts_rows(at: Store) -> None:
    await rows(at, "SELECT * FROM sales.orders")
    await at.house.app.questions.settle()
    await rows(at, "SELECT * FROM sales.orders LIMIT 1")
    allowed = (await at.house.events("call.allowed"))[-1]
    assert allowed["history"]["task"]["rows"] == 8


async def test_the_role_of_a_question_is_there_for_it_alone(at: Store) -> None:
    await at.shop.owner.execute(
        "CREATE POLICY own ON sales.orders USING (owner = (SELECT user_name FROM valetkey.valetkey_caller()));"
        "ALTER TABLE sales.orders ENABLE ROW LEVEL SECURITY"
    )
    assert await rows(at, "SELECT count(*) FROM sales.orders") == [[5]]  # hers, by who the session acts for
    await at.house.app.questions.settle()
    assert asking(at) == []
    assert await at.shop.owner.fetchval("SELECT count(*) FROM valetkey.leases") == 0


async def test_values_travel_as_parameters_and_come_as_postgresql_has_them(at: Store) -> None:
    statement = (
        "SELECT $1::text, $2::timestamptz, $3::numeric, $4::int8, $5::jsonb, $6::int4[], $7::bool FROM sales.totals"
    )
    values = ["'; DROP TABLE sales.orders; --", "2026-11-26T01:00:00+01:00", "1.50", "9223372036854775807", '{"a": 1}']
    first, _ = await rows(at, statement, *values, [1, None], None)
    assert first == [values[0], "2026-11-26 00:00:00+00", "1.50", values[3], {"a": 1}, [1, None], None]
    wrong = await ask(at, "SELECT 1 FROM sales.orders WHERE id = $1", "seven")
    assert (wrong.status, wrong.json()["reason"]) == (400, "statement_failed")
    few = await ask(at, "SELECT 1 FROM sales.orders WHERE id = $1")
    assert (few.status, few.code) == (400, "invalid_request")


async def test_rows_and_bytes_are_limited_and_the_last_line_says_so(at: Store) -> None:
    statement = "SELECT id FROM sales.orders ORDER BY id"
    assert lines(await ask(at, statement, rows=3))[1:] == [[1], [2], [3], {"end": "rows", "rows": 3}]
    assert lines(await ask(at, statement, rows=8))[-1] == {"end": "complete", "rows": 8}
    wide = "SELECT o.owner FROM sales.orders o, generate_series(1, 1000) n"
    reply = await ask(at, wide, bytes=4000)
    last = lines(reply)[-1]
    assert last["end"] == "bytes"
    assert len(reply.body) <= 4000
    assert last["rows"] == len(lines(reply)) - 2
    assert (await ask(at, statement, rows=0)).status == 400
    assert (await ask(at, statement, rows=10_001)).status == 400
    await at.house.app.questions.settle()
    ended = [record["ended"] for record in await at.house.events("call.finished")]
    assert ended == ["limit", "complete", "limit"]


async def test_many_rows_come_in_pieces_and_whole(at: Store) -> None:
    found = await rows(at, "SELECT n FROM sales.customers, generate_series(1, 500) n ORDER BY n", rows=10_000)
    assert len(found) == 1000


async def test_what_names_no_table_or_does_more_is_refused_and_recorded(at: Store) -> None:
    assert len(await rows(at, "SELECT id FROM sales.orders")) == 8
    for statement in ("SELECT 1", "DELETE FROM sales.orders", "SELECT pg_sleep(1) FROM sales.orders"):
        reply = await ask(at, statement)
        assert (reply.status, reply.json()["reason"]) == (403, "statement"), statement
    denied = await at.house.events("call.denied")
    assert [record["reason"] for record in denied] == ["statement"] * 3


async def test_the_connection_is_the_one_the_address_names(at: Store) -> None:
    statement = "SELECT 1 FROM sales.orders LIMIT 1"
    assert await rows(at, statement, path=f"/p/postgres/{at.connection['id']}/query") == [[1]]
    reply = await ask(at, statement, path="/p/postgres/elsewhere/query")
    assert (reply.status, reply.json()["reason"]) == (403, "connection_foreign")
    for path in ("/p/postgres/analytics", "/p/postgres/analytics/query/x", "/p/postgres/read/sales.orders"):
        assert (await ask(at, statement, path=path)).json()["reason"] == "unknown_operation"


async def test_a_table_made_anew_is_refused_until_she_agrees_again(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, CUSTOMERS, entitled=(ALL,)) as at:
        assert len(await rows(at, "SELECT * FROM sales.customers")) == 2
        await at.shop.owner.execute("ALTER TABLE sales.customers RENAME TO old; CREATE TABLE sales.customers (id int)")
        reply = await ask(at, "SELECT * FROM sales.customers")
        assert (reply.status, reply.json()["reason"]) == (403, "resource_changed")
        assert (await ask(at, "SELECT * FROM sales.orders")).status == 403


async def test_a_revocation_ends_a_running_statement_in_the_database_too(at: Store) -> None:
    slow = "SELECT count(*) FROM sales.orders, generate_series(1, 2000000000) n"
    asked = asyncio.create_task(ask(at, slow))
    running = (
        f"SELECT count(*) FROM pg_stat_activity WHERE starts_with(usename::text, '{mark(at)}') AND state = 'active'"
    )
    while not await at.shop.owner.fetchval(running):
        assert not asked.done(), (await asked).body
    report = await at.house.alice.does("POST", "/v1/revocations", node=at.delegation["id"])
    assert any("1 cut on this node" in hop["detail"] for hop in report["hops"])
    reply = await asked
    assert (reply.status, reply.code) == (403, "revoked")
    await at.house.app.questions.settle()
    assert await at.shop.owner.fetchval(running) == 0
    assert asking(at) == []
    assert (await at.house.events("call.finished"))[-1]["ended"] == "cut"


async def test_what_was_approved_is_what_is_asked(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, CUSTOMERS, entitled=(ALL,), ask=[ORDERS]) as at:
        assert len(await rows(at, "SELECT * FROM sales.customers")) == 2
        bearer = await token(at)
        statement = "select   id FROM sales.orders where id = $1"
        reply = await ask(at, statement, 3, bearer=bearer)
        assert (reply.status, reply.code) == (403, "approval_required"), reply.body
        approval = reply.json()["approval"]
        await at.house.alice.does("POST", f"/v1/approvals/{approval}/answer", answer="approve")
        assert (await ask(at, statement, 4, bearer=bearer)).code == "approval_required"
        assert await rows(at, statement, 3, bearer=bearer) == [[3]]
        assert (await ask(at, statement, 3, bearer=bearer)).json()["reason"] == "approval_used"


async def test_calls_and_bytes_that_were_delegated_are_counted(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, max_calls=2) as at:
        assert (await at.lease()).status == 403  # a login cannot be counted: this is the way that can
        for _ in range(2):
            assert len(await rows(at, "SELECT * FROM sales.customers")) == 2
        assert (await ask(at, "SELECT * FROM sales.customers")).json()["reason"] == "out_of_calls"
    async with stocked(tmp_path / "more", postgres, max_bytes=3000) as at:
        reply = await ask(at, "SELECT o.owner FROM sales.orders o, generate_series(1, 1000) n")
        assert lines(reply)[-1]["end"] == "budget"
        assert len(reply.body) < 3000


def mark(at: Store) -> str:
    return question_prefix(at.house.app.deployment)


def asking(at: Store) -> list[str]:
    """The roles of questions that are there."""
    return at.shop.roles(mark(at))


async def test_a_client_asks_and_a_limit_is_said(at: Store) -> None:
    with Client(at.house.base) as client:
        credential = await token(at)
        found = await asyncio.to_thread(
            client.query, credential, "analytics", "SELECT id FROM sales.orders WHERE id < $1 ORDER BY id", [3]
        )
        assert found == {"columns": [{"name": "id", "type": "int4"}], "rows": [[1], [2]], "end": "complete"}
        less = await asyncio.to_thread(client.query, credential, "analytics", "SELECT id FROM sales.orders", rows=2)
        assert (len(less["rows"]), less["end"]) == (2, "rows")
        with pytest.raises(Denied) as refused:
            await asyncio.to_thread(client.query, credential, "analytics", "SELECT amount FROM hr.salaries")
        assert refused.value.members["reason"] == "not_entitled"


async def test_a_key_bound_credential_asks_with_its_key_alone(at: Store) -> None:
    now = at.house.clock.now
    key, other = ProofKey(clock=now), ProofKey(clock=now)
    with Client(at.house.base, credential=f"{at.agent.id}:{at.agent.secret}", key=key) as client:
        minted = await asyncio.to_thread(client.tokens.create, at.task["task_token"], target=AUDIENCE)
        found = await asyncio.to_thread(client.query, minted["token"], "analytics", "SELECT id FROM sales.orders")
        assert len(found["rows"]) == 8
    for wrong in (None, other):
        with Client(at.house.base, key=wrong) as thief, pytest.raises(NotAuthenticated):
            await asyncio.to_thread(thief.query, minted["token"], "analytics", "SELECT id FROM sales.orders")
    assert len(await at.house.events("call.allowed")) == 1


async def test_a_database_that_cannot_be_reached_is_not_asked_by_everybody(tmp_path: Path, postgres: Postgres) -> None:
    async with shop(postgres) as there, Severed(there.place) as wire:
        there.url_place = wire.place
        async with stocked(tmp_path / "data", postgres, there=there) as at:
            statement = "SELECT id FROM sales.orders"
            assert len(await rows(at, statement)) == 8
            await at.house.app.questions.settle()
            lease = (await at.lent())["lease"]
            await wire.down()
            failed = [await ask(at, statement) for _ in range(6)]
            assert {reply.status for reply in failed} == {502}
            told = await ask(at, statement)
            assert (told.status, told.header("retry-after")) == (502, "5")
            assert "The database behind the gateway did not answer 5 times" in told.json()["detail"]
            await wire.up()
            assert (await ask(at, statement)).header("retry-after") == "5"  # nobody asks yet
            assert (await at.revoke(lease))["outcome"] == "done"  # but what is taken back is not held up
            at.house.clock.advance(5)
            assert len(await rows(at, statement)) == 8


async def test_a_question_that_was_allowed_and_not_sent_is_recorded_as_such(tmp_path: Path, postgres: Postgres) -> None:
    """The login's own session lives on, so tables are found and judged; no role gets in beside it."""
    async with shop(postgres) as there, Severed(there.place) as wire:
        there.url_place = wire.place
        async with stocked(tmp_path / "data", postgres, there=there) as at:
            statement = "SELECT id FROM sales.orders"
            assert len(await rows(at, statement)) == 8
            await at.house.app.questions.settle()
            wire.shut()
            failed = []
            for _ in range(5):
                failed.append(await ask(at, statement))
                await at.house.app.questions.settle()
            assert {(reply.status, reply.header("retry-after")) for reply in failed} == {(502, None)}
            told = await ask(at, statement)
            await at.house.app.questions.settle()
            assert (told.status, told.header("retry-after")) == (502, "5")
            ended = {one["decision"]: one for one in await at.house.events("call.finished")}
            assert {ended[reply.json()["decision"]]["ended"] for reply in failed} == {"failed"}
            not_sent = ended[told.json()["decision"]]
            assert (not_sent["ended"], not_sent.get("sent")) == ("not_sent", None)
            assert asking(at) == []  # and no role of any of them is left
