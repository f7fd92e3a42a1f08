"""What a document may try so that something else runs than what was judged: GQ-01, GQ-02, by the bytes that arrive."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.linear import Linear, open_linear
from valetkey.server.integrations.graphql.document import MOST_ALIASES, MOST_CHARACTERS, MOST_FIELDS, MOST_TOKENS

pytestmark = pytest.mark.asyncio(loop_scope="module")

MINE, FOREIGN = "LIN-123", "OPS-7"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Linear]:
    async with open_linear(tmp_path_factory.mktemp("graphql")) as opened:
        yield opened


@pytest.fixture
def linear(shared: Linear) -> Linear:
    shared.up.seen.clear()
    return shared


SMUGGLED = [
    '{{ LIN: issue(id: "{0}") {{ title }} }}',
    '{{ a: issue(id: "LIN-123") {{ title }} b: issue(id: "{0}") {{ title }} }}',
    '{{ issue(id: "LIN-123") {{ title }} ...F }} fragment F on Query {{ x: issue(id: "{0}") {{ title }} }}',
    '{{ issue(id: "LIN-123") {{ title }} ... on Query {{ x: issue(id: "{0}") {{ title }} }} }}',
    '{{ ...A }} fragment A on Query {{ ... {{ ...B }} }} fragment B on Query {{ issue(id: "{0}") {{ title }} }}',
    '{{ issue(id: "LIN-123") {{ title }} x: issue(id: "{0}") @include(if: false) {{ title }} }}',
    '{{ issue(id: "LIN-123") {{ title }} ... @skip(if: true) {{ x: issue(id: "{0}") {{ title }} }} }}',
    'query($i: String! = "{0}") {{ issue(id: $i) {{ title }} }}',
    '{{ issue(id: """{0}""") {{ title }} }}',
    '{{ issue(id: "\\u{1:04x}{2}") {{ title }} }}',
    '{{ team(id: "{3}") {{ issues {{ nodes {{ title }} }} }} }}',
    '{{ issues(filter: {{ team: {{ key: {{ eq: "{3}" }} }} }}) {{ nodes {{ title }} }} }}',
    'mutation {{ a: issueArchive(id: "LIN-123") {{ success }} b: issueArchive(id: "{0}") {{ success }} }}',
    'mutation {{ issueUpdate(id: "{0}", input: {{ title: "x" }}) {{ success }} }}',
    'mutation {{ issueUpdate(id: "LIN-123", input: {{ parentId: "{0}" }}) {{ success }} }}',
    'mutation {{ issueCreate(input: {{ teamId: "{3}", title: "x" }}) {{ success }} }}',
    'mutation {{ commentCreate(input: {{ issueId: "{0}", body: "x" }}) {{ success }} }}',
    '{{ # issue(id: "LIN-123")\n issue(id: "{0}") {{ title }} }}',
]


def spelled(shape: str, issue: str) -> str:
    return shape.format(issue, ord(issue[0]), issue[1:], issue[:3])


@pytest.mark.parametrize("shape", SMUGGLED)
async def test_gq_01_every_root_field_is_judged(linear: Linear, shape: str) -> None:
    assert (await linear.ask(spelled(shape, FOREIGN))).status == 403
    assert linear.calls == []
    allowed = await linear.ask(spelled(shape, MINE))
    assert (allowed.status, len(linear.calls)) == (200, 1), allowed.body


@pytest.mark.parametrize(
    ("filters", "status"),
    [
        ({"team": {"key": {"eq": "LIN"}}}, 200),
        ({"team": {"key": {"eq": "LIN"}}, "state": {"name": {"in": ["Todo", "Done"]}}}, 200),
        ({"and": [{"state": {"type": {"eq": "started"}}}], "team": {"key": {"eq": "LIN"}}}, 200),
        ({"team": {"key": {"eq": "LIN"}}, "or": [{"team": {"key": {"eq": "OPS"}}}]}, 403),
        ({"team": {"key": {"eq": "LIN"}, "or": [{"key": {"eq": "OPS"}}]}}, 403),
        ({"team": {"key": {"in": ["LIN"]}}}, 403),
        ({"team": {"key": {"eq": ["LIN", "OPS"]}}}, 403),
        ({"team": [{"key": {"eq": "LIN"}}]}, 403),
        ([{"team": {"key": {"eq": "LIN"}}}], 403),
        ({"and": [{"team": {"key": {"eq": "LIN"}}}]}, 403),
        ({"team": {"key": {"eq": "LIN"}}, "children": {"some": {"title": {"eq": "x"}}}}, 403),
        ({"team": {"key": {"eq": None}}}, 403),
        ({"team": {"name": {"eq": "LIN"}}}, 403),
        ({}, 403),
        (None, 403),
    ],
)
async def test_a_filter_bounds_a_list_only_when_it_cannot_be_read_otherwise(
    linear: Linear, filters: Any, status: int
) -> None:
    for document, variables in (
        ("query($f: IssueFilter) { issues(filter: $f) { nodes { title } } }", {"f": filters}),
        (f"{{ issues(filter: {written(filters)}) {{ nodes {{ title }} }} }}", None),
    ):
        assert (await linear.ask(document, variables)).status == status
    assert len(linear.calls) == (2 if status == 200 else 0)


def written(value: Any) -> str:
    """A value as a literal of a document."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {written(inner)}" for name, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


