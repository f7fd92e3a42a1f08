"""Resource servers under attack: names and audiences of others, layouts crossed, lines without a connection."""

import json
from typing import Any

import pytest

from tests.support.billing import AUDIENCE, GRANT, SCOPES, billed, let, register
from tests.support.house import GITHUB, House
from tests.support.http import Reply
from tests.support.strangers import other_organization
from tests.support.tokens import unverified_claims, unverified_header
from valetkey.server.db.schema import delegations, tasks
from valetkey.verify.errors import InvalidToken
from valetkey.verify.keys import parse_jwks
from valetkey.verify.verifier import Verifier

NEW = {"name": "ledger", "audience": "https://ledger.acme.com", "scopes": SCOPES}


async def verifier(house: House, audience: str = AUDIENCE, **more: Any) -> Verifier:
    keys = parse_jwks((await house.call("GET", "/.well-known/jwks.json")).body)
    return Verifier(house.settings.issuer, audience, keys=keys, clock=house.clock, **more)


async def test_only_an_administrator_registers_lists_and_removes(house: House) -> None:
    await register(house)
    bob, agent = await house.person("bob@acme.com"), await house.agent("reader")
    for caller in (bob, agent):
        for method, path, body in (
            ("POST", "/v1/resource-servers", NEW),
            ("GET", "/v1/resource-servers", {}),
            ("DELETE", "/v1/resource-servers/billing", {}),
        ):
            reply = await caller.call(method, path, **body)
            assert reply.status == 403, (method, reply.body)
    assert [s["name"] for s in (await house.alice.does("GET", "/v1/resource-servers"))["data"]] == ["billing"]


async def test_ri_1_oa_15_what_cannot_be_one_is_refused(house: House) -> None:
    """Never an audience of the catalogue, of this server, or of anybody else; never twice."""
    await register(house)
    port = house.settings.port
    table: list[tuple[dict[str, Any], int]] = [
        ({"name": "github"}, 400),
        ({"name": "Ledger"}, 400),
        ({"name": "billing"}, 409),
        ({"audience": AUDIENCE}, 409),
        ({"audience": AUDIENCE + "/"}, 409),
        ({"audience": GITHUB}, 400),
        ({"audience": GITHUB + "/"}, 400),
        ({"audience": house.settings.issuer}, 400),
        ({"audience": f"{house.settings.issuer}/v1"}, 400),
        ({"audience": f"{house.settings.gateway}/p/github"}, 400),
        ({"audience": f"http://localhost:{port}/ledger"}, 400),
        ({"audience": "http://ledger.acme.com"}, 400),
        ({"audience": "https://ledger.acme.com#x"}, 400),
        ({"audience": "https://ledger.acme.com?x=y"}, 400),
        ({"audience": ""}, 400),
        ({"layout": "jwt"}, 400),
        ({"algorithm": "HS256"}, 400),
        ({"algorithm": "none"}, 400),
        ({"algorithm": "EdDSA"}, 400),
        ({"scopes": []}, 400),
        ({"scopes": [*SCOPES, SCOPES[0]]}, 400),
        ({"title": "x" * 81}, 400),
        ({"title": "x\u202ey"}, 400),
        ({"service_account": "nobody"}, 404),
        ({"agent": "nobody"}, 404),
        ({"secret": "x"}, 400),
    ]
    for changed, status in table:
        reply = await house.alice.call("POST", "/v1/resource-servers", **{**NEW, **changed})
        assert reply.status == status, (changed, reply.body)
    await house.alice.does("POST", "/v1/resource-servers", **NEW)


