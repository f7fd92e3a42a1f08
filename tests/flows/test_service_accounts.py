"""Service accounts manage by fixed logic. None ever acts for a person: not at /p, not at tasks, not by exchange."""

from dataclasses import dataclass
from typing import Any

from tests.support.house import House, Reply, Robot
from valetkey.server.principals.model import MANAGEMENT_SCOPES


@dataclass
class Program(Robot):
    """A service account: the same client authentication, another kind of principal."""


async def program(house: House, *scopes: str, name: str = "janitor") -> Program:
    made = await house.alice.does("POST", "/v1/service-accounts", name=name, scopes=list(scopes))
    return Program(house, made["id"], name, made["secret"])


def refused(reply: Reply) -> bool:
    return reply.status in (401, 403)


async def test_it_manages_what_its_scopes_name_and_nothing_else(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    await house.delegate(agent)
    reads = {
        "agents:read": "/v1/agents",
        "users:read": "/v1/users",
        "connections:read": "/v1/connections",
        "delegations:read": "/v1/delegations",
        "audit:read": "/v1/audit",
    }
    for scope, path in reads.items():
        one = await program(house, scope, name=f"for-{scope.replace(':', '-')}")
        assert (await one.call("GET", path)).status == 200, scope
        for other, closed in reads.items():
            if other != scope:
                reply = await one.call("GET", closed)
                assert (reply.status, reply.json()["reason"]) == (403, "scope"), (scope, closed)
    keeper = await program(house, "agents:write", name="keeper")
    assert (await keeper.call("POST", f"/v1/agents/{agent.id}/suspend")).status == 200
    assert refused(await keeper.call("GET", "/v1/agents"))


async def test_it_is_refused_at_the_gateway(house: House) -> None:
    """OA-01, OA-16: no token it can get is a delegated credential."""
    _, _, _, token = await house.ready()
    one = await program(house, *MANAGEMENT_SCOPES)
    await one.sign_in()
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 200
    before = len(house.github.requests)
    for presented in (one.bearer, one.secret):
        reply = await house.gateway(presented, "GET", "/repos/acme-corp/backend")
        assert (reply.status, reply.code) == (401, "not_authenticated")
    assert len(house.github.requests) == before


async def test_it_opens_no_task_however_it_asks(house: House) -> None:
    agent, delegation, _, _ = await house.ready(mode="standing", tasks_per_day=5)
    evidence = (await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence"))["evidence"]
    one = await program(house, *MANAGEMENT_SCOPES)
    for more in ({}, {"evidence": evidence}):
        reply = await one.call("POST", "/v1/tasks", delegation=delegation["id"], **more)
        assert (reply.status, reply.json()["reason"]) == (403, "not_a_user")
    # What it tried with is not spent, and the agent itself still can.
    assert (await agent.call("POST", "/v1/tasks", delegation=delegation["id"], evidence=evidence)).status == 201


async def test_it_is_refused_at_token_exchange_and_its_twin(house: House) -> None:
    _, _, task, _ = await house.ready()
    one = await program(house, *MANAGEMENT_SCOPES)
    reply = await one.exchange(task["task_token"])
    assert (reply.status, reply.json()["error"]) == (400, "unauthorized_client")
    twin = await one.call("POST", "/v1/tokens", task_token=task["task_token"], target="https://api.github.com")
    assert (twin.status, twin.json()["reason"]) == (403, "not_an_agent")
    child = await one.call("POST", f"/v1/tasks/{task['id']}/children", agent="pr-reviewer-v2", grants=[])
    assert (child.status, child.json()["reason"]) == (403, "not_an_agent")


async def test_it_does_nothing_that_is_a_persons_word(house: House) -> None:
    agent, delegation, _, _ = await house.ready()
    one = await program(house, *MANAGEMENT_SCOPES)
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/delegations", {"agent": agent.name, "grants": ["github:repo:read@*"], "purpose": "x"}),
        ("POST", f"/v1/delegations/{delegation['id']}/evidence", {}),
        ("POST", "/v1/connections", {"integration": "github", "credential": "x"}),
        ("POST", "/v1/agents", {"name": "mine"}),
        ("POST", f"/v1/agents/{agent.id}/rotate", {}),
        ("PUT", f"/v1/agents/{agent.id}/ceiling", {"ceiling": ["github:admin@*"]}),
        ("POST", "/v1/users", {"email": "mallory@acme.com", "role": "administrator"}),
        ("POST", f"/v1/users/{house.alice.id}/suspend", {}),
        ("POST", "/v1/service-accounts", {"name": "more", "scopes": ["audit:read"]}),
        ("GET", "/v1/service-accounts", {}),
        ("POST", "/v1/keys/rotate", {}),
        ("GET", "/v1/keys", {}),
    ]
    for method, path, body in calls:
        reply = await one.call(method, path, **body)
        assert reply.status == 403, (path, reply.body)


async def test_only_an_administrator_provisions_one_and_only_with_management_scopes(house: House) -> None:
    bob = await house.person("bob@acme.com")
    body = {"name": "janitor", "scopes": ["agents:read"]}
    assert (await bob.call("POST", "/v1/service-accounts", **body)).status == 403
    for scopes in ([], ["repo:read"], ["agents:read", "tasks:open"], ["self:read"], ["all"], ["*"]):
        refused_body = await house.alice.call("POST", "/v1/service-accounts", name="janitor", scopes=scopes)
        assert refused_body.status == 400, scopes
    assert (await house.alice.call("POST", "/v1/service-accounts", **body)).status == 201


async def test_a_token_may_be_narrowed_and_never_widened(house: House) -> None:
    one = await program(house, "agents:read", "users:read")

    async def asked(**more: str) -> Reply:
        form = {"grant_type": "client_credentials", **more}
        return await house.call("POST", "/oauth/token", headers=one.basic, form=form)

    narrow = await asked(scope="agents:read")
    assert narrow.json()["scope"] == "agents:read"
    one.bearer = narrow.json()["access_token"]
    assert (await one.call("GET", "/v1/agents")).status == 200
    assert (await one.call("GET", "/v1/users")).status == 403
    for scope in ("agents:write", "agents:read audit:read", "all", " "):
        reply = await asked(scope=scope)
        assert (reply.status, reply.json()["error"]) == (400, "invalid_scope"), scope
    elsewhere = await asked(resource="https://api.github.com")
    assert elsewhere.json()["error"] == "invalid_target"


async def test_rotating_ends_the_old_secret_and_suspending_ends_everything_at_once(house: House) -> None:
    """OA-17."""
    one = await program(house, "agents:read")
    await one.sign_in()
    rotated = (await house.alice.does("POST", f"/v1/service-accounts/{one.id}/rotate"))["secret"]
    form = {"grant_type": "client_credentials"}
    assert (await house.call("POST", "/oauth/token", headers=one.basic, form=form)).status == 401
    one.secret = rotated
    assert (await house.call("POST", "/oauth/token", headers=one.basic, form=form)).status == 200
    assert (await one.call("GET", "/v1/agents")).status == 200
    await house.alice.does("POST", f"/v1/service-accounts/{one.id}/suspend")
    assert (await one.call("GET", "/v1/agents")).status == 401
    assert (await house.call("POST", "/oauth/token", headers=one.basic, form=form)).status == 401
    await house.alice.does("POST", f"/v1/service-accounts/{one.id}/resume")
    assert (await one.call("GET", "/v1/agents")).status == 200
    await house.alice.does("POST", "/v1/revocations", node=one.id)
    assert (await one.call("GET", "/v1/agents")).status == 401
    assert (await house.call("POST", "/oauth/token", headers=one.basic, form=form)).status == 401
