"""How WebSockets through the gateway end when nobody says anything any more, or nobody listens."""

import asyncio
import contextlib
from pathlib import Path

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.support.spoken import open_spoken


async def test_a_silent_one_is_closed_and_one_that_says_something_is_not(tmp_path: Path) -> None:
    async with open_spoken(tmp_path, task_seconds=3600) as spoken, spoken.opened() as client:
        sweep = spoken.house.app.streams.sweep
        for _ in range(3):
            spoken.house.clock.advance(200)
            sweep()
            await client.send("still here")
            assert await client.recv() == "still here"
        spoken.house.clock.advance(299)
        sweep()
        assert await (await client.ping())  # a ping is something, too
        spoken.house.clock.advance(299)
        sweep()
        await client.send("and here")
        assert await client.recv() == "and here"
        spoken.house.clock.advance(300)
        sweep()
        assert await spoken.ended(client) == (1001, "Nothing was said for too long.")
        await spoken.gone.wait()
        assert spoken.closed == [(1001, "Nothing was said for too long.")]
        await spoken.house.alice.sign_in()
        assert [r["ended"] for r in await spoken.outcomes()] == ["idle"]


async def test_the_server_stops_though_the_api_does_not_read(tmp_path: Path) -> None:
    let_go = asyncio.Event()

    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await let_go.wait()
        connection.transport.abort()

    async def floods(client: ClientConnection) -> None:
        nonlocal said
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.send(b"x" * 65_536)
                said += 65_536

    said = 0
    async with open_spoken(tmp_path, deaf) as spoken:
        client = await spoken.opened()
        flood = asyncio.create_task(floods(client))
        before = -1
        while before != said:  # until nobody takes any more
            before = said
            for _ in range(200):
                await asyncio.wait({flood}, timeout=0.001)
        assert 0 < said < 32 << 20

        async def releases() -> None:
            async with asyncio.timeout(20):
                while len(spoken.house.app.streams):  # noqa: ASYNC110 - nothing says when the last is left
                    await asyncio.sleep(0)
            let_go.set()

        ends = asyncio.create_task(releases())
    await ends
    assert (await spoken.ended(client))[0] == 1001
    flood.cancel()
    await asyncio.gather(flood, return_exceptions=True)
