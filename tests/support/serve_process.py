"""A server in a process of its own, started as an operator starts it, and what lies in its database when it is dead."""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import asyncpg

from tests.support.house import House
from tests.support.http import call
from tests.support.ports import free_port

START_SECONDS = 60


@dataclass
class ServeProcess:
    """One deployment that may be killed and started again. `announced` is what `serve --json` said last."""

    data: Path
    upstream: str
    database_url: str | None = None
    port: int = field(default_factory=free_port)
    health_port: int = field(default_factory=free_port)
    public_url: str = ""  # of a further node: the first one's
    local: tuple[str, ...] = ()  # further `host:port` inside this machine that it may ask
    dies_at: str = ""  # the labelled step at which it kills itself, if it should
    announced: dict[str, str] = field(default_factory=dict)
    _process: asyncio.subprocess.Process | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def house(self) -> House:
        """The same people and verbs as in any story, over this process's socket."""
        nothing = cast(Any, None)
        return House(app=nothing, base=self.base, github=nothing, clock=nothing, settings=nothing)

    async def start(self) -> float:
        """Start it; return the seconds until /readyz says so."""
        environ = {
            "VALETKEY_DATA": str(self.data),
            "VALETKEY_PORT": str(self.port),
            "VALETKEY_HEALTH_PORT": str(self.health_port),
            "VALETKEY_UPSTREAMS": f"github={self.upstream}",
            "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": ",".join((self.upstream.removeprefix("http://"), *self.local)),
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(sys.path),  # the very code under test
        }
        if self.database_url is not None:
            environ["VALETKEY_DATABASE_URL"] = self.database_url
        if self.public_url:
            environ["VALETKEY_PUBLIC_URL"] = self.public_url
        program = ["tests.support.struck_serve", self.dies_at] if self.dies_at else ["valetkey.cli.main"]
        began = time.monotonic()
        with (self.data.parent / f"{self.data.name}.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *program, "serve", "--json",
                env=environ, cwd=self.data.parent, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            line = await self._process.stdout.readline()
        assert line, (self.data.parent / f"{self.data.name}.log").read_text()[-4000:]
        self.announced = json.loads(line)
        ready = await call(f"http://127.0.0.1:{self.health_port}", "GET", "/readyz")
        assert ready.status == 200, ready.body
        return time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL, at once. Harmless to repeat."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def gone(self) -> None:
        """Return when the process has ended."""
        if self._process is not None:
            await self._process.wait()

    @contextlib.asynccontextmanager
    async def nothing_commits(self) -> AsyncIterator[None]:
        """Hold what every commit of a record needs, from outside, for the length of the block."""
        if self.database_url is None:
            holder = sqlite3.connect(self.data / "valetkey.db", isolation_level=None, timeout=30)
            holder.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                holder.close()
            return
        other = await asyncpg.connect(self.database_url)
        try:
            async with other.transaction():
                await other.execute("LOCK TABLE audit_records IN SHARE MODE")
                yield
        finally:
            await other.close()

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the database holds, read without the server."""
        if self.database_url is None:
            connection = sqlite3.connect(f"file:{self.data / 'valetkey.db'}?mode=ro", uri=True)
            try:
                return connection.execute(sql).fetchall()
            finally:
                connection.close()
        other = await asyncpg.connect(self.database_url)
        try:
            return [tuple(row) for row in await other.fetch(sql)]
        finally:
            await other.close()
