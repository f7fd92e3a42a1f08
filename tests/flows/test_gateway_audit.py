"""Every call is known before it leaves and closed after it ended: AUD-01, AUD-06, AUD-07 at the gateway."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from tests.support import scripts
from tests.support.behind import ALLOWED, DENIED, Behind, open_behind
from tests.support.house import REAL
from tests.support.upstream import reply
from valetkey.server.db.schema import audit_records


@pytest.fixture
async def behind(tmp_path: Path, database_url: str | None) -> AsyncIterator[Behind]:
    async with open_behind(tmp_path / "data", database_url=database_url) as opened:
        yield opened


async def test_the_decision_is_durable_when_the_upstream_first_sees_the_call(behind: Behind) -> None:
    known: list[tuple[str, str]] = []

    async def looks_into_the_database(seen, wire):  # type: ignore[no-untyped-def]
        async with behind.house.app.database.read() as db:
            rows = await db.execute(select(audit_records.c.event, audit_records.c.id).order_by(audit_records.c.seq))
            known.extend((row.event, row.id) for row in rows)
        await wire.say(reply(200, (), b"seen"))

    behind.up.answers("GET", ALLOWED, script=looks_into_the_database)
    answer = await behind.call()
    decision = answer.header("x-decision-id")
    assert known[-1] == ("call.allowed", decision)
    assert "call.finished" not in [event for event, _ in known]
    outcome = await behind.outcome(decision or "")
    assert (outcome["status"], outcome["bytes"], outcome["ended"]) == (200, 4, "complete")


async def test_a_record_says_who_for_whom_what_and_under_which_delegation(behind: Behind) -> None:
    answer = await behind.call(path=f"{ALLOWED}?labels=secret-label&page=2")
    [record] = await behind.house.events("call.allowed")
    assert record["id"] == answer.header("x-decision-id")
    assert record["agent"] == behind.agent.id
    assert record["chain"] == [behind.agent.id]
    assert record["user"] == behind.house.alice.id
    assert (record["task"], record["delegation"]) == (behind.task["id"], behind.delegation["id"])
    assert (record["integration"], record["method"], record["operation"]) == ("github", "GET", "issues/list-for-repo")
    assert (record["resource"], record["resource_id"]) == ("acme/pub", "101")
    assert record["connection"].startswith("con_")
    assert record["token"].startswith("tok_")


async def test_a_denied_call_is_recorded_with_its_reason_and_has_no_outcome(behind: Behind) -> None:
    answer = await behind.call(path=DENIED)
    [record] = await behind.house.events("call.denied")
    assert record["id"] == answer.json()["decision"] == answer.header("x-decision-id")
    assert (record["reason"], record["resource"]) == ("not_delegated", "acme/sec")
    await behind.house.app.calls.settle()
    assert await behind.house.events("call.finished") == []


async def test_records_hold_no_secret_body_header_or_unjudged_value(behind: Behind) -> None:
    """AUD-07: planted in every place a caller controls, and in what comes back."""
    canary = "canary5f3a"
    behind.up.answers("POST", ALLOWED, json={"echo": canary}, headers={"X-Echo": canary})
    await behind.call("POST", ALLOWED, json={"title": canary}, headers=[("x-note", canary), ("user-agent", canary)])
    await behind.call(path=f"{ALLOWED}?q={canary}")
    await behind.call(path=f"/unknown/{canary}")
    await behind.call(path=f"{ALLOWED}?access_token={canary}")
    await behind.house.app.calls.settle()
    lines = [line async for line in behind.house.app.journal.export()]
    assert len([line for line in lines if b'"call.' in line]) >= 5
    text_of_all = b"\n".join(lines)
    for secret in (canary, REAL, behind.token, behind.token.split(".")[2], behind.agent.secret):
        assert secret.encode() not in text_of_all


@pytest.mark.parametrize(
    ("script", "status", "ended"),
    [
        (reply(500, (), b"oops"), 500, "complete"),
        (scripts.truncated(b"abc", promised=9), 200, "truncated"),
        (scripts.reset(), 0, "upstream_failed"),
        (reply(401, (), b""), 401, "connection_required"),
    ],
    ids=["an error", "broken off", "reset", "credential refused"],
)
async def test_the_outcome_says_what_happened(behind: Behind, script: object, status: int, ended: str) -> None:
    behind.up.answers("GET", ALLOWED, script=script)  # type: ignore[arg-type]
    await behind.call()
    [decision] = await behind.house.events("call.allowed")
    outcome = await behind.outcome(decision["id"])
    assert (outcome["status"], outcome["ended"]) == (status, ended)


async def test_what_cannot_be_recorded_does_not_leave(behind: Behind) -> None:
    """AUD-01: the audit table is gone, then back. Denied calls cannot be recorded either, and are not let through."""
    assert (await behind.call()).status == 200
    database = behind.house.app.database
    async with database.write() as tx:
        await tx.execute(text("ALTER TABLE audit_records RENAME TO audit_elsewhere"))
    for path in (ALLOWED, DENIED):
        answer = await behind.call(path=path)
        assert (answer.status, answer.code) == (503, "unavailable")
        assert answer.header("retry-after") is not None
        assert json.loads(answer.body)["hint"]
    assert len(behind.calls) == 1
    async with database.write() as tx:
        await tx.execute(text("ALTER TABLE audit_elsewhere RENAME TO audit_records"))
    assert (await behind.call()).status == 200
    assert len(behind.calls) == 2
