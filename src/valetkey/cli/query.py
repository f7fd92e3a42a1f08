"""`valetkey query`: one question to a database, as an agent, without a login of it."""

import json as json_text
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from valetkey.cli.options import Json, OptionalGrants
from valetkey.cli.output import inert, json_line, notice, table
from valetkey.cli.signed_in import as_agent
from valetkey.cli.token import given_task_token, holder
from valetkey.client import question

_CUT = {
    "rows": "more rows than were asked for (--rows)",
    "bytes": "more bytes than were asked for",
    "budget": "what the delegation has left",
}


def query(
    connection: Annotated[str, Parameter(help="The database, by its connection's name or id.")],
    statement: Annotated[str, Parameter(help="One SELECT; - reads it from standard input. $1, $2, ... are values.")],
    /,
    *values: Annotated[str, Parameter(help="The values, each as JSON, or as text where it is no JSON.")],
    task_token: Annotated[str | None, Parameter(help="The task token; VALETKEY_TASK_TOKEN otherwise.")] = None,
    grant: OptionalGrants = None,
    rows: Annotated[int | None, Parameter(help="At most so many rows (1,000).")] = None,
    agent: Annotated[str | None, Parameter(help="The agent; the one the task belongs to otherwise.")] = None,
    json: Json = False,
) -> int:
    """As an agent: ask a database one question. What it reads is judged and recorded, table by table.

    With --json the answer is lines of JSON as they come: the columns, the rows, how it ended.

    For example: valetkey query analytics 'SELECT id, total FROM sales.orders WHERE owner = $1' alice@acme.com
    """
    token = given_task_token(task_token, from_stdin=False)
    asked = sys.stdin.read(1024 * 1024) if statement == "-" else statement
    with as_agent(agent or holder(token)) as client:
        credential = client.tokens.create(token, target=question.AUDIENCE, grants=grant or ())["token"]
        request = question.asking(connection, asked, [_value(text) for text in values], rows=rows)
        chunks = client.carry(request, credential)
        if json:
            for line in question.lines(chunks):
                print(json_line(line), flush=True)
            return 0
        answer = question.read(chunks)
    columns = _told_apart([inert(column["name"]) for column in answer["columns"]])
    shown = [dict(zip(columns, map(_cell, row), strict=True)) for row in answer["rows"]]
    print(table(shown, columns, empty="No rows."), end="\n" if shown else "")
    if answer["end"] != "complete":
        notice(f"There is more: the answer was cut at {_CUT.get(answer['end'], answer['end'])}.")
    return 0


def _value(text: str) -> Any:
    try:
        return json_text.loads(text)
    except ValueError:
        return text


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json_line(value)


def _told_apart(names: list[str]) -> list[str]:
    """Columns may share a name, as `SELECT a.id, b.id` has them."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
