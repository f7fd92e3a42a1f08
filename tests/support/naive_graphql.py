"""What a GraphQL call is, read the plainest way: its bytes, its document and the table's file, all at once, each time.

For the differential: it shares the table's text with the product, and nothing else. No graphql-core, no stages:
variables are put in first, fragments are written out, then every field is looked up. docs/graphql.md.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

REFUSED, DENIED, RUNS = "refused", "denied", "runs"
ABSENT: Any = object()


@dataclass
class Verdict:
    what: str
    matches: list[Any]
    """Each with its operation, the names it was read from, and the kind, name and id of what it is about."""
    faults: set[str]
    """Of what is denied: fields that may be named as the reason."""


class Refused(Exception):
    pass


def verdict(api: "Api", *, method: str, query: str, kind: str, body: bytes) -> Verdict:
    try:
        document, operation, variables = enveloped(method, query, kind, body)
        kind_, roots, variables = runs(parsed(document), operation, variables)
    except Refused:
        return Verdict(REFUSED, [], set())
    matches: list[Any] = []
    faults: set[str] = set()
    for field in roots:
        found = judged(api, kind_, field, faults)
        if found is None:
            faults.add(field.name)
        matches += found or []
    return Verdict(DENIED, [], faults) if faults else Verdict(RUNS, matches, set())


# --- the envelope
def enveloped(method: str, query: str, kind: str, body: bytes) -> tuple[str, str, dict[str, Any]]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise Refused
        return dict(pairs)

    if method != "POST" or query or kind.lower().replace(" ", "") not in JSON_TYPES:
        raise Refused
    try:
        said = json.loads(body.decode("utf-8"), object_pairs_hook=once)
    except ValueError:
        raise Refused from None
    if not isinstance(said, dict) or set(said) - {"query", "variables", "operationName", "extensions"}:
        raise Refused
    document, operation, variables = said.get("query"), said.get("operationName"), said.get("variables")
    if not isinstance(document, str) or not document.strip() or said.get("extensions"):
        raise Refused
    if not isinstance(operation, str | None) or not isinstance(variables, dict | None):
        raise Refused
    return document, operation or "", variables or {}


JSON_TYPES = ("application/json", "application/json;charset=utf-8")

# --- the document
TOKEN = re.compile(
    r'(?:[ \t\r\n,]|#[^\r\n]*)*(?:("""(?:\\"""|(?!""")[\s\S])*"""|"(?:[^"\\\r\n]|\\.)*")'
    r"|(-?[0-9][0-9.eE+-]*)|([_A-Za-z][_A-Za-z0-9]*)|(\.\.\.|[!$()\[\]{}:=@])|$)",
)


@dataclass(frozen=True)
class Var:
    name: str


@dataclass(frozen=True)
class Object:
    pairs: tuple[tuple[str, Any], ...]


@dataclass
class Node:
    """A field, a fragment in place (`name` is empty) or one elsewhere (`spread`)."""

    name: str
    alias: str
    on: str
    spread: str
    arguments: list[tuple[str, Any]]
    directives: list[tuple[str, list[tuple[str, Any]]]]
    below: list["Node"] | None


@dataclass
class Definition:
    kind: str
    name: str
    on: str
    variables: list[tuple[str, bool, Any, bool]]
    directives: list[Any]
    below: list[Node]


@lru_cache(maxsize=8)  # many calls with one document come in a row
def parsed(text: str) -> list[Definition]:
    tokens: list[str] = []
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise Refused
        at = found.end()
        tokens += [group for group in found.groups() if group is not None]
    reading = Tokens(tokens)
    found_definitions = []
    while reading.left:
        found_definitions.append(reading.definition())
    if not found_definitions:
        raise Refused
    return found_definitions


class Tokens:
    def __init__(self, tokens: list[str]) -> None:
        self.left = tokens[::-1]

    @property
    def next(self) -> str:
        return self.left[-1] if self.left else ""

    def take(self, wanted: str = "") -> str:
        if not self.left or wanted not in ("", self.next):
            raise Refused
        return self.left.pop()

    def has(self, wanted: str) -> bool:
        return self.next == wanted and bool(self.left.pop())

    def name(self) -> str:
        if not re.match("[_A-Za-z]", self.next):
            raise Refused
        return self.take()

    def definition(self) -> Definition:
        if self.next == "{":
            return Definition("query", "", "", [], [], self.selection())
        kind = self.name()
        if kind == "fragment":
            name = self.name()
            self.take("on")
            return Definition(kind, name, self.name(), [], self.directives(), self.selection())
        if kind not in ("query", "mutation", "subscription"):
            raise Refused
        name = "" if self.next in ("(", "@", "{") else self.name()
        variables = []
        if self.has("("):
            while not self.has(")"):
                variables.append(self.variable())
            if not variables:
                raise Refused
        return Definition(kind, name, "", variables, self.directives(), self.selection())

    def variable(self) -> tuple[str, bool, Any, bool]:
        self.take("$")
        name = self.name()
        self.take(":")
        closing = 0
        while self.has("["):
            closing += 1
        self.name()
        needed = self.has("!")
        for _ in range(closing):
            self.take("]")
            needed = self.has("!")
        default = self.value() if self.has("=") else ABSENT
        return name, needed, default, bool(self.directives())

    def directives(self) -> list[tuple[str, list[tuple[str, Any]]]]:
        found = []
        while self.has("@"):
            found.append((self.name(), self.arguments()))
        return found

    def arguments(self) -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        if self.has("("):
            while not found or not self.has(")"):
                name = self.name()
                self.take(":")
                found.append((name, self.value()))
        return found

    def selection(self) -> list[Node]:
        self.take("{")
        found: list[Node] = []
        while not found or not self.has("}"):
            found.append(self.selected())
        return found

    def selected(self) -> Node:
        if self.has("..."):
            if self.next not in ("on", "@", "{"):
                return Node("", "", "", self.name(), [], self.directives(), None)
            on = self.name() if self.has("on") else ""
            return Node("", "", on, "", [], self.directives(), self.selection())
        name, alias = self.name(), ""
        if self.has(":"):
            name, alias = self.name(), name
        arguments, directives = self.arguments(), self.directives()
        return Node(name, alias, "", "", arguments, directives, self.selection() if self.next == "{" else None)

    def value(self) -> Any:
        token = self.take()
        if token == "$":
            return Var(self.name())
        if token == "[":
            items = []
            while not self.has("]"):
                items.append(self.value())
            return items
        if token == "{":
            pairs = []
            while not self.has("}"):
                name = self.name()
                self.take(":")
                pairs.append((name, self.value()))
            return Object(tuple(pairs))
        if token.startswith('"""'):
            return block(token[3:-3].replace('\\"""', '"""'))
        if token[0] in '"-0123456789':
            try:
                return json.loads(token, strict=False)
            except ValueError:
                raise Refused from None
        if not re.match("[_A-Za-z]", token):
            raise Refused
        return {"true": True, "false": False, "null": None}.get(token, token)