TWO = 'query A { issue(id: "LIN-123") { title } } query B { issue(id: "OPS-7") { title } }'


async def test_gq_01_of_several_operations_the_one_that_runs_is_judged_and_sent_alone(linear: Linear) -> None:
    assert (await linear.ask(TWO, operationName="B")).status == 403
    for name in (None, "", "C", "a", 7):
        assert (await linear.ask(TWO, operationName=name)).status == 400
    assert linear.calls == []
    assert (await linear.ask(TWO, operationName="A")).status == 200
    assert b"OPS-7" not in linear.calls[0].raw
    assert (await linear.ask('{ issue(id: "LIN-123") { title } }', operationName="A")).status == 400


LONG = "x" * 400
NAMED = [
    ("{ apiKeys { id } }", "`apiKeys` is not a listed query"),
    ('mutation { apiKeyCreate(input: {label: "x"}) { success } }', "`apiKeyCreate` is not a listed mutation"),
    ('{ issue(id: "LIN-123") { team { x: inviteHash } } }', "`inviteHash` of `Team` is on no list"),
    ('{ issue(id: "LIN-123") { ... on Project { title } } }', "`title` of `Project` is on no list"),
    ('{ ... on Mutation { issue(id: "LIN-123") { id } } }', "`issue` is asked of `Mutation`, which a query is not"),
    ('{ issue(id: "LIN-123", secret: 1) { id } }', "`issue` is not listed with these arguments"),
    ("query($i: String) { issue(id: $i) { id } }", "`issue` is not listed with these arguments"),
    ('{ issue(id: "LIN-123") }', "`issue` is asked without naming its fields"),
    ('{ issue(id: "LIN-123") { title { id } } }', "`title` is asked for fields it does not have"),
    (f"{{ {LONG} }}", f"`{LONG[:159]}…"),
]


@pytest.mark.parametrize(("document", "why"), NAMED)
async def test_a_refusal_names_the_field_and_says_nothing_else_of_the_caller(
    linear: Linear, document: str, why: str
) -> None:
    refused = await linear.ask(document)
    sentence = f"This operation is not one the integration knows. Of this call, {why}."
    told = refused.json()
    assert (refused.status, told["reason"], told["detail"]) == (403, "unknown_operation", sentence)
    assert linear.calls == []
    # what is listed and not delegated is refused without a word of the document
    foreign = await linear.ask(f'{{ issue(id: "{FOREIGN}") {{ title }} }}')
    assert (foreign.status, "Of this call" in foreign.json()["detail"]) == (403, False)


