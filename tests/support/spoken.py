"""A deployment with an API that speaks WebSocket behind it, and stock clients before it."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from tests.support.house import House, Robot, open_house

KEY = "wk_realCanary0123456789abcdefghijklm"
AUDIENCE = "https://feed.acme.example"
GRANT = "feed:live:read@*"
Says = Callable[[ServerConnection], Awaitable[None]]
Answers = Callable[[ServerConnection, Request], Response | None]

_TOML = """
name = "feed"
title = "Acme Feed"
audience = "https://feed.acme.example"
base_url = "{url}/v2"
hosts = ["feed.acme.example", "{place}"]
operations = "feed.operations.tsv"

[injection]
header = "x-api-key"
value = "{{token}}"

[[token_positions]]
header = "authorization"
scheme = "Bearer"

[key]
made_at = "https://feed.acme.example/keys"
advice = "Make a key that can only read."
pattern = "wk_[A-Za-z0-9]{{32}}"

[scopes."live:read"]
sentence = "follow the feed"
tier = "read"
resource_kind = "account"

[scopes."other:read"]
sentence = "follow another feed"
tier = "read"
resource_kind = "account"

[lookups.room]
by_name = "/rooms/{{name}}"
by_id = "/rooms/by-id/{{room_id}}"
id = "id"
name = "name"

[scopes."rooms:read"]
sentence = "listen in a room"
tier = "read"
resource_kind = "room"
"""
HEAD = "operation method template category access scope resource tags judged values never guards".replace(" ", "\t")
TABLE = f"""# operations: 4
{HEAD}
live/follow\tGET\t/live\tlive\tread\tlive:read\taccount\twebsocket\t\t\t\t
live/list\tGET\t/list\tlive\tread\tlive:read\taccount\t\t\t\t\t
other/follow\tGET\t/other\tlive\tread\tother:read\taccount\twebsocket\t\t\t\t
rooms/follow\tGET\t/rooms/{{name}}/live\trooms\tread\trooms:read\troom:name\twebsocket\t\t\t\t
"""


@dataclass
class Spoken:
    """The house, the API behind it, and a delegated credential for `live:read`."""

    house: House
    agent: Robot
    delegation: Any
    task: Any
    token: str
    server: Server
    heard: list[ServerConnection] = field(default_factory=list)
    closed: list[tuple[int, str]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        return f"ws://127.0.0.1:{self.house.settings.port}/p/feed"

    def opened(self, path: str = "/live", *, token: str = "", **more: Any) -> connect:
        """A stock client."""
        headers = {"authorization": f"Bearer {token or self.token}", **more.pop("headers", {})}
        return connect(self.address + path, additional_headers=headers, proxy=None, **more)

    async def ended(self, client: ClientConnection) -> tuple[int | None, str | None]:
        """The code and the reason with which it was closed."""
        async with asyncio.timeout(20):
            await client.wait_closed()
        return client.close_code, client.close_reason

    async def outcomes(self) -> list[Any]:
        """The records of how calls ended."""
        async with asyncio.timeout(20):
            while len(self.house.app.streams):  # noqa: ASYNC110 - nothing says when the last is left
                await asyncio.sleep(0)
        await self.house.app.calls.settle()
        return await self.house.events("call.finished")


def describe(folder: Path, url: str, place: str, table: str = TABLE) -> Path:
    """Write down what the API is, `url` its address and `place` its `host:port`; return the folder to read."""
    folder.mkdir(parents=True)
    (folder / "feed.toml").write_text(_TOML.format(url=url, place=place))
    (folder / "feed.operations.tsv").write_text(table)
    return folder


def rooms(connection: ServerConnection, request: Request) -> Response | None:
    """What the API says of a room, asked in plain HTTP; anything else is a handshake."""
    at, _, room = request.path.rpartition("/")
    if at not in ("/v2/rooms", "/v2/rooms/by-id"):
        return None
    answer = connection.respond(HTTPStatus.OK, json.dumps({"id": room, "name": room}))
    answer.headers["Content-Type"] = "application/json"
    return answer


async def echo(connection: ServerConnection) -> None:
    """Say back whatever is said."""
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def open_spoken(
    folder: Path,
    says: Says = echo,
    *,
    database_url: str | None = None,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    delegated: dict[str, Any] | None = None,
    table: str = TABLE,
    grants: tuple[str, ...] = (GRANT,),
    subprotocols: list[Any] | None = None,
    answers: Answers = rooms,
    local: tuple[str, ...] = (),
    **settings: Any,
) -> AsyncIterator[Spoken]:
    """Open it; `says` is what the API does with each WebSocket, `answers` with who asks for one.

    `local` are further `host:port` inside this machine that the server may ask.
    """
    spoken: Spoken

    async def hears(connection: ServerConnection) -> None:
        spoken.heard.append(connection)
        try:
            await says(connection)
        finally:
            await connection.wait_closed()
            spoken.closed.append((connection.close_code or 0, connection.close_reason or ""))
            spoken.gone.set()

    async with serve(hears, "127.0.0.1", 0, ssl=tls, subprotocols=subprotocols, process_request=answers) as server:
        place = f"{host}:{next(iter(server.sockets)).getsockname()[1]}"
        own = describe(folder / "own", f"{'http' if tls is None else 'https'}://{place}", place, table)
        settings = {"token_seconds": 900, "task_seconds": 3600, **settings}
        async with open_house(
            folder / "data", database_url=database_url, local=(place, *local), integrations=own, **settings
        ) as house:
            agent = await house.agent(
                "follower", ceiling=["feed:live:read@*", "feed:other:read@*", "feed:rooms:read@*"]
            )
            await house.alice.does("POST", "/v1/connections", integration="feed", credential=KEY)
            delegation = await house.delegate(agent, *grants, seconds=7200, **(delegated or {}))
            task = await house.task(delegation)
            token = await agent.token(task["task_token"], resource=AUDIENCE)
            spoken = Spoken(house, agent, delegation, task, token, server)
            yield spoken
