"""GitHub by GraphQL: the grants that hold for REST hold here, for the same repositories by the same ids."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.behind import PUB, SEC, Behind, open_behind
from tests.support.http import Reply
from tests.support.seen import Seen
from tests.support.upstream import Wire, reply

PULL = """
query($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      title author { login } files(first: 50) { nodes { path additions } }
      reviewThreads(first: 10) { nodes { isResolved comments(first: 5) { nodes { body author { login } } } } }
    }
  }
}
"""
COMMENT = """
mutation($id: ID!, $body: String!) {
  addComment(input: {subjectId: $id, body: $body}) { commentEdge { node { id url } } }
}
"""
NODES = {"I_pub": PUB, "PR_pub": PUB, "R_pub": PUB, "I_sec": SEC, "R_sec": SEC}
NAMES = {PUB: "acme/pub", SEC: "acme/sec"}


async def answer(seen: Seen, wire: Wire) -> None:
    """What a node is in, as GitHub says it; anything else is data."""
    asked = json.loads(seen.body)
    said: Any = {"data": {"ok": True}}
    if "$it" in asked["query"]:
        it = asked["variables"]["it"]
        number = NODES.get(it)
        facts = number and {"databaseId": number, "nameWithOwner": NAMES[number], "owner": {"databaseId": 7}}
        said = {"data": {"node": (facts if it.startswith("R_") else {"repository": facts}) if facts else {}}}
    await wire.say(reply(200, {"Content-Type": "application/json"}, json.dumps(said).encode()))


@pytest.fixture
async def behind(tmp_path: Path, database_url: str | None) -> AsyncIterator[Behind]:
    async with open_behind(tmp_path / "data", database_url=database_url) as opened:
        opened.up.answers("POST", "/graphql", script=answer)
        yield opened


async def ask(behind: Behind, query: str, **variables: Any) -> Reply:
    return await behind.call("POST", "/graphql", json={"query": query, "variables": variables})


async def test_a_pull_request_is_read_in_the_repository_that_was_given_and_in_no_other(behind: Behind) -> None:
    assert (await ask(behind, PULL, owner="acme", name="pub", number=1)).status == 200
    assert (await ask(behind, PULL, owner="ACME", name="Pub", number=1)).status in (200, 403)
    sent = len(behind.calls)
    for owner, name in (("acme", "sec"), ("acme", "none"), ("acme/pub", "x"), ("acme", "../sec"), ("", "pub")):
        assert (await ask(behind, PULL, owner=owner, name=name, number=1)).status == 403, name
    assert len(behind.calls) == sent
    [first, *_] = await behind.house.events("call.allowed")
    assert (first["operation"], first["resource_id"]) == ("query/repository", str(PUB))
    assert first["parameters"] == {"owner": "acme", "name": "pub"}


async def test_a_comment_is_written_on_what_is_in_the_repository(behind: Behind) -> None:
    for node, status in (("I_pub", 200), ("PR_pub", 200), ("I_sec", 403), ("U_alice", 403)):
        assert (await ask(behind, COMMENT, id=node, body="Looks good.")).status == status, node
    assert len(behind.calls) == 2
    create = 'mutation($r: ID!) { createIssue(input: {repositoryId: $r, title: "x"}) { issue { url } } }'
    for node, status in (("R_pub", 200), ("R_sec", 403)):
        assert (await ask(behind, create, r=node)).status == status, node


async def test_a_node_is_read_by_its_id_within_the_repository(behind: Behind) -> None:
    document = "query($id: ID!) { node(id: $id) { id ... on Issue { title } ... on Repository { name } } }"
    for node, status in (("I_pub", 200), ("R_pub", 200), ("I_sec", 403), ("R_sec", 403)):
        assert (await ask(behind, document, id=node)).status == status, node


@pytest.mark.parametrize(
    "selection",
    [
        "owner { repositories(first: 5) { nodes { name } } }",
        'owner { ... on Organization { repository(name: "sec") { name } } }',
        "forks(first: 5) { nodes { name } }",
        "parent { name }",
        "collaborators(first: 5) { nodes { email } }",
        "vulnerabilityAlerts(first: 5) { nodes { id } }",
        "issue(number: 1) { timelineItems(first: 5) { nodes { __typename } } }",
        "issue(number: 1) { author { ... on User { email } } }",
        "pullRequest(number: 1) { headRepository { name } }",
        "pullRequest(number: 1) { headRef { target { ... on Commit { history { nodes { message } } } } } }",
        'object(expression: "main") { ... on Commit { repository { owner { login } } } }',
        "issues(first: 5, unheard: true) { nodes { id } }",
    ],
)
async def test_no_selection_leads_out_of_the_repository(behind: Behind, selection: str) -> None:
    whole = 'query { repository(owner: "acme", name: "pub") { name %s } }'
    assert (await ask(behind, whole % selection)).status == 403
    assert behind.calls == []
    assert (await ask(behind, whole % "owner { login } issue(number: 1) { title }")).status == 200


async def test_an_argument_that_a_variable_fills_is_judged_by_its_value(behind: Behind) -> None:
    whole = """query($f: IssueFilters, $x: Int) {
      repository(owner: "acme", name: "pub") { issues(first: 5, filterBy: $f%s) { nodes { id } } }
    }"""
    unheard = ", unheard: $x"
    for more, variables, status in (
        ("", {"f": {"states": ["OPEN"]}}, 200),
        ("", {"f": {"repository": "acme/sec"}}, 403),
        ("", {"f": None}, 200),
        (unheard, {"f": None, "x": 1}, 403),
        (unheard, {"f": None, "x": None}, 403),
        (unheard, {"f": None}, 200),  # nobody gave it a value, so it is not there
    ):
        sent = len(behind.calls)
        assert (await ask(behind, whole % more, **variables)).status == status, (more, variables)
        assert len(behind.calls) == sent + (status == 200)


async def test_scopes_are_those_of_rest(behind: Behind) -> None:
    merge = "mutation($p: ID!) { mergePullRequest(input: {pullRequestId: $p}) { pullRequest { merged } } }"
    close = "mutation($p: ID!) { closePullRequest(input: {pullRequestId: $p}) { pullRequest { state } } }"
    for document in (merge, close):
        assert (await ask(behind, document, p="PR_pub")).status == 403
    for query in (
        "{ viewer { login } }",
        "{ viewer { repositories(first: 1) { nodes { name } } } }",
        "{ rateLimit { cost } }",
    ):
        assert (await ask(behind, query)).status == 403
    back = COMMENT.replace("id url", "id url issue { repository { name } }")
    assert (await ask(behind, back, id="I_pub", body="x")).status == 403
    assert behind.calls == []


async def test_rest_goes_on_beside_it_and_its_bodies_still_stream(behind: Behind) -> None:
    body = b'[{"query": "not GraphQL"}]'
    assert (await behind.call("POST", "/repos/acme/pub/issues/7/labels", body=body)).status == 200
    assert behind.calls[-1].body == body
    assert (await behind.call("POST", "/graphql", body=body)).status == 400
    assert (await behind.call("GET", "/graphql")).status == 400
