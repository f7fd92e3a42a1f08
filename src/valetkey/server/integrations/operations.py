"""Which operation a call is: the published table, parsed and compiled to a trie of path segments.

Responsible for answering method and segments with one operation or with nothing; nothing means deny. The order at
every segment: an exact literal, else a single-segment field, else a field of several segments (shortest reading whose
rest is a known path, else everything that is left). A taken literal is never given up for a field, so a path has one
reading. Refuses to know hosts, bodies, queries and what is allowed.

The table is tab-separated: lines with `#` carry facts (`# operations: 1223` must be true), then a heading, then rows.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from valetkey.server.integrations.model import Access, Guard, Match, Operation

COLUMNS: Final = (
    *("operation", "method", "template", "category", "access", "scope"),
    *("resource", "tags", "judged", "values", "never", "guards"),
)
BODY_TAG: Final = "body"
"""Marks an operation that no path names, but a body, a query or a header: a reader matches it (GraphQL, S3)."""
ALIAS_TAG: Final = "alias"
"""Marks an operation whose path is another's under a second name: listed, in its scope, never matched by itself."""
WEBSOCKET_TAG: Final = "websocket"
"""Marks an operation that may be opened as a WebSocket, and at an engine is refused."""

_UNMATCHED: Final = frozenset({ALIAS_TAG, BODY_TAG})
_VARIABLE: Final = re.compile(r"\{(\+?)([A-Za-z][A-Za-z0-9_-]*)\}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.@-]{1,100}")  # a calendar is called like a mailbox
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}")

Segments = tuple[str, ...]


class _Leaf:
    __slots__ = ("fits", "names", "operation")

    def __init__(
        self, operation: Operation, names: tuple[str, ...], fits: tuple[tuple[int, Callable[[str], object]], ...]
    ):
        self.operation = operation
        self.names = names
        self.fits = fits


class _Node:
    __slots__ = ("field", "leaves", "literals", "tail")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.field: _Node | None = None
        self.tail: _Node | None = None
        self.leaves: dict[str, _Leaf] = {}


@dataclass(frozen=True, slots=True)
class Alias:
    """A second address of the same things: `pattern` stands for the beginning `stands_for`.

    Fields only the pattern has are numbers. With `only`, the address belongs to that one operation.
    """

    pattern: str
    stands_for: str
    only: str = ""

    def numbers(self) -> frozenset[str]:
        """The fields of the pattern that are ids."""
        known = {name for _, name in _VARIABLE.findall(self.stands_for)}
        return frozenset(name for _, name in _VARIABLE.findall(self.pattern)) - known


class Operations(Mapping[str, Operation]):
    """All operations of an API by id, and the matcher over their paths. Immutable once compiled."""

    __slots__ = ("_by_id", "_root")

    def __init__(self, by_id: Mapping[str, Operation], root: _Node) -> None:
        self._by_id = MappingProxyType(dict(by_id))
        self._root = root

    def __getitem__(self, operation: str) -> Operation:
        return self._by_id[operation]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def match(self, method: str, segments: Segments) -> Match | None:
        """The operation that `method` on these decoded segments is, or None. HEAD is the GET of the same path."""
        if "" in segments or "." in segments or ".." in segments or "/" in "".join(segments):
            return None
        found = _walk(self._root, "GET" if method == "HEAD" else method, segments, 0, ())
        if found is None:
            return None
        leaf, values = found
        for position, fits in leaf.fits:
            if not fits(values[position]):
                return None
        return Match(leaf.operation, dict(zip(leaf.names, values, strict=True)))


def _walk(node: _Node, method: str, segments: Segments, at: int, values: Segments) -> tuple[_Leaf, Segments] | None:
    for position in range(at, len(segments)):
        segment = segments[position]
        below = node.literals.get(segment)
        if below is not None:
            node = below
        elif node.tail is not None:
            one = node.field and _walk(node.field, method, segments, position + 1, (*values, segment))
            return one or _walk_tail(node.tail, method, segments, position, values)
        elif node.field is not None:
            node = node.field
            values = (*values, segment)
        else:
            return None
    leaf = node.leaves.get(method)
    return (leaf, values) if leaf is not None else None


def _walk_tail(
    tail: _Node, method: str, segments: Segments, at: int, values: Segments
) -> tuple[_Leaf, Segments] | None:
    if tail.literals:
        for end in range(at + 1, len(segments)):
            if segments[end] in tail.literals:
                found = _walk(tail, method, segments, end, ())
                if found is not None:
                    return found[0], (*values, "/".join(segments[at:end]), *found[1])
    leaf = tail.leaves.get(method)
    return (leaf, (*values, "/".join(segments[at:]))) if leaf is not None else None


