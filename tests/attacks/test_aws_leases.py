"""Getting more out of a connected role than was delegated."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.flows.test_aws_leases import AWS, Account, connected
from tests.support.aws_account import SESSION_TOKEN


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Account]:
    async with connected(tmp_path / "data", database_url) as found:
        yield found


async def test_a_session_without_its_policy_is_handed_to_nobody(at: Account) -> None:
    at.sts.answers = lambda said: said.replace("<PackedPolicySize>12</PackedPolicySize>", "")
    refused = await at.lease()
    assert (refused.status, refused.code) == (502, "upstream_failed")
    assert SESSION_TOKEN not in refused.body.decode()
    (shown,) = (await at.house.alice.does("GET", "/v1/leases"))["data"]
    assert shown["status"] == "lost"


async def test_what_is_revoked_while_it_is_made_is_handed_to_nobody(at: Account) -> None:
    async def revoke() -> None:
        at.sts.on_assume = None
        await at.house.alice.does("POST", "/v1/revocations", node=at.delegation["id"])

    at.sts.on_assume = revoke
    refused = await at.lease()
    assert refused.status in (401, 403)
    assert SESSION_TOKEN not in refused.body.decode()
    assert await at.house.events("lease.obtained") == []


async def test_a_key_moved_to_another_role_does_not_open(at: Account) -> None:
    async with at.house.app.database.write() as tx:
        await tx.execute(text("UPDATE connections SET powers = REPLACE(powers, 'agents/reports', 'admin')"))
    refused = await at.lease()
    assert refused.status in (500, 502, 503)
    assert at.sts.sessions == []


async def test_another_agents_task_token_gets_nothing(at: Account) -> None:
    other = await at.house.agent("other")
    body = {"task_token": at.task["task_token"], "target": AWS}
    assert (await other.call("POST", "/v1/leases", **body)).status == 400
    assert at.sts.sessions == []


async def test_what_is_kept_of_a_session_is_not_its_secret(at: Account) -> None:
    lent = await at.lent()
    async with at.house.app.database.read() as db:
        (row,) = (await db.execute(text("SELECT * FROM leases"))).mappings().all()
    assert row["sealed"] is not None
    assert len(row["sealed"]) < len(lent["credential"])