def block(text: str) -> str:
    lines = text.splitlines()
    margins = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    lines = lines[:1] + [line[min(margins, default=0) :] for line in lines[1:]]
    while lines and not lines[0].strip():
        lines.pop(0)
    while lines and not lines[-1].strip():
        lines.pop()
    return "\n".join(lines)


# --- what runs
@dataclass
class Field:
    name: str
    on: str
    arguments: Any
    below: list["Field"]


def runs(
    definitions: list[Definition], operation: str, given: dict[str, Any]
) -> tuple[str, list[Field], dict[str, Any]]:
    names = [(one.kind == "fragment", one.name) for one in definitions]
    if len(set(names)) != len(names) or any(one.directives for one in definitions):
        raise Refused
    operations = [one for one in definitions if one.kind != "fragment"]
    chosen = [one for one in operations if one.name == operation] if operation else operations
    if len(chosen) != 1 or chosen[0].kind == "subscription":
        raise Refused
    [it] = chosen
    variables: dict[str, Any] = {}
    for name, needed, default, has_directives in it.variables:
        if has_directives or name in variables:
            raise Refused
        variables[name] = given[name] if name in given else put(default, {}) if default is not ABSENT else ABSENT
        if needed and variables[name] in (None, ABSENT):
            raise Refused
    if set(given) - set(variables):
        raise Refused
    spent = Spent({one.name: one for one in definitions if one.kind == "fragment"}, variables)
    return it.kind, spent.fields(it.below, "", 1, ()), variables


@dataclass
class Spent:
    fragments: dict[str, Definition]
    variables: dict[str, Any]
    selections: int = 0
    aliases: int = 0

    def fields(self, nodes: list[Node], on: str, deep: int, within: tuple[str, ...]) -> list[Field]:
        found: list[Field] = []
        if deep > 20 or len(within) > 20:
            raise Refused
        for node in nodes:
            self.selections += 1
            self.aliases += bool(node.alias)
            if self.selections > 2000 or self.aliases > 50:
                raise Refused
            names = [name for name, _ in node.directives]
            if set(names) - {"skip", "include"} or len(set(names)) != len(names):
                raise Refused
            for _, arguments in node.directives:
                if [name for name, _ in arguments] != ["if"]:
                    raise Refused
                put(arguments[0][1], self.variables)
            if node.spread:
                if node.spread not in self.fragments or node.spread in within:
                    raise Refused
                one = self.fragments[node.spread]
                found += self.fields(one.below, one.on, deep, (*within, node.spread))
            elif not node.name:
                found += self.fields(node.below or [], node.on or on, deep, within)
            else:
                arguments = put(Object(tuple(node.arguments)), self.variables)
                below = self.fields(node.below, "", deep + 1, within) if node.below is not None else []
                found.append(Field(node.name, on, arguments, below))
        return found


def put(value: Any, variables: dict[str, Any]) -> Any:
    """The value with its variables in place; what nobody gave is `ABSENT`, and null in a list."""
    if isinstance(value, Var):
        if value.name not in variables:
            raise Refused
        return variables[value.name]
    if isinstance(value, list):
        items = [put(item, variables) for item in value]
        return [None if item is ABSENT else item for item in items]
    if isinstance(value, Object):
        if len({name for name, _ in value.pairs}) != len(value.pairs):
            raise Refused
        return {name: put(inner, variables) for name, inner in value.pairs}
    return value


