"""Once a revocation is answered, no node acts on older knowledge (REV-01, R6, R12, R20): two nodes, one PostgreSQL.

Node B never catches up by itself here: only the fence can keep it right.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support import tables
from tests.support.house import House, Robot, open_house
from tests.support.nodes import second_node
from tests.support.postgres import Postgres
from tests.support.scripts import watched
from tests.support.upstream import Upstream
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry, Journal, pages
from valetkey.server.audit.verify import verify_lines

READ = "/repos/acme-corp/backend"


@pytest.fixture
async def nodes(tmp_path: Path, postgres: Postgres) -> AsyncIterator[tuple[House, House]]:
    url = tables.postgresql(postgres)
    async with open_house(tmp_path / "a", database_url=url) as a, second_node(a, tmp_path / "b") as b:
        yield a, b
    postgres.discard(url)


async def records(house: House) -> list[dict[str, Any]]:
    return [json.loads(line) async for page in pages(house.app.database) for line in page]


async def warm(b: House, agent: Robot, task: Any) -> tuple[Robot, str]:
    """Node B has seen this agent and task: whatever it could remember, it remembers."""
    there = replace(agent, house=b)
    token = await there.token(task["task_token"])
    assert (await b.gateway(token, "GET", READ)).status == 200
    return there, token


async def test_a_revocation_answered_on_one_node_stops_the_next_call_and_token_on_the_other(
    nodes: tuple[House, House],
) -> None:
    a, b = nodes
    agent, _, task, _ = await a.ready()
    there, token = await warm(b, agent, task)
    sent = len(a.github.requests)
    await a.alice.does("POST", "/v1/revocations", node=task["id"])
    refused = await b.gateway(token, "GET", READ)
    assert (refused.status, refused.code) == (403, "revoked")
    assert (await there.exchange(task["task_token"])).status != 200
    assert len(a.github.requests) == sent


async def test_a_single_token_revoked_on_one_node_is_refused_on_the_other_and_its_sibling_is_not(
    nodes: tuple[House, House],
) -> None:
    a, b = nodes
    agent, _, task, _ = await a.ready()
    there, token = await warm(b, agent, task)
    sibling = await there.token(task["task_token"])
    revoked = next(r for r in await records(a) if r["event"] == "token.issued" and r["writer"] == "w2")
    await a.alice.does("POST", "/v1/revocations", node=revoked["token"])
    assert (await b.gateway(token, "GET", READ)).code == "revoked"
    assert (await b.gateway(sibling, "GET", READ)).status == 200


async def test_an_unrelated_revocation_has_the_decision_made_again_and_still_allowed(
    nodes: tuple[House, House],
) -> None:
    a, b = nodes
    agent, delegation, task, _ = await a.ready()
    _, token = await warm(b, agent, task)
    other = await a.task(delegation)
    revoked = await a.alice.does("POST", "/v1/revocations", node=other["id"])
    before = b.app.authorities.seq
    assert (await b.gateway(token, "GET", READ)).status == 200
    assert before < revoked["seq"] == b.app.authorities.seq
    allowed = [r for r in await records(a) if r["event"] == "call.allowed"]
    assert allowed[-1]["known_under"] == revoked["seq"]


async def test_an_agent_suspended_on_one_node_is_refused_on_the_other_at_once(nodes: tuple[House, House]) -> None:
    a, b = nodes
    agent, _, task, _ = await a.ready()
    there, token = await warm(b, agent, task)
    await a.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    assert (await b.gateway(token, "GET", READ)).status == 403
    assert (await there.exchange(task["task_token"])).status != 200
    await a.alice.does("POST", f"/v1/agents/{agent.id}/resume")
    assert (await b.gateway(token, "GET", READ)).status == 200


async def test_a_ceiling_lowered_on_one_node_holds_on_the_other_at_once(nodes: tuple[House, House]) -> None:
    a, b = nodes
    agent, _, task, _ = await a.ready()
    there, token = await warm(b, agent, task)
    lowered = await a.call(
        "PUT",
        f"/v1/agents/{agent.id}/ceiling",
        headers={"authorization": f"Bearer {a.alice.bearer}"},
        json={"ceiling": ["github:repo:read@acme-corp/payroll"]},
    )
    assert lowered.status == 200
    assert (await b.gateway(token, "GET", READ)).code == "denied"
    assert (await there.exchange(task["task_token"])).status != 200


@pytest.mark.parametrize("task_is_warm", [True, False])
async def test_a_rotated_secret_is_refused_at_once_on_a_warm_node(
    nodes: tuple[House, House], task_is_warm: bool
) -> None:
    a, b = nodes
    agent, delegation, task, _ = await a.ready()
    there, _ = await warm(b, agent, task)
    asked = task if task_is_warm else await a.task(delegation)
    rotated = await a.alice.does("POST", f"/v1/agents/{agent.id}/rotate")
    assert (await there.exchange(asked["task_token"])).status == 401
    assert (await replace(there, secret=rotated["secret"]).exchange(asked["task_token"])).status == 200


async def test_a_task_token_revoked_while_its_task_is_unknown_to_the_node_mints_nothing(
    nodes: tuple[House, House],
) -> None:
    a, b = nodes
    agent, delegation, task, _ = await a.ready()
    there, _ = await warm(b, agent, task)
    cold = await a.task(delegation)
    await a.alice.does("POST", "/v1/revocations", node=cold["id"])
    assert (await there.exchange(cold["task_token"])).status != 200
    assert (await there.exchange(task["task_token"])).status == 200


async def test_no_call_is_recorded_after_the_revocation_that_races_with_two_hundred(
    nodes: tuple[House, House],
) -> None:
    a, b = nodes
    agent, _, task, token = await a.ready()
    await warm(b, agent, task)
    answered = asyncio.Event()
    late: list[int] = []

    async def one(house: House) -> int:
        reply = await house.gateway(token, "GET", READ)
        return reply.status

    async def after() -> None:
        await answered.wait()
        late.extend(await asyncio.gather(*(one(house) for house in (a, b) * 10)))

    async def revoke() -> int:
        done = await a.alice.does("POST", "/v1/revocations", node=task["id"])
        answered.set()
        return int(done["seq"])

    calls = [asyncio.create_task(one((a, b)[n % 2])) for n in range(200)]
    refused_later = asyncio.create_task(after())
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    revoked_at = await revoke()
    statuses = await asyncio.gather(*calls)
    await refused_later
    assert late == [403] * 20
    assert set(statuses) <= {200, 403}
    order = await _in_order_of_commit(a)
    revocation = next(n for n, r in enumerate(order) if r["event"] == "node.revoked")
    allowed = [n for n, r in enumerate(order) if r["event"] == "call.allowed" and r["task"] == task["id"]]
    assert allowed
    assert max(allowed) < revocation
    assert all(order[n]["known_under"] < revoked_at for n in allowed)
    sent = sum(1 for r in a.github.requests if r.target.startswith(READ))
    assert sent <= 2 * len(allowed) + 2  # each call, and at most a look-up of its repository


async def _in_order_of_commit(house: House) -> list[dict[str, Any]]:
    """Records by transaction number: it is given out while the fence is held, so it is the order of the fence."""
    async with house.app.database.read() as db:
        rows = await db.execute(text("SELECT body FROM audit_records ORDER BY xmin::text::bigint, writer, seq"))
        return [json.loads(row.body) for row in rows]


async def test_the_fence_holds_whatever_isolation_the_database_defaults_to(tmp_path: Path, postgres: Postgres) -> None:
    url = tables.postgresql(postgres)
    postgres.execute(f'ALTER DATABASE "{url.rpartition("/")[2]}" SET default_transaction_isolation = serializable')
    async with open_house(tmp_path / "a", database_url=url) as a, second_node(a, tmp_path / "b") as b:
        agent, _, task, _ = await a.ready()
        _, token = await warm(b, agent, task)
        async with b.app.database.read() as db:
            assert (await db.execute(text("SHOW transaction_isolation"))).scalar_one() == "read committed"
        await a.alice.does("POST", "/v1/revocations", node=task["id"])
        assert (await b.gateway(token, "GET", READ)).code == "revoked"
    postgres.discard(url)


async def test_two_nodes_write_two_chains_that_verify_together(nodes: tuple[House, House]) -> None:
    a, b = nodes
    agent, _, task, _ = await a.ready()
    await warm(b, agent, task)
    assert {a.app.journal.writer, b.app.journal.writer} == {"w1", "w2"}
    exported = sorted([line async for page in pages(a.app.database) for line in page], key=_place)
    report = verify_lines(exported, [], {})
    assert (report.ok, report.writers) == (True, 2)


async def test_a_node_that_lost_its_writer_cannot_fork_the_chain(nodes: tuple[House, House]) -> None:
    a, b = nodes
    agent, _, task, _ = await a.ready()
    there, token = await warm(b, agent, task)
    sent = len(a.github.requests)
    await b.app.calls.settle()
    usurper = Journal(a.app.database, a.clock)
    usurper.writer = "w2"  # as a process would that claimed it while node B was cut off from the database
    await usurper.record(Entry(event=Event.WRITER_STARTED, org="", members={"unknown": 0}))

    assert (await b.gateway(token, "GET", READ)).status == 503
    assert (await there.exchange(task["task_token"])).status == 503
    assert len(a.github.requests) == sent
    await b.app.journal.keep_claim()
    assert (await b.gateway(token, "GET", READ)).status == 200
    exported = sorted([line async for page in pages(a.app.database) for line in page], key=_place)
    assert verify_lines(exported, [], {}).ok


async def test_a_node_whose_claim_was_taken_moves_to_another_writer_and_its_own_checkpoints(
    nodes: tuple[House, House],
) -> None:
    a, b = nodes
    agent, _, task, _ = await a.ready()
    _, token = await warm(b, agent, task)
    assert b.app.journal._claim is not None
    await b.app.journal._let_go()  # the session ends, and its lock with it
    async with a.app.database.read() as other:  # another process takes the writer
        await other.execute(text("SELECT pg_advisory_lock(30305, 2)"))
        await b.app.journal.keep_claim()
        await other.execute(text("SELECT pg_advisory_unlock(30305, 2)"))
    assert b.app.journal.writer == "w3"
    assert (await b.gateway(token, "GET", READ)).status == 200
    await b.app.witness.write()
    assert (b.settings.data / "checkpoints-w3.ndjson").exists()


async def test_an_open_stream_on_the_other_node_is_cut_when_it_catches_up(tmp_path: Path, postgres: Postgres) -> None:
    url = tables.postgresql(postgres)
    left = asyncio.Event()
    async with Upstream() as upstream:
        upstream.answers("GET", "/user", json={"login": "alice", "id": 1})
        document = {
            "id": 7,
            "full_name": "acme-corp/backend",
            "name": "backend",
            "owner": {"login": "acme-corp", "id": 2},
        }
        upstream.answers("GET", READ, json=document)
        upstream.answers("GET", f"{READ}/issues", script=watched(left))
        async with (
            open_house(tmp_path / "a", database_url=url, upstream=upstream.url) as a,
            second_node(a, tmp_path / "b") as b,
        ):
            _, _, task, token = await a.ready()
            reading = asyncio.create_task(b.gateway(token, "GET", f"{READ}/issues"))
            while upstream.received("GET", f"{READ}/issues") == 0:
                await upstream.saw(len(upstream.seen) + 1)
            await a.alice.does("POST", "/v1/revocations", node=task["id"])
            assert not reading.done()
            catching_up = asyncio.create_task(b.app._catch_up())
            async with asyncio.timeout(10):
                reply = await reading
                await left.wait()
            catching_up.cancel()
            assert not reply.is_whole
    postgres.discard(url)


async def test_a_node_cut_off_from_the_database_issues_and_sends_nothing(nodes: tuple[House, House]) -> None:
    a, b = nodes
    agent, _, task, _ = await a.ready()
    there, token = await warm(b, agent, task)
    sent = len(a.github.requests)
    whole = b.app.database._writer
    b.app.database._writer = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    try:
        assert (await b.gateway(token, "GET", READ)).status == 503
        assert (await there.exchange(task["task_token"])).status == 503
        assert len(a.github.requests) == sent
    finally:
        await b.app.database._writer.dispose()
        b.app.database._writer = whole
    assert (await b.gateway(token, "GET", READ)).status == 200


def _place(line: bytes) -> tuple[str, int]:
    record = json.loads(line)
    return record["writer"], record["seq"]
