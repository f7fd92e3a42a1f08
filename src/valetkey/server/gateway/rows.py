"""The answer to a question: rows as lines of JSON, read from the database as fast as the client takes them.

First the columns, `{"columns": [{"name", "type"}, …]}`; then a row a line, `[1, "x", null]`; last how it ended,
`{"end": "complete" | "rows" | "bytes" | "budget" | "failed", "rows": 8}`. An answer without that last line was cut.
What a reader of JSON might round or cannot write (numeric, large integers, NaN, moments) is text, as PostgreSQL has it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import asyncpg
import msgspec

from valetkey.server.errors import InvalidRequest, ValetkeyError
from valetkey.server.gateway.sql_errors import while_read, while_run
from valetkey.server.integrations.sql.question import Question

MOST_BEYOND: Final = 6
"""A row on the wire is at most so many times as long as its line: eight bytes and a length for one digit."""
ROOM_TO_END: Final = 256
_BATCH: Final = 50
_EXACT: Final = 2**53 - 1
_AS_THEY_ARE: Final = frozenset(
    {"bool", "int2", "int4", "int8", "oid", "float4", "float8", "text", "varchar", "bpchar"}
)
_AS_THEY_ARE_TOO: Final = frozenset({"name", "char", "json", "jsonb"})


class Finished(Protocol):
    """Told once how a question ended."""

    def __call__(self, *, status: int, size: int, rows: int, ended: str) -> None: ...


class Gone(Protocol):
    """Ends the session, and whatever stands behind it."""

    def __call__(self) -> None: ...


class RowsAnswer:
    """What the door sends, chunk after chunk. To be closed: that ends the session and reports the outcome."""

    whole: bytes | None = None
    status = 200

    def __init__(
        self,
        session: Any,
        question: Question,
        *,
        room: int,
        is_budget: bool,
        meter: Any,
        finished: Finished,
        gone: Gone,
    ) -> None:
        self.headers: list[tuple[bytes, bytes]] = [
            (b"content-type", b"application/x-ndjson"),
            (b"content-security-policy", b"sandbox; default-src 'none'"),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]
        self._session = session
        self._question = question
        self._room = room - ROOM_TO_END
        self._full = "budget" if is_budget else "bytes"
        self._meter = meter
        self._finished = finished
        self._gone = gone
        self._raw: frozenset[int] = frozenset()
        self._size = 0
        self._rows = 0
        self._end = ""
        self._ended = "interrupted"
        self._ready: list[bytes] = []

    async def begin(self) -> None:
        """Run the statement as far as its first rows, so that what fails at once has a status of its own."""
        try:
            await self._begin()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise while_run(error) from None

    async def _begin(self) -> None:
        await self._session.transaction(readonly=True).start()
        try:
            statement = await self._session.prepare(self._question.statement)
            kinds = [*statement.get_parameters(), *(one.type for one in statement.get_attributes())]
            if as_text := {_base(kind.name) for kind in kinds if _is_text(kind)}:
                for name in sorted(as_text):
                    await self._session.set_type_codec(
                        name, schema="pg_catalog", encoder=_written, decoder=str, format="text"
                    )
                statement = await self._session.prepare(self._question.statement)
        except asyncpg.PostgresError as error:
            raise while_read(error) from None
        columns = statement.get_attributes()
        self._raw = frozenset(at for at, one in enumerate(columns) if one.type.name in ("json", "jsonb"))
        values = _fitting(statement.get_parameters(), self._question.parameters)
        try:
            self._cursor = await statement.cursor(*values)
        except asyncpg.PostgresError as error:
            if not getattr(error, "message", None) or error.sqlstate[:2] == "22":
                raise InvalidRequest(
                    "A parameter is not of the type that the statement has for it.",
                    hint=f"It takes {', '.join(kind.name for kind in statement.get_parameters())}.",
                    reason="statement_failed",
                ) from None
            raise while_run(error) from None
        self._line({"columns": [{"name": one.name, "type": one.type.name} for one in columns]})
        if failed := await self._more():
            raise failed

    async def next_chunk(self) -> bytes | None:
        """The next lines; None at the end."""
        if not self._ready and not self._end and (failed := await self._more()):
            self._finish("failed", problem=failed.public, **_coded(failed))
        if not self._ready:
            return None
        chunk, self._ready = b"".join(self._ready), []
        return chunk

    def was_taken(self) -> None:
        """All of it is on its way to the client."""
        self._ended = {"rows": "limit", "bytes": "limit", "budget": "over_budget"}.get(self._end, self._end)

    async def close(self) -> None:
        """End the session and report how it ended."""
        self._gone()
        self._finished(status=self.status, size=self._size, rows=self._rows, ended=self._ended)

    async def _more(self) -> ValetkeyError | None:
        """Some rows more, or the end of them; what went wrong."""
        left = self._question.rows - self._rows
        try:
            # One more than is answered says whether there are more.
            rows = await self._cursor.fetch(min(_BATCH, left + 1))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            if not self._meter.is_over:
                return while_run(error)
            self._finish(self._full)
            return None
        for row in rows[:left]:
            if not self._line([self._value(at, value) for at, value in enumerate(row.values())]):
                self._finish(self._full)
                return None
            self._rows += 1
        if len(rows) > left:
            self._finish("rows")
        elif len(rows) < min(_BATCH, left + 1):
            self._finish("complete")
        return None

    def _line(self, said: object) -> bool:
        """Whether there was room for it."""
        line = msgspec.json.encode(said) + b"\n"
        if self._size + len(line) > self._room:
            return False
        self._ready.append(line)
        self._size += len(line)
        return True

    def _finish(self, end: str, **more: str) -> None:
        self._end = end
        self._room += ROOM_TO_END
        self._line({"end": end, "rows": self._rows, **more})

    def _value(self, at: int, value: Any) -> Any:
        if at in self._raw and isinstance(value, str):
            return msgspec.Raw(value.encode())
        return plain(value)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if -_EXACT <= value <= _EXACT else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return "\\x" + value.hex()
        case list() | tuple() | asyncpg.Record():
            return [plain(part) for part in value]
    return str(value)


def _coded(error: ValetkeyError) -> dict[str, str]:
    return {"sqlstate": str(error.members["sqlstate"])} if "sqlstate" in error.members else {}


def _base(name: str) -> str:
    return name.removesuffix("[]")


def _is_text(kind: Any) -> bool:
    """Whether values of it go as PostgreSQL writes them: moments, numeric, addresses, bytes."""
    known = _base(kind.name) in _AS_THEY_ARE | _AS_THEY_ARE_TOO
    return kind.schema == "pg_catalog" and kind.kind in ("scalar", "array") and not known


def _written(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not written as text")
    return str(value)


def _fitting(kinds: Sequence[Any], values: Sequence[Any]) -> Iterator[Any]:
    """The values as the driver takes them: as many as there are, integers that came as text among them."""
    if len(kinds) != len(values):
        raise InvalidRequest(
            f"The statement takes {len(kinds)} parameters, and {len(values)} came.",
            hint="Each of $1, $2, … has one value in `parameters`, in their order.",
            reason="statement_failed",
        )
    return (_fit(kind.name, value) for kind, value in zip(kinds, values, strict=True))


def _fit(kind: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_fit(_base(kind), one) for one in value]
    if kind == "int8" and isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) <= 20:
        return int(value)
    return value
