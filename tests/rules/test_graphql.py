"""How GraphQL is read: no text is a failure, what a table may say, and what is remembered.

What a document runs: test_graphql_differential.py.
"""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.catalogue import load_catalogue, load_integration
from valetkey.server.integrations.graphql.document import read
from valetkey.server.integrations.graphql.reader import GraphQL
from valetkey.server.integrations.graphql.table import parse_table
from valetkey.server.integrations.model import Integration, resource_of
from valetkey.server.integrations.reading import Reading, Reads, Said
from valetkey.server.integrations.texts import Texts


def graphql(integration: Integration) -> GraphQL | None:
    """What reads its documents, beside whatever else is read there."""
    reader = integration.reader.other if isinstance(integration.reader, Texts) else integration.reader
    return reader if isinstance(reader, GraphQL) else None


def linear() -> GraphQL:
    reader = load_integration("linear").reader
    assert isinstance(reader, GraphQL)
    return GraphQL(("graphql",), reader.table)


def asked(reader: GraphQL, query: str, variables: Any = None, operation: str | None = None) -> Reading | None:
    members = {"query": query, "variables": variables or {}, "operationName": operation}
    body = json.dumps(members).encode()
    read = reader(Said(method="POST", segments=("graphql",), query=(), content_type="application/json", body=body))
    return read if isinstance(read, Reading) else None


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


@pytest.mark.parametrize("name", [name for name, one in load_catalogue().items() if graphql(one)])
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
    reader = graphql(load_integration(name))
    assert reader is not None
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


def thread(text: str) -> dict[str, object]:
    return {"path": "a.py", "line": 1, "body": text}


@pytest.mark.parametrize(
    ("said", "comments"),
    [
        ({"event": "APPROVE"}, 1),
        ({"body": "good"}, 1),
        ({"threads": [thread("a"), thread("b")]}, 2),
        ({"body": "good", "threads": [thread("a"), thread("b")]}, 3),
        ({"body": "good", "threads": thread("a")}, 2),
        ({"body": ""}, 1),
    ],
)
def test_a_review_counts_as_many_comments_as_it_holds_however_it_is_written(
    said: dict[str, object], comments: int
) -> None:
    reader = graphql(load_integration("github"))
    assert reader is not None
    whole = {"pullRequestId": "PR_1", **said}
    as_variable = "mutation($i: AddPullRequestReviewInput!) { addPullRequestReview(input: $i) { clientMutationId } }"
    inner = ", ".join(f"{name}: ${name}" for name in whole)
    kinds = ", ".join(f"${name}: X" for name in whole)
    in_parts = f"mutation({kinds}) {{ addPullRequestReview(input: {{{inner}}}) {{ clientMutationId }} }}"
    for document, variables in ((as_variable, {"i": whole}), (in_parts, whole)):
        found = asked(reader, document, variables)
        assert found is not None
        assert [match.comments for match in found.matches] == [comments]


def test_a_review_written_out_in_the_document_counts_the_same() -> None:
    reader = graphql(load_integration("github"))
    assert reader is not None
    threads = ", ".join(f'{{path: "a.py", line: 1, body: "{n}"}}' for n in range(3))
    document = (
        'mutation { addPullRequestReview(input: {pullRequestId: "PR_1", threads: [' + threads + "]})"
        " { clientMutationId } }"
    )
    found = asked(reader, document)
    assert found is not None
    assert [match.comments for match in found.matches] == [3]
