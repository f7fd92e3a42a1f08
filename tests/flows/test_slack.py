"""Slack judged by workspace and channel: what an agent may say in #engineering it may not say in #random."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import House, Robot, open_house
from tests.support.http import Reply
from tests.support.slack import BOB, CREDENTIAL, DIRECT, ENGINEERING, GENERAL, RANDOM, Workspace
from tests.support.upstream import Upstream

SLACK = "https://slack.com/api"
SCOPES = "chat:write,chat:schedule,messages:read,files:write,dms:write,search:read,chat:broadcast,reactions:write"
POST = "/chat.postMessage"


@dataclass
class Story:
    """Alice's workspace is connected; agents come with what she gave them there."""

    house: House
    work: Workspace

    async def given(self, *grants: str, agent: Robot | None = None) -> str:
        """A delegated credential under these grants."""
        agent = agent or await self.house.agent("poster", ceiling=[f"slack:{SCOPES}@*"])
        task = await self.house.task(await self.house.delegate(agent, *grants))
        return await agent.token(task["task_token"], resource=SLACK)

    async def call(self, token: str, path: str = POST, method: str = "POST", **more: Any) -> Reply:
        """One call to Slack through the gateway."""
        return await self.house.call(
            method, f"/p/slack{path}", headers=[("authorization", f"Bearer {token}"), *more.pop("headers", [])], **more
        )

    async def says(self, token: str, channel: str, path: str = POST, **more: Any) -> Reply:
        """The same with a channel in JSON."""
        return await self.call(token, path, json={"channel": channel, "text": "hello", **more})


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with contextlib.AsyncExitStack() as stack:
        up = await stack.enter_async_context(Upstream())
        work = Workspace(up)
        local = (f"127.0.0.1:{up.port}",)
        house = await stack.enter_async_context(
            open_house(tmp_path / "data", database_url=database_url, local=local, upstreams={"slack": up.url})
        )
        await house.alice.does("POST", "/v1/connections", integration="slack", credential=CREDENTIAL)
        yield Story(house, work)


def is_denied(reply: Reply, reason: str = "not_delegated") -> bool:
    """As Slack says no: by 200, with the real status beside it."""
    said = reply.json()
    told = (said["ok"], said["error"], said["status"], said.get("reason"))
    return (reply.status, told) == (200, (False, "denied", 403, reason))


@pytest.mark.parametrize("grant", ["#engineering", "engineering", ENGINEERING])
async def test_a_message_goes_to_the_channel_that_was_given_and_to_no_other(story: Story, grant: str) -> None:
    token = await story.given(f"slack:chat:write@{grant}")
    for spelled in ("#engineering", "engineering", ENGINEERING):
        assert (await story.says(token, spelled)).status == 200
    for other in ("#random", "random", RANDOM, "#nowhere", "C9NOWHERE", DIRECT, "U9NOBODY"):
        assert is_denied(await story.says(token, other)), other
    assert {said["channel"] for said in story.work.said} == {ENGINEERING}
    [first, *_] = await story.house.events("call.allowed")
    assert (first["operation"], first["resource"], first["resource_id"]) == (
        "chat/postMessage",
        "#engineering",
        ENGINEERING,
    )


