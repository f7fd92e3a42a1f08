"""A rule of the organization asks: who answers is who the rule names, and the call is sent once they agreed."""

import asyncio
from typing import Any

from tests.support.house import House
from tests.support.http import read_reply

WRITE = "github:repo:write@acme-corp/backend"
PATH = "/repos/acme-corp/backend/issues"
STREAMED = f"{PATH}/1/labels"
"""Writes no text: its body is read only to be kept."""
READS = '[[rule]]\nid = "reads"\neffect = "allow"\nactions = ["read"]\n'
ASKS = '[[rule]]\nid = "writes"\neffect = "ask"\nactions = ["write"]\nwhy = "Writing is looked at."\n'
BY_BOB = 'answered_by = ["bob@acme.com"]\n'
ALSO_ASKS = '[[rule]]\nid = "again"\neffect = "ask"\nactions = ["write"]\n'
WRITES = '[[rule]]\nid = "writes"\neffect = "allow"\nactions = ["write"]\n'
BY_TWO = 'answered_by = ["bob@acme.com", "carol@acme.com"]\nenough = 2\n'


async def asked(house: House, rules: str) -> tuple[str, str]:
    """A token under these rules, and the approval its call waits for."""
    *_, token = await house.ready(WRITE)
    await house.alice.does("POST", "/v1/policies", text=READS + rules, after=0)
    assert (await house.gateway(token, "GET", PATH)).status == 200
    reply = await posted(house, token)
    assert (reply.status, reply.code) == (403, "approval_required"), reply.body
    return token, str(reply.json()["approval"])


async def posted(house: House, token: str) -> Any:
    return await house.gateway(token, "POST", PATH, json={"title": "hello"})


def address(approval: str) -> str:
    return f"/v1/approvals/{approval}/answer"


async def test_a_rule_that_names_nobody_asks_the_user(house: House) -> None:
    token, approval = await asked(house, ASKS)
    shown = await house.alice.does("GET", f"/v1/approvals/{approval}")
    assert "Writing is looked at." in str(shown)
    assert house.github.received("POST", PATH) == 0
    await house.alice.does("POST", address(approval), answer="approve")
    assert (await posted(house, token)).status == 201
    assert house.github.received("POST", PATH) == 1
    (version,) = (await house.alice.does("GET", "/v1/policies"))["data"]
    sent = (await house.events("call.allowed"))[-1]
    assert (sent["approval"], sent["rules"], sent["policies"]) == (approval, ["writes"], [version["id"]])


async def test_a_rule_that_names_somebody_is_not_answered_by_the_user(house: House) -> None:
    bob = await house.person("bob@acme.com")
    token, approval = await asked(house, ASKS + BY_BOB)
    refused = await house.alice.call("POST", address(approval), answer="approve")
    assert refused.status in (403, 404), refused.body
    assert (await posted(house, token)).code == "approval_required"
    await bob.does("POST", address(approval), answer="approve")
    assert (await posted(house, token)).status == 201
    assert (await house.events("call.allowed"))[-1]["approved_by"] == [bob.id]


async def test_two_persons_are_two_persons(house: House) -> None:
    bob, carol = await house.person("bob@acme.com"), await house.person("carol@acme.com")
    token, approval = await asked(house, ASKS + BY_TWO)
    await bob.does("POST", address(approval), answer="approve")
    await bob.call("POST", address(approval), answer="approve")
    assert (await posted(house, token)).code == "approval_required"
    await carol.does("POST", address(approval), answer="approve")
    assert (await posted(house, token)).status == 201
    assert house.github.received("POST", PATH) == 1


async def test_rules_applied_in_between_are_another_question(house: House) -> None:
    token, approval = await asked(house, ASKS)
    await house.alice.does("POST", address(approval), answer="approve")
    await house.alice.does("POST", "/v1/policies", text=READS + ASKS, after=1)
    reply = await posted(house, token)
    assert (reply.status, reply.code) == (403, "approval_required")
    assert reply.json()["approval"] != approval
    assert house.github.received("POST", PATH) == 0


async def test_what_a_rule_denies_is_not_sent_though_it_was_approved(house: House) -> None:
    token, approval = await asked(house, ASKS)
    await house.alice.does("POST", address(approval), answer="approve")
    await house.alice.does("POST", "/v1/policies", text=READS, after=1)
    assert (await posted(house, token)).json()["reason"] == "no_rule_allows"
    assert house.github.received("POST", PATH) == 0