async def test_an_organization_neither_sees_nor_uses_anothers(house: House) -> None:
    await register(house)
    mallory = await other_organization(house)
    made = await mallory.does("POST", "/v1/agents", name="thief", ceiling=[])

    async def same(method: str, path: str, **body: Any) -> None:
        """What names `billing` is answered like what names nothing at all."""
        replies: list[Reply] = []
        for name in ("billing", "nowhere"):
            text = {k: [v.replace("NAME", name)] if k in ("grants", "ceiling") else v for k, v in body.items()}
            text = {k: v.replace("NAME", name) if isinstance(v, str) else v for k, v in text.items()}
            replies.append(await mallory.call(method, path.replace("NAME", name), **text))
        first, second = [{k: v for k, v in r.json().items() if k != "request_id"} for r in replies]
        assert replies[0].status == replies[1].status >= 400
        assert str(first).replace("billing", "nowhere") == str(second)

    assert (await mallory.does("GET", "/v1/resource-servers"))["data"] == []
    assert "billing" not in {i["name"] for i in (await mallory.does("GET", "/v1/integrations"))["data"]}
    await same("DELETE", "/v1/resource-servers/NAME")
    await same("PUT", f"/v1/agents/{made['id']}/ceiling", ceiling="NAME:invoices:read@*")
    await same("POST", "/v1/delegations", agent="thief", grants="NAME:invoices:read@*", purpose="steal")
    await same("POST", "/v1/connections", integration="NAME", credential="x")
    server = (await house.alice.does("GET", "/v1/resource-servers"))["data"][0]["id"]
    assert (await mallory.call("POST", "/v1/revocations", node=server)).status == 404
    assert (await mallory.call("DELETE", f"/v1/resource-servers/{server}")).status == 404


async def test_nobody_connects_it_and_the_gateway_never_serves_it(house: House) -> None:
    await register(house)
    paste = await house.alice.call("POST", "/v1/connections", integration="billing", credential="x")
    assert paste.status == 404
    assert "billing" not in paste.json()["hint"]
    agent, _, task = await billed(house)
    token = (await agent.exchange(task["task_token"], resource=AUDIENCE)).json()["access_token"]
    for path in ("/p/billing/invoices", "/p/billing"):
        reply = await house.call("GET", path, headers={"authorization": f"Bearer {token}"})
        assert reply.status == 404
    address = await agent.exchange(task["task_token"], resource=f"{house.settings.gateway}/p/billing")
    assert address.json()["error"] == "invalid_target"


async def test_oa_01_a_credential_of_one_layout_presented_as_the_other_is_refused(house: House) -> None:
    """Each audience gets the layout it declared and no other; `typ` keeps them apart at every door."""
    await register(house)
    await register(house, name="ledger", audience="https://ledger.acme.com", layout="agent")
    await house.connect()
    lines = ("billing:invoices:read@*", "ledger:invoices:read@*", "github:repo:read@acme-corp/backend")
    agent = await house.agent("bookkeeper")
    await let(house, agent, "billing:invoices:read@*", "ledger:invoices:read@*")
    task = await house.task(await house.delegate(agent, *lines))
    got = {
        audience: (await agent.exchange(task["task_token"], resource=audience)).json()["access_token"]
        for audience in (AUDIENCE, "https://ledger.acme.com", GITHUB)
    }
    assert {a: unverified_header(t)["typ"] for a, t in got.items()} == {
        AUDIENCE: "at+jwt",
        "https://ledger.acme.com": "delegation+jwt",
        GITHUB: "delegation+jwt",
    }
    for audience, layout, other in (
        (AUDIENCE, "rfc8693", "agent"),
        ("https://ledger.acme.com", "agent", "rfc8693"),
    ):
        right = (await verifier(house, audience, layout=layout)).verify(got[audience])
        assert (right.user.name, right.agent.name) == ("user:alice@acme.com", "agent:bookkeeper")
        with pytest.raises(InvalidToken):
            (await verifier(house, audience, layout=other)).verify(got[audience])
    for audience, token in got.items():
        for elsewhere in got.keys() - {audience}:
            with pytest.raises(InvalidToken):
                (await verifier(house, elsewhere, layout="agent")).verify(token)
    assert (await house.gateway(got[GITHUB], "GET", "/repos/acme-corp/backend")).status == 200
    for stranger in (got[AUDIENCE], got["https://ledger.acme.com"]):
        assert (await house.gateway(stranger, "GET", "/repos/acme-corp/backend")).status == 401
        assert (await house.call("GET", "/v1/whoami", headers={"authorization": f"Bearer {stranger}"})).status == 401
        assert (await agent.exchange(stranger)).json()["error"] == "invalid_request"


