"""A document is what it runs: compared with a slow and simple reading of it, over documents drawn at random."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.catalogue import load_catalogue, load_integration
from valetkey.server.integrations.graphql.document import read
from valetkey.server.integrations.graphql.reader import GraphQL
from valetkey.server.integrations.graphql.table import parse_table
from valetkey.server.integrations.model import ResourceRef, resource_of
from valetkey.server.integrations.reading import Reading, Reads, Said

BATCH = 60
"""Documents for one draw of Hypothesis, which is slower than what it draws for."""


def linear() -> GraphQL:
    reader = load_integration("linear").reader
    assert isinstance(reader, GraphQL)
    return GraphQL(("graphql",), reader.table)


def asked(reader: GraphQL, query: str, variables: Any = None, operation: str | None = None) -> Reading | None:
    members = {"query": query, "variables": variables or {}, "operationName": operation}
    body = json.dumps(members).encode()
    read = reader(Said(method="POST", segments=("graphql",), query=(), content_type="application/json", body=body))
    return read if isinstance(read, Reading) else None


# --- the slow and simple reading: a document as a tree that is written down, and told what it runs without parsing it
ISSUE, TEAM, UNKNOWN = "issue", "team", "apiKeys"


@dataclass
class Field:
    name: str
    value: Any
    """What stands at `id`: text, None for nothing, or a variable as `("v",)`."""

    def text(self, draw: random.Random) -> str:
        alias = draw.choice(["", "", "issue: ", "team: ", f"a{draw.randrange(9)}: "])
        spelled = {str: lambda: json.dumps(self.value), tuple: lambda: f"${self.value[0]}"}.get(type(self.value))
        arguments = f"(id: {spelled()})" if spelled else ""
        return f"{alias}{self.name}{arguments}{condition(draw)} {{ id {draw.choice(['', 'createdAt', '__typename'])} }}"


@dataclass
class Group:
    items: list["Item"]
    spread: str = ""
    """The fragment it is, when it is not written in place."""

    def text(self, draw: random.Random) -> str:
        if self.spread:
            return f"...{self.spread}{condition(draw)}"
        on = draw.choice(["", " on Query"])
        return f"...{on}{condition(draw)} {{ {written(self.items, draw)} }}"


Item = Field | Group


@dataclass
class Story:
    draw: random.Random
    fragments: dict[str, list[Item]] = field(default_factory=dict)

    def items(self, deep: int) -> list[Item]:
        return [self.item(deep) for _ in range(self.draw.randint(1, 3))]

    def item(self, deep: int) -> Item:
        if deep and self.draw.random() < 0.35:
            group = Group(self.items(deep - 1))
            if self.draw.random() < 0.5:
                group.spread = f"F{len(self.fragments)}"
                self.fragments[group.spread] = group.items
            return group
        name = self.draw.choices([ISSUE, TEAM, UNKNOWN], [10, 10, 1])[0]
        values: list[Any] = [f"LIN-{self.draw.randrange(5)}", "OPS", ("v",), ("w",), None]
        return Field(name, self.draw.choices(values, [6, 6, 4, 4, 1])[0])


def condition(draw: random.Random) -> str:
    return draw.choice(["", "", "", " @include(if: false)", " @skip(if: true)", " @include(if: $c)"])


def written(items: list[Item], draw: random.Random) -> str:
    return draw.choice([" ", ", ", '\n# issue(id: "X")\n']).join(item.text(draw) for item in items)


def runs(items: list[Item], variables: dict[str, Any]) -> list[tuple[str, Any]]:
    """Every root field with its id, as they stand."""
    found: list[tuple[str, Any]] = []
    for item in items:
        if isinstance(item, Group):
            found += runs(item.items, variables)
        else:
            found.append((item.name, variables.get(item.value[0]) if isinstance(item.value, tuple) else item.value))
    return found


def story(seed: int) -> None:
    draw = random.Random(seed)
    told = Story(draw)
    items = told.items(3)
    body = written(items, draw)
    fragments = [f"fragment {name} on Query {{ {written(inner, draw)} }}" for name, inner in told.fragments.items()]
    defaults = {"w": "LIN-7"} if draw.random() < 0.5 else {}
    given: dict[str, Any] = {
        name: value for name, value in (("v", "OPS-1"), ("w", "OPS-2"), ("c", True)) if draw.random() < 0.7
    }
    default = ' = "LIN-7"' if defaults else ""
    declared = f"$v: String, $w: String{default}, $c: Boolean"
    definitions = [f"query Q({declared}) {{ {body} }}", *fragments, "query Other { viewer { id } }"]
    draw.shuffle(definitions)
    expected: list[ResourceRef] | None = []
    for name, value in runs(items, defaults | given):
        if name == UNKNOWN or value is None:
            expected = None
            break
        expected.append(ResourceRef(name, id=value))
    reader = linear()
    for _ in range(2):  # the second time from memory
        found = asked(reader, "\n".join(definitions), given, "Q")
        assert (None if found is None else [resource_of(match) for match in found.matches]) == expected, definitions
    if found is not None:
        sent = json.loads(found.body)
        again = asked(reader, sent["query"], sent["variables"], sent["operationName"])
        assert again is not None
        assert [resource_of(match) for match in again.matches] == expected
        assert (again.body, "Other" in sent["query"]) == (found.body, False)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**64))
def test_every_root_field_of_any_document_is_found_with_its_arguments(seed: int) -> None:
    for number in range(BATCH):
        story(seed + number)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='{}()[]:$@!"\\#,. \nabissueqry1', max_size=60))
def test_no_text_is_read_into_a_failure(text: str) -> None:
    for document in (text, "{ issue(id: " + text + ") { id } }"):
        try:
            found = asked(linear(), document)
        except InvalidRequest:
            continue
        assert found is None or all(resource_of(match) is not None for match in found.matches if match.ref)


# --- what a table may say
TABLE = """
words\tand eq name
paging\tfirst
call\tquery/thing\tread\tthings:read\tthing\tid>thing\t\tThing\t
call\tquery/*\tread\tall:read\taccount\t\t\t\t
type\tThing\tid things(filter~):Thing\tother:Thing
"""


def test_a_table_is_read_whole_or_not_at_all() -> None:
    assert len(parse_table(TABLE, "/graphql").operations) == 2
    for old, new in (
        ("words", "word"),
        ("id>thing", "id"),
        ("id>thing", "id>thing?"),
        ("id>thing", ""),
        ("\tthing\tid>thing", "\taccount\tid>thing"),
        ("query/thing\tread", "mutation/thing\tread"),
        ("query/thing\tread", "query/thing\tpeek"),
        ("query/thing", "subscription/thing"),
        ("other:Thing", "other:Nobody"),
        ("other:Thing", "id"),
        ("other:Thing", "other Thing()"),
        ("call\tquery/*\tread\tall:read\taccount\t\t\t\t\n", ""),
        ("type\tThing", "type\tThing\t\t\ntype\tThing"),
    ):
        assert old in TABLE
        with pytest.raises(ValueError, match=r"\w"):
            parse_table(TABLE.replace(old, new, 1), "/graphql")


def test_a_reader_answers_for_its_path_only() -> None:
    for name in ("linear", "github"):
        reader = load_integration(name).reader
        assert reader is not None
        assert reader.reads("POST", ("graphql",)) is Reads.BODY
        for segments in ((), ("graphql", ""), ("GraphQL",), ("repos", "a", "b"), ("graphql", "x")):
            assert reader.reads("POST", segments) is Reads.PATH


@pytest.mark.parametrize("name", [name for name, one in load_catalogue().items() if isinstance(one.reader, GraphQL)])
def test_every_mutation_writes_and_what_outlives_the_task_is_in_no_plain_scope(name: str) -> None:
    integration = load_integration(name)
    bodies = [operation for operation in integration.operations.values() if "body" in operation.tags]
    assert len(bodies) > 20
    for operation in bodies:
        assert operation.id.startswith("mutation/" if operation.access == "write" else "query/")
        if operation.access == "write" and operation.resource_kind == "account":
            assert integration.scopes[operation.scope].tier == "danger"


SECRETS = "secret token inviteHash inviteLink apiKey password calendarHash samlSettings scimSettings securitySettings"


@pytest.mark.parametrize("name", ["linear", "github"])
def test_no_table_lets_anybody_select_a_secret(name: str) -> None:
    reader = load_integration(name).reader
    assert isinstance(reader, GraphQL)
    for type_, fields in reader.table.types.items():
        assert not fields.keys() & set(SECRETS.split()), type_


def test_what_is_remembered_is_bounded() -> None:
    reader = linear()
    for number in range(1200):
        asked(reader, f'{{ issue(id: "LIN-{number}") {{ id }} }}')
    assert len(reader._known) <= 512
    asked(reader, '{ issue(id: "' + "x" * 9000 + '") { id } }')
    assert max(len(text) for text, _ in reader._known) < 9000


def test_a_document_says_how_far_it_was_read() -> None:
    document = read("query($a: Int = 2, $b: [String!]!) { x(a: $a, b: $b) { y } }", "")
    assert (document.kind, document.name) == ("query", "")
    assert document.variables({"b": ["c"]}) == {"a": 2, "b": ["c"]}
    for wrong in ({}, {"b": None}, {"b": [], "c": 1}):
        with pytest.raises(InvalidRequest):
            document.variables(wrong)