async def test_what_was_read_is_what_is_sent_byte_for_byte(story: Story) -> None:
    token = await story.given("slack:chat:write@#engineering")
    bodies = {
        "application/json": (
            b'{ "channel": "C1ENG", "text": "h\\u00e9" }',
            b"application/json; charset=utf-8",
            '{"channel":"C1ENG","text":"hé"}'.encode(),
        ),
        "application/x-www-form-urlencoded": (
            b"channel=C1ENG&text=a%20b;c",
            b"application/x-www-form-urlencoded",
            b"channel=C1ENG&text=a+b%3Bc",
        ),
        "multipart/form-data; boundary=x": (
            b'--x\r\nContent-Disposition: form-data; name="channel"\r\n\r\nC1ENG\r\n--x--\r\n',
            b"multipart/form-data; boundary=valetkey",
            b'--valetkey\r\nContent-Disposition: form-data; name="channel"\r\n\r\nC1ENG\r\n--valetkey--\r\n',
        ),
    }
    for content_type, (came, sent_type, sent) in bodies.items():
        reply = await story.call(token, body=came, headers=[("content-type", content_type)])
        assert reply.status == 200, reply.body
        last = story.work.up.last
        assert (last.header("content-type"), last.body, last.oddities) == (sent_type, sent, [])
        assert last.header("content-length") == str(len(sent)).encode()
        assert last.header("authorization") == f"Bearer {CREDENTIAL}".encode()
        denied = await story.call(
            token, body=came.replace(b"C1ENG", b"C2RND"), headers=[("content-type", content_type)]
        )
        assert is_denied(denied)
    assert story.work.posted() == len(bodies)


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        (POST, "application/json", b'{"channel":"C1ENG","channel":"C2RND"}'),
        (f"{POST}?channel=C2RND", "application/json", b'{"channel":"C1ENG"}'),
        (f"{POST}?channel=C2RND&channel=C1ENG", "application/json", b"{}"),
        (POST, "application/x-www-form-urlencoded", b"channel=C1ENG&channel=C2RND"),
        (POST, "application/x-www-form-urlencoded", b'{"channel":"C1ENG"}'),
        (POST, "application/json", b"channel=C1ENG"),
        (POST, "text/plain", b'{"channel":"C1ENG"}'),
        (POST, "application/json", b'{"channel":"C1ENG","token":"xoxp-other"}'),
        (POST, "application/x-www-form-urlencoded", b"channel=C1ENG&token=xoxp-other"),
        (f"{POST}?token=xoxp-other", "application/json", b'{"channel":"C1ENG"}'),
        (POST, "application/json", b'{"channel":"C1ENG","blocks":"["}'),
    ],
)
async def test_what_has_two_readings_or_another_token_is_refused_unsent(
    story: Story, path: str, content_type: str, body: bytes
) -> None:
    token = await story.given("slack:chat:write@*")
    headers = [("content-type", content_type)]
    refused = await story.call(token, path, body=body, headers=headers)
    assert (refused.status, refused.json()["ok"], refused.json()["status"]) == (200, False, 400)
    assert refused.code == "invalid_request"
    assert story.work.posted() == 0
    assert (await story.call(token, json={"channel": ENGINEERING})).status == 200


async def test_a_channel_that_was_named_is_sent_as_the_id_that_was_judged(story: Story) -> None:
    token = await story.given("slack:chat:write,messages:read@#engineering")
    assert (await story.says(token, "#engineering")).status == 200
    assert json.loads(story.work.up.last.body) == {"channel": ENGINEERING, "text": "hello"}
    read = await story.call(token, "/conversations.history?channel=engineering&limit=5", "GET")
    assert read.status == 200
    assert story.work.up.last.target == f"/conversations.history?channel={ENGINEERING}&limit=5".encode()
    assert is_denied(await story.call(token, "/conversations.history?channel=random&limit=5", "GET"))


async def test_another_channel_behind_a_name_that_was_given_is_refused(story: Story) -> None:
    token = await story.given("slack:chat:write@#engineering")
    assert (await story.says(token, "#engineering")).status == 200
    story.work.channels[ENGINEERING] = "engineering-old"
    story.work.channels["C4NEW"] = "engineering"
    before = story.work.posted()
    assert is_denied(await story.says(token, "#engineering"), "resource_changed")
    assert is_denied(await story.says(token, "C4NEW"), "resource_changed")
    assert story.work.posted() == before
    assert (await story.says(token, ENGINEERING)).status == 200  # the id decides, whatever it is called now


async def test_a_channel_of_another_workspace_is_another_thing(story: Story) -> None:
    token = await story.given("slack:chat:write@#engineering")
    assert (await story.says(token, ENGINEERING)).status == 200
    story.work.team = "T2OTHER"
    assert is_denied(await story.says(token, ENGINEERING), "resource_changed")


async def test_a_name_is_found_beyond_the_first_page_and_asked_by_its_id_from_then_on(story: Story) -> None:
    token = await story.given("slack:chat:write@#engineering")
    walked = story.work.posted("/conversations.list")
    assert walked == 2  # three channels, two on a page
    for _ in range(2):
        assert (await story.says(token, "#engineering")).status == 200
    assert story.work.posted("/conversations.list") == walked
    assert story.work.posted("/conversations.info") == 2  # fresh for every write


async def test_a_list_that_does_not_end_is_walked_fifty_pages_far(story: Story) -> None:
    token = await story.given("slack:chat:write@#engineering")
    before = story.work.posted("/conversations.list")
    story.work.is_endless = True
    assert is_denied(await story.says(token, "#nowhere"))
    assert story.work.posted("/conversations.list") == before + 50
    assert (await story.says(token, "#engineering")).status == 200


