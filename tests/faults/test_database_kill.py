"""kill -9 of a real server at every labelled step of making a login and of taking it back: a minute later none is left.

The server is `valetkey serve` in a process of its own; the one that comes after runs here, its clock a minute ahead.
"""

from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import Postgres
from tests.support.shop import AUDIENCE, Store, connected, session, shop
from tests.support.struck_shop import begun
from valetkey.server.connections.databases.model import prefix

OBTAIN = ["groups", "role", "made"]
REVOKE = ["shut", "forget", "owned", "drop", "dropped"]
LEFT = {"groups": 0, "role": 0, "made": 1, "shut": 1, "forget": 1, "owned": 1, "drop": 1, "dropped": 0}
"""How many roles there are when the process is dead."""


async def _nothing_is_left(at: Store) -> None:
    """Neither a role nor a line of it, and the trail says what became of the lease."""
    assert at.shop.roles(prefix(at.house.app.deployment)) == []
    assert await at.shop.owner.fetchval("SELECT count(*) FROM valetkey.leases") == 0
    assert [one["status"] for one in await at.leases()] == ["ended"]
    assert len(await at.house.events("lease.ended")) == 1


@pytest.mark.parametrize("step", OBTAIN)
async def test_a_server_killed_while_it_makes_a_login_leaves_none(
    step: str, tmp_path: Path, database_url: str | None, postgres: Postgres
) -> None:
    async with shop(postgres) as there:
        async with begun(tmp_path / "data", there, database_url, dies_at=step) as struck:
            await struck.dies_of(
                struck.at.agent, "POST", "/v1/leases", task_token=struck.at.task["task_token"], target=AUDIENCE
            )
        assert await there.owner.fetchval("SELECT count(*) FROM valetkey.leases") == LEFT[step]
        async with struck.a_minute_later() as at:
            await _nothing_is_left(at)
            async with session(await at.lent()) as db:
                assert await db.fetchval("SELECT count(*) FROM sales.orders") == 8


@pytest.mark.parametrize("step", REVOKE)
async def test_a_server_killed_while_it_takes_a_login_back_leaves_none(
    step: str, tmp_path: Path, database_url: str | None, postgres: Postgres
) -> None:
    async with shop(postgres) as there:
        async with begun(tmp_path / "data", there, database_url, dies_at=step) as struck:
            lent = await struck.at.lent()
            alice = struck.at.house.alice
            await struck.dies_of(alice, "POST", "/v1/revocations", node=struck.at.delegation["id"])
        assert len(there.roles(lent["user"])) == LEFT[step]
        with pytest.raises(asyncpg.PostgresError):  # wherever it died: nobody comes in
            await connected(lent)
        async with struck.a_minute_later() as at:
            await _nothing_is_left(at)
            assert (await at.lease()).code in ("revoked", "invalid_request")
