"""An API that cannot be reached, or hangs, lets no calls pile up: after five failures one at a time tries again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import scripts
from tests.support.behind import ALLOWED, DENIED, STREAMED, Behind, open_behind
from tests.support.http import Reply, read_reply
from tests.support.upstream import reply

OK = reply(200, {"Content-Type": "application/json"}, b"[]")


@pytest.fixture
async def behind(tmp_path: Path, database_url: str | None) -> AsyncIterator[Behind]:
    async with open_behind(tmp_path / "data", database_url=database_url, upstream_timeout_seconds=1) as opened:
        assert (await opened.call()).status == 200  # from here on the repository is known
        yield opened


async def no_longer_there(behind: Behind) -> None:
    """Nobody listens at the API's address any more, and no connection to it is left."""
    await behind.up.__aexit__()


async def there_again(behind: Behind) -> None:
    up = behind.up
    up._server = await asyncio.start_server(up._serve, up.host, up.port)


async def failing(behind: Behind, count: int, **more: Any) -> list[Reply]:
    return list(await asyncio.gather(*(behind.call(**more) for _ in range(count))))


async def test_after_five_failures_calls_are_answered_at_once_and_not_sent(behind: Behind) -> None:
    await no_longer_there(behind)
    for _ in range(5):
        failed = await behind.call()
        assert (failed.status, failed.code, failed.header("retry-after")) == (502, "upstream_failed", None)
    told = await behind.call()
    assert (told.status, told.code, told.header("retry-after")) == (502, "upstream_failed", "5")
    assert "did not answer 5 times in a row, so this call was not sent" in told.json()["detail"]
    allowed = (await behind.house.events("call.allowed"))[-1]
    assert allowed["id"] == told.json()["decision"]
    outcome = await behind.outcome(allowed["id"])
    assert (outcome["ended"], outcome["status"]) == ("not_sent", 0)
    assert (await behind.outcome(failed.json()["decision"]))["ended"] == "upstream_failed"
    assert (await behind.call(path=DENIED)).status != 200  # what is denied stays denied


async def test_four_failures_close_nothing(behind: Behind) -> None:
    await no_longer_there(behind)
    await failing(behind, 4)
    await there_again(behind)
    assert (await behind.call()).status == 200


async def test_one_tries_again_and_by_its_answer_the_others_go_on(behind: Behind) -> None:
    await no_longer_there(behind)
    await failing(behind, 5)
    await there_again(behind)
    assert (await behind.call()).status == 502
    behind.house.clock.advance(5)
    gate = asyncio.Event()
    behind.up.answers("GET", ALLOWED, script=scripts.held(gate, OK))
    count = len(behind.up.seen)
    probe = asyncio.create_task(behind.call())
    await behind.up.saw(count + 1)
    assert [reply.status for reply in await failing(behind, 3)] == [502] * 3
    assert len(behind.up.seen) == count + 1
    gate.set()
    assert (await probe).status == 200
    assert [reply.status for reply in await failing(behind, 3)] == [200] * 3


async def test_whatever_it_answers_it_answers(behind: Behind) -> None:
    behind.up.answers("GET", ALLOWED, status=503, json={})
    assert [r.status for r in await failing(behind, 8)] == [503] * 8


async def test_an_api_that_hangs_is_closed_too(behind: Behind) -> None:
    behind.up.answers("GET", ALLOWED, script=scripts.held(asyncio.Event()))
    assert {r.header("retry-after") for r in await failing(behind, 5)} == {None}
    count = len(behind.up.seen)
    assert (await behind.call()).header("retry-after") == "5"
    assert len(behind.up.seen) == count


async def test_who_sends_slowly_closes_an_api_to_nobody(behind: Behind) -> None:
    async def slowly() -> Reply:
        async with behind.opened() as (reader, writer):
            writer.write(behind.head("POST", STREAMED, "content-length: 9", "content-type: application/json") + b"{")
            return await read_reply(reader)

    assert {r.status for r in await asyncio.gather(*(slowly() for _ in range(6)))} == {502}
    assert (await behind.call()).status == 200


async def test_who_leaves_while_trying_again_leaves_its_place_to_the_next(behind: Behind) -> None:
    await no_longer_there(behind)
    await failing(behind, 5)
    await there_again(behind)
    behind.house.clock.advance(5)
    behind.up.answers("GET", ALLOWED, script=scripts.held(asyncio.Event()))
    probe = asyncio.create_task(behind.call())
    await behind.up.saw(len(behind.up.seen) + 1)
    await behind.house.alice.does("POST", "/v1/revocations", node=behind.task["id"])
    assert (await probe).status == 403
    task = await behind.house.task(behind.delegation)
    behind.token = await behind.agent.token(task["task_token"])
    behind.up.answers("GET", ALLOWED, json=[])
    assert (await behind.call()).status == 200
