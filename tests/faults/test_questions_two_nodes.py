"""A question runs on one node, and what allows it is revoked on the other: REV-01 at the door for questions."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tables
from tests.support.nodes import second_node
from tests.support.postgres import Postgres
from tests.support.question import ask
from tests.support.shop import Store, stocked
from valetkey.server.connections.databases.postgres.model import question_prefix

SLOW = "SELECT count(*) FROM sales.orders, generate_series(1, 2000000000) n"
PATIENCE = 30


def _running(at: Store) -> str:
    mark = question_prefix(at.house.app.deployment)
    return f"SELECT count(*) FROM pg_stat_activity WHERE starts_with(usename::text, '{mark}') AND state = 'active'"


@pytest.fixture
def shared(postgres: Postgres) -> Iterator[str]:
    """The deployment's own database."""
    url = tables.postgresql(postgres)
    yield url
    postgres.discard(url)


@pytest.mark.parametrize("is_its_own", [True, False])
async def test_what_is_revoked_on_one_node_is_asked_no_more_on_the_other(
    tmp_path: Path, postgres: Postgres, shared: str, is_its_own: bool
) -> None:
    async with (
        stocked(tmp_path / "data", postgres, database_url=shared) as at,
        second_node(at.house, tmp_path / "b") as other,
        asyncio.timeout(PATIENCE),
    ):
        another = await at.house.delegate(await at.house.agent("another"), "postgres/analytics:read@sales.*")
        asked = asyncio.create_task(ask(at, SLOW))
        while not await at.shop.owner.fetchval(_running(at)):
            assert not asked.done(), asked.result().body
        node = at.delegation["id"] if is_its_own else another["id"]
        headers = {"authorization": f"Bearer {at.house.alice.bearer}"}
        reply = await other.call("POST", "/v1/revocations", headers=headers, json={"node": node})
        assert reply.status in (200, 201), reply.body
        if not is_its_own:
            await at.house.app.authorities.refresh()  # it has learned of it, and that it is somebody else's
            assert await at.shop.owner.fetchval(_running(at)) == 1
            assert not asked.done()
            await at.house.alice.does("POST", "/v1/revocations", node=at.delegation["id"])
        answer = await asked
        assert (answer.status, answer.code) == (403, "revoked")
        await at.house.app.questions.settle()
        assert await at.shop.owner.fetchval(_running(at)) == 0
        assert at.shop.roles(question_prefix(at.house.app.deployment)) == []
        assert (await at.house.events("call.finished"))[-1]["ended"] == "cut"
