"""A rule of the organization asks: who answers is who the rule names, and the call is sent once they agreed."""

from typing import Any

from tests.support.house import House

WRITE = "github:repo:write@acme-corp/backend"
PATH = "/repos/acme-corp/backend/issues"
READS = '[[rule]]\nid = "reads"\neffect = "allow"\nactions = ["read"]\n'
ASKS = '[[rule]]\nid = "writes"\neffect = "ask"\nactions = ["write"]\nwhy = "Writing is looked at."\n'
BY_BOB = 'answered_by = ["bob@acme.com"]\n'
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
