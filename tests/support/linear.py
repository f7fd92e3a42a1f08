"""A deployment with the recording upstream as Linear: it knows two teams and what is in them, and records the rest.

It answers the gateway's own questions by their documents and everything else alike, so whatever leaves is seen whole.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.house import House, Robot, open_house
from tests.support.http import Reply
from tests.support.seen import Seen
from tests.support.upstream import Upstream, Wire, reply

LINEAR = "https://api.linear.app"
LIN, OPS = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
KEY = "lin_oauth_realCanary0123456789abcdef"


@dataclass
class Linear:
    """The house, what lies behind it, and the credential of an agent for the team LIN."""

    house: House
    up: Upstream
    agent: Robot
    token: str
    teams: dict[str, str]
    """Id by key."""
    inside: dict[str, str]
    """Key of the team by what is in it."""

    async def ask(self, query: str, variables: Any = None, **members: Any) -> Reply:
        """One call with a document."""
        body = {"query": query, **({} if variables is None else {"variables": variables}), **members}
        return await self.post(json.dumps(body).encode())

    async def post(self, body: bytes, *, kind: str = "application/json", path: str = "/graphql", **more: Any) -> Reply:
        """One call with these bytes."""
        headers = [("authorization", f"Bearer {more.pop('token', self.token)}"), ("content-type", kind)]
        return await self.house.call(more.pop("method", "POST"), f"/p/linear{path}", headers=headers, body=body)

    @property
    def calls(self) -> list[Seen]:
        """What arrived besides the gateway's own questions."""
        return [seen for seen in self.up.seen if b"(agent " in (seen.header("user-agent") or b"")]

    @property
    def questions(self) -> list[Any]:
        """What the gateway asked by itself."""
        return [json.loads(seen.body) for seen in self.up.seen if seen not in self.calls]

    async def credential(self, *grants: str) -> str:
        """Another credential of the same agent."""
        task = await self.house.task(await self.house.delegate(self.agent, *grants))
        return await self.agent.token(task["task_token"], resource=LINEAR)

    async def answer(self, seen: Seen, wire: Wire) -> None:
        """The script of `/graphql`."""
        asked = json.loads(seen.body)
        await wire.say(reply(200, {"Content-Type": "application/json"}, json.dumps(self._said(asked)).encode()))

    def _said(self, asked: Any) -> Any:
        query = asked["query"]
        if "viewer" in query and "organization" in query:
            return {"data": {"viewer": {"id": "u1", "name": "Alice"}, "organization": {"name": "Acme"}}}
        if not query.startswith("query($it"):
            return {"data": {"ok": True}}
        it = asked["variables"]["it"]
        kind = query.partition("{ ")[2].partition("(")[0]
        if kind in ("team", "teams"):
            keys = [key for key, id_ in self.teams.items() if it == (id_ if kind == "team" else key)]
            found = [{"id": self.teams[key], "key": key} for key in keys]
            if kind == "teams":
                return {"data": {"teams": {"nodes": found}}}
            return {"data": {"team": found[0] if found else None}}
        key = self.inside.get(it)
        if key is None:
            return {"errors": [{"message": "Entity not found"}], "data": None}
        team = {"team": {"id": self.teams[key], "key": key}}
        return {"data": {kind: {"issue": team} if kind in ("comment", "attachment") else team}}


@contextlib.asynccontextmanager
async def open_linear(folder: Path, *grants: str, database_url: str | None = None) -> AsyncIterator[Linear]:
    """Open it. Without grants: issues of LIN may be read, changed and commented on."""
    async with Upstream() as up:
        here = f"{up.host}:{up.port}"
        more: dict[str, Any] = {"token_seconds": 900, "task_seconds": 3600}
        async with open_house(
            folder, database_url=database_url, upstreams={"linear": up.url}, local=(here,), **more
        ) as house:
            inside = {"LIN-123": "LIN", "LIN-124": "LIN", "OPS-7": "OPS", "comment-lin": "LIN", "comment-ops": "OPS"}
            linear = Linear(house, up, await house.agent("ticket-mover"), "", {"LIN": LIN, "OPS": OPS}, inside)
            up.answers("POST", "/graphql", script=linear.answer)
            await house.alice.does("POST", "/v1/connections", integration="linear", credential=KEY)
            linear.token = await linear.credential(*(grants or ("linear:issues:write,comments:create@LIN",)))
            up.seen.clear()
            yield linear
