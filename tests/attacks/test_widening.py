"""An agent asks for more: at every verb, in every order, after every change. OA-08, OA-09, OA-17, OA-22, TX-12."""

import itertools
import random
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.house import GITHUB, House, Robot
from tests.support.http import Reply
from tests.support.tokens import unverified_claims
from valetkey.server.delegations.grants import parse_grants

PATH = "/repos/acme-corp/backend"
READ = "github:repo:read@acme-corp/backend"
ISSUES = "github:issues:read@acme-corp/backend"
PULLS = "github:pulls:read@acme-corp/backend"
WRITE = "github:repo:write@acme-corp/backend"
PAYROLL = "github:repo:read@acme-corp/payroll"
ORG = "github:repo:read@acme-corp/*"
WISHES = (READ, ISSUES, PULLS, WRITE, PAYROLL, ORG, "github:repo:read@*", "github:account:read@*")
PROBES = (
    ("GET", PATH),
    ("GET", f"{PATH}/issues"),
    ("GET", f"{PATH}/pulls"),
    ("GET", f"{PATH}/contents/README.md"),
    ("POST", f"{PATH}/issues"),
    ("GET", "/repos/acme-corp/payroll/issues"),
    ("GET", "/user"),
)

Change = Callable[[House, Any, Any, Robot], Awaitable[None]]


async def by_form(agent: Robot, task_token: str) -> Reply:
    return await agent.exchange(task_token)


async def by_json(agent: Robot, task_token: str) -> Reply:
    return await agent.call("POST", "/v1/tokens", task_token=task_token, target=GITHUB)


async def probed(house: House, token: str) -> set[tuple[str, str]]:
    """The probes this token gets through the gateway."""
    allowed = set()
    for method, path in PROBES:
        more = {"json": {"title": "x"}} if method == "POST" else {}
        if (await house.gateway(token, method, path, **more)).status != 403:
            allowed.add((method, path))
    return allowed


async def test_oa_09_no_walk_through_tasks_children_and_tokens_ever_widens(house: House) -> None:
    """Random wishes over HTTP; whatever a token opens, every token above it opens as well."""
    dice = random.Random(2)
    names = ["a0", "a1", "a2", "a3"]
    agents = [await house.agent(name) for name in names]
    await house.connect()
    delegation = await house.delegate(agents[0], READ, PAYROLL, share_with=names[1:], seconds=3600)
    opened = 0
    for _ in range(4):
        task = await house.task(delegation, seconds=1800)
        above = await probed(house, await agents[0].token(task["task_token"]))
        assert ("POST", f"{PATH}/issues") not in above
        assert ("GET", "/user") not in above
        for parent, child in itertools.pairwise(agents):
            wish = dice.sample(WISHES, dice.choice((1, 1, 2)))
            reply = await parent.call("POST", f"/v1/tasks/{task['id']}/children", agent=child.name, grants=wish)
            if reply.status != 201:
                assert reply.status == 403
                wish = [dice.choice((ISSUES, PULLS))]
                reply = await parent.call("POST", f"/v1/tasks/{task['id']}/children", agent=child.name, grants=wish)
            if reply.status != 201:
                break
            opened += 1
            task = reply.json()
            below = await probed(house, await child.token(task["task_token"]))
            assert below <= above, (wish, below - above)
            narrower = await child.exchange(task["task_token"], scope=dice.choice(("issues:read", "pulls:read")))
            if narrower.status == 200:
                assert await probed(house, narrower.json()["access_token"]) <= below
            # Asking again, with everything one can think of, gives the same or nothing.
            for more in ({"scope": "repo:read repo:write"}, {"scope": "admin"}, {"resource": f"{GITHUB}/"}):
                again = await child.exchange(task["task_token"], **{"resource": GITHUB, **more})
                if again.status == 200:
                    assert await probed(house, again.json()["access_token"]) <= below
            above = below
    assert opened >= 4


async def _user_suspended(house: House, agent: Any, made: Any, owner: Any) -> None:
    await house.alice.does("POST", f"/v1/users/{owner.id}/suspend")


async def _agent_suspended(house: House, agent: Any, made: Any, owner: Any) -> None:
    await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")


async def _ceiling_lowered(house: House, agent: Any, made: Any, owner: Any) -> None:
    await house.alice.does("PUT", f"/v1/agents/{agent.id}/ceiling", ceiling=["github:issues:read@*"])


async def _ceiling_emptied(house: House, agent: Any, made: Any, owner: Any) -> None:
    await house.alice.does("PUT", f"/v1/agents/{agent.id}/ceiling", ceiling=[])


async def _revoked(kind: str, house: House, agent: Any, made: Any, owner: Any) -> None:
    node = {"agent": agent.id, "user": owner.id}.get(kind) or made[kind]["id"]
    await house.alice.does("POST", "/v1/revocations", node=node)


async def _expired(house: House, agent: Any, made: Any, owner: Any) -> None:
    house.clock.advance(600)
    await house.alice.sign_in()
    await agent.sign_in()


def _ends(kind: str) -> Change:
    async def change(house: House, agent: Any, made: Any, owner: Any) -> None:
        await _revoked(kind, house, agent, made, owner)

    return change


CHANGES: dict[str, Change] = {
    "the user is suspended": _user_suspended,
    "the agent is suspended": _agent_suspended,
    "the ceiling is lowered": _ceiling_lowered,
    "the ceiling is emptied": _ceiling_emptied,
    "the task is revoked": _ends("task"),
    "the delegation is revoked": _ends("delegation"),
    "the connection is revoked": _ends("connection"),
    "the agent is revoked": _ends("agent"),
    "the user is revoked": _ends("user"),
    "time is over": _expired,
}