GOOD = '{ issue(id: \\"LIN-123\\") { title } }'
NO_PLAIN_REQUEST: list[tuple[str, str]] = [
    ("application/json", f'[{{"query":"{GOOD}"}}]'),
    ("application/json", f' \n[{{"query":"{GOOD}"}}]'),
    ("application/json", f'{{"query":"{GOOD}","query":"{GOOD}"}}'),
    ("application/json", f'{{"query":"{GOOD}","\\u0071uery":"{GOOD}"}}'),
    ("application/json", f'{{"query":"{GOOD}","variables":{{"a":1,"a":2}}}}'),
    ("application/json", f'{{"query":"{GOOD}","Query":"{GOOD}"}}'),
    ("application/json", f'{{"query":"{GOOD}","extra":1}}'),
    ("application/json", f'{{"query":"{GOOD}","extensions":{{"persistedQuery":{{"version":1,"sha256Hash":"aa"}}}}}}'),
    ("application/json", '{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"aa"}}}'),
    ("application/json", f'{{"query":"{GOOD}","documentId":"aa"}}'),
    ("application/json", '{"id":"aa","variables":{}}'),
    ("application/json", f'{{"query":"{GOOD}","variables":[]}}'),
    ("application/json", f'{{"query":["{GOOD}"]}}'),
    ("application/json", '{"query":""}'),
    ("application/json", "{}"),
    ("application/json", ""),
    ("application/json", f'{{"query":"{GOOD}"}} {{"query":"{GOOD}"}}'),
    ("application/json", f'\ufeff{{"query":"{GOOD}"}}'),
    ("application/json", f'{{"query":"{GOOD}","variables":{{"a":1}}}}'),
    ("application/json", f'{{"query":"{GOOD}","variables":{{"a":"\\ud800"}}}}'),
    ("application/json", f'{{"query":"{GOOD}","variables":{{"a":NaN}}}}'),
    ("application/json; charset=utf-16", f'{{"query":"{GOOD}"}}'),
    ("application/graphql", '{ issue(id: "LIN-123") { title } }'),
    ("text/plain", f'{{"query":"{GOOD}"}}'),
    ("application/x-www-form-urlencoded", "query={viewer{id}}"),
    (
        "multipart/form-data; boundary=x",
        f'--x\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{{"query":"{GOOD}"}}\r\n--x--\r\n',
    ),
    ("application/json", '{"query":"subscription { issue(id: \\"LIN-123\\") { title } }"}'),
    ("application/json", '{"query":"{ issue(id: \\"LIN-123\\") { title } "}'),
    ("application/json", '{"query":"{ issue(id: \\"LIN-123\\") { title } } }"}'),
    ("application/json", '{"query":"{ issue(id: \\"LIN-123\\", id: \\"OPS-7\\") { title } }"}'),
    ("application/json", '{"query":"\\"viewer\\" query { issue(id: \\"LIN-123\\") { title } }"}'),
    ("application/json", '{"query":"{ issue(id: \\"LIN-123\\") { ...F } } \\"x\\" fragment F on Issue { title }"}'),
    (
        "application/json",
        '{"query":"query(\\"x\\" $i: ID!) { issue(id: $i) { title } }","variables":{"i":"LIN-123"}}',
    ),
    ("application/json", '{"query":"{ issue(id: $x) { title } }"}'),
    ("application/json", '{"query":"query($i: String!) { issue(id: $i) { title } }"}'),
    ("application/json", '{"query":"query($i: String!) { issue(id: $i) { title } }","variables":{"i":null}}'),
    ("application/json", '{"query":"query($i: ID, $i: ID) { issue(id: $i) { title } }","variables":{"i":"LIN-123"}}'),
    ("application/json", '{"query":"{ issue(id: \\"LIN-123\\") @defer { title } }"}'),
    ("application/json", '{"query":"query @live { issue(id: \\"LIN-123\\") { title } }"}'),
    ("application/json", '{"query":"{ issue(id: \\"LIN-123\\") @skip(if: false) @skip(if: true) { title } }"}'),
    ("application/json", '{"query":"{ issue(id: \\"LIN-123\\") @skip { title } }"}'),
    ("application/json", '{"query":"{ ...F } fragment F on Query { ...F }"}'),
    ("application/json", '{"query":"{ ...F } fragment F on Query { ...G } fragment G on Query { a { ...F } }"}'),
    ("application/json", '{"query":"{ ...F }"}'),
    ("application/json", '{"query":"{ a } fragment F on A { a } fragment F on A { b }"}'),
    ("application/json", '{"query":"type Query { a: Int } { a }"}'),
]


@pytest.mark.parametrize(("kind", "body"), NO_PLAIN_REQUEST)
async def test_gq_01_what_is_no_plain_request_never_leaves(linear: Linear, kind: str, body: str) -> None:
    refused = await linear.post(body.encode("utf-8"), kind=kind)
    assert (refused.status, refused.code) == (400, "invalid_request"), refused.body
    assert linear.up.seen == []
    assert (await linear.post(f'{{"query":"{GOOD}"}}'.encode(), kind="application/json; charset=UTF-8")).status == 200


async def test_a_document_in_the_address_is_refused(linear: Linear) -> None:
    document = "query=%7Bissue(id%3A%22LIN-123%22)%7Btitle%7D%7D"
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
        body = b"" if method in ("GET", "HEAD") else f'{{"query":"{GOOD}"}}'.encode()
        refused = await linear.post(body, method=method, path=f"/graphql?{document}")
        assert refused.status in (400, 403), method
    for path in ("/graphql/", "/GraphQL", "/graphql/x", "/", "/oauth/token"):
        refused = await linear.post(f'{{"query":"{GOOD}"}}'.encode(), path=path)
        assert refused.status in (400, 403), path
    assert linear.up.seen == []


