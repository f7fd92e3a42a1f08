"""One SQL statement read with PostgreSQL's own grammar: which tables it reads, or why it is not let through. Pure.

Every node at every depth is held against a list of what a plain question consists of, for the first word of a
statement says nothing: `WITH x AS (DELETE …) SELECT`, `SELECT … INTO`, `SELECT lo_import(…)` all begin like a question.
What is not on the list is refused and named. It is the second line: the role that runs the statement may only read.

A statement is read as it will run: under `search_path = pg_catalog`, so that a function without a schema is
PostgreSQL's own, and a table without one can only be a name the statement itself defines.
"""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.integrations.sql.functions import FUNCTIONS, TYPES

# The grammar is C and recurses: a chain of operators of 60 KB was seen to end the process, one of 40 KB was not.
# Guarded by tests/attacks/test_sql_statements.py::test_the_longest_chains_end_in_a_refusal_and_not_in_a_crash
MOST_BYTES: Final = 16 * 1024
MOST_NODES: Final = 20_000

_PLAIN: Final = """
Alias A_ArrayExpr A_Const A_Expr A_Indices A_Indirection A_Star BitString BoolExpr Boolean BooleanTest CaseExpr
CaseWhen CoalesceExpr CollateClause ColumnRef CommonTableExpr Float FuncCall GroupingFunc GroupingSet Integer JoinExpr
List MinMaxExpr NamedArgExpr NullTest ParamRef RangeFunction RangeSubselect RangeVar ResTarget RowExpr
SQLValueFunction SelectStmt SortBy String SubLink TypeCast TypeName WindowDef WithClause
"""
_NODES: Final = frozenset(_PLAIN.split())
# What people write most that is not let through, in their own words.
_INSTEAD: Final = {
    "InsertStmt": "INSERT changes data",
    "UpdateStmt": "UPDATE changes data",
    "DeleteStmt": "DELETE changes data",
    "MergeStmt": "MERGE changes data",
    "IntoClause": "SELECT … INTO makes a table",
    "LockingClause": "FOR UPDATE and FOR SHARE lock rows",
    "ExplainStmt": "EXPLAIN may run what it explains",
    "CopyStmt": "COPY reads and writes files and programs",
    "VariableSetStmt": "SET changes settings",
    "TransactionStmt": "the transaction is not the statement's to end",
    "DoStmt": "DO runs a program",
    "CallStmt": "CALL runs a procedure",
}
_OPERATORS: Final = {"A_Expr": "name", "SubLink": "oper_name", "SortBy": "use_op", "CollateClause": "collname"}
_PLACES: Final = frozenset({"location", "stmt_location", "stmt_len", "list_start", "list_end"})
_SYSTEM: Final = frozenset({"pg_catalog", "information_schema", "pg_toast"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One question, in our own print. `tables` are schema and name as PostgreSQL folds them, each once."""

    text: str
    tables: tuple[tuple[str, str], ...]


@cache
def _grammar() -> Any:
    """PostgreSQL's own parser. It is loaded with the first question: most servers are never asked one."""
    return importlib.import_module("postgast")


def read_statement(text: str) -> Statement:
    """Read it. Raises `InvalidRequest` for what is no single statement, `Denied` for one that does more than ask."""
    root = _parsed(text)
    own: set[str] = set()
    tables: dict[tuple[str, str], None] = {}
    unqualified: list[str] = []
    for node in _nodes(root):
        name = node.DESCRIPTOR.name
        if name not in _NODES:
            what = _INSTEAD.get(name, f"{name} is not among what a question consists of")
            raise _refused(f"{what}.")
        if name == "CommonTableExpr":
            own.add(_own_name(node))
        elif name == "RangeVar":
            named = _table(node)
            if isinstance(named, tuple):
                tables[named] = None
            else:
                unqualified.append(named)
        elif name == "FuncCall":
            _check_function(node)
        elif name == "TypeName":
            _check_type(node)
        elif (operator := _OPERATORS.get(name)) is not None:
            _check_operator(getattr(node, operator))
    if strange := [name for name in unqualified if name not in own]:
        raise _refused(f"the table {strange[0]} has no schema.", hint=f"Write schema.{strange[0]}.")
    return Statement(_printed(root), tuple(tables))


def _parsed(text: str) -> Message:
    """The one statement of a text."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES or not all(c.isprintable() or c in "\t\n\r" for c in text):
        raise InvalidRequest(
            f"A statement is text of at most {MOST_BYTES // 1024} KiB, without control characters.",
            hint="Shorten it; give values as parameters ($1, $2, …).",
        )
    grammar = _grammar()
    try:
        statements = grammar.parse(text).stmts
    except grammar.PgQueryError as error:
        raise InvalidRequest("PostgreSQL's grammar does not read this statement.", detail=str(error)[:200]) from error
    except DecodeError as error:
        raise InvalidRequest("The statement is nested too deeply.", hint="Write it flatter.") from error
    if len(statements) != 1:
        raise InvalidRequest("Exactly one statement is run at a time.", hint="Send each in a request of its own.")
    statement: Message = statements[0].stmt
    return statement


def _printed(root: Message) -> str:
    """Our own print of what was read: the server is sent what was judged, not what looked like it."""
    grammar = _grammar()
    whole = grammar.ParseResult()
    whole.stmts.add().stmt.CopyFrom(root)
    text: str = grammar.deparse(whole)
    if _without_places(_parsed(text)) != _without_places(root):
        raise _refused("it cannot be printed as it was read.", hint="Write it more plainly.")
    return text


def _without_places(root: Message) -> bytes:
    """The tree alone: where in the text something stood is no part of what it says."""
    bare = type(root)()
    bare.CopyFrom(root)
    for node in _nodes(bare):
        for field in _PLACES.intersection(node.DESCRIPTOR.fields_by_name):
            node.ClearField(field)
    said: bytes = bare.SerializeToString(deterministic=True)
    return said


def _nodes(root: Message) -> Iterator[Message]:
    """Every message below, wrappers left out, without recursion."""
    waiting: list[Message] = [root]
    for _ in range(MOST_NODES):
        if not waiting:
            return
        message = waiting.pop()
        if message.DESCRIPTOR.name != "Node":
            yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting.extend((value,) if isinstance(value, Message) else value)
    raise InvalidRequest("The statement has too many parts.", hint="Shorten it.")


def _own_name(node: Any) -> str:
    """The name a WITH clause gives."""
    name = str(node.ctename)
    # SECURITY: outside its clause such a name would be PostgreSQL's own again, and its tables all begin like this.
    # Guarded by tests/attacks/test_sql_statements.py::test_what_is_not_a_plain_question_is_refused
    if name.lower().startswith("pg_"):
        raise _refused(f"WITH {name[:64]} names something as PostgreSQL names its own.", hint="Name it otherwise.")
    return name


def _table(node: Any) -> tuple[str, str] | str:
    """Schema and name, or the name alone."""
    if node.catalogname:
        raise _refused("a table of another database is named.", hint="Connect that database.")
    schema, name = str(node.schemaname), str(node.relname)
    if schema in _SYSTEM or schema.startswith("pg_"):
        raise _refused(f"{schema} is PostgreSQL's own.", hint="Ask a person who administers the database.")
    return (schema, name) if schema else name


def _plain_name(parts: Sequence[Any], *, kind: str) -> str:
    """A name of `pg_catalog`, with the schema or without."""
    names = [part.string.sval for part in parts]
    if not names or len(names) > 2 or (len(names) == 2 and names[0] != "pg_catalog"):
        raise _refused(f"{kind} {'.'.join(names)[:128]} is not PostgreSQL's own.")
    return str(names[-1])


def _check_function(node: Any) -> None:
    if (name := _plain_name(node.funcname, kind="the function")) not in FUNCTIONS:
        raise _refused(f"the function {name[:64]} is not on the list of those that only compute.")


def _check_type(node: Any) -> None:
    if (name := _plain_name(node.names, kind="the type")) not in TYPES:
        raise _refused(f"the type {name[:64]} is not on the list of plain types.")


def _check_operator(parts: Sequence[Any]) -> None:
    """An operator may be written with a schema, and is a function then like any other."""
    if parts:
        _plain_name(parts, kind="the operator")


def _refused(why: str, *, hint: str = "Ask in plain SELECTs over tables with their schema.") -> Denied:
    return Denied(f"This statement is not let through: {why}", hint=hint, reason="statement")
