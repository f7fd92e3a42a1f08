"""/audit and /v1/audit: who sees what, filters, permalinks, what belongs to a decision, and what the badge says."""

import asyncio
import contextlib
import json
import re

import pytest
from sqlalchemy import text

from tests.support.house import House
from tests.support.tab import Tab
from valetkey.server.audit import at_once

READ = "/repos/acme-corp/backend/issues"
DENIED = "/repos/acme-corp/payroll/issues"


async def lived_in(house: House) -> dict[str, str]:
    """An allowed and a denied call of Alice's; the ids in the story."""
    agent, delegation, task, token = await house.ready()
    assert (await house.gateway(token, "GET", READ)).status == 200
    assert (await house.gateway(token, "GET", DENIED)).status == 403
    await house.app.journal.settle()
    return {"agent": agent.id, "delegation": delegation["id"], "task": task["id"], "user": house.alice.id}


def body_of(tab: Tab) -> bytes:
    """What the browser shows now."""
    assert tab.reply is not None
    return tab.reply.body


async def found(tab: Tab, query: str = "") -> list[dict[str, object]]:
    await tab.get(f"/audit.json{query}")
    data: list[dict[str, object]] = json.loads(body_of(tab))["data"]
    return data


async def test_a_decision_is_found_by_everything_it_is_about(house: House) -> None:
    ids = await lived_in(house)
    tab = await house.signed_in()
    [denied] = await found(tab, "?decision=denied&reason=not_delegated")
    for name, value in {
        **ids,
        "integration": "github",
        "event": "call.denied",
        "connection": str(denied["connection"]),
    }.items():
        for query in (f"?decision=denied&{name}={value}", f"?{name}={value}"):
            assert denied["id"] in [row["id"] for row in await found(tab, query)], query
        assert await found(tab, f"?decision=denied&{name}=nothing") == [], name
    await tab.get("/audit?decision=denied")
    assert "was denied issues/list-for-repo on acme-corp/payroll at github. This was never delegated." in tab.text
    assert "alice@acme.com" in tab.text


async def test_a_person_is_found_by_address_and_an_agent_by_name(house: House) -> None:
    await lived_in(house)
    tab = await house.signed_in()
    by_id = await found(tab, f"?decision=denied&user={house.alice.id}")
    assert by_id
    assert await found(tab, "?decision=denied&user=alice%40acme.com&agent=pr-reviewer-v2") == by_id
    assert (await house.alice.does("GET", "/v1/audit?decision=denied&agent=pr-reviewer-v2"))["data"] == by_id
    for query in ("user=nobody%40acme.com", "agent=nobody", "user=pr-reviewer-v2"):
        assert await found(tab, f"?decision=denied&{query}") == [], query
    bob = await house.person("bob@acme.com")
    assert (await bob.does("GET", "/v1/audit?user=alice%40acme.com&event=call.denied"))["data"] == []


async def test_one_person_looks_in_few_places_at_once(house: House) -> None:
    tab = await house.signed_in()
    with contextlib.ExitStack() as looking:
        for _ in range(at_once.MOST - 1):
            looking.enter_context(house.app.services.looks.one(house.alice.id))
        assert (await tab.get("/audit")).status == 200
        with house.app.services.looks.one(house.alice.id):
            assert (await tab.get("/audit")).status == 429
            assert (await (await _bobs(house)).get("/audit")).status == 200
    assert (await tab.get("/audit")).status == 200


async def _bobs(house: House) -> Tab:
    await house.person("bob@acme.com")
    return await house.signed_in("bob@acme.com")


async def test_who_asks_while_a_badge_is_made_shares_the_next(house: House) -> None:
    await lived_in(house)
    await house.app.witness.write()
    badges = house.app.services.badges
    first = asyncio.create_task(badges.now())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = await asyncio.gather(*(badges.now() for _ in range(20)))
    assert (await first).holds
    assert len({id(badge) for badge in later}) == 1
    assert later[0] is not await first


