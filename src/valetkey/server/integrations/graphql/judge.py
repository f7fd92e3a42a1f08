"""A document to the operations it is: every root field with its arguments, and what is selected below it.

A root field is what the first of its rows says that fits its arguments; where none does it is nothing, and denied. Each
thing its arguments name is a match of its own. Below it every field must be one the file describes; one that leads away
from the thing, or has an argument that might, is a further match: reading across the account. Refuses to know how an
API is asked what an id means.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from valetkey.server.integrations.graphql.document import Document, Selected
from valetkey.server.integrations.graphql.table import Named, Root, Table, Takes
from valetkey.server.integrations.graphql.values import ABSENT, Variable, at, leaves
from valetkey.server.integrations.model import Match, ResourceRef

_ROOT: Final = {"query": "Query", "mutation": "Mutation"}
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_=+.:-]{1,200}")
_COMMENTS_TAG: Final = "comments"
_LISTED: Final = ("input.threads", "input.comments", "input.body")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where one argument of a row stands in a document: a value, or a variable and the path inside of it."""

    path: str
    value: Any
    rest: Sequence[str]

    def found(self, variables: Mapping[str, Any]) -> Any:
        """What the API will see there; `ABSENT` for nothing."""
        if not isinstance(self.value, Variable):
            return self.value
        value = variables.get(self.value.name, ABSENT)
        return at(value, self.rest)[0] if self.rest else value


@dataclass(frozen=True, slots=True)
class Filled:
    """Arguments that a variable fills: they are taken or not once its value is known."""

    takes: Takes
    places: tuple[tuple[str, Variable, bool], ...]
    """Path, variable, and whether a leaf may stand there."""

    def is_taken(self, variables: Mapping[str, Any], words: frozenset[str]) -> bool:
        """Whether every leaf of every value is one that is taken."""
        for path, variable, may_be_leaf in self.places:
            value = variables.get(variable.name, None if variable.is_item else ABSENT)
            if isinstance(value, (dict, list)) and value:
                if not all(self.takes.allows(inner, words) for inner, _ in leaves(value, path)):
                    return False
            elif value is not ABSENT and not may_be_leaf:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Reading:
    """One row that may be what a field is. `away`: whether its selection leads away, whatever the variables say."""

    row: Root
    filled: Filled
    named: tuple[tuple[Named, tuple[tuple[tuple[Place, ...], str], ...]], ...]
    away: bool
    maybe: tuple[Filled, ...]
    comments: tuple[Place, ...] = ()
    """Where it lists comments, and says one besides: a review holds as many."""

    def written(self, variables: Mapping[str, Any]) -> int:
        """How many comments it writes, where its operation writes any."""
        count = 0
        for place in self.comments:
            value = place.found(variables)
            # A single thing where a list belongs is a list of one (GraphQL, section 3.11).
            count += len(value) if isinstance(value, list) else value not in (ABSENT, None, "")
        return max(1, count)


@dataclass(frozen=True, slots=True)
class Asked:
    """One root field, and what it may be, in order."""

    name: str
    readings: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Unlisted:
    """What no file describes; `why` names it, and stands in a sentence. Its names are the caller's own."""

    why: str


def understood(document: Document, table: Table) -> tuple[Asked, ...] | Unlisted:
    """What the document asks for, before its variables are known."""
    asked: list[Asked] = []
    for field in document.fields:
        if field.on not in ("", _ROOT[document.kind]):
            return Unlisted(f"`{field.name}` is asked of `{field.on}`, which a {document.kind} is not")
        # SECURITY: by the name of the field: an alias is what its caller likes (GQ-01).
        # Guarded by tests/attacks/test_graphql.py::test_gq_01_every_root_field_is_judged
        rows = table.roots.get((document.kind, field.name), ())
        readings: list[Reading] = []
        why = f"`{field.name}` is not a listed {document.kind}"
        for row in rows:
            found = _reading(field, row, table)
            if isinstance(found, Reading):
                readings.append(found)
            elif not readings:
                why = found.why
        if not readings:
            return Unlisted(why)
        asked.append(Asked(field.name, tuple(readings)))
    return tuple(asked)


def matches(asked: tuple[Asked, ...], variables: Mapping[str, Any], table: Table) -> list[Match] | Unlisted:
    """Every operation that is asked for, with these variables."""
    found: list[Match] = []
    for one in asked:
        for reading in one.readings:
            if (these := _fitting(reading, variables, table)) is not None:
                found += these
                break
        else:
            return Unlisted(f"`{one.name}` is not listed with these arguments")
    return found


