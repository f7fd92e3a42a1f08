"""A second node of a deployment: another server process's worth of state on the same database, on its own socket."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from tests.support.house import House
from tests.support.ports import free_port
from valetkey.server.app import App, build
from valetkey.server.listen import Listener


@contextlib.asynccontextmanager
async def second_node(house: House, folder: Path) -> AsyncIterator[House]:
    """Start node B beside `house`, with the same root key and a data folder of its own.

    It learns of nothing by itself: its background work is stopped, as if its catch-up loop hung.
    """
    shutil.copytree(house.settings.data / "keys", folder / "keys")
    settings = replace(house.settings, port=free_port(), public_url=house.settings.issuer, data=folder)
    app = build(settings, house.clock)
    await app.start()
    await pause(app)
    try:
        async with Listener(app.asgi, host="127.0.0.1", port=settings.port):
            yield House(app, f"http://127.0.0.1:{settings.port}", house.github, house.clock, settings)
    finally:
        await app.close()


async def pause(app: App) -> None:
    """Stop what a node does by itself: catching up, checkpoints, sweeping, keeping its claim."""
    for task in app._background:
        task.cancel()
    await asyncio.gather(*app._background, return_exceptions=True)
