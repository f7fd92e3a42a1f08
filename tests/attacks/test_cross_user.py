"""Nobody learns whether somebody else's object exists: the answer is the one for what was never there.

Two people of one organization, and two organizations in one deployment. OA-08, REV-03.
"""

import json
from typing import Any

from tests.support.billing import register
from tests.support.house import GITHUB, House, Person, Reply, Robot
from tests.support.strangers import other_organization
from tests.support.tokens import OwnKey, unverified_claims
from valetkey.server.approvals.notices import store as notice_addresses
from valetkey.server.approvals.notices.model import Kind, NoticeAddress
from valetkey.server.ids import new_id
from valetkey.server.principals.login.providers import store as providers
from valetkey.server.principals.login.providers.model import Provider
from valetkey.server.secret import Secret
from valetkey.server.vault.kms.open_root import open_root
from valetkey.server.vault.store import load_ring

READ = "github:repo:read@acme-corp/backend"
BOBS = "ghp_bobsCredential0123456789abcdefghijkl"


def said(reply: Reply, *names: str) -> tuple[int, dict[str, Any]]:
    """What a stranger can tell apart: status and body, without the request's number and what they sent themselves."""
    body = reply.json()
    body.pop("request_id", None)
    text = {key: _without(value, names) if isinstance(value, str) else value for key, value in body.items()}
    return reply.status, text


def _without(text: str, names: tuple[str, ...]) -> str:
    for name in names:
        text = text.replace(name, "…")
    return text


def missing(node: str) -> str:
    """An id of the same kind that nobody has."""
    return node[:-8] + "00000000"


async def objects(house: House) -> dict[str, str]:
    """One of everything, all of it Alice's."""
    agent, delegation, task, token = await house.ready()
    (link,) = (await house.alice.does("GET", "/v1/connections"))["data"]
    keeper = await house.alice.does("POST", "/v1/service-accounts", name="keeper", scopes=["audit:read"])
    issuer = await house.alice.does(
        "POST",
        "/v1/trusted-issuers",
        issuer="https://platform.example",
        kind="generic",
        jwks=OwnKey().jwks,
        rules=[{"agent": agent.id, "claims": {"sub": "job-7"}}],
    )
    app = await house.alice.does(*APP, integration="slack", client_id="c", client_secret="x")
    waiting, standing = await questions(house, agent)
    version = await house.alice.does("POST", "/v1/policies", text='[[rule]]\nid = "all"\neffect = "allow"\n', after=0)
    return {
        "approvals": waiting,
        "standing-answers": standing,
        "policies": version["id"],
        "decisions": (await house.events("call.held"))[-1]["id"],
        "audit": (await house.events("call.held"))[-1]["id"],
        "connect-codes": (await house.alice.does("POST", "/v1/connect-codes", integration="slack"))["id"],
        "trusted-issuers": issuer["id"],
        "agents": agent.id,
        "delegations": delegation["id"],
        "tasks": task["id"],
        "connections": link["id"],
        "service-accounts": keeper["id"],
        "resource-servers": (await register(house))["id"],
        "users": house.alice.id,
        "token": unverified_claims(token)["jti"],
        "login": unverified_claims(house.alice.bearer)["credential"],
        "organization": unverified_claims(token)["org"],
        "identity-providers": await provider(house),
        "apps": app["id"],
        "notice-addresses": await notice_address(house),
    }


async def questions(house: House, agent: Robot) -> tuple[str, str]:
    """A call that waits for Alice, and an answer of hers that holds until a task ends."""
    delegation = await house.delegate(agent, READ, ask=["github:issues:write@acme-corp/backend"])
    token = await agent.token((await house.task(delegation))["task_token"])
    issues = "/repos/acme-corp/backend/issues"
    first = (await house.gateway(token, "POST", issues, json={"title": "one"})).json()["approval"]
    await house.alice.does("POST", f"/v1/approvals/{first}/answer", answer="approve-like-this")
    (standing,) = (await house.alice.does("GET", "/v1/approvals"))["standing"]
    other = "/repos/acme-corp/backend/labels"
    held = await house.gateway(token, "POST", other, json={"name": "two"})
    return held.json()["approval"], standing["id"]


async def provider(house: House) -> str:
    """An identity provider of Alice's organization, written where registering would write it."""
    user = (await house.alice.does("GET", "/v1/whoami"))["organization"]["id"]
    made = Provider(
        id=new_id("idp"), org=user, name="SSO", issuer="https://i.example", client_id="c", origin="x", roles={}
    )
    app = house.app
    async with app.database.write() as tx:
        root = await open_root(house.settings, deployment=app.deployment, create=False)
        ring = await load_ring(tx, root=root, deployment=app.deployment, now=house.clock.now())
        await providers.add(tx, made, None, ring=ring, now=1)
    return made.id


