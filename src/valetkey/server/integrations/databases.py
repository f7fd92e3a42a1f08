"""Databases, described as APIs are: what can be delegated of one, and the one call there is to it, a question.

Responsible for the words: two scopes on tables. Refuses to know how a role is made, and whose server it is: a database
has no host of its own, every connection brings one, frozen when it is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from valetkey.server.integrations.model import Access, Injection, Integration, Operation, Scope, TokenPosition
from valetkey.server.integrations.operations import compile_operations
from valetkey.server.integrations.sql.question import NoQuestions, SqlReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A kind of database. `rights` are what each scope of ours is there: privileges on a table."""

    server: str
    """Whose protocol it speaks, and so which source lends its logins."""
    port: int
    rights: Mapping[str, frozenset[str]]
    answers_questions: bool
    """Whether single statements are read and judged at the gateway."""
    on_a_whole_schema: frozenset[str]
    """The scopes that may be had on every table of a schema; the others name their tables one by one."""


def _operation(name: str, access: Access) -> Operation:
    return Operation(
        id=f"rows/{name}",
        method="SQL",
        template=f"/{name}/{{table}}",
        category="rows",
        access=access,
        scope=name,
        resource_kind="table",
        resource_fields=("table",),
    )


def _scope(name: str, sentence: str, *operations: str) -> Scope:
    is_read = name == "read"
    return Scope(
        name=name,
        sentence=sentence,
        tier="read" if is_read else "write",
        reversible=is_read,
        outlives=False,
        resource_kind="table",
        operations=frozenset(operations),
    )


_READ: Final = _operation("read", "read")
_RIGHTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"read": frozenset({"SELECT"}), "write": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})}
)
POSTGRES: Final = Integration(
    name="postgres",
    title="PostgreSQL",
    audience="https://postgres.databases.invalid",
    base_url="postgresql:",
    hosts=frozenset(),
    scopes=MappingProxyType(
        {
            "read": _scope("read", "read the rows of a table", "rows/read"),
            "write": _scope("write", "add, change and delete the rows of a table", "rows/read", "rows/write"),
        }
    ),
    # Listed and never matched by a path: a question reads, and no call writes.
    operations=compile_operations((), (), (_READ, _operation("write", "write"))),
    reader=SqlReader(_READ),
    token_positions=(TokenPosition(header="authorization", scheme="Bearer"),),
    injection=Injection(header="authorization", value="Bearer {token}"),
    database=Database(
        server="postgres", port=5432, rights=_RIGHTS, answers_questions=True, on_a_whole_schema=frozenset({"read"})
    ),
)
MARIADB: Final = replace(
    POSTGRES,
    name="mariadb",
    title="MariaDB",
    audience="https://mariadb.databases.invalid",
    base_url="mariadb:",
    reader=NoQuestions(),
    database=Database(
        server="mariadb", port=3306, rights=_RIGHTS, answers_questions=False, on_a_whole_schema=frozenset({"read"})
    ),
)

DATABASES: Final[Mapping[str, Integration]] = MappingProxyType({POSTGRES.name: POSTGRES, MARIADB.name: MARIADB})
