"""What an API's fields are, as its file says: which operation a root field is, and what may be selected below it.

Responsible for reading that file, whole or not at all. It is tab-separated; `#` begins a remark, and four words a line:

- `words` are what a filter may speak of: names from which no path leads out of the resource.
- `paging` are arguments every field may have.
- `call` is a root field: operation, access, scope, resource kind, names, takes, returns, tags.
- `type` is what may be selected on a type: fields that stay with the thing, and fields that lead away from it.

Refuses to know documents. The rules are told in docs/graphql.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from valetkey.server.integrations.model import Access, Operation
from valetkey.server.integrations.operations import BODY_TAG

_CALL: Final = re.compile(r"(query|mutation)/([_A-Za-z][_0-9A-Za-z]*)(?::[a-z-]+)?")
_FIELD: Final = re.compile(r"([_A-Za-z][_0-9A-Za-z]*)(?:\(([~,A-Za-z]+)\))?(?::([A-Za-z.]+))?")
_PLACE: Final = r"[A-Za-z.+]+>[a-z_]+(?:\.name|\.uuid)?"
_NAMED: Final = re.compile(rf"{_PLACE}(?:\|{_PLACE})*\??")
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Named:
    """One thing that arguments name. Of `places` at least one is given, unless it `is_optional`."""

    places: tuple[tuple[tuple[str, ...], str], ...]
    """Paths of arguments whose values, joined with `/`, name a thing, and the kind it is: as a name, or as an id.

    `.name` and `.uuid` after the kind: the API takes one of the two only.
    """
    is_optional: bool


@dataclass(frozen=True, slots=True)
class Takes:
    """Arguments that are understood: leaves by their path, and filters whose every word is known."""

    paths: frozenset[str] = frozenset()
    filters: tuple[str, ...] = ()
    is_any: bool = False

    def allows(self, path: str, words: frozenset[str]) -> bool:
        """Whether a leaf may stand there."""
        if self.is_any or path in self.paths:
            return True
        first, *rest = path.split(".")
        return first in self.filters and words.issuperset(rest)


@dataclass(frozen=True, slots=True)
class Root:
    """One way to use one root field."""

    operation: Operation
    named: tuple[Named, ...]
    takes: Takes
    returns: str
    """The type below it; empty for a leaf, `*` where anything may be selected."""


@dataclass(frozen=True, slots=True)
class Below:
    """A field of a type: its own type (empty for a leaf), its arguments, and whether it stays with the thing."""

    returns: str
    takes: Takes
    stays: bool


@dataclass(frozen=True, slots=True)
class Table:
    """Everything one file says."""

    roots: Mapping[tuple[str, str], tuple[Root, ...]]
    """By kind of operation and name; the first that fits a call is what it is."""
    types: Mapping[str, Mapping[str, Below]]
    words: frozenset[str]
    away: Operation | None
    """What a selection that leads away from the thing is, besides what it is anyway."""

    @property
    def operations(self) -> list[Operation]:
        """All of them, in the order of the file."""
        return [root.operation for roots in self.roots.values() for root in roots]


def parse_table(text: str, path: str) -> Table:
    """Read a file about the API at `path`. Raises ValueError for the first line that is not as it must be."""
    words: list[str] = []
    paging: list[str] = []
    calls: list[list[str]] = []
    types: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        word, *cells = line.split("\t")
        if word in ("words", "paging") and len(cells) == 1:
            (words if word == "words" else paging).extend(cells[0].split())
        elif word == "call" and len(cells) == 8:
            calls.append(cells)
        elif word == "type" and len(cells) == 3 and cells[0] not in types:
            types[cells[0]] = cells[1:]
        else:
            raise ValueError(f"cannot read the line {line[:60]!r}")
    roots: dict[tuple[str, str], list[Root]] = {}
    for cells in calls:
        root = _root(cells, path)
        _, kind, name = root.operation.template.rsplit(" ", 2)
        roots.setdefault((kind, name), []).append(root)
    table = Table(
        roots=MappingProxyType({key: tuple(of) for key, of in roots.items()}),
        types=MappingProxyType({name: _type(cells, paging) for name, cells in types.items()}),
        words=frozenset(words),
        away=next((root.operation for root in roots.get(("query", "*"), ())), None),
    )
    _check(table)
    return table


def _root(cells: list[str], path: str) -> Root:
    id_, access, scope, kind, names, takes, returns, tags = cells
    called = _CALL.fullmatch(id_) or re.fullmatch(r"(query)/(\*)", id_)
    if called is None:
        raise ValueError(f"{id_!r} is no call")
    named = tuple(_named(word) for word in names.split())
    if (kind == "account") != (not named) or (named and all(n.is_optional for n in named)):
        raise ValueError(f"{id_} is about {kind}, and its arguments do not say which")
    read: Access = "read" if access == "read" else "write"
    if access not in ("read", "write") or (called[1] == "mutation" and read == "read"):
        raise ValueError(f"{id_} reads or writes, it does not {access!r}")
    judged = tuple(place for one in named for places, _ in one.places for place in places)
    operation = Operation(
        id=id_,
        method="POST",
        template=f"{path} {called[1]} {called[2]}",
        category="graphql",
        access=read,
        scope=scope,
        resource_kind=kind,
        tags=frozenset({BODY_TAG, *(tags.split(",") if tags else ())}),
        judged=judged,
    )
    return Root(operation, named, _takes([*takes.split(), *judged]), returns)


def _named(word: str) -> Named:
    if not _NAMED.fullmatch(word):
        raise ValueError(f"{word!r} names nothing")
    places = []
    for place in word.removesuffix("?").split("|"):
        paths, kind = place.split(">")
        places.append((tuple(paths.split("+")), kind))
    return Named(tuple(places), word.endswith("?"))


def _takes(words: list[str]) -> Takes:
    return Takes(
        paths=frozenset(w for w in words if w[-1] != "~"),
        filters=tuple(w[:-1] for w in words if w[-1] == "~"),
        is_any=_ANY in words,
    )


def _type(cells: list[str], paging: list[str]) -> Mapping[str, Below]:
    found: dict[str, Below] = {"__typename": Below("", Takes(), stays=True)}
    for cell, stays in zip(cells, (True, False), strict=True):
        for word in cell.split():
            about = _FIELD.fullmatch(word)
            if about is None or about[1] in found:
                raise ValueError(f"{word!r} is no field, or is there twice")
            takes = _takes([*paging, *(about[2].split(",") if about[2] else [])])
            found[about[1]] = Below(about[3] or "", takes, stays)
    return MappingProxyType(found)


def _check(table: Table) -> None:
    """Every type that is named is there, and whatever leads away can be told from what stays."""
    below = [field for fields in table.types.values() for field in fields.values()]
    named = {field.returns for field in below} | {r.returns for roots in table.roots.values() for r in roots}
    if lacking := named - table.types.keys() - {"", _ANY}:
        raise ValueError(f"nothing may be selected on {', '.join(sorted(lacking))}: nobody described it")
    if table.away is None and any(not field.stays for field in below):
        raise ValueError("a field leads away, and no call `query/*` says what that is")
