"""The ready rules: there without anybody's doing, observed until an administrator says otherwise, and enforced."""

import asyncio
from typing import Any

import pytest

from tests.support.house import House
from tests.support.strangers import other_organization

GRANTS = ("github:repo:read@acme-corp/payroll", "github:issues:write@acme-corp/backend")
PUBLIC, PRIVATE = "/repos/acme-corp/backend/issues", "/repos/acme-corp/payroll/issues"
FLOW = "ready/github-flow"


async def toxic(house: House) -> str:
    """A task that has read what strangers write, and what only Alice may read."""
    house.github.repository("acme-corp/backend").is_public = True
    *_, token = await house.ready(*GRANTS)
    for path in (PUBLIC, PRIVATE):
        assert (await house.gateway(token, "GET", path)).status == 200
    return token


async def chosen(house: House, mode: str, **more: Any) -> Any:
    return await house.alice.does("POST", "/v1/policies/ready", mode=mode, **more)


async def posted(house: House, token: str) -> Any:
    return await house.gateway(token, "POST", PUBLIC, json={"title": "the salaries"})


async def test_they_are_observed_until_somebody_chooses(house: House) -> None:
    shown = await house.alice.does("GET", "/v1/policies/ready")
    assert shown["mode"] == "observe"
    assert all(rule["id"].startswith("ready/") for rule in shown["rules"])
    token = await toxic(house)
    assert (await posted(house, token)).status == 201
    record = (await house.events("call.allowed"))[-1]
    assert (record["observed"], record["policies"]) == ([f"ask:{FLOW}"], [shown["edition"]])
    assert "rules" not in record
    said = await house.alice.does("GET", f"/v1/decisions/{record['id']}")
    assert f"Rule {FLOW}: This task read something private" in said["words"]


async def test_what_is_not_about_them_is_recorded_as_ever(house: House) -> None:
    token = await toxic(house)
    for record in await house.events("call.allowed"):
        assert not {"policies", "observed"} & record.keys()
    assert (await posted(house, token)).status == 201


async def test_enforced_they_ask_the_user(house: House) -> None:
    token = await toxic(house)
    await chosen(house, "enforce", why="a week of records looked right")
    reply = await posted(house, token)
    assert (reply.status, reply.code) == (403, "approval_required")
    assert house.github.received("POST", PUBLIC) == 0
    approval = reply.json()["approval"]
    bob = await house.person("bob@acme.com")
    assert (await bob.call("POST", f"/v1/approvals/{approval}/answer", answer="approve")).status in (403, 404)
    await house.alice.does("POST", f"/v1/approvals/{approval}/answer", answer="approve")
    assert (await posted(house, token)).status == 201
    record = (await house.events("call.allowed"))[-1]
    assert (record["rules"], record["approved_by"]) == ([FLOW], [house.alice.id])


@pytest.mark.parametrize("left_out", [PUBLIC, PRIVATE])
async def test_enforced_they_say_nothing_where_only_one_of_both_was_read(house: House, left_out: str) -> None:
    house.github.repository("acme-corp/backend").is_public = True
    await chosen(house, "enforce")
    *_, token = await house.ready(*GRANTS)
    for path in {PUBLIC, PRIVATE} - {left_out}:
        assert (await house.gateway(token, "GET", path)).status == 200
    assert (await posted(house, token)).status == 201
    assert not {"policies", "observed"} & (await house.events("call.allowed"))[-1].keys()


async def test_enforced_they_let_go_on_what_stays_private(house: House) -> None:
    """The same reads; the place it is written to is not open."""
    await chosen(house, "enforce")
    house.github.repository("acme-corp/payroll").is_public = True
    *_, token = await house.ready(*GRANTS)
    for path in (PUBLIC, PRIVATE):
        assert (await house.gateway(token, "GET", path)).status == 200
    assert (await posted(house, token)).status == 201


async def test_off_they_record_nothing(house: House) -> None:
    token = await toxic(house)
    await chosen(house, "off")
    assert (await posted(house, token)).status == 201
    assert not {"policies", "observed"} & (await house.events("call.allowed"))[-1].keys()


async def test_their_silence_is_no_denial_and_lets_nothing_happen_that_a_policy_denies(house: House) -> None:
    await chosen(house, "enforce")
    *_, token = await house.ready(*GRANTS)
    assert (await house.gateway(token, "GET", PUBLIC)).status == 200
    await house.alice.does("POST", "/v1/policies", text="", after=0)
    assert (await house.gateway(token, "GET", PUBLIC)).json()["reason"] == "no_rule_allows"


