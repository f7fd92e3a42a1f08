"""A company's database for a story: tables with rows in it, a login that owns them, and programs that use a lease.

The login is no superuser: it owns the database and may make roles. What only a superuser can take from PUBLIC a
superuser takes, as `connect` says.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.house import House, Robot, open_house
from tests.support.http import Reply
from tests.support.postgres import Postgres
from valetkey.server.clock import DrivenClock

AUDIENCE = "https://postgres.databases.invalid"
READ = "postgres/analytics:read@sales.*"

_TABLES = """
CREATE SCHEMA sales;
CREATE TABLE sales.orders (id serial PRIMARY KEY, owner text NOT NULL, total int NOT NULL);
INSERT INTO sales.orders (owner, total) SELECT 'alice@acme.com', n FROM generate_series(1, 5) n;
INSERT INTO sales.orders (owner, total) SELECT 'bob@acme.com', n FROM generate_series(1, 3) n;
CREATE TABLE sales.customers (id int PRIMARY KEY, name text);
INSERT INTO sales.customers VALUES (1, 'Acme'), (2, 'Globex');
CREATE VIEW sales.totals AS SELECT owner, sum(total) AS total FROM sales.orders GROUP BY owner;
CREATE SCHEMA hr;
CREATE TABLE hr.salaries (person text, amount int);
INSERT INTO hr.salaries VALUES ('alice@acme.com', 1);
"""


@dataclass
class Shop:
    """The database, without Valetkey. `owner` is a session of the login that is connected."""

    server: Postgres
    name: str
    login: str
    password: str
    owner: Any
    url_place: str = ""
    """Where it is said to be, where that is not where it is: behind a wire of the test's."""
    mode: str = "?sslmode=disable"

    @property
    def place(self) -> str:
        return self.server.url("x").split("@")[1].partition("/")[0]

    @property
    def url(self) -> str:
        return f"postgresql://{self.login}:{self.password}@{self.url_place or self.place}/{self.name}{self.mode}"

    def as_superuser(self, sql: str, *, database: str = "") -> str:
        return self.server.execute(sql, database=database or self.name)

    def roles(self, beginning: str = "vk_") -> list[str]:
        """Logins of leases that are there now, on the whole server, that this shop's login made."""
        return self.as_superuser(
            f"SELECT rolname FROM pg_roles WHERE starts_with(rolname::text, '{beginning}') ORDER BY 1",
            database="postgres",
        ).split()


@contextlib.asynccontextmanager
async def shop(server: Postgres, *, superuser: bool = False) -> AsyncIterator[Shop]:
    mark = secrets.token_hex(6)
    name, login, password = f"shop_{mark}", f"owner_{mark}", secrets.token_urlsafe(16)
    rights = "SUPERUSER" if superuser else "CREATEROLE"
    server.execute(f"CREATE ROLE {login} LOGIN {rights} PASSWORD '{password}'")
    server.execute(f"CREATE DATABASE {name} OWNER {login} TEMPLATE template0")
    opened = Shop(server, name, login, password, None)
    opened.owner = await asyncpg.connect(opened.url)
    try:
        await opened.owner.execute(_TABLES)
        yield opened
    finally:
        await opened.owner.close()
        server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@dataclass
class Store:
    """A house with the shop connected, and an agent with a task over it."""

    house: House
    shop: Any
    connection: Any
    agent: Robot
    delegation: Any
    task: Any
    audience: str = AUDIENCE

    async def lease(self, **more: Any) -> Reply:
        asked = {"task_token": self.task["task_token"], "target": self.audience, **more}
        return await self.agent.call("POST", "/v1/leases", **asked)

    async def lent(self, **more: Any) -> Any:
        """The credential as its agent gets it."""
        reply = await self.lease(**more)
        assert reply.status == 201, reply.body
        return json.loads(reply.json()["credential"])

    async def revoke(self, node: str) -> Any:
        """The report of the hop that ends leases."""
        report = await self.house.alice.does("POST", "/v1/revocations", node=node)
        return next(hop for hop in report["hops"] if hop["hop"] == "leased credentials")

    async def entitle(self, *grants: str, user: str = "alice@acme.com") -> Any:
        return await self.house.alice.does(
            "POST", f"/v1/connections/{self.connection['id']}/entitlements", user=user, grants=list(grants)
        )

    async def leases(self) -> list[Any]:
        return list((await self.house.alice.does("GET", "/v1/leases"))["data"])


async def connect_shop(house: House, shop: Shop, *, name: str = "analytics") -> Any:
    """As an administrator would: look at what everybody may do, have a superuser take it away, connect."""
    body = {"integration": "postgres", "credential": shop.url, "name": name}
    for _ in range(3):
        reply = await house.alice.call("POST", "/v1/connections", **body)
        if reply.status == 201:
            return reply.json()
        assert reply.status == 409, reply.body
        shop.as_superuser("; ".join(reply.json()["statements"]))
    raise AssertionError(reply.body)


@contextlib.asynccontextmanager
async def stocked(
    folder: Path,
    server: Postgres,
    *grants: str,
    database_url: str | None = None,
    entitled: tuple[str, ...] = (),
    superuser: bool = False,
    also: str = "",
    there: Shop | None = None,
    **more: Any,
) -> AsyncIterator[Store]:
    """Everything up to the task. `also` is SQL the owner runs before; `there` is the shop, if it is open already."""
    grants = grants or (READ,)
    async with contextlib.AsyncExitStack() as opened:
        there = there or await opened.enter_async_context(shop(server, superuser=superuser))
        if also:
            await there.owner.execute(also)
        local = (there.url_place or there.place,)
        async with open_house(folder, database_url=database_url, clock=DrivenClock(), local=local) as house:
            connection = await connect_shop(house, there)
            at = Store(house, there, connection, await house.agent("report-writer"), None, None)
            await at.entitle(*(entitled or (g.replace("/analytics", "") for g in grants)))
            at.delegation = await house.delegate(at.agent, *grants, **more)
            at.task = await house.task(at.delegation)
            yield at


def connected(lent: Any, **more: Any) -> Any:
    """A session of a lease."""
    return asyncpg.connect(
        host=lent["host"],
        port=lent["port"],
        user=lent["user"],
        password=lent["password"],
        database=lent["database"],
        ssl=False,
        **more,
    )


@contextlib.asynccontextmanager
async def session(lent: Any, **more: Any) -> AsyncIterator[Any]:
    opened = await connected(lent, **more)
    try:
        yield opened
    finally:
        opened.terminate()


async def program(*command: str, environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a program to its end, without holding up the server beside it."""
    running = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await asyncio.wait_for(running.communicate(), 60)
    return running.returncode or 0, out.decode(), err.decode()