async def test_several_channels_are_several_calls_and_each_must_be_given(story: Story) -> None:
    token = await story.given("slack:files:write@#engineering,#general")
    path = "/files.completeUploadExternal"
    files = [{"id": "F1", "title": "a"}]
    done = await story.call(token, path, json={"files": files, "channels": f"{ENGINEERING},general"})
    assert done.status == 200
    assert story.work.said[-1]["channels"] == f"{ENGINEERING},{GENERAL}"
    [allowed] = await story.house.events("call.allowed")
    assert allowed["resource_id"] == ENGINEERING
    assert [also["resource_id"] for also in allowed["also"]] == [GENERAL]
    assert is_denied(await story.call(token, path, json={"files": files, "channels": f"{ENGINEERING},{RANDOM}"}))
    assert is_denied(await story.call(token, path, json={"files": files}))
    assert story.work.posted(path) == 1


async def test_a_direct_message_is_nobodys_channel(story: Story) -> None:
    channel = await story.given("slack:chat:write@#engineering")
    for target in (BOB, DIRECT):
        assert is_denied(await story.says(channel, target))
    agent = await story.house.agent("whisperer", ceiling=[f"slack:{SCOPES}@*"])
    person = await story.given(f"slack:chat:write,dms:write@{BOB}", agent=agent)
    assert (await story.says(person, BOB)).status == 200
    assert story.work.said[-1]["channel"] == BOB
    assert (await story.call(person, "/conversations.open", json={"users": BOB})).status == 200
    assert is_denied(await story.call(person, "/conversations.open", json={"users": f"{BOB},U9NOBODY"}))
    assert is_denied(await story.says(person, ENGINEERING))
    everywhere = await story.given("slack:chat:write@*", agent=agent)
    for target in (BOB, DIRECT, ENGINEERING):
        assert (await story.says(everywhere, target)).status == 200


@pytest.mark.parametrize(
    ("path", "scope", "arguments"),
    [
        ("/search.messages", "search:read", {"query": "in:#engineering secrets"}),
        ("/files.delete", "files:write", {"file": "F1"}),
        ("/chat.postMessage", "chat:write", {"text": "where?"}),
        ("/chat.postMessage", "chat:write", {"channel": ENGINEERING, "channel_id": RANDOM}),
        ("/reactions.add", "reactions:write", {"channel": ENGINEERING, "file": "F1", "name": "x"}),
    ],
)
async def test_what_is_about_more_than_a_channel_needs_everything(
    story: Story, path: str, scope: str, arguments: dict[str, Any]
) -> None:
    agent = await story.house.agent("searcher", ceiling=[f"slack:{SCOPES}@*"])
    limited = await story.given(f"slack:{scope}@#engineering", agent=agent)
    assert is_denied(await story.call(limited, path, json=arguments))
    assert story.work.posted(path) == 0
    everywhere = await story.given(f"slack:{scope}@*", agent=agent)
    assert (await story.call(everywhere, path, json=arguments)).status == 200


async def test_calling_everybody_is_a_scope_of_its_own(story: Story) -> None:
    agent = await story.house.agent("crier", ceiling=[f"slack:{SCOPES}@*"])
    quiet = await story.given("slack:chat:write@#engineering", agent=agent)
    blocks = json.dumps([{"type": "rich_text", "elements": [{"type": "broadcast", "range": "here"}]}])
    for message in ({"text": "<!channel> look"}, {"blocks": blocks}, {"text": "@here", "link_names": 1}):
        assert is_denied(await story.says(quiet, ENGINEERING, **message))
    assert story.work.posted() == 0
    loud = await story.given("slack:chat:write,chat:broadcast@#engineering", agent=agent)
    assert (await story.says(loud, ENGINEERING, text="<!channel> look")).status == 200
    assert is_denied(await story.says(loud, RANDOM, text="<!channel> look"))
    elsewhere = await story.given("slack:chat:write@#engineering", "slack:chat:broadcast@#general", agent=agent)
    assert is_denied(await story.says(elsewhere, ENGINEERING, text="<!channel> look"))
    [allowed] = await story.house.events("call.allowed")
    assert [also["operation"] for also in allowed["also"]] == ["chat/broadcast"]


