"""Asking a database one question through the gateway, and reading its answer line by line. No sockets.

The answer is lines of JSON: `{"columns": [{"name", "type"}, …]}`, a row a line, and last `{"end": …, "rows": n}`. One
that ends without that line was cut off, which is an error and never a short answer.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypedDict
from urllib.parse import quote

from valetkey.client.errors import UpstreamFailed
from valetkey.client.protocol import Request, post

AUDIENCE: Final = "https://postgres.databases.invalid"
"""The API a credential for questions is for; which database it is, the address says."""


class Column(TypedDict):
    name: str
    type: str


class Rows(TypedDict):
    """`end` is `complete`, or what cut it: `rows`, `bytes`, `budget`, or `failed` with an `sqlstate`."""

    columns: list[Column]
    rows: list[list[Any]]
    end: str


def asking(
    connection: str, statement: str, parameters: Sequence[Any] = (), *, rows: int | None = None, size: int | None = None
) -> Request:
    """The question to a database, by its connection's name or id. `rows` and `size` (bytes) limit the answer."""
    path = f"/p/postgres/{quote(connection, safe='')}/query"
    asked = post(path, statement=statement, parameters=list(parameters), rows=rows, bytes=size)
    return asked._replace(headers={**asked.headers, "Accept": "application/x-ndjson"})


def lines(chunks: Iterable[bytes]) -> Iterator[Any]:
    """The lines as they come, the last one that says how it ended included. Raises `UpstreamFailed` where it is not."""
    rest, last = b"", None
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            last = json.loads(line)
            yield last
    if rest or not (isinstance(last, dict) and "end" in last):
        raise UpstreamFailed("The answer was cut off before it ended.", hint="Ask again, or for fewer rows.")


def read(chunks: Iterable[bytes]) -> Rows:
    """All of it. Raises `UpstreamFailed` for an answer that was cut off, or that the database did not finish."""
    columns, *found, last = lines(chunks)
    if last["end"] == "failed":
        raise UpstreamFailed(
            "The statement failed while it ran.", hint=f"PostgreSQL says {last.get('sqlstate', 'nothing more')}."
        )
    return {"columns": columns["columns"], "rows": found, "end": last["end"]}
