"""Linear by GraphQL: an agent that was given one team works in that team, and a call about any other leaves nothing."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.linear import KEY, LIN, LINEAR, OPS, Linear, open_linear

MOVE = "mutation($id: String!, $state: String!) { issueUpdate(id: $id, input: {stateId: $state}) { success } }"
READ = "query($id: String!) { issue(id: $id) { identifier title state { name } } }"
LIST = "query($team: String!) { issues(filter: {team: {key: {eq: $team}}}, first: 5) { nodes { identifier } } }"


@pytest.fixture
async def linear(tmp_path: Path, database_url: str | None) -> AsyncIterator[Linear]:
    async with open_linear(tmp_path / "data", database_url=database_url) as opened:
        yield opened


async def moved(linear: Linear, issue: str) -> int:
    return (await linear.ask(MOVE, {"id": issue, "state": "in-review"})).status


async def test_an_issue_of_the_team_is_moved_and_one_of_another_is_not(linear: Linear) -> None:
    assert await moved(linear, "LIN-123") == 200
    assert linear.calls[0].header("authorization") == f"Bearer {KEY}".encode()
    assert json.loads(linear.calls[0].body)["variables"] == {"id": "LIN-123", "state": "in-review"}
    [allowed] = await linear.house.events("call.allowed")
    assert (allowed["operation"], allowed["resource_id"]) == ("mutation/issueUpdate", LIN)
    assert allowed["parameters"] == {"id": "LIN-123"}
    assert await moved(linear, "OPS-7") == 403
    assert await moved(linear, "LIN-999") == 403
    assert len(linear.calls) == 1
    denied = await linear.house.events("call.denied")
    assert [record["reason"] for record in denied] == ["not_delegated", "not_delegated"]


async def test_an_issue_that_moved_away_under_its_old_name_is_denied_at_once(linear: Linear) -> None:
    assert await moved(linear, "LIN-123") == 200
    linear.inside["LIN-123"] = "OPS"  # its old identifier still leads to it
    assert await moved(linear, "LIN-123") == 403
    assert len(linear.calls) == 1


async def test_a_read_asks_at_most_once_a_minute_and_a_write_every_time(linear: Linear) -> None:
    for _ in range(3):
        assert (await linear.ask(READ, {"id": "LIN-123"})).status == 200
    assert len(linear.questions) == 1
    for _ in range(2):
        assert await moved(linear, "LIN-124") == 200
    assert len(linear.questions) == 3
    linear.house.clock.advance(60)
    linear.inside["LIN-123"] = "OPS"
    assert (await linear.ask(READ, {"id": "LIN-123"})).status == 403


async def test_a_list_is_of_the_team_its_filter_names(linear: Linear) -> None:
    for team, status in (("LIN", 200), (LIN, 403), ("OPS", 403), ("lin", 403), ("NONE", 403)):
        assert (await linear.ask(LIST, {"team": team})).status == status, team
    by_id = LIST.replace("key", "id")
    for team, status in ((LIN, 200), (OPS, 403)):
        assert (await linear.ask(by_id, {"team": team})).status == status, team
    assert (await linear.ask("{ issues { nodes { identifier } } }")).status == 403
    assert len(linear.calls) == 2


async def test_a_key_that_is_given_to_another_team_is_not_the_team_that_was_granted(linear: Linear) -> None:
    linear.teams.update({"LIN": OPS, "OLD": LIN})
    linear.house.clock.advance(60)  # a read may use what was asked a minute ago
    refused = await linear.ask(LIST, {"team": "LIN"})
    assert (refused.status, refused.json().get("reason")) == (403, "resource_changed"), refused.body
    assert (await linear.ask(LIST.replace("key", "id"), {"team": LIN})).status == 200


async def test_moving_an_issue_to_another_team_needs_both(linear: Linear) -> None:
    move = 'mutation($to: String!) { issueUpdate(id: "LIN-123", input: {teamId: $to}) { success } }'
    assert (await linear.ask(move, {"to": LIN})).status == 200
    assert (await linear.ask(move, {"to": OPS})).status == 403
    linear.token = await linear.credential("linear:issues:write@LIN,OPS")
    assert (await linear.ask(move, {"to": OPS})).status == 200
    [*_, record] = await linear.house.events("call.allowed")
    assert [one["resource_id"] for one in (record, *record["also"])] == [LIN, OPS]


async def test_what_one_scope_contains_no_other_does(linear: Linear) -> None:
    comment = 'mutation { commentCreate(input: {issueId: "LIN-123", body: "Done."}) { success } }'
    assert (await linear.ask(comment)).status == 200
    linear.token = await linear.credential("linear:issues:read@LIN")
    assert (await linear.ask(READ, {"id": "LIN-123"})).status == 200
    assert (await linear.ask(comment)).status == 403
    assert await moved(linear, "LIN-123") == 403
    for danger in (
        'mutation { webhookCreate(input: {url: "https://evil.example", teamId: "LIN"}) { success } }',
        'mutation { teamDelete(id: "LIN") { success } }',
        'mutation { issueDelete(id: "LIN-123") { success } }',
        'mutation { apiKeyCreate(input: {label: "x"}) { success } }',
    ):
        assert (await linear.ask(danger)).status == 403
    assert len(linear.calls) == 2


STOCK = """
mutation updateIssue($id: String!, $input: IssueUpdateInput!) {
  issueUpdate(id: $id, input: $input) { ...IssuePayload }
}
fragment IssuePayload on IssuePayload { __typename lastSyncId issue { id } success }
"""
"""Of the shape that @linear/sdk sends."""


async def test_a_mutation_takes_the_inputs_that_are_known_and_no_others(linear: Linear) -> None:
    for more, status in (
        ({"title": "x", "labelIds": ["a", "b"], "assigneeId": None}, 200),
        ({"title": "x", "projectId": "p"}, 403),
        ({"delegateId": "agent"}, 403),
        ({"trashed": True}, 403),
        ({"parentId": "LIN-124"}, 200),
        ({"parentId": "OPS-7"}, 403),
        ({"parentId": ["LIN-124"]}, 403),
        ({"teamId": "OPS", "title": "x"}, 403),
        ({}, 403),
    ):
        answer = await linear.ask(STOCK, {"id": "LIN-123", "input": more}, operationName="updateIssue")
        assert answer.status == status, (more, answer.body)
    assert len(linear.calls) == 2


AWAY = [
    "parent { title }",
    "children { nodes { title } }",
    "assignee { email }",
    "assignee { assignedIssues { nodes { title } } }",
    "team { projects { nodes { name } } }",
    "team { organization { users { nodes { email } } } }",
    'team { issues(filter: {parent: {title: {contains: "salary"}}}) { nodes { id } } }',
    "team { issues(includeSubTeams: true) { nodes { id } } }",
    "state { issues { nodes { title } } }",
    "project { description }",
    "project { ... on Project { lead { name } } }",
    "state { team { name } }",
    "... on Issue { relations { nodes { relatedIssue { title } } } }",
]


@pytest.mark.parametrize("selection", AWAY)
async def test_a_selection_that_leads_out_of_the_team_needs_the_whole_workspace(linear: Linear, selection: str) -> None:
    document = f'{{ issue(id: "LIN-123") {{ title {selection} }} }}'
    assert (await linear.ask(document)).status == 403
    assert linear.calls == []
    linear.token = await linear.credential("linear:issues:read@LIN", "linear:account:read@*")
    assert (await linear.ask(document)).status == 200


async def test_a_nested_filter_is_judged_by_the_value_its_variable_has(linear: Linear) -> None:
    document = 'query($f: IssueFilter) { team(id: "LIN") { issues(filter: $f) { nodes { id } } } }'
    for filters, status in (
        ({"state": {"name": {"eq": "Todo"}}}, 200),
        ({"parent": {"title": {"contains": "salary"}}}, 403),
        ({"and": [{"children": {"some": {"title": {"contains": "salary"}}}}]}, 403),
        ({"assignee": {"email": {"eq": "bob@acme.com"}}}, 403),
    ):
        assert (await linear.ask(document, {"f": filters})).status == status, filters
    assert len(linear.calls) == 1


@pytest.mark.parametrize(
    "selection",
    [
        "team { inviteHash }",
        "team { webhooks { nodes { secret } } }",
        "team { securitySettings }",
        "creator { calendarHash }",
        "... on Team { key }  anything",
    ],
)
async def test_what_no_table_describes_is_denied_to_everybody(linear: Linear, selection: str) -> None:
    linear.token = await linear.credential("linear:issues:write@*", "linear:account:read,schema:read@*")
    assert (await linear.ask(f'{{ issue(id: "LIN-123") {{ title {selection} }} }}')).status == 403
    assert (await linear.ask('{ issue(id: "LIN-123") { title team { issues { nodes { id } } } } }')).status == 200
    assert len(linear.calls) == 1


async def test_introspection_is_a_permission_of_its_own(linear: Linear) -> None:
    assert (await linear.ask("{ __schema { queryType { name } } }")).status == 403
    linear.token = await linear.credential("linear:schema:read@*")
    assert (await linear.ask("{ __schema { queryType { name } } }")).status == 200
    assert (await linear.ask("{ viewer { id } }")).status == 403


async def test_a_question_that_is_not_answered_stops_the_call(linear: Linear) -> None:
    for status, code in ((500, 502), (400, 403), (401, 403)):
        linear.up.answers("POST", "/graphql", status, json={"errors": []})
        assert await moved(linear, "LIN-123") == code
    assert linear.calls == []


async def test_each_field_of_a_document_is_counted(linear: Linear) -> None:
    task = await linear.house.task(await linear.house.delegate(linear.agent, "linear:issues:read@LIN", max_calls=3))
    token = await linear.agent.token(task["task_token"], resource=LINEAR)
    two = '{ a: issue(id: "LIN-123") { title } b: issue(id: "LIN-124") { title } }'
    sent = json.dumps({"query": two}).encode()
    assert (await linear.post(sent, token=token)).status == 200
    assert (await linear.post(sent, token=token)).status == 429
    assert len(linear.calls) == 1
