"""Who may answer is told that something waits: by the addresses they named, few words, no more often than bearable."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_approvals import PATH, asking, held, post
from tests.flows.test_rules_that_ask import ASKS, BY_BOB, READS
from tests.support.house import House, open_house
from tests.support.people import add_passkey, with_password
from tests.support.tab import Tab
from tests.support.upstream import Upstream

CANARY = "a title nobody else is told"


@pytest.fixture
async def receiver() -> AsyncIterator[Upstream]:
    """Stands where ntfy, Slack, Teams and others would."""
    async with Upstream() as up:
        up.answers("POST", "/", status=200)
        up.answers("POST", "/told", status=204)
        yield up


@pytest.fixture
async def told_house(tmp_path: Path, database_url: str | None, receiver: Upstream) -> AsyncIterator[House]:
    async with open_house(
        tmp_path / "data", database_url=database_url, local=(receiver.url.removeprefix("http://"),)
    ) as house:
        yield house


async def wants(house: House, kind: str, address: str, email: str = "alice@acme.com") -> Tab:
    """A signed-in browser whose person has just named an address."""
    tab = await house.signed_in(email)
    await tab.get("/account")
    reply = await tab.submit("/account/notices", {"kind": kind, "address": address})
    assert reply.status == 200, tab.text
    return tab


async def arrived(house: House, receiver: Upstream) -> list[Any]:
    """What the receiver was told until now."""
    await house.app.notices.round()
    await house.app.notices.settle()
    return [json.loads(seen.body) for seen in receiver.seen if seen.method == "POST"]


async def test_every_kind_says_who_waits_and_where_and_nothing_of_the_call(
    told_house: House, receiver: Upstream
) -> None:
    house = told_house
    for kind, path in (("ntfy", "/alices-topic"), ("slack", "/told"), ("teams", "/told"), ("webhook", "/told")):
        await wants(house, kind, receiver.url + path)
    _, _, _, token = await asking(house)
    approval = await held(house, token, CANARY)
    told = await arrived(house, receiver)
    link = f"{house.settings.issuer}/approvals/{approval}"
    words = "pr-reviewer-v2, acting for alice@acme.com, asks before a call. It waits for you."
    by = {next(iter(one)): one for one in told}
    assert by["topic"] == {"topic": "alices-topic", "title": "Valetkey", "message": words, "click": link}
    assert by["text"] == {"text": f"{words} <{link}|Look at it>"}
    assert by["event"] == {"event": "approval.asked", "text": words, "link": link, "count": 1}
    [card] = by["type"]["attachments"]
    assert card["content"]["body"][0]["text"] == words
    assert card["content"]["actions"][0]["url"] == link
    assert len(told) == 4
    for secret in (CANARY, "acme-corp/backend", "issues", token, "review the pull request"):
        assert all(secret.encode() not in seen.body + repr(seen.headers).encode() for seen in receiver.seen)


async def test_nobody_is_told_of_what_does_not_ask(told_house: House, receiver: Upstream) -> None:
    await wants(told_house, "webhook", f"{receiver.url}/told")
    _, _, _, token = await asking(told_house)
    assert (await told_house.gateway(token, "GET", PATH)).status == 200
    assert await arrived(told_house, receiver) == []


async def test_a_burst_is_one_notice(told_house: House, receiver: Upstream) -> None:
    house = told_house
    tab = await wants(house, "webhook", f"{receiver.url}/told")
    _, _, _, token = await asking(house)
    await held(house, token, "first")
    assert [one["count"] for one in await arrived(house, receiver)] == [1]
    for number in range(5):
        await held(house, token, f"n{number}")
    await held(house, token, "n0")  # asked once, however often it comes
    assert len(await arrived(house, receiver)) == 1
    house.clock.advance(19)
    assert len(await arrived(house, receiver)) == 1
    house.clock.advance(1)
    told = await arrived(house, receiver)
    assert [one["count"] for one in told] == [1, 5]
    assert told[1]["link"] == f"{house.settings.issuer}/approvals"
    assert "asks before 5 calls" in told[1]["text"]
    house.clock.advance(60)
    assert len(await arrived(house, receiver)) == 2
    await tab.get("/account")
    assert "last reached" in tab.text
    assert "failed" not in tab.text


async def test_what_was_answered_meanwhile_is_not_told(told_house: House, receiver: Upstream) -> None:
    house = told_house
    await wants(house, "webhook", f"{receiver.url}/told")
    _, _, _, token = await asking(house)
    await held(house, token, "first")
    second = await held(house, token, "second")
    assert len(await arrived(house, receiver)) == 1
    await house.alice.does("POST", f"/v1/approvals/{second}/answer", answer="deny")
    house.clock.advance(20)
    assert len(await arrived(house, receiver)) == 1


async def test_failures_are_counted_shown_and_end_after_three(told_house: House, receiver: Upstream) -> None:
    house = told_house
    receiver.answers("POST", "/told", status=404)
    tab = await wants(house, "slack", f"{receiver.url}/told")
    _, _, _, token = await asking(house)
    await held(house, token)
    for tried in (1, 2, 3, 3, 3):
        assert len(await arrived(house, receiver)) == tried
        house.clock.advance(20)
    await tab.get("/account")
    assert "failed 3 times since: it answers 404" in tab.text
    receiver.answers("POST", "/told", status=200)
    await tab.submit("/account/notices/try")
    assert "failed" not in tab.text
    assert "Nothing waits." in (await arrived(house, receiver))[-1]["text"]
    refused = await tab.submit("/account/notices/try")
    assert (refused.status, "a moment ago" in tab.text) == (400, True)


async def test_a_redirect_is_not_followed(told_house: House, receiver: Upstream) -> None:
    receiver.answers("POST", "/told", status=307, headers={"location": f"{receiver.url}/elsewhere"})
    tab = await wants(told_house, "webhook", f"{receiver.url}/told")
    await tab.submit("/account/notices/try")
    assert "it answers 307" in tab.text
    assert receiver.received("POST", "/elsewhere") == 0


async def test_who_a_rule_names_is_told_and_nobody_else(told_house: House, receiver: Upstream) -> None:
    house = told_house
    receiver.answers("POST", "/bob", status=200)
    await house.person("bob@acme.com")
    await wants(house, "webhook", f"{receiver.url}/told")
    await wants(house, "webhook", f"{receiver.url}/bob", "bob@acme.com")
    *_, token = await house.ready("github:repo:write@acme-corp/backend")
    await house.alice.does("POST", "/v1/policies", text=READS + ASKS + BY_BOB, after=0)
    assert (await post(house, token)).code == "approval_required"
    [told] = await arrived(house, receiver)
    assert "acting for alice@acme.com" in told["text"]
    assert (receiver.received("POST", "/bob"), receiver.received("POST", "/told")) == (1, 0)


async def test_who_was_told_and_did_not_answer_was_reached(told_house: House, receiver: Upstream) -> None:
    house = told_house
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    ask = ["github:issues:write@acme-corp/backend"]
    task = await house.task(await house.delegate(agent, ask=ask, seconds=3600), seconds=3600)
    token = await agent.token(task["task_token"])
    await held(house, token, "before anybody could be told")
    await arrived(house, receiver)
    await wants(house, "webhook", f"{receiver.url}/told")
    await held(house, token, "told")
    assert len(await arrived(house, receiver)) == 1
    house.clock.advance(600)
    token = await agent.token(task["task_token"])
    assert (await post(house, token, "told")).json()["reason"] == "approval_expired"
    assert (await post(house, token, "before anybody could be told")).json()["reason"] == "approval_unreached"


async def test_where_nobody_may_answer_nobody_is_waited_for(house: House) -> None:
    bob = await house.person("bob@acme.com")
    carol = await house.person("carol@acme.com", role="administrator")
    *_, token = await house.ready("github:repo:write@acme-corp/backend")
    await house.alice.does("POST", "/v1/policies", text=READS + ASKS + BY_BOB, after=0)
    await carol.does("POST", f"/v1/users/{bob.id}/suspend")
    refused = await post(house, token)
    assert (refused.status, refused.json()["reason"], refused.json()["outcome"]) == (
        403,
        "approval_unreached",
        "unreached",
    )
    assert await house.events("approval.asked") == []
    assert [r["reason"] for r in await house.events("call.denied")] == ["approval_unreached"]
    await carol.does("POST", f"/v1/users/{bob.id}/resume")
    assert (await post(house, token)).code == "approval_required"
    assert house.github.received("POST", PATH) == 0


async def test_an_address_is_named_and_removed_after_a_recent_proof(told_house: House, receiver: Upstream) -> None:
    house = told_house
    tab = await with_password(house)
    await tab.get("/account")
    await tab.submit("/account/notices", {"kind": "slack", "address": f"{receiver.url}/told"})
    assert receiver.url not in tab.text + (tab.reply.body.decode() if tab.reply else "")  # its secret part is sealed
    csrf = tab.csrf
    [notice] = {v for f in tab.forms() if f.action == "/account/notices/remove" for n, v in f.fields if n == "notice"}
    house.clock.advance(601)
    for action in ("/account/notices", "/account/notices/remove"):
        form = {"csrf": csrf, "notice": notice, "kind": "slack", "address": f"{receiver.url}/told"}
        reply = await tab.post(action, form)
        assert (reply.header("location") or "").startswith("/login?"), action
    again = await house.signed_in()
    await add_passkey(house, again)
    await again.get("/account")
    assert (await again.submit("/account/notices/remove")).status == 200
    assert "Send a test" not in again.text
    names = [r["event"] for r in await house.events() if r["event"].startswith("notice-address.")]
    assert names == ["notice-address.added", "notice-address.removed"]


async def test_five_addresses_and_no_more(told_house: House, receiver: Upstream) -> None:
    for number in range(5):
        await wants(told_house, "ntfy", f"{receiver.url}/topic{number}")
    tab = await told_house.signed_in()
    await tab.get("/account")
    refused = await tab.submit("/account/notices", {"kind": "ntfy", "address": f"{receiver.url}/one-more"})
    assert (refused.status, "You have 5 addresses." in tab.text) == (400, True)
