"""Approvals: a call that waits for a person, and is sent once, as it was kept."""

import asyncio
from typing import Any

from tests.support.house import House, Robot
from tests.support.http import call
from valetkey.server.listen import Listener

PATH = "/repos/acme-corp/backend/issues"
WRITE = "github:issues:write@acme-corp/backend"


async def asking(house: House, **more: Any) -> tuple[Robot, Any, Any, str]:
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    delegation = await house.delegate(agent, "github:repo:read@acme-corp/backend", ask=[WRITE], **more)
    task = await house.task(delegation)
    return agent, delegation, task, await agent.token(task["task_token"])


async def post(house: House, token: str, title: str = "hello", **more: Any) -> Any:
    return await house.gateway(token, "POST", PATH, json={"title": title}, **more)


async def held(house: House, token: str, title: str = "hello") -> str:
    reply = await post(house, token, title)
    assert (reply.status, reply.code) == (403, "approval_required"), reply.body
    return str(reply.json()["approval"])


async def test_a_held_call_is_sent_once_after_a_yes(house: House) -> None:
    _, delegation, _, token = await asking(house)
    assert "asking before each call" in delegation["sentence"]
    assert (await house.gateway(token, "GET", PATH)).status == 200  # what does not ask goes on
    reply = await post(house, token)
    told = reply.json()
    assert (reply.status, told["code"], told["outcome"]) == (403, "approval_required", "pending")
    assert told["link"] == f"{house.settings.issuer}/approvals/{told['approval']}"
    assert reply.header("retry-after") == "10"
    assert house.github.received("POST", PATH) == 0
    assert await held(house, token) == told["approval"]  # asked once, however often it comes
    await house.alice.does("POST", f"/v1/approvals/{told['approval']}/answer", answer="approve")
    assert (await post(house, token)).status == 201
    again = await post(house, token)
    assert (again.status, again.json()["reason"]) == (409, "approval_used")
    assert house.github.received("POST", PATH) == 1
    names = [e["event"] for e in await house.events() if "approval" in e["event"] or e["event"].startswith("call.")]
    assert names.count("approval.asked") == names.count("approval.answered") == 1
    assert names.count("call.held") == 2


async def answered(house: House, approval: str, answer: str = "approve", **more: Any) -> Any:
    return await house.alice.does("POST", f"/v1/approvals/{approval}/answer", answer=answer, **more)


async def test_what_was_kept_is_sent_once_byte_for_byte(house: House) -> None:
    _, _, _, token = await asking(house)
    raw = b'{ "title":\t"as  it was" }'
    headers = [("content-type", "application/json"), ("traceparent", "00-1")]
    first = await house.gateway(token, "POST", PATH, headers=headers, body=raw)
    await answered(house, first.json()["approval"])
    again = [("content-type", "application/json"), ("traceparent", "00-2")]
    assert (await house.gateway(token, "POST", PATH, headers=again, body=raw)).status == 201
    assert house.github.received("POST", PATH) == 1


async def test_ap_02_one_changed_byte_is_another_question(house: House) -> None:
    _, _, _, token = await asking(house)
    first = await held(house, token, "hello")
    await answered(house, first)
    assert await held(house, token, "hellp") != first
    assert house.github.received("POST", PATH) == 0
    assert (await post(house, token, "hello")).status == 201


async def test_of_fifty_at_once_one_is_sent(house: House) -> None:
    _, _, _, token = await asking(house)
    await answered(house, await held(house, token))
    replies = await asyncio.gather(*(post(house, token) for _ in range(50)))
    assert sorted(r.status for r in replies) == [201] + [409] * 49
    assert house.github.received("POST", PATH) == 1


async def test_fifty_at_once_are_asked_about_once(house: House) -> None:
    _, _, _, token = await asking(house)
    replies = await asyncio.gather(*(post(house, token) for _ in range(20)))
    assert len({r.json()["approval"] for r in replies}) == 1
    assert len(await house.events("approval.asked")) == 1


async def test_of_many_answers_at_once_one_counts(house: House) -> None:
    _, _, _, token = await asking(house)
    approval = await held(house, token)
    address = f"/v1/approvals/{approval}/answer"
    said = ["approve", "deny"] * 25
    replies = await asyncio.gather(*(house.alice.call("POST", address, answer=one) for one in said))
    assert sorted(r.status for r in replies) == [200] + [409] * 49
    assert len(await house.events("approval.answered")) == 1