async def notice_address(house: House) -> str:
    """Where Alice is told, written where naming it would write it."""
    org = (await house.alice.does("GET", "/v1/whoami"))["organization"]["id"]
    made = NoticeAddress(
        id=new_id("ntf"), org=org, user=house.alice.id, kind=Kind.WEBHOOK, place="told.example", created_at=1,
        told_at=None, failures=0, problem="", confirmed_at=1,
    )  # fmt: skip
    async with house.app.database.write() as tx:
        await notice_addresses.add(tx, made, Secret("https://told.example/x"), ring=house.app.data_keys._ring)
    assert [one["id"] for one in (await house.alice.does("GET", "/v1/notice-addresses"))["data"]] == [made.id]
    return made.id


APP = ("POST", "/v1/apps")
BODIES: dict[str, dict[str, Any]] = {
    "/v1/approvals/{id}/answer": {"answer": "approve"},
    "/v1/agents/{id}/ceiling": {"ceiling": []},
    "/v1/agents/{id}/client": {"redirect_uris": []},
    "/v1/connections/{id}/entitlements": {"user": "alice@acme.com", "grants": [READ]},
    "/v1/delegations/{id}/extend": {"seconds": 600},
    "/v1/tasks/{id}/children": {"agent": "x", "grants": [READ]},
}


async def walk(house: House, stranger: Person | Robot, found: dict[str, str]) -> int:
    """Every address that takes an id, with the real one and with one that is not there."""
    walked = 0
    for route in house.app.mount.routes:
        if "{id}" not in route.path or not route.path.startswith("/v1/"):
            continue
        kind = route.path.split("/")[2]
        for method in sorted((route.methods or set()) - {"HEAD"}):
            for verb in ("suspend", "resume") if "{verb" in route.path else ("",):
                path = route.path.replace("{verb:status}", verb)
                body = BODIES.get(route.path, {})
                real, none = found[kind], missing(found[kind])
                one = await stranger.call(method, path.replace("{id}", real), **body)
                other = await stranger.call(method, path.replace("{id}", none), **body)
                assert said(one, real) == said(other, none), (method, path, one.body, other.body)
                assert one.status in (403, 404), (method, path)
                walked += 1
    return walked


async def test_another_person_and_another_organization_cannot_tell_what_is_there(house: House) -> None:
    found = await objects(house)
    bob = await house.person("bob@acme.com")
    mallory = await other_organization(house)
    before = len(await house.events())
    for stranger in (bob, mallory, await house.agent("bobs", owner=bob), await house.agent("evil", owner=mallory)):
        assert await walk(house, stranger, found) >= 12
        for node in found.values():
            one = await stranger.call("POST", "/v1/revocations", node=node)
            other = await stranger.call("POST", "/v1/revocations", node=missing(node))
            assert said(one) == said(other), node
            assert one.status == 404
    after = [r["event"] for r in (await house.events())[before:]]
    assert set(after) <= {"agent.created"}
    assert (await house.alice.call("GET", f"/v1/delegations/{found['delegations']}")).json()["status"] == "live"


async def test_names_and_addresses_of_others_answer_as_unknown_ones(house: House) -> None:
    await objects(house)
    bob = await house.person("bob@acme.com")
    mallory = await other_organization(house)
    await house.connect(mallory, credential=BOBS)
    for stranger in (bob, mallory):
        one = await stranger.call("GET", "/v1/agents/pr-reviewer-v2")
        other = await stranger.call("GET", "/v1/agents/nobody-at-all")
        assert said(one) == said(other)
    # Delegating in the name of somebody who is there, and of somebody who is not.
    body = {"agent": "pr-reviewer-v2", "grants": [READ], "purpose": "x"}
    replies = [
        await bob.call("POST", "/v1/delegations", **body, user=user)
        for user in ("alice@acme.com", "nobody@acme.com", "not an address")
    ]
    assert said(replies[0]) == said(replies[1]) == said(replies[2])
    assert replies[0].status == 403
    # In another organization neither the agent nor the person is there, though both names are taken here.
    for name in ("pr-reviewer-v2", "nobody-at-all"):
        reply = await mallory.call("POST", "/v1/delegations", **body | {"agent": name})
        assert said(reply)[0] == 404
    one = await mallory.call("POST", "/v1/delegations", **body, user="alice@acme.com")
    other = await mallory.call("POST", "/v1/delegations", **body, user="nobody@evil.example")
    assert said(one) == said(other)
    assert (await mallory.call("POST", "/v1/users", email="alice@acme.com")).status == 201
    assert (await mallory.call("POST", "/v1/agents", name="pr-reviewer-v2")).status == 201