def _fitting(reading: Reading, variables: Mapping[str, Any], table: Table) -> list[Match] | None:
    """What the field is by this row, if the row takes its arguments and they name what the row is about."""
    operation = reading.row.operation
    if not reading.filled.is_taken(variables, table.words):
        return None
    fields: dict[str, str] = {}
    refs: list[ResourceRef | None] = []
    for named, places in reading.named:
        some: list[ResourceRef | None] = []
        for of_kind, kind in places:
            some += _referred(of_kind, kind, variables, fields)
        if None in some or not (some or named.is_optional):
            return None
        refs += some
    comments = reading.written(variables)
    found = [Match(operation, fields, ref, comments=comments) for ref in refs or (None,)]
    away = reading.away
    if reading.maybe and not away:
        away = not all(filled.is_taken(variables, table.words) for filled in reading.maybe)
    if not away:
        return found
    # SECURITY: where no operation says what leading away is, nothing may.
    # Guarded by tests/flows/test_github_graphql.py::test_an_argument_that_a_variable_fills_is_judged_by_its_value
    if table.away is None:
        return None
    return found if operation.scope == table.away.scope else [*found, Match(table.away, {})]


def _referred(
    places: tuple[Place, ...], kind: str, variables: Mapping[str, Any], fields: dict[str, str]
) -> tuple[ResourceRef | None, ...]:
    """The thing that is named, nothing, or None for what is no name; `fields` collects what was said."""
    values: list[str] = []
    for place in places:
        value = place.found(variables)
        if value is ABSENT or value is None:
            continue
        if not isinstance(value, str) or not _REFERENCE.fullmatch(value):
            return (None,)
        values.append(value)
        fields[place.path] = value
    if len(values) != len(places):
        return (None,) if values else ()  # half a name is none
    if len(values) > 1:
        return (ResourceRef(kind, name="/".join(values)),)
    kind, _, only = kind.partition(".")
    if only and (only == "uuid") != bool(_UUID.fullmatch(values[0])):
        return (None,)  # the API would look for it as what it is not
    return (ResourceRef(kind, name=values[0]) if only == "name" else ResourceRef(kind, id=values[0]),)


def _reading(field: Selected, row: Root, table: Table) -> Reading | Unlisted:
    """The row with this field, if it can be what the field is."""
    filled = _filled(field.arguments, row.takes, table.words)
    if filled is None:
        return Unlisted(f"`{field.name}` is not listed with these arguments")
    if row.returns != "*" and bool(field.below) != bool(row.returns):
        return Unlisted(_shape(field))
    away, maybe = False, []
    pending = [] if row.returns == "*" else [(below, row.returns) for below in field.below]
    while pending:
        below, type_ = pending.pop()
        type_ = _narrowed(type_, below.on)
        known = table.types.get(type_, {}).get(below.name)
        if known is None:
            return Unlisted(f"`{below.name}` of `{type_.partition('.')[0]}` is on no list")
        if bool(below.below) != bool(known.returns):
            return Unlisted(_shape(below))
        inner = _filled(below.arguments, known.takes, table.words)
        away |= not known.stays or inner is None
        if inner is not None and inner.places:
            maybe.append(inner)
        pending += [(inside, known.returns) for inside in below.below]
    if away and table.away is None:
        return Unlisted(f"`{field.name}` is asked for something that leads away from it")
    named = tuple((one, _said(field, one)) for one in row.named)
    comments = (
        tuple(Place(path, *at(field.arguments, path.split("."))) for path in _LISTED)
        if _COMMENTS_TAG in row.operation.tags
        else ()
    )
    return Reading(row, filled, named, away, () if away else tuple(maybe), comments)


def _shape(field: Selected) -> str:
    return f"`{field.name}` is asked {'for fields it does not have' if field.below else 'without naming its fields'}"


def _said(field: Selected, named: Named) -> tuple[tuple[tuple[Place, ...], str], ...]:
    """The ways of naming it that the document uses. What stands nowhere in it no variable can fill."""
    places = [
        (tuple(Place(p, *at(field.arguments, p.split("."))) for p in paths), kind) for paths, kind in named.places
    ]
    return tuple((some, kind) for some, kind in places if any(place.value is not ABSENT for place in some))


def _filled(arguments: Mapping[str, Any], takes: Takes, words: frozenset[str]) -> Filled | None:
    """What variables fill; None when something that is written in the document is not taken."""
    places: list[tuple[str, Variable, bool]] = []
    for path, leaf in leaves(arguments):
        may = takes.allows(path, words)
        if isinstance(leaf, Variable):
            places.append((path, leaf, may))
        elif not may:
            return None
    return Filled(takes, () if takes.is_any else tuple(places))


def _narrowed(type_: str, on: str) -> str:
    """The type a fragment's condition makes of it. A view of a type (`Issue.brief`) stays that view."""
    if not on:
        return type_
    _, dot, view = type_.partition(".")
    return on + dot + view
