"""A deployment with the recording upstream behind it: what a gateway test says, and what really arrived.

The upstream knows Alice, Bob and two repositories by name and id, as GitHub would say it; everything else is scripted
by the test. `Behind.calls` leaves out the gateway's own look-ups, which are counted by `Behind.lookups`.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.house import House, Person, Robot, open_house
from tests.support.http import Reply, read_reply
from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire, reply

PUB, SEC = 101, 102
ALLOWED = "/repos/acme/pub/issues"
DENIED = "/repos/acme/sec/issues"
STREAMED = f"{ALLOWED}/7/labels"
"""Allowed too, and writes no text: its body goes through as it comes."""
GRANTS = ("github:repo:read,issues:write@acme/pub",)
BOBS = "ghp_bobsCredential0123456789abcdefghijkl"
_NAMES = {PUB: "acme/pub", SEC: "acme/sec"}


@dataclass
class Behind:
    """The house, what lies behind it, and a delegated credential for acme/pub."""

    house: House
    up: Upstream
    agent: Robot
    delegation: Any
    task: Any
    token: str
    passed: list[Seen] = field(default_factory=list)

    async def call(self, method: str = "GET", path: str = ALLOWED, **more: Any) -> Reply:
        """One call with the credential in `Authorization: Bearer`."""
        return await self.house.gateway(self.token, method, path, **more)

    async def say(self, *pieces: bytes) -> Reply:
        """Send these bytes to the public port, read one answer."""
        async with self.opened() as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await read_reply(reader)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection to the public port; everything on it must happen within ten seconds."""
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.house.settings.port, limit=1 << 16)
            try:
                yield reader, writer
            finally:
                writer.close()

    def head(self, method: str = "GET", path: str = ALLOWED, *lines: str) -> bytes:
        """A request's head with the credential."""
        first = (f"{method} /p/github{path} HTTP/1.1", "host: x", f"authorization: Bearer {self.token}")
        return "\r\n".join([*first, *lines, "", ""]).encode("latin-1")

    @property
    def calls(self) -> list[Seen]:
        """What arrived besides the gateway's own look-ups, oldest first."""
        return [seen for seen in self.up.seen if not _is_lookup(seen)]

    @property
    def lookups(self) -> list[Seen]:
        """The gateway's own questions."""
        return [seen for seen in self.up.seen if _is_lookup(seen)]

    def forget(self) -> None:
        """Begin a new story: nothing has arrived yet, and only the repositories are known."""
        self.up.seen.clear()
        furnish(self.up)

    async def outcome(self, decision: str) -> Any:
        """The record of how a call ended, once it is written."""
        await self.house.app.calls.settle()
        found = await self.house.events("call.finished")
        [record] = [r for r in found if r["decision"] == decision]
        return record

    async def another(self, name: str, person: Person, *grants: str) -> str:
        """The credential of another person's agent for their own connection."""
        agent = await self.house.agent(name, owner=person)
        delegation = await self.house.delegate(agent, *(grants or GRANTS), owner=person)
        task = await self.house.task(delegation, owner=person)
        return await agent.token(task["task_token"])


def furnish(up: Upstream) -> None:
    """Teach the upstream who is who and what is what; forget every other answer."""
    up._table.clear()
    up._early.clear()
    up.raw_answer(_anything)
    up.answers("GET", "/user", script=_who)
    for number, name in _NAMES.items():
        repository(up, name, number)


def repository(up: Upstream, name: str, number: int, owner: int = 7) -> None:
    """What the upstream says of a repository from now on, by its name and by its id."""
    document = {"id": number, "full_name": name, "owner": {"id": owner, "login": name.partition("/")[0]}}
    up.answers("GET", f"/repos/{name}", json=document)
    up.answers("GET", f"/repositories/{number}", json=document)


@contextlib.asynccontextmanager
async def open_behind(
    folder: Path, *, database_url: str | None = None, grants: Sequence[str] = GRANTS, **settings: Any
) -> AsyncIterator[Behind]:
    """Open it, with a credential for `grants`."""
    async with Upstream() as up:
        furnish(up)
        # Long lives: a test that moves the clock must not end the credential it goes on with.
        settings = {"token_seconds": 900, "task_seconds": 3600, **settings}
        async with open_house(folder, database_url=database_url, upstream=up.url, **settings) as house:
            agent, delegation, task, token = await house.ready(*grants, seconds=7200)
            up.seen.clear()
            yield Behind(house, up, agent, delegation, task, token)


async def _who(seen: Seen, wire: Wire) -> None:
    login = "bob" if BOBS.encode() in (seen.header("authorization") or b"") else "alice"
    await wire.say(reply(200, {"Content-Type": "application/json"}, json.dumps({"login": login, "id": 1}).encode()))


async def _anything(seen: Seen, wire: Wire) -> None:
    await wire.say(reply(200, {"Content-Type": "application/json"}, b"" if seen.method == "HEAD" else b"[]"))


def _is_lookup(seen: Seen) -> bool:
    """The gateway's own question has no User-Agent of a client, so no comment naming agent and task."""
    return b"(agent " not in (seen.header("user-agent") or b"")