async def test_times_bound_what_is_found(house: House) -> None:
    await lived_in(house)
    house.clock.advance(3_600)
    await house.alice.sign_in()
    await house.agent("later")
    tab = await house.signed_in()
    assert "agent.created" in [row["event"] for row in await found(tab, "?since=2027-01-15T08:30")]
    assert "call.denied" not in [row["event"] for row in await found(tab, "?since=2027-01-15T08:30")]
    assert "call.denied" in [row["event"] for row in await found(tab, "?until=2027-01-15T08:30&event=call.denied")]
    assert await found(tab, "?until=2027-01-15T07:59:59") == []
    assert await found(tab, "?since=2028-01-01") == []


@pytest.mark.parametrize("query", ["since=yesterday", "decision=maybe", "before=z", "user=a&user=b", "color=red"])
async def test_what_cannot_be_looked_for_is_refused(house: House, query: str) -> None:
    tab = await house.signed_in()
    assert (await tab.get(f"/audit?{query}")).status == 400


async def test_a_member_sees_hers_and_nothing_else_on_the_page_and_in_the_api(house: House) -> None:
    ids = await lived_in(house)
    bob = await house.person("bob@acme.com")
    await house.agent("bobs", owner=bob)
    await house.alice.does("POST", "/v1/revocations", node=ids["task"])
    tab = await house.signed_in("bob@acme.com")
    seen = await found(tab)
    assert "agent.created" in [row["event"] for row in seen]
    assert house.alice.id not in json.dumps(
        [row for row in seen if row["event"] not in ("user.created", "invitation.used")]
    )
    api = (await bob.does("GET", "/v1/audit"))["data"]
    assert [row["id"] for row in api] == [row["id"] for row in seen]
    assert await found(tab, f"?user={house.alice.id}&event=call.allowed") == []
    for hers in (
        await house.events("call.denied"),
        await house.events("call.finished"),
        await house.events("node.revoked"),
    ):
        assert (await tab.get(f"/audit/{hers[0]['id']}")).status == 404
        assert (await tab.get(f"/audit/{hers[0]['id']}.json")).status == 404
        assert (await bob.call("GET", f"/v1/audit/records/{hers[0]['id']}")).status == 404
        assert (await house.alice.call("GET", f"/v1/audit/records/{hers[0]['id']}")).status == 200


async def test_what_an_administrator_ended_is_seen_by_whose_it_was(house: House) -> None:
    bob = await house.person("bob@acme.com")
    await house.connect(bob)
    agent = await house.agent("bobs", owner=bob)
    delegation = await house.delegate(agent, owner=bob)
    await house.alice.does("POST", "/v1/revocations", node=delegation["id"])
    tab = await house.signed_in("bob@acme.com")
    ended = await found(tab, "?event=node.revoked")
    assert [row["node"] for row in ended] == [delegation["id"]]
    carol = await house.person("carol@acme.com")
    assert (await carol.does("GET", "/v1/audit?event=node.revoked"))["data"] == []


async def test_an_agent_reads_no_trail_and_a_stranger_signs_in_first(house: House) -> None:
    agent = await house.agent("curious")
    assert (await agent.call("GET", "/v1/audit")).status == 403
    reply = await house.call("GET", "/audit.json")
    assert reply.status == 303


async def test_pages_together_are_the_whole_trail_once(house: House) -> None:
    await lived_in(house)
    for number in range(60):
        await house.agent(f"agent-{number}")
    tab = await house.signed_in()
    whole: list[object] = []
    query = ""
    for _ in range(10):
        await tab.get(f"/audit.json{query}")
        page = json.loads(body_of(tab))
        whole += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            break
        query = f"?before={page['before']}"
    written = [json.loads(line)["id"] async for line in house.app.journal.export()]
    assert whole == sorted(written, reverse=True)


async def test_a_decision_leads_to_its_consent_task_credential_and_outcome(house: House) -> None:
    ids = await lived_in(house)
    [allowed] = await house.events("call.allowed")
    tab = await house.signed_in()
    await tab.get(f"/audit/{allowed['id']}")
    for label in ("Consent", "Task opened", "Credential issued", "Outcome"):
        assert label in tab.text, label
    links = re.findall(r'href="([^"]+)"', body_of(tab).decode())
    assert f"/delegations/{ids['delegation']}" in links
    assert f"/agents/{ids['agent']}" in links
    for event in ("delegation.recorded", "task.opened", "token.issued", "call.finished"):
        [record] = await house.events(event)
        assert f"/audit/{record['id']}" in links, event
    api = await house.alice.does("GET", f"/v1/audit/records/{allowed['id']}")
    await tab.get(f"/audit/{allowed['id']}.json")
    assert json.loads(body_of(tab)) == api == allowed


