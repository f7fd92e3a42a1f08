"""A storm: accounts whose credentials have all just ended, and processes of their own that want all of them."""

import asyncio
import contextlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.support.herd import described
from tests.support.hostile_provider import HostileProvider
from tests.support.house import House, free_port, open_house
from tests.support.nodes import pause
from tests.support.postgres import Postgres
from tests.support.refreshable import LASTS, begin
from tests.support.upstream import Upstream
from valetkey.server.connections import store as connections
from valetkey.server.ids import new_id
from valetkey.server.policy.model import ConnectionFacts
from valetkey.server.secret import Secret

CONNECTIONS = 200
PROCESSES = 4


class Worker:
    """A process of its own that renews when it is told to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def heard(self) -> Any:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 400)
        return json.loads(line) if line else None  # it has died

    async def told(self, command: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        return await self.heard()


@contextlib.asynccontextmanager
async def workers(house: House, provider: HostileProvider, folder: Path, count: int) -> AsyncIterator[list[Worker]]:
    settings = house.settings
    async with house.app.database.read() as db:
        org = (await db.execute(text("SELECT org FROM connections LIMIT 1"))).scalar()
    started = []
    for number in range(count):
        shutil.copytree(settings.data / "keys", folder / str(number) / "keys")
        assert settings.database_url is not None
        asked = {
            "now": house.clock.now(),
            "data": str(folder / str(number)),
            "database_url": settings.database_url.reveal(),
            "issuer": settings.issuer,
            "port": free_port(),
            "provider": provider.up.url,
            "oauth": described(provider.oauth()),
            "org": org,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.herd", json.dumps(asked),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
        )  # fmt: skip
        started.append(Worker(process))
    try:
        assert [await worker.heard() for worker in started] == [{"ready": CONNECTIONS}] * count
        yield started
    finally:
        for worker in started:
            if worker.process.returncode is None:
                worker.process.kill()
            await worker.process.wait()


@contextlib.asynccontextmanager
async def storm(
    folder: Path, postgres: Postgres, make: Callable[[Upstream], HostileProvider]
) -> AsyncIterator[tuple[House, HostileProvider]]:
    """A deployment with a thousand shared accounts whose credentials have all just ended."""
    url = postgres.database()
    async with Upstream() as up, open_house(folder / "data", database_url=url, upstream=up.url) as house:
        await pause(house.app)
        provider = make(up)
        provider.lasts_seconds = LASTS
        app, ring, registered = house.app, house.app.refresh._ring, ""
        async with app.database.read() as db:
            org = (await db.execute(text("SELECT org FROM users LIMIT 1"))).scalar()
        for number in range(CONNECTIONS):
            facts = ConnectionFacts(
                id=new_id("con"), org=str(org), owner=None, integration="github", name=f"shared-{number}",
                account=f"account-{number}", base_url=up.url, powers=frozenset({"*"}), generation=1,
            )  # fmt: skip
            access, refresh = provider.give(f"f{number}")
            async with app.database.write() as tx:
                await connections.add(
                    tx, facts, hosts=frozenset({up.url.removeprefix("http://")}), credential=Secret(access), ring=ring,
                    now=int(house.clock.now()),
                )  # fmt: skip
            await begin(app, provider, facts.id, refresh=refresh, app_id=registered)
            if not registered:
                async with app.database.read() as db:
                    registered = str((await db.execute(text("SELECT id FROM apps LIMIT 1"))).scalar())
        house.clock.advance(LASTS)
        yield house, provider
    postgres.discard(url)


async def states(house: House) -> dict[str, int]:
    async with house.app.database.read() as db:
        rows = await db.execute(text("SELECT state, generation, count(*) FROM refreshables GROUP BY 1, 2"))
        return {f"{state} {generation}": count for state, generation, count in rows}