def compile_operations(
    rows: Iterable[Operation], aliases: Sequence[Alias] = (), listed: Iterable[Operation] = ()
) -> Operations:
    """Build the matcher. Raises ValueError if two rows have one id, or one method and path.

    What is only `listed` is found by somebody else, and known by its id here.
    """
    root = _Node()
    by_id: dict[str, Operation] = {}
    for operation in rows:
        if operation.id in by_id:
            raise ValueError(f"two operations are called {operation.id}")
        by_id[operation.id] = operation
        if not _UNMATCHED & operation.tags and not _insert(root, operation, operation.template):
            raise ValueError(f"{operation.id} has the method and path of another operation")
    for alias in aliases:
        prefix = alias.stands_for + "/"
        for operation in by_id.values():
            if _UNMATCHED & operation.tags or alias.only not in ("", operation.id):
                continue
            if (operation.template + "/").startswith(prefix):
                rest = operation.template[len(alias.stands_for) :]
                _insert(root, operation, alias.pattern + rest, numbers=alias.numbers())
    for operation in listed:
        if by_id.setdefault(operation.id, operation) is not operation:
            raise ValueError(f"two operations are called {operation.id}")
    return Operations(by_id, root)


def _insert(root: _Node, operation: Operation, template: str, *, numbers: frozenset[str] = frozenset()) -> bool:
    """Add one path; False if the place is taken, which a documented path always keeps."""
    node, names = root, []
    for part in template.split("/")[1:] if template != "/" else ():
        variable = _VARIABLE.fullmatch(part)
        if variable is None:
            if "{" in part:
                raise ValueError(f"{operation.id}: cannot read {part!r}")
            node = node.literals.setdefault(part, _Node())
            continue
        names.append(variable[2])
        if variable[1]:
            node.tail = node = node.tail or _Node()
        else:
            node.field = node = node.field or _Node()
    if operation.method in node.leaves:
        return False
    fits: list[tuple[int, Callable[[str], object]]] = []
    for position, name in enumerate(names):
        if name in numbers:
            fits.append((position, _NUMBER.fullmatch))
        elif name in operation.resource_fields:
            fits.append((position, _NAME.fullmatch))
        elif name in operation.values:
            fits.append((position, operation.values[name].__contains__))
        elif name in operation.never:
            fits.append((position, partial(_holds_none_of, frozenset(operation.never[name]))))
    node.leaves[operation.method] = _Leaf(operation, tuple(names), tuple(fits))
    return True


def _holds_none_of(characters: frozenset[str], value: str) -> bool:
    return characters.isdisjoint(value)


def parse_operations(text: str) -> list[Operation]:
    """Read a table. Raises ValueError for an unknown column, an unknown word, or a count that is not the stated one."""
    lines = text.splitlines()
    facts = dict(line[1:].strip().split(": ", 1) for line in lines if line.startswith("#") and ": " in line)
    body = [line for line in lines if line and not line.startswith("#")]
    if not body or tuple(body[0].split("\t")) != COLUMNS:
        raise ValueError("the heading of the operations table is not the known one")
    rows = [_row(line.split("\t")) for line in body[1:]]
    if len(rows) != int(facts.get("operations", "-1")):
        raise ValueError(f"the operations table holds {len(rows)} operations, its head says {facts.get('operations')}")
    return rows


def _row(cells: Sequence[str]) -> Operation:
    cell = dict(zip(COLUMNS, cells, strict=True))
    kind, _, fields = cell["resource"].partition(":")
    return Operation(
        id=cell["operation"],
        method=cell["method"],
        template=cell["template"],
        category=cell["category"],
        access=_access(cell["access"]),
        scope=cell["scope"],
        resource_kind=kind,
        resource_fields=tuple(_listed(fields, "/")),
        tags=frozenset(_listed(cell["tags"], ",")),
        judged=tuple(_listed(cell["judged"], ",")),
        guards=tuple(Guard(*_three(guard)) for guard in _listed(cell["guards"], ";")),
        values={name: frozenset(v.split("|")) for name, v in _pairs(cell["values"])},
        never=dict(_pairs(cell["never"])),
    )


def _access(word: str) -> Access:
    match word:
        case "read":
            return "read"
        case "write":
            return "write"
    raise ValueError(f"an operation reads or writes, it does not {word!r}")


def _pairs(cell: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (pair.partition("=") for pair in _listed(cell, ";"))]


def _three(guard: str) -> tuple[str, str, str]:
    field, prefix, scope = guard.split(":", 2)
    return field, prefix, scope


def _listed(cell: str, separator: str) -> list[str]:
    return cell.split(separator) if cell else []
