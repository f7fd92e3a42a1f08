"""A worker of its own process that renews every connection at once, when it is told to.

`python -m tests.support.herd SETTINGS`: reads commands from standard input, a line each, and says lines of JSON.
`renew` wants a later credential than the first for every connection, and goes on while further lines are read;
`advance N` moves its clock; `busy` asks how many renewals are between taking the hold and keeping the answer.
`renew STEP` stands still for ever at a step of every renewal it begins, for whoever kills it there: `held`, when the
hold is durable and the API has not been asked; `answered`, when the answer is here and not kept. Every hold it takes is
said before the API is asked.
"""

import asyncio
import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.nodes import pause
from tests.support.refreshable import describe
from valetkey.server.app import build
from valetkey.server.clock import DrivenClock
from valetkey.server.connections import store as connections
from valetkey.server.connections.model import Connection
from valetkey.server.connections.refreshing.model import Refreshing
from valetkey.server.connections.refreshing.refresh import Refresh
from valetkey.server.errors import ValetkeyError
from valetkey.server.integrations.authorization import OAuth
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings


async def main(asked: dict[str, Any]) -> None:
    clock = DrivenClock(asked["now"])
    host = asked["provider"].removeprefix("http://")
    settings = Settings(
        data=Path(asked["data"]),
        database_url=Secret(asked["database_url"]),
        public_url=asked["issuer"],
        port=asked["port"],
        upstreams={"github": asked["provider"]},
        unsafe_loopback_upstreams=(host,),
    )
    app = build(settings, clock)
    await app.start()
    await pause(app)
    describe(app, OAuth(**asked["oauth"]))
    async with app.database.read() as db:
        found = await connections.usable_by(db, org=asked["org"], user="")
    app.refresh.patience_seconds = asked["patience"]
    steps = Steps(app.refresh)

    async def renew() -> None:
        outcomes = await asyncio.gather(*(app.refresh.beyond(one.facts, 1) for one in found), return_exceptions=True)
        say({"outcomes": Counter("renewed" if one is None else _name(one) for one in outcomes)})

    say({"ready": len(found)})
    under_way = []
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, _, argument = line.strip().partition(" ")
        if command == "advance":
            clock.advance(float(argument))
        elif command == "busy":
            say({"busy": app.refresh._busy.total()})
        else:
            steps.stands_at = argument
            under_way.append(asyncio.create_task(renew()))
    await asyncio.gather(*under_way)
    await app.close()


class Steps:
    """Says at which step a renewal is, and stands still at one. The renewal itself is the product's."""

    def __init__(self, refresh: Refresh) -> None:
        self.stands_at = ""
        self._took, self._kept = refresh._took, refresh._kept
        refresh._took = self.took  # type: ignore[method-assign]
        refresh._kept = self.kept  # type: ignore[method-assign]

    async def took(self, connection: Connection, row: Refreshing, held: Refreshing) -> bool:
        took = await self._took(connection, row, held)
        if took:
            await self._at("held", connection)
        return took

    async def kept(self, connection: Connection, *answered: Any) -> None:
        await self._at("answered", connection)
        await self._kept(connection, *answered)

    async def _at(self, step: str, connection: Connection) -> None:
        stands = self.stands_at == step
        if stands or step == "held":
            say({step: connection.facts.name, "stands": stands})
        if stands:
            await asyncio.Event().wait()


def _name(error: BaseException) -> str:
    return error.code if isinstance(error, ValetkeyError) else repr(error)


def say(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


def described(oauth: OAuth) -> dict[str, Any]:
    """What another process needs to describe the same authorization server."""
    names = ("authorize_url", "token_url", "refresh", "refresh_kills_access")
    return {name: value for name, value in dataclasses.asdict(oauth).items() if name in names}


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