async def test_a_message_for_later_is_a_scope_of_its_own(story: Story) -> None:
    agent = await story.house.agent("planner", ceiling=[f"slack:{SCOPES}@*"])
    now = await story.given("slack:chat:write@#engineering", agent=agent)
    later = "/chat.scheduleMessage"
    assert is_denied(await story.says(now, ENGINEERING, later, post_at=1_900_000_000))
    assert story.work.posted(later) == 0
    planned = await story.given("slack:chat:schedule@#engineering", agent=agent)
    assert (await story.says(planned, ENGINEERING, later, post_at=1_900_000_000)).status == 200
    assert is_denied(await story.says(planned, RANDOM, later, post_at=1_900_000_000))


@pytest.mark.parametrize(
    "path", ["/auth.revoke", "/admin.users.list", "/oauth.v2.exchange", "/Chat.postMessage", "/chat"]
)
async def test_what_no_scope_holds_is_denied_to_everybody(story: Story, path: str) -> None:
    token = await story.given(f"slack:{SCOPES}@*")
    assert is_denied(await story.call(token, path, json={"channel": ENGINEERING}), "unknown_operation")
    assert story.work.posted(path) == 0


async def test_a_failure_that_is_called_200_is_recorded_as_a_failure(story: Story) -> None:
    token = await story.given("slack:chat:write@#engineering")
    refused = await story.call(token, "/chat.delete", json={"channel": ENGINEERING, "ts": "1.2"})
    assert (refused.status, refused.json()["ok"]) == (200, False)
    assert (await story.says(token, ENGINEERING)).json()["ok"]
    piecewise = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    piecewise += b'1\r\n{\r\n11\r\n "ok" : false   }\r\n0\r\n\r\n'
    story.work.up.answers("POST", "/chat.update", script=piecewise)
    assert (await story.says(token, ENGINEERING, "/chat.update", ts="1.2")).status == 200
    await story.house.app.calls.settle()
    outcomes = await story.house.events("call.finished")
    assert [(o["status"], o["ended"]) for o in outcomes] == [(200, "failed"), (200, "complete"), (200, "failed")]


async def test_a_budget_that_is_used_up_is_said_at_once_and_not_to_be_waited_for(story: Story) -> None:
    agent = await story.house.agent("poster", ceiling=[f"slack:{SCOPES}@*"])
    delegation = await story.house.delegate(agent, "slack:chat:write@#engineering", max_calls=1)
    task = await story.house.task(delegation)
    token = await agent.token(task["task_token"], resource=SLACK)
    assert (await story.says(token, "#engineering")).json()["ok"] is True
    refused = await story.says(token, "#engineering")
    assert (refused.status, refused.json()["error"], refused.told) == (200, "too_many", 429)
    assert story.work.posted() == 1


async def test_who_asks_for_problem_details_or_proves_a_key_gets_the_real_status(story: Story) -> None:
    token = await story.given("slack:chat:write@#engineering")
    asking = [("accept", "application/problem+json")]
    refused = await story.call(token, json={"channel": "#random"}, headers=asking)
    assert (refused.status, refused.code, "ok" in refused.json()) == (403, "denied", False)
    unproven = await story.house.call("POST", f"/p/slack{POST}", headers={"authorization": f"DPoP {token}"})
    assert unproven.status == 401
    nobody = await story.house.call("POST", f"/p/slack{POST}", headers={"authorization": "Bearer nobody"})
    assert (nobody.status, nobody.json()["ok"], nobody.json()["status"]) == (200, False, 401)


@pytest.mark.parametrize("ceiling", ["#engineering", "engineering"])
async def test_a_ceiling_on_a_channel_bounds_what_alice_may_give(story: Story, ceiling: str) -> None:
    agent = await story.house.agent("bounded", ceiling=[f"slack:chat:write@{ceiling}"])
    token = await story.given("slack:chat:write@#engineering", agent=agent)
    assert (await story.says(token, ENGINEERING)).status == 200
    body = {"agent": agent.name, "grants": ["slack:chat:write@#random"], "purpose": "post"}
    refused = await story.house.alice.call("POST", "/v1/delegations", **body)
    assert (refused.status, refused.json()["reason"]) == (403, "above_ceiling")


async def test_a_channel_that_is_not_there_is_not_delegated(story: Story) -> None:
    agent = await story.house.agent("poster", ceiling=[f"slack:{SCOPES}@*"])
    for resource in ("#nowhere", "C9NOWHERE", "U9NOBODY"):
        body = {"agent": agent.name, "grants": [f"slack:chat:write@{resource}"], "purpose": "post"}
        refused = await story.house.alice.call("POST", "/v1/delegations", **body)
        assert (refused.status, refused.code) == (404, "not_found")
        assert resource in refused.json()["detail"]