async def test_oa_09_oa_17_every_way_to_a_credential_and_every_call_asks_everything_again(house: House) -> None:
    """One changed fact after the first credential: the form, its JSON twin and the gateway all refuse from then on."""
    for number, (what, change) in enumerate(CHANGES.items()):
        owner = await house.person(f"user{number}@acme.com")
        agent = await house.agent(f"agent{number}")
        connection = await house.connect(owner)
        delegation = await house.delegate(agent, owner=owner)
        task = await house.task(delegation, owner=owner)
        made = {"task": task, "delegation": delegation, "connection": connection}
        token = await agent.token(task["task_token"])
        assert (await by_json(agent, task["task_token"])).status == 201, what
        assert (await house.gateway(token, "GET", PATH)).status == 200, what
        sent = len(house.github.requests)
        await change(house, agent, made, owner)
        for door in (by_form, by_json):
            refused = await door(agent, task["task_token"])
            assert 400 <= refused.status < 500, (what, door, refused.body)
        assert (await house.gateway(token, "GET", PATH)).status in (401, 403), what
        assert len(house.github.requests) == sent, what


async def test_only_an_administrator_raises_a_ceiling_and_only_the_owner_lowers_it(house: House) -> None:
    bob = await house.person("bob@acme.com")
    other = await house.person("carol@acme.com")
    agent = await house.agent("bobs", owner=bob, ceiling=["github:issues:read@*"])
    path = f"/v1/agents/{agent.id}/ceiling"
    for ceiling in (
        ["github:repo:read@*"],
        ["github:admin@*"],
        ["github:issues:read,admin@*"],
        [ISSUES, "github:access@*"],
    ):
        refused = await bob.call("PUT", path, ceiling=ceiling)
        assert (refused.status, refused.json()["reason"]) == (403, "above_ceiling"), ceiling
    assert (await agent.call("PUT", path, ceiling=[])).status in (403, 404)
    assert (await other.call("PUT", path, ceiling=[])).status == 404
    assert (await bob.call("PUT", path, ceiling=[ISSUES])).status == 200
    assert (await bob.call("PUT", path, ceiling=["github:issues:read@*"])).status == 403  # back up is up
    assert (await house.alice.call("PUT", path, ceiling=["github:issues:read@*"])).status == 200


async def test_a_new_agent_has_no_more_than_its_maker_may_give(house: House) -> None:
    bob = await house.person("bob@acme.com")
    for ceiling in (["github:admin@*"], ["github:access@*"], ["github:workflows:write@*"], ["github:pulls:merge@*"]):
        refused = await bob.call("POST", "/v1/agents", name="mine", ceiling=ceiling)
        assert (refused.status, refused.json()["reason"]) == (403, "above_ceiling"), ceiling
    made = await bob.does("POST", "/v1/agents", name="mine")
    published = (await bob.does("GET", "/v1/integrations"))["data"]
    danger = {(i["name"], s["name"]) for i in published for s in i["scopes"] if s["tier"] == "danger"}
    given = {(grant.integration, scope) for grant in parse_grants(made["ceiling"]) for scope in grant.scopes}
    assert ("github", "repo:write") in given
    assert ("github", "admin") in danger
    assert not given & danger
    for poor in (["github/work:repo:read@*"], ["github:nonsense@*"], ["nowhere:repo:read@*"], ["github:repo:read"]):
        assert (await house.alice.call("POST", "/v1/agents", name="poor", ceiling=poor)).status == 400, poor


async def test_nobody_makes_themselves_an_administrator(house: House) -> None:
    bob = await house.person("bob@acme.com")
    assert (await bob.call("POST", "/v1/users", email="x@acme.com", role="administrator")).status == 403
    assert (await bob.call("POST", f"/v1/users/{house.alice.id}/suspend")).status == 403
    for role in ("owner", "root", "", "ADMINISTRATOR"):
        assert (await house.alice.call("POST", "/v1/users", email="x@acme.com", role=role)).status == 400, role
    assert (await bob.call("POST", "/v1/connections", integration="github", credential="x", shared=True)).status == 403


async def test_what_a_token_says_about_scopes_is_never_more_than_its_details(house: House) -> None:
    """`scope` holds only what is allowed on every listed resource."""
    agent, _, task, _ = await house.ready(READ, "github:issues:write@acme-corp/payroll")
    claims = unverified_claims(await agent.token(task["task_token"]))
    assert "scope" not in claims
    token = await agent.token(task["task_token"])
    assert ("POST", f"{PATH}/issues") not in await probed(house, token)
    written = await house.gateway(token, "POST", "/repos/acme-corp/payroll/issues", json={"title": "x"})
    assert written.status == 201
    assert (await house.gateway(token, "GET", "/repos/acme-corp/payroll/contents/README.md")).status == 403


async def test_headers_and_queries_of_the_agent_change_nothing_about_who_it_is(house: House) -> None:
    """OA-20's kin: nothing that decides comes from the client."""
    _, _, _, token = await house.ready()
    for header in (
        ("x-forwarded-user", "alice"),
        ("x-valetkey-scope", "repo:write"),
        ("x-http-method-override", "GET"),
        ("x-original-url", PATH),
        ("x-rewrite-url", PATH),
        ("x-forwarded-host", "evil.example"),
    ):
        refused = await house.gateway(token, "POST", f"{PATH}/issues", headers=[header], json={"title": "x"})
        assert refused.status == 403, header
        other = await house.gateway(token, "GET", "/repos/acme-corp/payroll", headers=[header])
        assert other.status == 403, header
    for query in ("?access_token=x", f"?repo={PATH}", "?_method=GET"):
        assert (await house.gateway(token, "GET", f"/repos/acme-corp/payroll{query}")).status in (400, 403), query
    assert house.github.received("POST", f"{PATH}/issues") == 0