TOO_MUCH = {
    "deep": "{ a" * 60 + " { b }" + " }" * 60,
    "deep by lists": '{ a(x: ' + "[" * 60 + "]" * 60 + ") }",
    "deep by strings that close": '{ a(x: "}}}}}}}}") ' * 45 + "{ b }" + "}" * 45,
    "tokens": "{ " + "a " * (MOST_TOKENS + 1) + "}",
    "characters": "{ a } #" + "x" * MOST_CHARACTERS,
    "aliases": "{ " + " ".join(f'a{n}: issue(id: "LIN-123") {{ id }}' for n in range(MOST_ALIASES + 1)) + " }",
    "a bomb": "{ ...F0 } "
    + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(18))
    + " fragment F18 on Query { a }",
    "a chain": "{ ...F0 } " + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} }}" for n in range(300))
    + " fragment F300 on Query { a }",
    "a long number": "{ a(x: " + "1" * 5000 + ") }",
}  # fmt: skip


@pytest.mark.parametrize("what", TOO_MUCH)
async def test_gq_02_too_much_is_refused_before_anything_is_asked(linear: Linear, what: str) -> None:
    refused = await linear.ask(TOO_MUCH[what])
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert linear.up.seen == []


async def test_gq_02_a_body_is_read_in_bounds(linear: Linear) -> None:
    comment = 'mutation($b: String!) { commentCreate(input: {issueId: "LIN-123", body: $b}) { success } }'
    assert (await linear.ask(comment, {"b": "x" * 200_000})).status == 200
    assert (await linear.ask(comment, {"b": "x" * 300_000})).status == 400
    assert len(linear.calls) == 1
    assert MOST_FIELDS < 1 << 18


async def test_what_leaves_is_our_print_of_what_was_judged(linear: Linear) -> None:
    came = (
        "# a remark\nquery Q($i:String!,$n:Int=5){x:issue(id:$i)@include(if:true){...T,comments(first:$n){nodes{id}}}}"
        " query Other{viewer{id}} fragment T on Issue{title} fragment Unused on Issue{id}"
    )
    body = json.dumps({"query": came, "variables": {"i": MINE}, "operationName": "Q", "extensions": {}})
    assert (await linear.post(b" " + body.encode() + b"\n")).status == 200
    [seen] = linear.calls
    assert seen.body == (
        b'{"query":"query Q($i: String!, $n: Int = 5) {\\n  x: issue(id: $i) @include(if: true) {\\n    ...T\\n'
        b"    comments(first: $n) {\\n      nodes {\\n        id\\n      }\\n    }\\n  }\\n}\\n\\n"
        b'fragment T on Issue {\\n  title\\n}","operationName":"Q","variables":{"i":"LIN-123"}}'
    )
    assert seen.header("content-type") == b"application/json"
    assert seen.header("content-length") == str(len(seen.body)).encode()
    assert seen.oddities == []


async def test_a_variable_nobody_gave_leaves_its_argument_out(linear: Linear) -> None:
    update = (
        'mutation($t: String, $p: String) { issueUpdate(id: "LIN-123", input: {title: $t, parentId: $p}) { success } }'
    )
    assert (await linear.ask(update, {"t": "x"})).status == 200
    assert json.loads(linear.calls[0].body)["variables"] == {"t": "x"}
    assert (await linear.ask(update, {"p": FOREIGN})).status == 403
    hidden = 'mutation($p: String) { issueUpdate(id: "LIN-123", input: {title: "x", projectId: $p}) { success } }'
    assert (await linear.ask(hidden, {"p": "p1"})).status == 403
    listed = 'mutation($p: String) { issueUpdate(id: "LIN-123", input: {title: "x", releaseIds: [$p]}) { success } }'
    assert (await linear.ask(listed, {})).status == 403
    assert len(linear.calls) == 1


async def test_two_documents_are_never_taken_for_one(linear: Linear) -> None:
    """What is remembered of a document is remembered by its text, its operation, and no variable."""
    document = "query($i: String!) { issue(id: $i) { title } }"
    for _ in range(2):
        assert (await linear.ask(document, {"i": MINE})).status == 200
        assert (await linear.ask(document, {"i": FOREIGN})).status == 403
        assert (await linear.ask(TWO, operationName="A")).status == 200
        assert (await linear.ask(TWO, operationName="B")).status == 403
    assert len(linear.calls) == 4