# --- the table
@dataclass
class Api:
    words: set[str]
    paging: list[str]
    calls: list[list[str]]
    types: dict[str, dict[str, tuple[list[str], str, bool]]]

    @property
    def away(self) -> list[str] | None:
        return next((call for call in self.calls if call[0] == "query/*"), None)


def table_of(text: str) -> Api:
    api = Api(set(), [], [], {})
    lines = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    for word, *cells in lines:
        if word == "words":
            api.words |= set(cells[0].split())
        elif word == "paging":
            api.paging += cells[0].split()
        elif word == "call":
            api.calls.append(cells)
        else:
            fields = api.types.setdefault(cells[0], {"__typename": ([], "", True)})
            for cell, stays in zip(cells[1:], (True, False), strict=True):
                for name, arguments, returns in re.findall(r"(\w+)(?:\(([^)]*)\))?(?::([\w.]+))?", cell):
                    fields[name] = (arguments.split(",") if arguments else [], returns, stays)
    return api


def judged(api: Api, kind: str, field: Field, faults: set[str]) -> list[Any] | None:
    """What the field is by the first of its lines that fits."""
    if field.on in ("", kind.capitalize()):
        for call in api.calls:
            if call[0].split(":")[0] == f"{kind}/{field.name}" and field.name != "*":
                noticed: set[str] = set()
                if (found := by_line(api, call, field, noticed)) is not None:
                    return found
                faults |= noticed
    return None


def by_line(api: Api, call: list[str], field: Field, faults: set[str]) -> list[Any] | None:
    id_, _, scope, kind, names, takes, returns, _ = call
    naming = [word.removesuffix("?").split("|") for word in names.split()]
    paths = [path for places in naming for place in places for path in place.split(">")[0].split("+")]
    leads_away = False if returns == "*" else away(api, field.below, returns, faults)
    if not taken(api, field.arguments, [*takes.split(), *paths]):
        return None
    if returns != "*" and bool(field.below) != bool(returns):
        return None
    if leads_away is None or (leads_away and api.away is None):
        return None
    said: dict[str, str] = {}
    things: list[Any] = []
    for word, places in zip(names.split(), naming, strict=True):
        some = [thing for place in places for thing in named(place, field.arguments, said)]
        if None in some or not (some or word.endswith("?")):
            return None
        things += some
    found = [(id_, said, thing) for thing in things or ([None] if kind == "account" else [])]
    if leads_away and api.away is not None and api.away[2] != scope:
        found.append((api.away[0], {}, None))
    return found or None


def named(place: str, arguments: Any, said: dict[str, str]) -> list[Any]:
    """The thing, nothing, or `[None]` for what is no name."""
    paths, kind = place.split(">")
    values = []
    for path in paths.split("+"):
        value = arguments
        for name in path.split("."):
            value = value.get(name, ABSENT) if isinstance(value, dict) else ABSENT
        if value is None or value is ABSENT:
            continue
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_=+.:-]{1,200}", value):
            return [None]
        said[path] = value
        values.append(value)
    if len(values) < len(paths.split("+")):
        return [None] if values else []
    if len(values) > 1:
        return [(kind, "/".join(values), "")]
    is_uuid = re.fullmatch(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}", values[0]) is not None
    if kind.endswith(".name"):
        return [None] if is_uuid else [(kind[:-5], values[0], "")]
    if kind.endswith(".uuid"):
        return [(kind[:-5], "", values[0])] if is_uuid else [None]
    return [(kind, "", values[0])]


def taken(api: Api, arguments: Any, takes: list[str]) -> bool:
    return all(any(_takes(api, path, word) for word in takes) for path in leaves(arguments, ""))


def _takes(api: Api, path: str, word: str) -> bool:
    if word.endswith("~"):
        first, *rest = path.split(".")
        return first == word[:-1] and set(rest) <= api.words
    return word in ("*", path)


def leaves(value: Any, path: str) -> list[str]:
    if value is ABSENT:
        return []
    if isinstance(value, dict) and (value or not path):
        return [leaf for name, inner in value.items() for leaf in leaves(inner, f"{path}.{name}".lstrip("."))]
    if isinstance(value, list) and value:
        return [leaf for item in value for leaf in leaves(item, path)]
    return [path]


def away(api: Api, fields: list[Field], type_: str, faults: set[str]) -> bool | None:
    """Whether the selection leads away; None when something in it is on no list."""
    found: bool | None = False
    for field in fields:
        _, dot, view = type_.partition(".")
        of = api.types.get(field.on + dot + view if field.on else type_, {})
        if field.name not in of:
            faults.add(field.name)
            found = None
            continue
        arguments, returns, stays = of[field.name]
        if bool(returns) != bool(field.below):
            faults.add(field.name)
            found = None
            continue
        inner = away(api, field.below, returns, faults) if returns else False
        takes = [] if field.name == "__typename" else [*arguments, *api.paging]
        here = not stays or not taken(api, field.arguments, takes)
        found = None if found is None or inner is None else found or here or inner
    return found