ASKS = """
[[rule]]
id = "reads"
effect = "allow"
actions = ["read"]

[[rule]]
id = "writes"
effect = "ask"
actions = ["write"]
"""


async def test_a_decision_leads_to_its_approval_and_its_rules(house: House) -> None:
    bob = await house.person("bob@acme.com")
    await house.connect(bob)
    agent = await house.agent("bobs", owner=bob)
    delegation = await house.delegate(agent, "github:repo:write@acme-corp/backend", owner=bob)
    token = await agent.token((await house.task(delegation, owner=bob))["task_token"])
    await house.alice.does("POST", "/v1/policies", text=ASKS, after=0)
    reply = await house.gateway(token, "POST", READ, json={"title": "hello"})
    assert reply.code == "approval_required", reply.body
    await bob.does("POST", f"/v1/approvals/{reply.json()['approval']}/answer", answer="approve")
    assert (await house.gateway(token, "POST", READ, json={"title": "hello"})).status == 201
    [allowed], [rules] = await house.events("call.allowed"), await house.events("policy.applied")
    approval = [*await house.events("approval.asked"), *await house.events("approval.answered")]
    for person, sees_rules in (("alice@acme.com", True), ("bob@acme.com", False)):
        tab = await house.signed_in(person)
        assert (await tab.get(f"/audit/{allowed['id']}")).status == 200
        links = re.findall(r'href="([^"]+)"', body_of(tab).decode())
        assert {f"/audit/{record['id']}" for record in approval} <= set(links)
        assert (f"/audit/{rules['id']}" in links) is sees_rules  # who applied them is the organization's to see


async def test_a_decision_under_ready_rules_leads_to_their_choice(house: House) -> None:
    """The one that was in force, for who may see who chose; of another decision, and of another choice, nothing."""
    await house.person("bob@acme.com", role="administrator")
    house.github.repository("acme-corp/backend").is_public = True
    await house.alice.does("POST", "/v1/policies/ready", mode="off")
    await house.alice.does("POST", "/v1/policies/ready", mode="observe")
    *_, token = await house.ready("github:repo:read@acme-corp/payroll", "github:issues:write@acme-corp/backend")
    for path in ("/repos/acme-corp/backend/issues", "/repos/acme-corp/payroll/issues"):
        assert (await house.gateway(token, "GET", path)).status == 200
    assert (await house.gateway(token, "POST", READ, json={"title": "hello"})).status == 201
    await house.alice.does("POST", "/v1/policies/ready", mode="enforce")
    _, chosen, later = await house.events("ready-rules.chosen")
    plain, *_, spoken = await house.events("call.allowed")
    tab = await house.signed_in()
    for record, leads in ((spoken, True), (plain, False)):
        assert (await tab.get(f"/audit/{record['id']}")).status == 200
        links = re.findall(r'href="([^"]+)"', body_of(tab).decode())
        assert (f"/audit/{chosen['id']}" in links) is leads
        assert f"/audit/{later['id']}" not in links
        said = await house.alice.does("GET", f"/v1/decisions/{record['id']}")
        assert said.get("chosen") == (chosen["id"] if leads else None)
    await tab.get(f"/audit/{chosen['id']}.json")
    assert json.loads(body_of(tab)) == chosen


async def test_who_may_not_see_the_choice_is_not_led_to_it(house: House) -> None:
    bob = await house.person("bob@acme.com")
    await house.connect(bob)
    await house.alice.does("POST", "/v1/policies/ready", mode="observe")
    await house.alice.does("POST", "/v1/policies/ready", mode="enforce")
    house.github.repository("acme-corp/backend").is_public = True
    agent = await house.agent("bobs", owner=bob)
    delegation = await house.delegate(agent, "github:repo:write@acme-corp/backend", owner=bob)
    token = await agent.token((await house.task(delegation, owner=bob))["task_token"])
    assert (await house.gateway(token, "POST", READ, json={"title": "hello"})).status in (201, 403)
    record = (await house.events("call.allowed", "call.held", "call.denied"))[-1]
    assert "chosen" not in await bob.does("GET", f"/v1/decisions/{record['id']}")


