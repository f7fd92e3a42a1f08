"""An agent by itself reads itself and opens tasks. Everything else at /v1 needs somebody who manages."""

from typing import Any

from tests.support.house import House

ALLOWED = {
    ("GET", "/v1/whoami"),
    ("GET", "/v1/agents"),
    ("GET", "/v1/agents/{id}"),
    ("GET", "/v1/integrations"),  # the published description of the APIs, the same for everyone
    ("GET", "/v1/delegations/{id}"),  # one made out to this very agent
    ("POST", "/v1/tasks"),
    ("POST", "/v1/tasks/{id}/children"),
    ("POST", "/v1/tokens"),
    ("POST", "/v1/leases"),  # under a task, as a token is
    ("POST", "/v1/tokens/explain"),
    ("POST", "/v1/revocations"),  # its own task, token or lease
    ("GET", "/v1/approvals/{id}"),  # what became of its own question
    ("POST", "/v1/approvals/{id}/cancel"),
    ("POST", "/v1/login"),  # asks nobody who they are: the code is the proof
    ("POST", "/v1/login/cli"),
}


async def test_it_reads_itself_and_nobody_else(house: House) -> None:
    one, other = await house.agent("one"), await house.agent("other")
    me = (await one.call("GET", "/v1/whoami")).json()
    assert (me["kind"], me["id"], me["scopes"]) == ("agent", one.id, ["self:read", "tasks:open"])
    assert [a["id"] for a in (await one.call("GET", "/v1/agents")).json()["data"]] == [one.id]
    for name in (one.id, one.name):
        assert (await one.call("GET", f"/v1/agents/{name}")).status == 200
    unknown = (await one.call("GET", "/v1/agents/nobody")).json()
    for name in (other.id, other.name):
        reply = await one.call("GET", f"/v1/agents/{name}")
        assert reply.status == 404
        assert reply.json() | {"request_id": ""} == unknown | {"request_id": ""}


async def test_every_other_route_is_closed_to_an_agent(house: House) -> None:
    """Every route the server has: a new one is closed to agents until somebody writes it down here."""
    agent, delegation, task, _ = await house.ready()
    connection = (await house.alice.does("GET", "/v1/connections"))["data"][0]
    ids = {"delegations": delegation["id"], "tasks": task["id"], "connections": connection["id"]}
    bodies: dict[str, Any] = {
        "/v1/users": {"email": "x@acme.com"},
        "/v1/connect-codes": {"integration": "github"},
        "/v1/approvals/{id}/answer": {"answer": "approve"},
        "/v1/policies": {"text": "", "after": 0},
        "/v1/policies/check": {"text": ""},
        "/v1/policies/ready": {"mode": "off"},
        "/v1/decisions/foresee": {"task": task["id"], "integration": "github", "method": "GET", "path": "/user"},
        "/v1/policies/replay": {"text": "", "seconds": 60},
        "/v1/agents": {"name": "mine"},
        "/v1/agents/{id}/client": {"redirect_uris": []},
        "/v1/resource-servers": {
            "name": "billing",
            "audience": "https://billing.acme.com",
            "scopes": [{"name": "invoices:read", "sentence": "read invoices"}],
        },
        "/v1/trusted-issuers": {"issuer": "https://id.acme.com", "kind": "spiffe", "jwks": {"keys": []}},
        "/v1/initial-access-tokens": {"uses": 1},
        "/v1/organization": {"unknown_client_ceiling": []},
        "/v1/identity-providers": {"name": "x", "issuer": "https://id.acme.com", "client_id": "y"},
        "/v1/agents/{id}/ceiling": {"ceiling": []},
        "/v1/engines": {"name": "edge", "integration": "github", "address": "https://github.acme.com"},
        "/v1/apps": {"integration": "slack", "client_id": "c", "client_secret": "x"},
        "/v1/service-accounts": {"name": "mine", "scopes": ["audit:read"]},
        "/v1/connections": {"integration": "github", "credential": "x"},
        "/v1/connections/{id}/entitlements": {"user": "alice@acme.com", "grants": ["github:repo:read@*"]},
        "/v1/delegations/{id}/extend": {"seconds": 600},
        "/v1/delegations": {"agent": agent.name, "grants": ["github:repo:read@acme-corp/backend"], "purpose": "x"},
    }
    queries = {"/v1/audit/consistency": "?from=1"}
    seen = set()
    for route in house.app.mount.routes:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            if not route.path.startswith("/v1/") or (method, route.path) in ALLOWED:
                continue
            kind = route.path.split("/")[2]
            for verb in ("suspend", "resume") if "{verb" in route.path else ("",):
                path = route.path.replace("{verb:status}", verb).replace("{id}", ids.get(kind, agent.id))
                asked = queries.get(path, "")
                reply = await agent.call(method, path + asked, **bodies.get(route.path, {}))
                assert reply.status in (403, 404), (method, path, reply.status, reply.body)
                seen.add((method, path))
    assert len(seen) > 15
    assert await house.events("agent.suspended", "agent.rotated", "user.created") == await house.events("user.created")


async def test_its_token_opens_neither_the_gateway_nor_an_exchange(house: House) -> None:
    """OA-16."""
    agent, _, task, _ = await house.ready()
    await agent.sign_in()
    before = len(house.github.requests)
    assert (await house.gateway(agent.bearer, "GET", "/repos/acme-corp/backend")).status == 401
    assert (await agent.exchange(agent.bearer)).json()["error"] == "invalid_request"
    assert (await house.gateway(task["task_token"], "GET", "/repos/acme-corp/backend")).status == 401
    assert len(house.github.requests) == before


async def test_client_credentials_give_an_agent_no_upstream_whatever_it_asks(house: House) -> None:
    agent, _, _, _ = await house.ready()
    for more in (
        {"resource": "https://api.github.com"},
        {"audience": "https://api.github.com"},
        {"scope": "repo:read"},
        {"scope": "agents:read"},
        {"scope": "all"},
    ):
        form = {"grant_type": "client_credentials", **more}
        reply = await house.call("POST", "/oauth/token", headers=agent.basic, form=form)
        assert reply.status == 400
        assert reply.json()["error"] in ("invalid_scope", "invalid_target")


async def test_it_may_end_its_own_work_and_nobody_elses(house: House) -> None:
    """REV-03."""
    agent, delegation, task, _ = await house.ready()
    other = await house.agent("other")
    for node in (delegation["id"], agent.id, other.id, house.alice.id, task["id"][:-4] + "0000"):
        assert (await agent.call("POST", "/v1/revocations", node=node)).status == 404, node
    assert (await other.call("POST", "/v1/revocations", node=task["id"])).status == 404
    assert (await agent.call("POST", "/v1/revocations", node=task["id"])).status == 201
