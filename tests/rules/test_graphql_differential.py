"""What a GraphQL call runs, against the plainest reading of it. VALETKEY_TEST_CASES says how many calls."""

import json
import os
from importlib.resources import files
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import naive_graphql as naive
from tests.support.graphql_stories import Sent, Story
from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.graphql.reader import GraphQL
from valetkey.server.integrations.graphql.table import parse_table
from valetkey.server.integrations.reading import Reading, Said, Unknown

CASES = int(os.environ.get("VALETKEY_TEST_CASES", "100000"))
STORIES, CALLS = 16, 25
"""For one draw of Hypothesis, which is slower than what it draws for: so many documents, so many calls with each."""

ACME = """
words\tand eq name key team
paging\tfirst after
call\tquery/thing\tread\tthings:read\tthing\tid>thing\tdeep.er\tThing\t
call\tquery/things\tread\tthings:read\tteam\tfilter.team.key.eq>team.name|filter.team.id.eq>team.uuid\tfilter~\tThing\t
call\tquery/things:everywhere\tread\tall:read\taccount\t\t*\tThing\t
call\tquery/pair\tread\tthings:read\tpair\towner+name>pair to>pair?\t\tNode\t
call\tquery/me\tread\tall:read\taccount\t\t\t\t
call\tquery/about\tread\tall:read\taccount\t\t*\t*\t
call\tquery/*\tread\tall:read\taccount\t\t\t\t
call\tmutation/change\twrite\tthings:write\tthing\tid>thing input.into>thing?\tinput.title input.tags\tThing.brief\t
call\tmutation/say\twrite\tthings:write\tthing\tinput.a>thing|input.b>thing\tinput.text\t\t
type\tNode\tid\tcreated
type\tThing\tid title node:Node parts(filter~,size):Thing\tother:Thing secretary
type\tThing.brief\tid node:Node.brief\tother:Thing
type\tNode.brief\tid\t
"""  # fmt: skip


def _table(name: str) -> str:
    return (
        ACME
        if name == "acme"
        else (files("valetkey.server.integrations.catalogue") / f"{name}.graphql.tsv").read_text()
    )


TABLES = {name: _table(name) for name in ("acme", "linear", "github")}
APIS = {name: naive.table_of(text) for name, text in TABLES.items()}
READ = {name: parse_table(text, "/graphql") for name, text in TABLES.items()}


def seen(reader: GraphQL, sent: Sent) -> tuple[naive.Verdict, Reading | None]:
    """What the product says, in the words of the other."""
    query = ((sent.query.partition("=")[0], sent.query.partition("=")[2]),) if sent.query else ()
    said = Said(method=sent.method, segments=("graphql",), query=query, content_type=sent.kind, body=sent.body)
    try:
        read = reader(said)
    except InvalidRequest:
        return naive.Verdict(naive.REFUSED, [], set()), None
    if isinstance(read, Unknown):
        return naive.Verdict(naive.DENIED, [], {read.why.split("`")[1]}), None
    matches = [
        (
            match.operation.id,
            dict(match.fields),
            match.ref and (match.ref.kind, match.ref.name or "", match.ref.id or ""),
        )
        for match in read.matches
    ]
    return naive.Verdict(naive.RUNS, matches, set()), read


def agree(name: str, reader: GraphQL, sent: Sent) -> str:
    """Both read it alike; and what leaves, read again, is the same call."""
    expected = naive.verdict(APIS[name], method=sent.method, query=sent.query, kind=sent.kind, body=sent.body)
    found, read = seen(reader, sent)
    assert (found.what, found.matches, sent) == (expected.what, expected.matches, sent)
    assert found.faults <= expected.faults, sent
    if read is not None:
        leaves(name, reader, sent, read, expected)
    return found.what


def leaves(name: str, reader: GraphQL, sent: Sent, read: Reading, expected: naive.Verdict) -> None:
    came, goes = json.loads(sent.body), json.loads(read.body)
    assert set(goes) <= {"query", "variables", "operationName"}, sent
    assert goes["variables"] == (came.get("variables") or {}), sent
    assert not any(text in goes["query"] for text in ("#", "Left", "remark")), sent
    again = naive.verdict(APIS[name], method="POST", query="", kind=read.content_type, body=read.body)
    assert (again.what, again.matches, sent) == (naive.RUNS, expected.matches, sent)
    [runs] = [one for one in naive.parsed(goes["query"]) if one.kind != "fragment"]
    assert runs.name == goes.get("operationName", ""), sent


def story(seed: int, counted: dict[str, int]) -> None:
    draw = Random(seed)
    name = draw.choice(list(TABLES))
    reader = GraphQL(("graphql",), READ[name])
    told = Story(APIS[name], draw).tell()
    for sent in told.calls(CALLS):
        counted[agree(name, reader, sent)] += 1


@settings(max_examples=max(1, CASES // (STORIES * CALLS)), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**64))
def test_what_a_call_runs_is_what_the_plainest_reading_says(seed: int) -> None:
    counted = dict.fromkeys((naive.RUNS, naive.DENIED, naive.REFUSED), 0)
    for number in range(STORIES):
        story(seed + number, counted)
    # SECURITY: a comparison of refusals alone would compare nothing.
    assert sum(counted.values()) == STORIES * CALLS