async def test_the_one_a_rule_names_says_no(house: House) -> None:
    bob = await house.person("bob@acme.com")
    token, approval = await asked(house, ASKS + BY_BOB)
    await bob.does("POST", address(approval), answer="deny", message="not today")
    told = (await posted(house, token)).json()
    assert (told["reason"], told["message_from_person"]) == ("approval_denied", "not today")
    assert house.github.received("POST", PATH) == 0


async def test_two_rules_that_ask_are_two_questions(house: House) -> None:
    """One names somebody and one names nobody: neither of them speaks for the other."""
    bob = await house.person("bob@acme.com")
    token, approval = await asked(house, ASKS + BY_BOB + ALSO_ASKS)
    await bob.does("POST", address(approval), answer="approve")
    assert (await posted(house, token)).code == "approval_required"
    await house.alice.does("POST", address(approval), answer="approve")
    assert (await posted(house, token)).status == 201


async def test_nobody_agrees_to_what_was_refused(house: House) -> None:
    bob, carol = await house.person("bob@acme.com"), await house.person("carol@acme.com")
    _, approval = await asked(house, ASKS + BY_TWO)
    await bob.does("POST", address(approval), answer="deny")
    late = await carol.call("POST", address(approval), answer="approve")
    assert (late.status, late.json()["reason"]) == (409, "over")
    assert await house.events("approval.agreed") == []


async def test_an_answer_for_the_task_is_worth_as_much_as_who_gave_it(house: House) -> None:
    bob = await house.person("bob@acme.com")
    token, approval = await asked(house, ASKS + BY_BOB)
    await bob.does("POST", address(approval), answer="approve-like-this")
    assert [(await posted(house, token)).status for _ in range(2)] == [201, 409]  # the first was used up by itself
    other = {"title": "another"}
    assert (await house.gateway(token, "POST", PATH, json=other)).status == 201
    await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
    refused = await house.gateway(token, "POST", PATH, json={"title": "a third"})
    assert (refused.status, refused.json()["reason"]) == (403, "approval_unreached")  # there is nobody left to ask
    assert house.github.received("POST", PATH) == 2


async def test_what_rules_allow_while_it_waits_is_sent_whole(house: House) -> None:
    """Its body was read to be kept; rules change, and nobody has to be asked any more."""
    token, _ = await asked(house, ASKS)
    waits = [("prefer", "wait=30"), ("content-type", "application/json")]
    body = b'{"title": "hello"}'
    waiting = asyncio.create_task(house.gateway(token, "POST", PATH, headers=waits, body=body))
    for _ in range(1_000):  # until it waits: its own hold is recorded
        if len(await house.events("call.held")) == 2:
            break
    await house.alice.does("POST", "/v1/policies", text=READS + WRITES, after=1)
    assert (await waiting).status == 201
    (sent,) = [received for received in house.github.requests if (received.method, received.target) == ("POST", PATH)]
    assert sent.body == body


async def test_what_rules_allow_while_a_body_too_large_to_be_kept_is_read_is_sent_again(house: House) -> None:
    """It was read as far as nothing could be kept of it; then nobody has to be asked any more, and it is gone."""
    token, _ = await asked(house, ASKS)
    large = b"x" * (300 * 1024)
    head = [
        f"POST /p/github{STREAMED} HTTP/1.1",
        "host: x",
        "connection: close",
        "expect: 100-continue",
        f"authorization: Bearer {token}",
        f"content-length: {len(large)}",
    ]
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.settings.port)
        writer.write("\r\n".join([*head, "", ""]).encode())
        # It is told to go on once its body is read: by then a person was to be asked.
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        await house.alice.does("POST", "/v1/policies", text=READS + WRITES, after=1)
        writer.write(large)
        reply = await read_reply(reader)
        writer.close()
    assert (reply.status, reply.json()["reason"]) == (403, "send_it_again"), reply.body
    assert house.github.received("POST", STREAMED) == 0
    refused = (await house.events("call.denied"))[-1]
    assert refused["reason"] == "send_it_again"
    again = await house.gateway(token, "POST", STREAMED, body=large)
    assert house.github.received("POST", STREAMED) == 1, again.body
