"""An account begun to be connected where no browser is: a short code leads its person to our page, nobody else."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import text

from tests.flows.test_connecting import Story, open_story
from tests.support.http import Reply
from tests.support.tab import Tab


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with open_story(tmp_path / "data", database_url) as opened:
        yield opened


async def begun(story: Story, **asked: Any) -> Any:
    """What the command line of Alice gets."""
    return await story.house.alice.does("POST", "/v1/connect-codes", integration="github", **asked)


async def told(story: Story, code: Any) -> Any:
    await story.house.alice.sign_in()
    return await story.house.alice.does("GET", f"/v1/connect-codes/{code['id']}")


async def entered(tab: Tab, code: str) -> Reply:
    await tab.get("/connect")
    return await tab.submit("/connect", {"code": code})


async def sent(tab: Tab, *permissions: str) -> str:
    """From the page with what will be asked, to the API."""
    reply = await tab.submit("/connections/begin", {"permission": list(permissions)}, follow=False)
    assert reply.status == 303, tab.text
    return reply.header("location") or ""


async def test_a_code_leads_to_the_page_and_whoever_waits_hears_which_account_it_is(story: Story) -> None:
    code = await begun(story)
    assert code["page"] == f"{story.house.settings.issuer}/connect"
    assert code["page_with_code"] == f"{code['page']}?code={code['code']}"
    reply = await story.house.alice.call("GET", f"/v1/connect-codes/{code['id']}")
    assert (reply.json()["status"], reply.header("retry-after")) == ("pending", "2")
    tab = await story.house.signed_in()
    await tab.get(f"/connect?code={code['code']}")
    assert "Compare this code" in tab.text
    await tab.submit("/connect")
    assert "begun at a command line that is signed in as you" in tab.text
    assert "do nearly everything in every repository" in tab.text
    await tab.get(story.github.consent(await sent(tab, "repo")))
    assert "GitHub is connected" in tab.text
    answer = await told(story, code)
    assert (answer["status"], answer["detail"]) == ("linked", "")
    [connection] = await story.connections()
    assert answer["connection"] == connection
    assert connection["account"] == "alice"
    assert [len(await story.house.events(f"connection.code-{what}")) for what in ("issued", "opened")] == [1, 1]


async def test_looking_at_the_address_does_nothing(story: Story) -> None:
    """A program that fetches links, for a preview, opens nothing."""
    code = await begun(story)
    tab = await story.house.signed_in()
    for _ in range(3):
        await tab.get(f"/connect?code={code['code']}")
    assert await story.house.events("connection.code-opened") == []
    stranger = story.house.tab()
    assert (await stranger.get(f"/connect?code={code['code']}", follow=False)).header("location") == (
        f"/login?next=%2Fconnect%3Fcode%3D{code['code']}"
    )


async def test_oa_10_whoever_else_opens_it_ends_it(story: Story) -> None:
    """COSF: Alice's code, or Mallory's sent to Alice, opened by the other one."""
    await story.house.person("bob@acme.com")
    code = await begun(story)
    bob = await story.house.signed_in("bob@acme.com")
    assert (await entered(bob, code["code"])).status == 403
    assert "Somebody else began" in bob.text
    answer = await told(story, code)
    assert (answer["status"], answer["reason"], answer["connection"]) == ("refused", "another_person", None)
    assert await story.refusals() == ["another_person"] * 2  # one for each of the two
    alice = await story.house.signed_in()
    assert (await entered(alice, code["code"])).status == 404  # and it is spent
    assert await story.connections() == []
    assert story.github.redeemed == 0


async def test_it_is_opened_once_in_one_browser_and_finished_there(story: Story) -> None:
    code = await begun(story)
    first, second = await story.house.signed_in(), await story.house.signed_in()
    await entered(first, code["code"])
    page = first.at
    assert (await entered(second, code["code"])).status == 404
    assert (await second.get(page)).status == 401  # the page after it is that browser's alone
    back = story.github.consent(await sent(first, "repo"))
    assert (await second.get(back)).status == 403
    answer = await told(story, code)
    assert (answer["status"], answer["reason"]) == ("refused", "another_browser")
    assert await story.connections() == []


async def test_it_is_good_for_ten_minutes(story: Story) -> None:
    code = await begun(story)
    story.house.clock.advance(600)
    tab = await story.house.signed_in()
    assert (await entered(tab, code["code"])).status == 404
    assert (await told(story, code))["status"] == "expired"


async def test_what_comes_too_late_for_the_code_is_not_kept(story: Story) -> None:
    code = await begun(story)
    tab = await story.house.signed_in()
    story.house.clock.advance(599)
    await entered(tab, code["code"])
    back = story.github.consent(await sent(tab, "repo"))
    story.house.clock.advance(1)  # the linking alone would still be good
    assert (await tab.get(back)).status == 403
    assert (await told(story, code))["status"] != "linked"
    assert (await story.connections(), story.github.redeemed) == ([], 0)


async def test_declining_here_or_there_is_told(story: Story) -> None:
    here, there = await begun(story), await begun(story)
    tab = await story.house.signed_in()
    await entered(tab, here["code"])
    await tab.submit("/connections/begin", button="No, decline")
    assert "Nothing was connected" in tab.text
    answer = await told(story, here)
    assert (answer["status"], answer["detail"]) == ("declined", "You declined on the page.")
    await entered(tab, there["code"])
    state = parse_qs(urlsplit(await sent(tab, "repo")).query)["state"][0]
    await tab.get(f"/connect/{story.app['id']}/callback?error=access_denied&state={state}")
    answer = await told(story, there)
    assert (answer["status"], answer["detail"]) == ("declined", "You declined at the API.")
    assert await story.connections() == []


async def test_no_more_is_asked_than_the_code_was_made_for(story: Story) -> None:
    scope = "account:read"
    wanted = story.house.app.catalogue["github"].oauth
    assert wanted is not None
    asked = wanted.asked_for([scope])
    code = await begun(story, scopes=[scope])
    tab = await story.house.signed_in()
    await entered(tab, code["code"])
    boxes = [value for form in tab.forms() for name, value, _ in form.boxes if name == "permission"]
    assert set(boxes) == set(asked)
    beyond = next(name for name in wanted.scopes if name not in asked)
    reply = await tab.submit("/connections/begin", {"permission": [*asked, beyond]}, follow=False)
    assert reply.status == 403
    await tab.get(tab.at)
    refused = await story.house.alice.call("POST", "/v1/connect-codes", integration="github", scopes=["no:such"])
    assert refused.status == 404


async def test_wrong_codes_are_counted_with_those_of_devices(story: Story) -> None:
    tab = await story.house.signed_in()
    for _ in range(5):
        assert (await entered(tab, "BCDF-GHJK")).status == 404
    reply = await entered(tab, (await begun(story))["code"])
    assert reply.status == 429
    assert reply.header("retry-after") is not None
    assert len(await story.house.events("user-code.guessed")) == 1
    await tab.get("/device")
    assert (await tab.submit("/device", {"code": "BCDF-GHJK"})).status == 429


async def test_a_code_is_told_to_its_person_alone_and_kept_unreadable(story: Story) -> None:
    code = await begun(story)
    bob = await story.house.person("bob@acme.com")
    assert (await bob.call("GET", f"/v1/connect-codes/{code['id']}")).status == 404
    agent = await story.house.agent("reader")
    assert (await agent.call("GET", f"/v1/connect-codes/{code['id']}")).status == 403
    assert (await agent.call("POST", "/v1/connect-codes", integration="github")).status == 403
    async with story.house.app.database.read() as db:
        rows = str((await db.execute(text("SELECT * FROM connect_codes"))).all())
    assert code["code"].replace("-", "") not in rows
    records = str(await story.house.events())
    assert code["code"].replace("-", "") not in records.replace("-", "")


async def test_one_person_has_thirty_at_most(story: Story) -> None:
    for _ in range(30):
        await begun(story)
    reply = await story.house.alice.call("POST", "/v1/connect-codes", integration="github")
    assert (reply.status, reply.header("retry-after")) == (429, "600")
    story.house.clock.advance(600)
    await story.house.alice.sign_in()
    await begun(story)


async def agents_call(story: Story) -> tuple[Any, Any]:
    """An agent with a credential for an account that GitHub no longer takes, and its call."""
    await story.connected(await story.house.signed_in())
    agent = await story.house.agent("reader")
    task = await story.house.task(await story.house.delegate(agent, "github:account:read@*"))
    token = await agent.token(task["task_token"])

    async def call() -> Reply:
        return await story.house.gateway(token, "GET", "/user")

    assert (await call()).status == 200
    story.github.tokens.clear()
    return agent, call


async def test_an_agent_is_given_a_link_that_is_hers_alone(story: Story) -> None:
    await story.house.person("bob@acme.com")
    agent, call = await agents_call(story)
    reply = await call()
    problem = reply.json()
    assert (reply.status, problem["code"]) == (403, "connection_required")
    link = urlsplit(problem["link"])
    assert f"{link.scheme}://{link.netloc}{link.path}" == f"{story.house.settings.issuer}/connect"
    asked = parse_qs(link.query)
    assert list(asked) == ["code"]  # no session, no state, no name of anybody
    assert (await call()).json()["link"] == problem["link"]  # and no second one by calling again
    [issued] = await story.house.events("connection.code-issued")
    assert issued["agent"] == agent.id
    assert (await agent.call("GET", f"/v1/connect-codes/{issued['code']}")).status == 403
    tab = await story.house.signed_in()
    await tab.get(f"{link.path}?{link.query}")
    await tab.submit("/connect")
    assert "A call of the agent reader needs this account" in tab.text
    await tab.get(story.github.consent(await sent(tab, "repo", "read:org")))
    assert "GitHub is connected" in tab.text
    assert (await call()).status == 200


async def test_an_agents_link_that_another_opens_is_over_and_she_is_not_asked_again(story: Story) -> None:
    await story.house.person("bob@acme.com")
    _, call = await agents_call(story)
    link = urlsplit((await call()).json()["link"])
    bob = await story.house.signed_in("bob@acme.com")
    await bob.get(f"{link.path}?{link.query}")
    assert (await bob.submit("/connect")).status == 403
    assert await story.refusals() == ["another_person"] * 2
    assert (await call()).json()["link"] == f"{story.house.settings.issuer}/connections"
