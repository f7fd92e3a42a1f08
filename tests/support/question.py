"""An agent that asks a company's database questions, without a login of its own."""

import json
from typing import Any

from tests.support.http import Reply
from tests.support.shop import AUDIENCE, Store

QUERY = "/p/postgres/analytics/query"


async def token(at: Store, **more: Any) -> str:
    return await at.agent.token(at.task["task_token"], resource=AUDIENCE, **more)


async def ask(at: Store, statement: str, *parameters: Any, bearer: str = "", path: str = QUERY, **more: Any) -> Reply:
    """One question; `more` are further members of its body."""
    headers = {"authorization": f"Bearer {bearer or await token(at)}"}
    body = {"statement": statement, "parameters": list(parameters), **more}
    return await at.house.call("POST", path, headers=headers, json=body)


async def rows(at: Store, statement: str, *parameters: Any, **more: Any) -> list[Any]:
    """The rows of an answer that came whole."""
    reply = await ask(at, statement, *parameters, **more)
    assert reply.status == 200, reply.body
    columns, *found, last = lines(reply)
    assert "columns" in columns
    assert last == {"end": "complete", "rows": len(found)}
    return found


def lines(reply: Reply) -> list[Any]:
    return [json.loads(line) for line in reply.body.splitlines()]
