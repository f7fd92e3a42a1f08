"""The organization's policy over HTTP: applied, asked for every call, recorded with the version and the rules."""

from typing import Any

from tests.support.house import House
from valetkey.server.db.schema import policies
from valetkey.server.policy.versions import store

ISSUES = "/repos/acme-corp/backend/issues"
READS = '[[rule]]\nid = "reads"\neffect = "allow"\nintegration = "github"\nactions = ["read"]\n'
NOT_AT_NIGHT = (
    '[[rule]]\nid = "quiet"\neffect = "deny"\nwhy = "Nothing is done at night."\n'
    'when = { hours = { from = "%s", to = "%s" } }\n'
)


async def applied(house: House, text: str, after: int = 0, **more: Any) -> Any:
    return await house.alice.does("POST", "/v1/policies", text=text, after=after, **more)


async def test_a_policy_allows_and_silence_denies(house: House) -> None:
    *_, token = await house.ready("github:repo:write@acme-corp/backend")
    version = await applied(house, READS, why="to begin with")
    assert (await house.gateway(token, "GET", ISSUES)).status == 200
    refused = await house.gateway(token, "POST", ISSUES, json={"title": "hello"})
    assert refused.status == 403
    assert refused.json()["reason"] == "no_rule_allows"
    allowed, denied = (await house.events("call.allowed", "call.denied"))[-2:]
    assert (allowed["policies"], allowed["rules"]) == ([version["id"]], ["reads"])
    assert denied["policies"] == [version["id"]]
    assert "rules" not in denied
    (event,) = await house.events("policy.applied")
    assert (event["policy"], event["number"], event["why"]) == (version["id"], 1, "to begin with")


async def test_a_rule_is_named_in_words_and_explained(house: House) -> None:
    *_, token = await house.ready()
    assert (await house.gateway(token, "GET", ISSUES)).status == 200
    deny = '[[rule]]\nid = "closed"\neffect = "deny"\nintegration = "github"\nresources = ["acme-corp/backend"]\n'
    await applied(house, READS + deny + 'why = "The backend is frozen."\n')
    refused = await house.gateway(token, "GET", ISSUES)
    assert refused.status == 403
    assert "Rule closed: The backend is frozen." in refused.json()["detail"]
    (denied,) = await house.events("call.denied")
    said = await house.alice.does("GET", f"/v1/decisions/{denied['id']}")
    assert "The backend is frozen." in said["words"]
    assert said["rules"] == ["closed"]
    bob = await house.person("bob@acme.com")
    assert (await bob.call("GET", f"/v1/decisions/{denied['id']}")).status == 404


async def test_an_applied_policy_holds_for_the_next_call_of_a_token_that_is_out(house: House) -> None:
    *_, token = await house.ready()
    for after, (text, status) in enumerate([(READS, 200), ("", 403), (READS, 200)]):
        await applied(house, text, after=after)
        assert (await house.gateway(token, "GET", ISSUES)).status == status


async def test_quiet_hours_begin_for_a_call_that_was_allowed_a_moment_ago(house: House) -> None:
    from datetime import UTC, datetime

    now = datetime.fromtimestamp(house.clock.now(), UTC)
    begins = datetime.fromtimestamp(house.clock.now() + 60, UTC)
    ends = datetime.fromtimestamp(house.clock.now() + 7_200, UTC)
    assert now < begins
    *_, token = await house.ready()
    await applied(house, READS + NOT_AT_NIGHT % (f"{begins:%H:%M}", f"{ends:%H:%M}"))
    assert (await house.gateway(token, "GET", ISSUES)).status == 200
    house.clock.advance(61)
    assert (await house.gateway(token, "GET", ISSUES)).json()["reason"] == "denied_by_policy"


async def test_of_two_who_change_the_same_version_one_is_refused(house: House) -> None:
    await applied(house, READS)
    reply = await house.alice.call("POST", "/v1/policies", text="", after=0)
    assert reply.status == 409
    assert (await house.alice.does("GET", "/v1/policies/1"))["text"] == READS
    await applied(house, "", after=1)
    old = (await house.alice.does("GET", "/v1/policies/1"))["text"]
    again = await applied(house, old, after=2, why="back to 1")
    assert again["number"] == 3


async def test_who_may_apply(house: House) -> None:
    bob = await house.person("bob@acme.com")
    agent = await house.agent("linter")
    assert (await bob.call("POST", "/v1/policies", text=READS, after=0)).status == 403
    assert (await agent.call("POST", "/v1/policies", text=READS, after=0)).status == 403
    assert (await bob.call("GET", "/v1/policies")).status == 403


