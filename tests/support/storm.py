"""A storm: accounts whose credentials have all just ended, and processes of their own that want all of them."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.support import tables
from tests.support.herd import described
from tests.support.hostile_provider import HostileProvider
from tests.support.house import House, open_house
from tests.support.nodes import pause
from tests.support.ports import free_port
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
    """A process of its own that renews when it is told to.

    `held` are the accounts it took the hold of, in order; `standing` those whose renewal stands still in it.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.held: list[str] = []
        self.standing: list[str] = []
        self._other: list[dict[str, Any]] = []

    async def told(self, command: str) -> Any:
        """Renew, and what came of it."""
        self.tell(command)
        return await self.heard()

    def tell(self, command: str) -> None:
        """The same, without waiting for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")

    async def heard(self, what: str = "outcomes") -> Any:
        """The next it says of that; None when the process has died."""
        for said in self._other:
            if what in said:
                self._other.remove(said)
                return said[what]
        while said := await self._next():
            if what in said:
                return said[what]
            self._other.append(said)
        return None

    async def stands(self, count: int) -> None:
        """Wait until so many renewals stand still in it."""
        while len(self.standing) < count:
            assert await self._next(), "it died"

    async def is_busy(self) -> bool:
        """Whether it holds anything now."""
        self.tell("busy")
        return bool(await self.heard("busy"))

    def kill(self) -> None:
        """At once, wherever it is."""
        os.kill(self.process.pid, signal.SIGKILL)

    async def _next(self) -> Any:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 400)
        said = json.loads(line) if line.endswith(b"\n") else None
        if said is not None and "stands" in said:
            stands, ((step, name),) = said.pop("stands"), said.items()
            if step == "held":
                self.held.append(name)
            if stands:
                self.standing.append(name)
        return said


@contextlib.asynccontextmanager
async def workers(
    house: House, provider: HostileProvider, folder: Path, count: int, *, patience_seconds: float = 20.0
) -> AsyncIterator[list[Worker]]:
    """So many of them, ready."""
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
            "patience": patience_seconds,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.herd", json.dumps(asked),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
        )  # fmt: skip
        started.append(Worker(process))
    try:
        assert [await worker.heard("ready") for worker in started] == [CONNECTIONS] * count
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
    url = tables.postgresql(postgres)
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