async def test_who_may_choose_and_that_it_is_recorded(house: House) -> None:
    bob, agent = await house.person("bob@acme.com"), await house.agent("linter")
    assert (await bob.call("POST", "/v1/policies/ready", mode="off")).status == 403
    assert (await agent.call("POST", "/v1/policies/ready", mode="off")).status == 403
    assert (await house.alice.call("POST", "/v1/policies/ready", mode="on")).status == 400
    assert (await house.alice.does("GET", "/v1/policies/ready"))["mode"] == "observe"
    shown = await chosen(house, "enforce", why="now")
    await chosen(house, "enforce", why="again")
    (event,) = await house.events("ready-rules.chosen")
    said = {name: event[name] for name in ("mode", "was", "why", "by", "edition")}
    assert said == {
        "mode": "enforce", "was": "observe", "why": "now", "by": house.alice.id, "edition": shown["edition"],
    }  # fmt: skip
    assert (await bob.call("GET", "/v1/policies/ready")).json()["mode"] == "enforce"
    assert (await house.alice.does("GET", "/v1/policies"))["data"] == []


async def test_another_organizations_choice_is_its_own(house: House) -> None:
    """Kept apart by name: what is kept for one is not found for another, nor among the versions of its policy."""
    mallory = await other_organization(house)
    await mallory.does("POST", "/v1/policies/ready", mode="enforce", why="theirs")
    assert (await house.alice.does("GET", "/v1/policies/ready"))["mode"] == "observe"
    token = await toxic(house)
    assert (await posted(house, token)).status == 201  # what another organization enforces asks nobody here
    assert await house.events("ready-rules.chosen") == []
    shown = await chosen(house, "off")
    assert (shown["mode"], shown["chosen_by"]) == ("off", house.alice.id)
    theirs = await mallory.does("GET", "/v1/policies/ready")
    assert (theirs["mode"], theirs["chosen_by"], theirs["why"]) == ("enforce", mallory.id, "theirs")
    await house.alice.does("POST", "/v1/policies", text="", after=0)
    assert [one["number"] for one in (await house.alice.does("GET", "/v1/policies"))["data"]] == [1]
    assert (await house.alice.call("GET", "/v1/policies/2")).status == 404


async def test_a_choice_in_between_is_another_question(house: House) -> None:
    token = await toxic(house)
    await chosen(house, "enforce")
    approval = (await posted(house, token)).json()["approval"]
    await chosen(house, "off")
    sent = await posted(house, token)
    assert sent.status == 201, sent.body
    await chosen(house, "enforce")
    assert (await posted(house, token)).json()["approval"] == approval  # the same rules ask the same


COMMENT = f"{PUBLIC}/1/comments"


async def test_of_fifty_at_once_on_the_last_comment_one_is_written(house: House) -> None:
    """At most twenty comments: the history is looked at again where it is recorded."""
    await chosen(house, "enforce")
    *_, token = await house.ready("github:issues:write@acme-corp/backend")
    for n in range(19):
        assert (await house.gateway(token, "POST", COMMENT, json={"body": f"{n}"})).status == 201
    replies = await asyncio.gather(*(house.gateway(token, "POST", COMMENT, json={"body": f"x{n}"}) for n in range(50)))
    assert [reply.status for reply in replies].count(201) == 1
    assert house.github.received("POST", COMMENT) == 20
    last = [one for one in await house.events("call.allowed") if one["operation"] == "issues/create-comment"][-1]
    assert last["history"]["task"]["comments"] == 19


async def test_other_writes_are_no_comments(house: House) -> None:
    await chosen(house, "enforce")
    *_, token = await house.ready("github:issues:write@acme-corp/backend")
    for n in range(21):
        assert (await house.gateway(token, "POST", PUBLIC, json={"title": f"{n}"})).status == 201
    assert (await house.gateway(token, "POST", COMMENT, json={"body": "the first"})).status == 201
    record = (await house.events("call.allowed"))[-1]
    assert record["history"]["task"]["writes"] == 21
    assert "comments" not in record["history"]["task"]


def review(comments: int) -> dict[str, Any]:
    return {"event": "COMMENT", "comments": [{"path": "a.py", "line": 1, "body": f"{n}"} for n in range(comments)]}


async def test_a_review_counts_for_as_many_comments_as_it_holds(house: House) -> None:
    await chosen(house, "enforce")
    *_, token = await house.ready("github:pulls:write,issues:write@acme-corp/backend")
    reviews = "/repos/acme-corp/backend/pulls/1/reviews"
    asked = await house.gateway(token, "POST", reviews, json=review(21))
    assert (asked.status, asked.code) == (403, "approval_required")
    assert house.github.received("POST", reviews) == 0
    await house.gateway(token, "POST", reviews, json=review(20))
    assert house.github.received("POST", reviews) == 1
    one_more = await house.gateway(token, "POST", COMMENT, json={"body": "the twenty-first"})
    assert (one_more.status, one_more.code) == (403, "approval_required")
    assert (await house.gateway(token, "POST", PUBLIC, json={"title": "no comment"})).status == 201
    assert (await house.events("call.allowed"))[-1]["history"]["task"]["comments"] == 20