@pytest.mark.parametrize("count", [3, 9])
async def test_many_unreadable_records_in_a_row_hide_no_other(house: House, count: int) -> None:
    """Wherever the search by time comes upon them, it goes on to the next one that can be read."""
    for n in range(12):
        await house.agent(f"agent-{n}")
        house.clock.advance(60)
    tab = await house.signed_in()
    begun = (await house.events())[len(await house.events()) // 2]["time"]
    before = {row["id"] for row in await found(tab, f"?since={begun}")}
    async with house.app.database.write() as tx:
        rows = (await tx.execute(text("SELECT seq, id FROM audit_records ORDER BY seq"))).all()
        middle = len(rows) // 2
        spoiled = rows[middle - count // 2 : middle - count // 2 + count]
        for row in spoiled:
            await tx.execute(text("UPDATE audit_records SET body = :b WHERE seq = :s"), {"b": b"{", "s": row.seq})
    gone = {row.id for row in spoiled}
    assert {row["id"] for row in await found(tab, f"?since={begun}")} >= before - gone
    earlier = {row.id for row in rows[: middle - count // 2]}
    assert {row["id"] for row in await found(tab, f"?until={begun}")} & earlier


async def test_a_record_that_was_written_over_or_taken_out_hides_no_other(house: House) -> None:
    await lived_in(house)
    tab = await house.signed_in()
    before = {row["id"] for row in await found(tab, "?since=2027-01-15")}
    async with house.app.database.write() as tx:
        rows = (await tx.execute(text("SELECT seq, id FROM audit_records ORDER BY seq"))).all()
        over, out = rows[len(rows) // 2 - 1], rows[len(rows) // 2]
        await tx.execute(text("UPDATE audit_records SET body = :b WHERE seq = :s"), {"b": b"{", "s": over.seq})
        await tx.execute(text("DELETE FROM audit_records WHERE seq = :s"), {"s": out.seq})
    for query in ("", "?since=2027-01-15", "?until=2028-01-01", "?event=call.denied"):
        seen = {row["id"] for row in await found(tab, query)}
        assert seen, query
        assert not seen & {over.id, out.id}
        if "event" not in query:
            assert before - {over.id, out.id} <= seen, query


async def test_hostile_text_is_shown_and_does_nothing(house: House) -> None:
    """AUD-08, UI-03"""
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    made = await house.delegate(agent)
    await house.alice.does("POST", "/v1/revocations", node=made["id"], reason="<script>alert(1)</script>{{7*7}}")
    tab = await house.signed_in()
    for address in ("/audit", "/audit?event=node.revoked"):
        reply = await tab.get(address)
        body = body_of(tab).decode()
        assert re.findall("<script[^>]*>", body) == re.findall(r'<script src="/static/[^"]+" defer>', body)
        assert "&lt;script&gt;alert(1)" in body
        assert "{{7*7}}" in body
        assert "script-src 'self';" in dict(reply.headers)["content-security-policy"]
    await tab.get("/audit?user=" + "%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%3E")
    assert "<script>" not in body_of(tab).decode()
    assert (await tab.get("/audit?user=%E2%80%AE")).status == 400
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e{{7*7}}"
    refused = await house.alice.call("POST", "/v1/revocations", node=made["id"], reason=evil)
    assert refused.status == 400


async def test_the_badge_says_what_was_checked_and_sees_an_edit(house: House) -> None:
    await lived_in(house)
    await house.app.witness.write()
    tab = await house.signed_in()
    await tab.get("/audit")
    assert "Chain intact" in tab.text
    assert "What came before and after was not checked here" in tab.text
    async with house.app.database.write() as tx:
        row = (await tx.execute(text("SELECT seq, body FROM audit_records WHERE event = 'call.denied'"))).one()
        edited = bytes(row.body).replace(b"acme-corp/payroll", b"acme-corp/backend")
        await tx.execute(text("UPDATE audit_records SET body = :b WHERE seq = :s"), {"b": edited, "s": row.seq})
    await tab.get("/audit")
    assert "The chain does not hold" in tab.text
    assert "Chain intact" not in tab.text
