"""Logins of a database: what one costs, a thousand taken back at once, and what thousands of them leave behind.

`valetkey serve` in a process of its own on the measured core, on SQLite; the database whose logins are lent has the
other. What making one costs is what is added to the server's own CREATE ROLE, in turns. BENCH_LOGINS is how many are
made and dropped one after the other (500; the promise is about 5,000).
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from statistics import median
from typing import Any

from tests.support.house import Robot, first_administrator
from tests.support.postgres import Postgres
from tests.support.serve_process import ServeProcess
from tests.support.shop import AUDIENCE, Shop, connect_shop, shop

from bench.cores import measured
from bench.rows import Row, most_row
from valetkey.server.connections.databases.postgres.model import verifier
from valetkey.server.secret import Secret

CYCLES = int(os.environ.get("BENCH_LOGINS", "500"))
ROUNDS = 200
AT_ONCE = 1_000
AGENTS = 10
CONNECTIONS = ("first", "second")
MOST_OVER_MILLISECONDS = 15
MOST_SHUT_SECONDS = 10
NOBODY = "http://127.0.0.1:9"
_LISTS = """SELECT sum(coalesce(cardinality(list), 0)) FROM (
    SELECT relacl AS list FROM pg_class WHERE relnamespace = 'sales'::regnamespace
    UNION ALL SELECT nspacl FROM pg_namespace WHERE nspname = 'sales') AS every"""


def rows(server: Postgres) -> list[Row]:
    """Each story has a deployment and a database of its own."""
    return asyncio.run(_rows(server))


async def _rows(server: Postgres) -> list[Row]:
    found = []
    for story in (_obtain, _at_once, _cycles):
        async with shop(server) as there:
            with tempfile.TemporaryDirectory(prefix="valetkey-leasing-") as folder:
                process = ServeProcess(Path(folder) / "data", NOBODY, local=(there.place,))
                try:
                    with measured():
                        await process.start()
                    lending = Lending(process, there)
                    await lending.begin()
                    found.append(await story(lending))
                finally:
                    process.kill()
                    await process.gone()
    return found


class Lending:
    """A deployment with a database connected twice, agents, and one delegation that is passed on to all of them."""

    def __init__(self, process: ServeProcess, there: Shop) -> None:
        self.house, self.shop, self._process = process.house, there, process
        self.tasks: list[tuple[Robot, str]] = []
        self._calls = 0

    async def begin(self) -> None:
        house = self.house
        house.alice = await first_administrator(house, self._process.announced["bootstrap"])
        ids = []
        for name in CONNECTIONS:
            connection = await connect_shop(house, self.shop, name=name)
            ids.append(connection["id"])
            path = f"/v1/connections/{connection['id']}/entitlements"
            await house.alice.does("POST", path, user="alice@acme.com", grants=["postgres:read@sales.*"])
        agents = [await house.agent(f"report-writer-{number}") for number in range(AGENTS)]
        first, others = agents[0], agents[1:]
        grants = [f"postgres/{name}:read@sales.*" for name in CONNECTIONS]
        names = [agent.name for agent in others]
        self.delegation = await house.delegate(first, *grants, share_with=names, seconds=3600)
        task = await house.task(self.delegation, seconds=3600)
        self.tasks.append((first, task["task_token"]))
        asked = [f"postgres/{one}:read@sales.*" for one in ids]
        for agent in others:
            path = f"/v1/tasks/{task['id']}/children"
            reply = await first.call("POST", path, agent=agent.name, grants=asked, seconds=3600)
            self.tasks.append((agent, reply.json()["task_token"]))

    async def lent(self, number: int = 0, connection: str = CONNECTIONS[0]) -> str:
        """The id of a lease; whoever asks signs in again before the last answer to that ends."""
        agent, task_token = self.tasks[number]
        if self._calls % 200 == 0:
            await self.house.alice.sign_in()
            for each, _ in self.tasks:
                each.bearer = ""
        self._calls += 1
        grants = [f"postgres/{connection}:read@sales.*"]
        reply = await agent.call("POST", "/v1/leases", task_token=task_token, target=AUDIENCE, grants=grants)
        if reply.status != 201:
            raise RuntimeError(str(reply.body))
        return str(reply.json()["id"])

    async def taken_back(self, node: str) -> Any:
        return await self.house.alice.does("POST", "/v1/revocations", node=node)

    def roles(self, *, only: str = "") -> int:
        where = f"rolname LIKE 'vk\\_%' {only}"
        return int(self.shop.as_superuser(f"SELECT count(*) FROM pg_roles WHERE {where}", database="postgres"))


async def _obtain(lending: Lending) -> Row:
    ours, theirs = [], []
    word = verifier(Secret("of nobody"), b"0123456789abcdef")
    owner = lending.shop.owner
    for number in range(ROUNDS):
        seconds, lease = await timed(lending.lent())
        ours.append(seconds * 1000)
        await lending.taken_back(lease)
        made = f"CREATE ROLE bench_{number} LOGIN PASSWORD '{word}' VALID UNTIL '2100-01-01'"
        seconds, _ = await timed(owner.execute(made))
        theirs.append(seconds * 1000)
        await owner.execute(f"DROP ROLE bench_{number}")
    over = median(ours) - median(theirs)
    return most_row(
        "lease-obtain",
        over,
        theirs=round(median(theirs), 2),
        goal=MOST_OVER_MILLISECONDS,
        note=f"ms, p50 over HTTP ({median(ours):.1f}) beyond the server's own CREATE ROLE; best {min(ours):.1f}",
    )


async def _at_once(lending: Lending) -> Row:
    each = AT_ONCE // AGENTS
    for number in range(AGENTS):
        for place in range(each):
            await lending.lent(number, CONNECTIONS[place % len(CONNECTIONS)])
    if lending.roles(only="AND rolcanlogin") != AT_ONCE:
        raise RuntimeError("not all of them are out")
    began = time.monotonic()
    revoking = asyncio.create_task(lending.taken_back(lending.delegation["id"]))
    shut = await _until_none(lending, "AND rolcanlogin", began)
    await revoking
    answered = time.monotonic() - began
    dropped = await _until_none(lending, "", began)
    return most_row(
        "lease-revoke-1000",
        shut,
        goal=MOST_SHUT_SECONDS,
        note=f"s until {AT_ONCE:,} logins let nobody in; answered after {answered:.1f}, dropped after {dropped:.1f}",
    )


async def _until_none(lending: Lending, only: str, began: float) -> float:
    while await asyncio.to_thread(lending.roles, only=only):  # noqa: ASYNC110 - another process works on it
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def _cycles(lending: Lending) -> Row:
    await lending.taken_back(await lending.lent())  # the group is made with the first
    before, times = int(lending.shop.as_superuser(_LISTS)), []
    for _ in range(CYCLES):
        seconds, lease = await timed(lending.lent())
        times.append(seconds * 1000)
        await lending.taken_back(lease)
    after, left = int(lending.shop.as_superuser(_LISTS)), lending.roles()
    tenth = max(1, CYCLES // 10)
    return most_row(
        "lease-cycles",
        left + after - before,
        goal=0,
        note=f"roles left ({left}) and entries added to access lists ({after - before} to {before}) by {CYCLES:,} "
        f"logins made and dropped; p50 {median(times[:tenth]):.1f} ms in the first tenth, "
        f"{median(times[-tenth:]):.1f} in the last",
    )


async def timed(doing: Awaitable[Any]) -> tuple[float, Any]:
    began = time.monotonic()
    result = await doing
    return time.monotonic() - began, result
