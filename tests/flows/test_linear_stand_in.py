"""An agent at a Linear nobody here wrote (npm `emulate`): the ticket of its team is moved, no other team is touched.

Its blind spots: it takes names for ids, has no identifiers of another team's past, and few filters. What Linear itself
answers is read past everything of ours.
"""

import http.client
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import node
from tests.support.emulate import serving
from tests.support.house import House, Robot, open_house
from tests.support.linear import LINEAR
from tests.support.linear_seed import SEED, TOKEN
from tests.support.ports import free_port

MOVE = """
mutation Move($id: String!, $state: String!) {
  issueUpdate(id: $id, input: {stateId: $state}) { success issue { ...Told } }
}
fragment Told on Issue { identifier state { name } team { key } }
"""


@dataclass
class StandIn:
    """Linear, and a credential of an agent for the team LIN."""

    house: House
    agent: Robot
    token: str
    port: int

    async def ask(self, query: str, variables: Any = None) -> tuple[int, Any]:
        """Through the gateway."""
        headers = {"authorization": f"Bearer {self.token}"}
        body = {"query": query, "variables": variables or {}}
        answer = await self.house.call("POST", "/p/linear/graphql", headers=headers, json=body)
        return answer.status, answer.json()

    def directly(self, query: str) -> Any:
        """Past everything of ours, as Alice."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        connection.request("POST", "/graphql", json.dumps({"query": query}), headers)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        assert "errors" not in answer, answer
        return answer["data"]

    def state(self, issue: str) -> str:
        """The state of an issue, as Linear has it."""
        return str(self.directly(f'{{ issue(id: "{issue}") {{ state {{ name }} }} }}')["issue"]["state"]["name"])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    if (why := node.missing()) is not None:
        pytest.skip(why)
    port = free_port()
    with serving("linear", SEED, port):
        yield port


@pytest.fixture
async def linear(tmp_path: Path, port: int) -> AsyncIterator[StandIn]:
    here = f"127.0.0.1:{port}"
    async with open_house(tmp_path / "data", upstreams={"linear": f"http://{here}"}, local=(here,)) as house:
        made = await house.alice.does("POST", "/v1/connections", integration="linear", credential=TOKEN)
        assert made["account"].startswith("Alice")
        agent = await house.agent("ticket-mover")
        task = await house.task(await house.delegate(agent, "linear:issues:write,comments:create@LIN"))
        yield StandIn(house, agent, await agent.token(task["task_token"], resource=LINEAR), port)


async def test_lin_123_moves_to_in_review_and_no_issue_of_another_team_does(linear: StandIn) -> None:
    found = linear.directly("{ workflowStates(first: 50) { nodes { id name team { key } } } }")["workflowStates"][
        "nodes"
    ]
    review = {state["team"]["key"]: state["id"] for state in found if state["name"] == "In Review"}
    status, answer = await linear.ask(MOVE, {"id": "LIN-123", "state": review["LIN"]})
    assert status == 200
    told = {"identifier": "LIN-123", "state": {"name": "In Review"}, "team": {"key": "LIN"}}
    assert answer["data"]["issueUpdate"] == {"success": True, "issue": told}
    assert linear.state("LIN-123") == "In Review"

    status, answer = await linear.ask(MOVE, {"id": "OPS-1", "state": review["OPS"]})
    assert (status, answer["code"], answer["reason"]) == (403, "denied", "not_delegated")
    assert linear.state("OPS-1") == "Todo"


async def test_a_team_is_read_by_its_key_its_id_and_its_issues_and_no_other_team_is(linear: StandIn) -> None:
    ids = {team["key"]: team["id"] for team in linear.directly("{ teams { nodes { id key } } }")["teams"]["nodes"]}
    document = (
        "query($id: String!) { team(id: $id) { key issues(first: 2) { nodes { title comments { nodes { body } } } } } }"
    )
    for mine in ("LIN", ids["LIN"]):
        status, answer = await linear.ask(document, {"id": mine})
        assert (status, answer["data"]["team"]["key"]) == (200, "LIN")
        assert [issue["title"].partition(" ")[0] for issue in answer["data"]["team"]["issues"]["nodes"]] == [
            "Ticket"
        ] * 2
    for foreign in ("OPS", ids["OPS"], "Operations", "Line"):  # it takes names for ids, and the gateway does not
        assert (await linear.ask(document, {"id": foreign}))[0] == 403


async def test_a_comment_is_written_on_an_issue_of_the_team_only(linear: StandIn) -> None:
    document = 'mutation($i: String!) { commentCreate(input: {issueId: $i, body: "Ready."}) { comment { id body } } }'
    status, answer = await linear.ask(document, {"i": "LIN-122"})
    assert (status, answer["data"]["commentCreate"]["comment"]["body"]) == (200, "Ready.")
    comment = answer["data"]["commentCreate"]["comment"]["id"]
    status, answer = await linear.ask(f'{{ comment(id: "{comment}") {{ body issue {{ identifier }} }} }}')
    assert (status, answer["data"]["comment"]["issue"]["identifier"]) == (200, "LIN-122")
    assert (await linear.ask(document, {"i": "OPS-1"}))[0] == 403
    assert linear.directly('{ issue(id: "OPS-1") { comments { nodes { id } } } }')["issue"]["comments"]["nodes"] == []


async def test_a_team_nobody_knows_cannot_be_given(linear: StandIn) -> None:
    for name, status in (("NONE", 404), ("OPS", 201)):
        body = {"agent": linear.agent.name, "grants": [f"linear:issues:read@{name}"], "purpose": "look around"}
        assert (await linear.house.alice.call("POST", "/v1/delegations", **body)).status == status
