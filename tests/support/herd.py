"""A worker of its own process that renews every connection at once, when it is told to.

`python -m tests.support.herd SETTINGS`: reads commands from standard input, a line each, and answers a line of JSON.
Each line wants a later credential than the first for every connection.
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
    say({"ready": len(found)})
    while await asyncio.to_thread(sys.stdin.readline):
        outcomes = await asyncio.gather(*(app.refresh.beyond(one.facts, 1) for one in found), return_exceptions=True)
        say(dict(Counter("renewed" if one is None else _name(one) for one in outcomes)))
    await app.close()


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