async def test_a_policy_that_is_not_understood_is_not_applied(house: House) -> None:
    *_, token = await house.ready()
    reply = await house.alice.call("POST", "/v1/policies", text=READS.replace("effect", "efect"), after=0)
    assert reply.status == 400
    assert "effect" in reply.json()["hint"]
    assert (await house.gateway(token, "GET", ISSUES)).status == 200


async def test_a_policy_that_is_not_understood_any_more_denies_everything(house: House) -> None:
    """Such as after an integration it names was taken away."""
    await applied(house, READS)
    async with house.app.database.write() as tx:
        from sqlalchemy import update

        await tx.execute(update(policies).values(text=READS.replace("github", "gone")))
    async with house.app.database.read() as db:
        layer = await store.Layers(house.app.catalogue).of_org(db, (await _org(house)))
    assert layer is not None
    assert not layer.clauses
    reply = await house.alice.call("POST", "/v1/policies/check", text=READS.replace("github", "gone"))
    assert reply.status == 400


async def _org(house: House) -> str:
    async with house.app.database.read() as db:
        from sqlalchemy import select

        return str((await db.execute(select(policies.c.org))).scalar())


async def test_nothing_is_issued_that_no_rule_would_ever_allow(house: House) -> None:
    agent, _, task, _ = await house.ready()
    await applied(house, READS)
    assert (await agent.exchange(task["task_token"])).status == 200
    await applied(house, READS + '[[rule]]\nid = "never"\neffect = "deny"\nagents = ["pr-reviewer-v2"]\n', after=1)
    refused = await agent.exchange(task["task_token"])
    assert refused.status == 400, refused.body
    await applied(house, "", after=2)
    assert (await agent.exchange(task["task_token"])).status == 400


async def test_observing_lets_calls_go_on_and_records_what_would_have_been(house: House) -> None:
    *_, token = await house.ready()
    watched = '[[rule]]\nid = "watched"\neffect = "deny"\nobserve = true\n'
    await applied(house, READS + watched)
    assert (await house.gateway(token, "GET", ISSUES)).status == 200
    assert (await house.events("call.allowed"))[-1]["observed"] == ["deny:watched"]
    await applied(house, READS + watched.replace("observe = true", "observe = false"), after=1)
    assert (await house.gateway(token, "GET", ISSUES)).status == 403


async def test_replaying_says_what_would_change(house: House) -> None:
    *_, token = await house.ready()
    await house.gateway(token, "GET", ISSUES)
    await house.gateway(token, "GET", f"{ISSUES}/1")
    other = '[[rule]]\nid = "one"\neffect = "deny"\nactions = ["issues/get"]\nintegration = "github"\n'
    flow = '[[rule]]\nid = "flow"\neffect = "ask"\nwhen = { labels = { all = ["private"] } }\n'
    for text, counts in (
        (READS, {"stay": 2, "change": 0, "undecided": 0}),
        (READS + other, {"stay": 1, "change": 1, "undecided": 0}),
        (READS + flow, {"stay": 0, "change": 0, "undecided": 2}),
        (READS + other + flow, {"stay": 0, "change": 1, "undecided": 1}),
    ):
        reply = await house.alice.call("POST", "/v1/policies/replay", text=text, seconds=86_400)
        lines = [line for line in reply.body.splitlines() if line]
        import json

        assert json.loads(lines[-1]) == counts
        changes = [json.loads(line) for line in lines if b'"changes"' in line]
        assert len(changes) == counts["change"]
        assert all((c["was"], c["now"], c["rules"]) == ("allow", "deny", ["one"]) for c in changes)


async def test_rules_of_ones_own_on_a_page(house: House) -> None:
    *_, token = await house.ready("github:repo:write@acme-corp/backend")
    comment = f"{ISSUES}/comments/7"
    assert (await house.gateway(token, "DELETE", comment)).json().get("reason") != "denied_by_own_rule"
    tab = await house.signed_in()
    await tab.get("/rules")
    form = {"csrf": tab.csrf, "text": "", "number": "0", "add": "never-delete"}
    assert (await tab.post("/rules", form)).status == 303
    assert "Agents delete nothing of mine." in (await tab.get("/rules")).body.decode()
    refused = await house.gateway(token, "DELETE", comment)
    assert refused.json()["reason"] == "denied_by_own_rule"
    assert (await house.gateway(token, "GET", ISSUES)).status == 200
    (event,) = await house.events("own-rules.changed")
    assert event["user"] == house.alice.id
    stale = await tab.post("/rules", form)
    assert stale.status == 400
    allows = '[[rule]]\nid = "a"\neffect = "allow"\n'
    assert (await tab.post("/rules", {"csrf": tab.csrf, "text": allows, "number": "1"})).status == 400
    assert (await tab.post("/rules", {"csrf": tab.csrf, "text": "", "number": "1"})).status == 303
    assert (await house.gateway(token, "DELETE", comment)).json().get("reason") != "denied_by_own_rule"