async def test_a_no_reaches_the_agent_with_its_words(house: House) -> None:
    agent, _, _, token = await asking(house)
    approval = await held(house, token)
    await answered(house, approval, "deny", message="ask in the review")
    reply = await post(house, token)
    told = reply.json()
    assert (reply.status, told["reason"], told["outcome"]) == (403, "approval_denied", "denied")
    assert told["message_from_person"] == "ask in the review"
    seen = (await agent.call("GET", f"/v1/approvals/{approval}")).json()
    assert (seen["status"], seen["message"]) == ("denied", "ask in the review")
    assert "call" not in seen
    assert house.github.received("POST", PATH) == 0


async def test_an_approval_ends_by_time_and_is_told_once(house: House) -> None:
    agent, delegation, task, token = await asking(house, seconds=3600)
    first = await held(house, token)
    await answered(house, first)
    house.clock.advance(600)
    await house.alice.sign_in()
    task = await house.task(delegation)
    other = await agent.token(task["task_token"])
    assert await held(house, other) != first  # another task is another question
    assert house.github.received("POST", PATH) == 0


async def test_expired_and_unreached_are_told_apart(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    delegation = await house.delegate(agent, ask=[WRITE], seconds=3600)
    task = await house.task(delegation, seconds=3600)
    token = await agent.token(task["task_token"])
    seen, unseen = await held(house, token, "seen"), await held(house, token, "unseen")
    await house.alice.does("GET", f"/v1/approvals/{seen}")
    house.clock.advance(600)
    token = await agent.token(task["task_token"])
    assert (await post(house, token, "seen")).json()["reason"] == "approval_expired"
    assert (await post(house, token, "unseen")).json()["reason"] == "approval_unreached"
    assert await held(house, token, "unseen") != unseen  # told once; the next one asks anew
    await house.alice.sign_in()
    late = await house.alice.call("POST", f"/v1/approvals/{seen}/answer", answer="approve")
    assert late.status == 409


async def test_ap_04_the_agent_cannot_approve(house: House) -> None:
    agent, _, _, token = await asking(house)
    approval = await held(house, token)
    refused = await agent.call("POST", f"/v1/approvals/{approval}/answer", answer="approve")
    assert refused.status == 403
    bob = await house.person("bob@acme.com")
    assert (await bob.call("GET", f"/v1/approvals/{approval}")).status == 404
    assert (await bob.call("POST", f"/v1/approvals/{approval}/answer", answer="approve")).status == 404
    await held(house, token)
    assert house.github.received("POST", PATH) == 0


async def test_the_agent_takes_its_question_back(house: House) -> None:
    agent, _, _, token = await asking(house)
    approval = await held(house, token)
    assert (await agent.call("POST", f"/v1/approvals/{approval}/cancel")).json()["status"] == "cancelled"
    assert (await post(house, token)).json()["reason"] == "approval_cancelled"
    assert (await house.alice.call("POST", f"/v1/approvals/{approval}/answer", answer="approve")).status == 409


async def test_the_tasks_end_ends_it(house: House) -> None:
    _, _, task, token = await asking(house)
    approval = await held(house, token)
    await answered(house, approval)
    await house.alice.does("POST", "/v1/revocations", node=task["id"])
    assert (await post(house, token)).code == "revoked"
    assert house.github.received("POST", PATH) == 0


async def test_an_answer_for_the_task_holds_for_what_is_like_it(house: House) -> None:
    _, _, _, token = await asking(house)
    await answered(house, await held(house, token, "one"), "approve-like-this")
    assert (await post(house, token, "one")).status == 201
    assert (await post(house, token, "two")).status == 201
    other = await house.gateway(token, "POST", f"{PATH}/1/comments", json={"body": "x"})
    assert other.code == "approval_required"  # another operation


async def test_an_answer_for_the_task_can_be_taken_back(house: House) -> None:
    _, _, _, token = await asking(house)
    await answered(house, await held(house, token, "one"), "approve-like-this")
    assert (await post(house, token, "two")).status == 201
    [given] = (await house.alice.does("GET", "/v1/approvals"))["standing"]
    assert "until its task ends" in given["words"]
    await house.alice.does("POST", f"/v1/standing-answers/{given['id']}/end")
    await held(house, token, "three")


async def test_who_waits_is_answered_when_the_person_is(house: House) -> None:
    _, _, _, token = await asking(house)
    approval = await held(house, token)
    waiting = asyncio.create_task(post(house, token, headers=[("prefer", "wait=30")]))
    for _ in range(1_000):  # until it waits: its own hold is recorded
        if len(await house.events("call.held")) == 2:
            break
    await answered(house, approval)
    assert (await waiting).status == 201
    assert house.github.received("POST", PATH) == 1


async def test_ap_06_an_agent_cannot_flood_a_person(house: House) -> None:
    _, _, _, token = await asking(house)
    for number in range(10):
        last = await held(house, token, f"n{number}")
    over = await post(house, token, "one more")
    assert (over.status, over.json()["reason"]) == (429, "too_many_approvals")
    await answered(house, last, "deny")
    await held(house, token, "one more")


async def test_a_body_that_is_too_large_cannot_be_approved(house: House) -> None:
    _, _, _, token = await asking(house)
    labels = [{"name": "x" * (256 * 1024)}]
    reply = await house.gateway(token, "POST", f"{PATH}/42/labels", json=labels)
    assert (reply.status, reply.json()["reason"]) == (403, "too_large_to_be_approved")
    text = await post(house, token, "x" * (256 * 1024))  # no text that an API takes is as long
    assert (text.status, text.code) == (400, "invalid_request")
    await held(house, token, "x" * (100 * 1024))


async def test_what_nobody_can_read_needs_a_fresh_proof(house: House) -> None:
    _, _, _, token = await asking(house)
    approval = await held(house, token, "x" * (100 * 1024))
    refused = await house.alice.call("POST", f"/v1/approvals/{approval}/answer", answer="approve")
    assert (refused.status, refused.json()["reason"]) == (403, "not_fresh")
    assert f"/approvals/{approval}" in refused.json()["hint"]


async def test_an_approval_of_somebody_suspended_since_is_none(house: House) -> None:
    bob = await house.person("bob@acme.com", role="administrator")
    _, _, _, token = await asking(house)
    await answered(house, await held(house, token))
    await bob.does("POST", f"/v1/users/{house.alice.id}/suspend")
    assert (await post(house, token)).status == 403
    assert house.github.received("POST", PATH) == 0


async def test_a_page_shows_the_bytes_and_answers_by_its_form_alone(house: House) -> None:
    _, _, _, token = await asking(house)
    approval = await held(house, token, "hello <b>world</b>")
    tab = await house.signed_in()
    assert (await house.call("GET", f"/approvals/{approval}")).status == 303  # a bot that follows the link: to sign in
    await tab.get(f"/approvals/{approval}")
    await tab.get(f"/approvals/{approval}?answer=approve")
    assert "hello <b>world</b>" in tab.text
    assert "POST" in tab.text
    assert "a claim" in tab.text
    assert tab.reply is not None
    assert tab.reply.header("x-frame-options") == "DENY"
    assert "frame-ancestors 'none'" in (tab.reply.header("content-security-policy") or "")
    await held(house, token, "hello <b>world</b>")  # looking answered nothing
    forged = await tab.post(f"/approvals/{approval}", {"answer": "approve", "csrf": "0" * 64})
    assert forged.status == 403
    await tab.get(f"/approvals/{approval}")
    await tab.submit(f"/approvals/{approval}", button="Approve once")
    assert "Approved" in tab.text
    twice = await tab.post(f"/approvals/{approval}", {"answer": "approve", "csrf": tab.csrf})
    assert twice.status == 409  # a double click, or a second tab
    assert (await post(house, token, "hello <b>world</b>")).status == 201


async def test_a_no_on_the_page(house: House) -> None:
    _, _, _, token = await asking(house)
    approval = await held(house, token)
    tab = await house.signed_in()
    await tab.get("/approvals")
    assert f"/approvals/{approval}" in tab.links()
    await tab.get(f"/approvals/{approval}")
    form = {"answer": "deny", "message": "not now", "csrf": tab.csrf}
    assert (await tab.post(f"/approvals/{approval}", form)).status == 303
    assert (await post(house, token)).json()["message_from_person"] == "not now"


async def test_an_engine_is_told_to_use_the_gateway(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    task = await house.task(await house.delegate(agent, ask=[WRITE]))
    token = await agent.token(task["task_token"])
    engine = await house.alice.does(
        "POST", "/v1/engines", name="edge", integration="github", address="https://github.acme.com"
    )
    headers = {"authorization": f"Bearer {token}", "x-valetkey-engine": engine["secret"]}
    async with Listener(house.app.decisions, host="127.0.0.1", port=0) as door:
        reply = await call(f"http://127.0.0.1:{door.port}", "POST", f"/ext-authz{PATH}", headers=headers)
    assert reply.status == 403, (reply.status, reply.headers, reply.body)
    assert reply.json()["reason"] == "approval_needs_the_gateway"
    assert await house.events("approval.asked") == []


async def test_an_engine_is_told_nothing_of_calls_whose_bytes_are_counted(house: House) -> None:
    """It would carry them past us. With calls counted instead of bytes it may."""
    engine = await house.alice.does(
        "POST", "/v1/engines", name="edge", integration="github", address="https://github.acme.com"
    )
    await house.connect()
    agent = await house.agent("pr-reviewer-v2")
    for budget, status in (({"max_calls": 10}, 200), ({"max_bytes": 10_000}, 403)):
        task = await house.task(await house.delegate(agent, **budget))
        token = await agent.token(task["task_token"])
        headers = {"authorization": f"Bearer {token}", "x-valetkey-engine": engine["secret"]}
        async with Listener(house.app.decisions, host="127.0.0.1", port=0) as door:
            reply = await call(f"http://127.0.0.1:{door.port}", "GET", f"/ext-authz{PATH}", headers=headers)
        assert reply.status == status, reply.body
    assert reply.json()["reason"] == "unseen_bytes"
    assert [record["reason"] for record in await house.events("call.denied")] == ["unseen_bytes"]


async def test_a_dangerous_call_needs_a_fresh_proof(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2", ceiling=["github:repo:read,admin@*"])
    await house.connect()
    task = await house.task(await house.delegate(agent, ask=["github:admin@acme-corp/backend"], seconds=3600))
    token = await agent.token(task["task_token"])
    reply = await house.gateway(token, "DELETE", "/repos/acme-corp/backend")
    assert reply.code == "approval_required", reply.body
    approval = reply.json()["approval"]
    for answer in ("approve", "approve-like-this"):
        refused = await house.alice.call("POST", f"/v1/approvals/{approval}/answer", answer=answer)
        assert refused.status == 403
    tab = await house.signed_in()
    await tab.get(f"/approvals/{approval}")
    assert "Approve once" not in tab.text
    for answer in ("approve", "like-this"):
        await tab.get(f"/approvals/{approval}")
        assert (await tab.post(f"/approvals/{approval}", {"answer": answer, "csrf": tab.csrf})).status == 403
    assert await house.events("approval.answered") == []  # what is enough: test_approvals_proven


async def test_what_was_kept_is_forgotten_a_day_after_its_end(house: House) -> None:
    _, _, _, token = await asking(house)
    approval = await held(house, token, "a canary of a title")
    house.clock.advance(86_400 + 599)
    assert await house.app.forget.sweep() == 0  # its time was over a second less than a day ago
    await house.alice.sign_in()
    assert "a canary of a title" in str(await house.alice.does("GET", f"/v1/approvals/{approval}"))
    house.clock.advance(1)
    assert await house.app.forget.sweep() == 1
    seen = await house.alice.does("GET", f"/v1/approvals/{approval}")
    assert "a canary of a title" not in str(seen)
    assert (seen["status"], seen["resources"]) == ("unreached", ["acme-corp/backend"])
    assert "forgotten" in seen["call"]["body_kind"]
    tab = await house.signed_in()
    assert (await tab.get(f"/approvals/{approval}")).status == 200
    assert "forgotten" in tab.text
    assert "Approve once" not in tab.text
    assert await house.app.forget.sweep() == 0


async def test_what_can_still_be_sent_is_not_forgotten(house: House) -> None:
    _, _, _, token = await asking(house)
    await answered(house, await held(house, token))
    assert await house.app.forget.sweep() == 0
    assert (await post(house, token)).status == 201