async def test_how_others_call_their_connections_is_their_own(house: House) -> None:
    """A name somebody else took is not taken; their connection is not found by name or id."""
    bob = await house.person("bob@acme.com")
    agent = await house.agent("pr-reviewer-v2")
    mine = await house.connect(name="work")
    await house.connect(bob, name="home", credential=BOBS)
    body = {"agent": agent.name, "purpose": "x"}
    replies = {}
    for name in ("work", mine["id"], "nothing", missing(mine["id"])):
        reply = await bob.call("POST", "/v1/delegations", **body, grants=[f"github/{name}{READ[6:]}"])
        replies[name] = said(reply, name)
    assert len({str(answer) for answer in replies.values()}) == 1
    assert replies["work"][0] == 403
    taken = await house.alice.call("POST", "/v1/connections", integration="github", credential=BOBS, name="work")
    assert (taken.status, taken.code) == (409, "conflict")
    free = await bob.call("POST", "/v1/connections", integration="github", credential=BOBS, name="work")
    assert free.status == 201
    await house.connect(shared=True, name="team")
    shared = await house.alice.call(
        "POST", "/v1/connections", integration="github", credential=BOBS, name="team", shared=True
    )
    assert shared.status == 409


async def test_lists_hold_ones_own_and_nothing_of_others(house: House) -> None:
    found = await objects(house)
    bob = await house.person("bob@acme.com")
    mallory = await other_organization(house)
    for stranger in (bob, mallory):
        for path in ("agents", "delegations", "tasks", "connections", "users", "service-accounts", "audit?limit=500"):
            reply = await stranger.call("GET", f"/v1/{path}")
            assert reply.status in (200, 403)
            body = reply.body
            if path.startswith("audit") and reply.status == 200:  # who did something to oneself is one's own to know
                rows = [{name: said for name, said in row.items() if name != "by"} for row in reply.json()["data"]]
                body = json.dumps(rows).encode()
            for kind, node in found.items():
                assert node.encode() not in body, (path, kind)
            assert b"acme.com" not in body.replace(b"bob@acme.com", b"")
            assert b"pr-reviewer" not in body


async def test_tokens_of_another_organization_explain_nothing(house: House) -> None:
    _, _, _, token = await house.ready()
    mallory = await other_organization(house)
    real = await mallory.call("POST", "/v1/tokens/explain", token=token)
    none = await mallory.call("POST", "/v1/tokens/explain", token="a.b.c")
    assert said(real) == said(none)
    assert (await house.alice.call("POST", "/v1/tokens/explain", token=token)).json()["valid"] is True


async def test_a_task_token_stolen_by_another_user_agent_or_organization_is_nothing(house: House) -> None:
    """OA-08: other tenant, other client."""
    agent, delegation, task, _ = await house.ready()
    bob = await house.person("bob@acme.com")
    mallory = await other_organization(house)
    for owner, name in ((house.alice, "other"), (bob, "bobs"), (mallory, "evil")):
        thief = await house.agent(name, owner=owner)
        stolen, none = await thief.exchange(task["task_token"]), await thief.exchange("a.b.c")
        assert (stolen.status, stolen.json()) == (none.status, none.json())
        twin = await thief.call("POST", "/v1/tokens", task_token=task["task_token"], target=GITHUB)
        twin_none = await thief.call("POST", "/v1/tokens", task_token="a.b.c", target=GITHUB)
        assert said(twin) == said(twin_none)
        opening = await thief.call("POST", "/v1/tasks", delegation=delegation["id"])
        unknown = await thief.call("POST", "/v1/tasks", delegation=missing(delegation["id"]))
        assert said(opening) == said(unknown)
    assert (await agent.exchange(task["task_token"])).status == 200


async def test_a_repository_others_can_read_and_one_that_is_not_there_answer_alike_at_the_gateway(house: House) -> None:
    """Bob's account cannot read payroll; his agent, delegated everything he has, cannot tell it from nothing."""
    bob = await house.person("bob@acme.com")
    agent = await house.agent("bobs", owner=bob)
    await house.connect(bob, credential=BOBS)
    delegation = await house.delegate(agent, "github:repo:read@acme-corp/backend", owner=bob)
    token = await agent.token((await house.task(delegation, owner=bob))["task_token"])
    answers = []
    for name in ("acme-corp/payroll", "acme-corp/missing", "nobody/nothing"):
        reply = await house.gateway(token, "GET", f"/repos/{name}")
        status, body = said(reply, name)
        body.pop("decision", None)
        answers.append((status, body))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == 403