async def test_a_line_without_a_connection_is_good_for_one_only(house: House) -> None:
    """Rows that say what no door lets anybody say: an integration's line without a connection, another's server."""
    await register(house)
    await house.connect()
    agent = await house.agent("bookkeeper")
    await let(house, agent, "billing:invoices:read@*")
    delegation = await house.delegate(agent, GRANT, "github:repo:read@*")
    task = await house.task(delegation)
    assert (await agent.exchange(task["task_token"], resource=AUDIENCE)).status == 200
    assert (await agent.exchange(task["task_token"], resource=GITHUB)).status == 200
    mallory = await other_organization(house)
    foreign = {"name": "evil", "audience": "https://evil.example", "scopes": SCOPES}
    await mallory.does("POST", "/v1/resource-servers", **foreign)
    line = {"scopes": ["repo:read"], "resources": [{"name": "*"}], "max_calls": None, "not_after": None}
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({**line, "integration": "github", "connection": ""}, GITHUB, "invalid_request"),
        ({**line, "integration": "github", "connection": "con_" + "0" * 26}, GITHUB, "invalid_request"),
        (
            {**line, "integration": "evil", "connection": "", "scopes": ["invoices:read"]},
            "https://evil.example",
            "invalid_target",
        ),
        (
            {**line, "integration": "billing", "connection": "con_" + "0" * 26, "scopes": ["invoices:read"]},
            AUDIENCE,
            "invalid_target",
        ),
    ]
    for grant, audience, code in wrong:
        async with house.app.database.write() as tx:
            for table in (delegations, tasks):
                await tx.execute(table.update().values(grants=json.dumps([grant])))
        house.app.authorities.forget(frozenset({delegation["id"]}))
        reply = await agent.exchange(task["task_token"], resource=audience)
        assert (reply.status, reply.json()["error"]) == (400, code), grant


async def test_a_name_or_audience_is_one_servers_for_ever(house: House) -> None:
    """A grant somebody agreed to never comes to mean another server."""
    made = await register(house)
    agent, delegation, task = await billed(house)
    token = (await agent.exchange(task["task_token"], resource=AUDIENCE)).json()["access_token"]
    await house.alice.does("DELETE", f"/v1/resource-servers/{made['id']}")
    assert (await agent.exchange(task["task_token"], resource=AUDIENCE)).json()["error"] == "invalid_target"
    said = await house.call("POST", "/oauth/introspect", headers=agent.basic, form={"token": token})
    assert said.json() == {"active": False}
    assert (await house.alice.does("GET", "/v1/resource-servers"))["data"] == []
    assert "billing" not in {i["name"] for i in (await house.alice.does("GET", "/v1/integrations"))["data"]}
    refused = await house.alice.call(
        "POST", "/v1/delegations", agent=agent.name, grants=[GRANT], purpose="read invoices"
    )
    assert refused.status >= 400
    for changed in ({"audience": "https://other.acme.com"}, {"name": "other"}, {}):
        again = await house.alice.call(
            "POST", "/v1/resource-servers", **{"name": "billing", "audience": AUDIENCE, "scopes": SCOPES, **changed}
        )
        assert (again.status, again.code) == (409, "conflict"), changed
    mallory = await other_organization(house)
    stolen = await mallory.call("POST", "/v1/resource-servers", name="mine", audience=AUDIENCE, scopes=SCOPES)
    assert (stolen.status, stolen.code) == (409, "conflict")
    assert (await house.alice.call("DELETE", f"/v1/resource-servers/{made['id']}")).status == 404
    assert delegation["sentence"]
    assert unverified_claims(token)["aud"] == AUDIENCE
