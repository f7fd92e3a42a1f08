"""One question to a database as it comes: `POST /{connection}/query` with a statement, its values and two limits. Pure.

What leaves is built from what was read: the statement in our own print, the values as values. Each table is a thing of
its own, and every one of them must be allowed. What reads no table is refused: there is nothing to judge it by.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.integrations.model import Match, Operation, ResourceRef
from valetkey.server.integrations.reading import Reading, Reads, Refused, Said
from valetkey.server.integrations.sql.statement import read_statement
from valetkey.verify.json import MalformedJson, parse_object

PATH: Final = "query"
MOST_ROWS: Final = 10_000
MOST_BYTES: Final = 4 * 1024 * 1024
MOST_PARAMETERS: Final = 100
_USUAL_ROWS: Final = 1_000
_USUAL_BYTES: Final = 1024 * 1024
_MEMBERS: Final = frozenset({"statement", "parameters", "rows", "bytes"})
_NAME: Final = re.compile(r"[A-Za-z0-9_$-]{1,63}")
_EXAMPLE: Final = '{"statement": "SELECT total FROM sales.orders WHERE id = $1", "parameters": [7]}'

Plain = bool | int | float | str | None
Value = Plain | list[Plain]


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is sent: a statement of our own print. `rows` and `bytes` are the most that is answered."""

    statement: str
    parameters: list[Any]
    rows: int
    bytes: int


def question_of(body: bytes) -> Question:
    """The question in a body that `SqlReader` wrote."""
    return msgspec.json.decode(body, type=Question)


class SqlReader:
    """Reads the one call there is to a database."""

    most_bytes = 64 * 1024

    def __init__(self, reads_rows: Operation) -> None:
        self._operation = reads_rows

    def reads(self, method: str, segments: Sequence[str]) -> Reads:
        """Only a question has a body that says what it does; nothing else is a call at all."""
        return Reads.BODY if method == "POST" and len(segments) == 2 and segments[1] == PATH else Reads.PATH

    def __call__(self, said: Said) -> Reading | Refused:
        """Every table the statement reads, through the connection that the address names."""
        if said.query:
            raise InvalidRequest("A question takes nothing in its address.", hint=f"Send {_EXAMPLE}")
        if said.content_type.partition(";")[0].strip().lower() != "application/json":
            raise InvalidRequest("A question is sent as application/json.", hint=f"Send {_EXAMPLE}")
        statement, values, rows, size = _members(said.body)
        try:
            read = read_statement(statement)
            if not read.tables:
                raise Denied("It reads no table.", hint="Ask about at least one table: schema.table.")
            matches = [self._match(said.segments[0], table) for table in read.tables]
        except Denied as refused:
            # The reason stands in the record; the words are for who asked.
            return Refused(f"{refused.public} {refused.next_step}")
        body = msgspec.json.encode(Question(read.text, list(values), rows, size))
        return Reading(matches=matches, query=(), content_type="application/json", body=body)

    def _match(self, connection: str, table: tuple[str, str]) -> Match:
        schema, name = table
        # SECURITY: joined by a dot, a name with a dot in it would be judged as another table.
        # Guarded by tests/attacks/test_questions.py::test_a_name_with_a_dot_is_no_other_table
        if _NAME.fullmatch(schema) is None or _NAME.fullmatch(name) is None:
            raise Denied("It names a table that cannot be delegated.", hint="Names are of letters, digits, _, - and $.")
        ref = ResourceRef("table", name=f"{schema}.{name}")
        return Match(self._operation, {"table": f"{schema}.{name}"}, ref, connection=connection)


class NoQuestions:
    """Of a database whose statements nobody here reads: a question is refused in words, and never sent."""

    most_bytes = 64 * 1024

    def reads(self, method: str, segments: Sequence[str]) -> Reads:
        """As `SqlReader`: whoever asks a question is told why there is no answer."""
        return Reads.BODY if method == "POST" and len(segments) == 2 and segments[1] == PATH else Reads.PATH

    def __call__(self, said: Said) -> Refused:  # noqa: ARG002 - what is said makes no difference
        """The statement is not looked at."""
        return Refused("Single questions are answered by PostgreSQL alone. Take a login: valetkey leases open.")


def _members(body: bytes) -> tuple[str, Sequence[Value], int, int]:
    try:
        members = parse_object(body)
    except MalformedJson as error:
        raise InvalidRequest("The question is no JSON object.", hint=f"Send {_EXAMPLE}", detail=str(error)) from None
    if unknown := sorted(members.keys() - _MEMBERS):
        raise InvalidRequest(f"A question has no member {unknown[0][:64]!r}.", hint=f"It has {sorted(_MEMBERS)}.")
    statement, values = members.get("statement"), members.get("parameters", [])
    if not isinstance(statement, str):
        raise InvalidRequest("The question has no statement.", hint=f"Send {_EXAMPLE}")
    if not isinstance(values, list) or len(values) > MOST_PARAMETERS or not all(map(_is_value, values)):
        raise InvalidRequest(
            f"Parameters are at most {MOST_PARAMETERS} values, or lists of values.",
            hint="Numbers, text, true, false and null; anything else as text, the way PostgreSQL writes it.",
        )
    rows = _number(members, "rows", _USUAL_ROWS, MOST_ROWS)
    return statement, values, rows, _number(members, "bytes", _USUAL_BYTES, MOST_BYTES)


def _is_value(value: object) -> bool:
    return _is_plain(value) or (isinstance(value, list) and all(map(_is_plain, value)))


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _number(members: dict[str, object], name: str, usual: int, most: int) -> int:
    value = members.get(name, usual)
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidRequest(f"{name} is a number between 1 and {most}.")
    return value
