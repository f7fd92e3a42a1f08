"""An account is connected with a code typed on another device: as often asked as allowed, once kept, hers alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from sqlalchemy import text, update

from tests.flows.test_connecting import Story, open_story
from tests.support.consent_provider import CLIENT_ID, CLIENT_SECRET
from tests.support.http import Reply
from tests.support.nodes import second_node
from tests.support.tab import Tab
from tests.support.upstream import reply
from valetkey.server.db.schema import device_linkings
from valetkey.server.revocation.revoke import revoke

PAGE = "/connections/elsewhere"


@contextlib.asynccontextmanager
async def opened(folder: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with open_story(folder, database_url) as story:
        story.github.now = story.house.clock.now
        yield story


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with opened(tmp_path / "data", database_url) as one:
        yield one


async def begun(story: Story, tab: Tab, permissions: tuple[str, ...] = ("read:org", "repo"), **asked: str) -> str:
    """She chooses to agree on another device; returns the code her page shows."""
    query = "&".join(f"{name}={value}" for name, value in ({"integration": "github"} | asked).items())
    await tab.get(f"/connections/new?{query}")
    changes = {"permission": list(permissions)}
    answer = await tab.submit("/connections/begin", changes, button="Agree on another device")
    assert answer.status == 200, tab.text
    assert tab.at.startswith(PAGE)
    code = story.github.devices[-1].user_code
    assert code in tab.text
    return code


async def looked(story: Story, tab: Tab, after: int = 5) -> Reply:
    """She comes back after some seconds and presses the button."""
    story.house.clock.advance(after)
    return await tab.submit(PAGE, button="I have agreed there: look again")


async def held_code(story: Story) -> list[bytes | None]:
    async with story.house.app.database.read() as db:
        return list((await db.execute(text("SELECT sealed FROM device_linkings"))).scalars())


async def test_a_code_typed_elsewhere_connects_the_account(story: Story) -> None:
    tab = await story.house.signed_in()
    code = await begun(story, tab)
    assert f"{story.up.url}/login/device" in tab.links()
    assert "practice-device" not in (tab.reply.body.decode() if tab.reply else "")
    story.github.typed_in(code)
    await looked(story, tab)
    assert "GitHub is connected" in tab.text
    [connection] = await story.connections()
    assert (connection["account"], connection["status"]) == ("alice", "linked")
    [record] = await story.house.events("connection.created")
    assert record["permissions"] == ["repo", "read:org"]
    begin, poll = (s for s in story.up.seen if s.method == "POST")
    assert parse_qs(begin.body.decode())["client_id"] == [CLIENT_ID]
    assert parse_qs(poll.body.decode())["client_secret"] == [CLIENT_SECRET]
    assert await held_code(story) == [None]


async def test_the_device_code_is_sealed_and_shown_to_nobody(story: Story) -> None:
    tab = await story.house.signed_in()
    await begun(story, tab)
    await looked(story, tab)
    assert "practice-device" not in (tab.reply.body.decode() if tab.reply else "")
    assert "practice-device" not in str(await story.house.events())
    async with story.house.app.database.read() as db:
        for table in ("device_linkings", "linkings"):
            assert "practice-device" not in str((await db.execute(text(f"SELECT * FROM {table}"))).all())


async def test_it_waits_while_nobody_agreed_and_asks_only_when_due(story: Story) -> None:
    tab = await story.house.signed_in()
    code = await begun(story, tab)
    for _ in range(3):  # too early: the API hears nothing
        await looked(story, tab, after=1)
        assert "too early" in tab.text
        await tab.get(tab.at)
    assert story.github.asked == []
    await looked(story, tab, after=2)
    assert "Nobody has agreed there yet" in tab.text
    assert [said for _, said in story.github.asked] == ["authorization_pending"]
    story.github.typed_in(code)
    await looked(story, tab, after=4)
    assert len(story.github.asked) == 1
    await looked(story, tab, after=1)
    assert "GitHub is connected" in tab.text


async def test_slow_down_adds_five_seconds_for_good(story: Story) -> None:
    tab = await story.house.signed_in()
    code = await begun(story, tab)
    story.github.typed_in(code, error="slow_down")
    await looked(story, tab)
    assert "asked less often" in tab.text
    assert "at most once in 10 seconds" in tab.text
    story.github.typed_in(code, error="authorization_pending")
    await looked(story, tab, after=9)
    assert len(story.github.asked) == 1
    await looked(story, tab, after=1)
    assert len(story.github.asked) == 2
    story.github.typed_in(code)
    await looked(story, tab, after=9)
    assert len(story.github.asked) == 2
    await looked(story, tab, after=1)
    assert "GitHub is connected" in tab.text


async def test_no_answer_is_waited_for_twice_as_long_and_not_the_end(story: Story) -> None:
    tab = await story.house.signed_in()
    code = await begun(story, tab)
    story.github.silent = reply(503)
    await looked(story, tab)
    assert "did not answer properly" in tab.text
    story.github.silent = reply(429, {"Retry-After": "40"})
    await looked(story, tab, after=10)
    story.github.silent = None
    story.github.typed_in(code)
    await looked(story, tab, after=39)
    assert len(story.github.asked) == 2
    await looked(story, tab, after=1)
    assert "GitHub is connected" in tab.text


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ("access_denied", 403, "You declined at GitHub."),
        ("expired_token", 403, "The code of GitHub was not entered in time."),
        ("incorrect_device_code", 502, "GitHub did not take its own code (incorrect_device_code)."),
    ],
)
async def test_a_refusal_there_is_said_in_words_and_is_the_end(
    story: Story, error: str, status: int, words: str
) -> None:
    tab = await story.house.signed_in()
    code, page = await begun(story, tab), tab.at
    story.github.typed_in(code, error=error)
    answer = await looked(story, tab)
    assert answer.status == status
    assert words in tab.text
    assert await story.connections() == []
    assert await held_code(story) == [None]
    story.github.typed_in(code)  # too late
    assert (await tab.get(page)).status == 403
    assert "finished already" in tab.text
    assert len(story.github.asked) == 1


async def test_two_nodes_ask_as_often_as_one(story: Story, tmp_path: Path, database_url: str | None) -> None:
    if database_url is None:
        pytest.skip("two nodes need PostgreSQL")
    tab = await story.house.signed_in()
    code = await begun(story, tab)
    async with second_node(story.house, tmp_path / "b") as b:
        other = Tab(b.base, tab.origin, dict(tab.cookies))
        await other.get(tab.at)
        await looked(story, tab)
        await other.submit(PAGE, button="I have agreed there: look again")
        assert "too early" in other.text
        assert len(story.github.asked) == 1
        story.github.typed_in(code)
        await looked(story, other)
        assert "GitHub is connected" in other.text
    assert await story.refusals() == []
    assert {said for _, said in story.github.asked} == {"authorization_pending", ""}


async def test_of_twenty_who_look_at_once_one_asks(story: Story, tmp_path: Path) -> None:
    """Twenty windows of the same browser, over two nodes where the database has several: one question, one account."""
    tab = await story.house.signed_in()
    code = await begun(story, tab)
    async with contextlib.AsyncExitStack() as nodes:
        bases = [tab.base]
        if not story.house.app.database.is_sqlite:
            bases.append((await nodes.enter_async_context(second_node(story.house, tmp_path / "b"))).base)
        windows = [Tab(bases[n % len(bases)], tab.origin, dict(tab.cookies)) for n in range(20)]
        for window in windows:
            await window.get(tab.at)
        for said, agreed in (("authorization_pending", False), ("", True)):
            if agreed:
                story.github.typed_in(code)
                for window in windows:
                    await window.get(tab.at)
            story.house.clock.advance(5)
            before = len(story.github.asked)
            await asyncio.gather(*(window.submit(PAGE, button="I have agreed there: look again") for window in windows))
            assert [one for _, one in story.github.asked[before:]] == [said]
    assert [(one["account"], one["status"]) for one in await story.connections()] == [("alice", "linked")]
    assert len(await story.house.events("connection.created")) == 1
    assert await held_code(story) == [None]


async def test_another_person_finds_nothing_there(story: Story) -> None:
    await story.house.person("bob@acme.com")
    tab, bob = await story.house.signed_in(), await story.house.signed_in("bob@acme.com")
    code = await begun(story, tab)
    story.github.typed_in(code)
    story.house.clock.advance(5)
    assert (await bob.get(tab.at)).status == 404
    there = bob.text.partition("aud_")[0]
    linking = tab.at.partition("linking=")[2]
    await bob.get("/connections/new?integration=github")
    answer = await bob.post(PAGE, {"csrf": bob.csrf, "linking": linking, "decision": "look"})
    assert answer.status == 404
    assert story.github.asked == []
    assert (await bob.get(f"{PAGE}?linking=lnk_neverwasthere")).status == 404
    assert bob.text.partition("aud_")[0] == there
    await looked(story, tab, after=0)  # the twin: she who began it, whatever others tried
    assert "GitHub is connected" in tab.text


async def test_the_same_person_in_another_browser_asks_nothing(story: Story) -> None:
    tab, second = await story.house.signed_in(), await story.house.signed_in()
    code = await begun(story, tab)
    story.github.typed_in(code)
    story.house.clock.advance(5)
    assert (await second.get(tab.at)).status == 403
    assert "another browser" in second.text
    assert code not in second.text
    await second.get("/connections/new?integration=github")
    linking = tab.at.partition("linking=")[2]
    answer = await second.post(PAGE, {"csrf": second.csrf, "linking": linking, "decision": "look"})
    assert answer.status == 403
    assert story.github.asked == []
    await looked(story, tab, after=0)
    assert "GitHub is connected" in tab.text


async def test_after_ten_minutes_nothing_is_asked(story: Story) -> None:
    tab = await story.house.signed_in()
    story.github.typed_in(await begun(story, tab))
    assert (await looked(story, tab, after=600)).status == 403
    assert "took too long" in tab.text
    assert story.github.asked == []
    again = await story.house.signed_in()
    story.github.typed_in(await begun(story, again))
    await looked(story, again, after=599)
    assert "GitHub is connected" in again.text


async def test_a_code_that_ends_sooner_there_ends_sooner_here(story: Story) -> None:
    story.github.given = {"expires_in": 60}
    tab = await story.house.signed_in()
    story.github.typed_in(await begun(story, tab))
    assert (await looked(story, tab, after=60)).status == 403
    assert story.github.asked == []


async def test_what_was_stopped_is_not_connected(story: Story) -> None:
    tab = await story.house.signed_in()
    code, page = await begun(story, tab), tab.at
    await tab.submit(PAGE, button="Stop")
    assert tab.at == "/connections"
    story.github.typed_in(code)
    story.house.clock.advance(5)
    assert (await tab.get(page)).status == 403
    assert story.github.asked == []
    assert await held_code(story) == [None]


async def test_what_was_stopped_meanwhile_is_ended_there(story: Story) -> None:
    """She stops it in one tab while the API is being asked for another."""
    tab, page = await story.house.signed_in(), ""
    story.github.typed_in(await begun(story, tab))
    page, stopping = tab.at, Tab(tab.base, tab.origin, dict(tab.cookies))
    await stopping.get(page)
    before = story.github._given_to
    answers: list[int] = []

    async def stopped_first(device_code: str, wire: object) -> None:
        answers.append((await stopping.submit(PAGE, button="Stop", follow=False)).status)
        await wire.say(before("alice", "repo"))  # type: ignore[attr-defined]

    story.github._after = stopped_first  # type: ignore[method-assign]
    assert (await looked(story, tab)).status == 403
    assert answers == [303]
    assert "finished already" in tab.text
    assert await story.connections() == []
    assert await story.refusals() == ["over"]
    assert story.github.tokens == {}


async def test_another_account_than_the_one_connected_again_is_ended_there(story: Story) -> None:
    tab = await story.house.signed_in()
    [mine] = await story.connected(tab)
    code = await begun(story, tab, ("repo",), reconnect=mine["id"])
    story.github.typed_in(code, account="mallory")
    assert (await looked(story, tab)).status == 403
    assert "another account" in tab.text
    assert list(story.github.tokens.values()) == ["alice"]
    [refused] = await story.house.events("connection.link-refused")
    assert (refused["reason"], refused["account"], refused["outcome"]) == ("another_account", "mallory", "being_ended")
    code = await begun(story, tab, ("repo",), reconnect=mine["id"])  # the twin: the same account
    story.github.typed_in(code)
    await looked(story, tab)
    [again] = await story.connections()
    assert (again["id"], again["generation"]) == (mine["id"], 2)


async def test_nothing_is_connected_for_whose_session_ended_meanwhile(story: Story) -> None:
    tab = await story.house.signed_in()
    story.github.typed_in(await begun(story, tab))
    async with story.house.app.database.read() as db:
        session, org = (await db.execute(text("SELECT session, org FROM linkings"))).one()
    before = story.github._given_to

    async def ended_first(device_code: str, wire: object) -> None:
        services = story.house.app.services
        how = {"by": story.house.alice.id, "reason": "signed_out", "journal": services.journal, "clock": services.clock}
        await revoke(session, org=org, hops=(), **how)  # type: ignore[arg-type]
        await wire.say(before("alice", "repo"))  # type: ignore[attr-defined]

    story.github._after = ended_first  # type: ignore[method-assign]
    answer = await looked(story, tab)
    assert answer.status in (401, 403, 410)
    assert await story.connections() == []
    assert story.github.tokens == {}


async def test_a_code_moved_to_another_person_opens_for_nobody(story: Story) -> None:
    """Whoever can write the database, but has no key, gets nobody's account."""
    tab = await story.house.signed_in()
    story.github.typed_in(await begun(story, tab))
    victim = await story.house.signed_in()
    story.github.typed_in(await begun(story, victim))
    async with story.house.app.database.write() as tx:
        rows = (await tx.execute(text("SELECT linking, sealed FROM device_linkings ORDER BY linking"))).all()
        (one, sealed_one), (two, sealed_two) = rows
        for linking, sealed in ((one, sealed_two), (two, sealed_one)):
            await tx.execute(update(device_linkings).where(device_linkings.c.linking == linking).values(sealed=sealed))
    assert (await looked(story, tab)).status >= 500
    assert story.github.asked == []
    assert await story.connections() == []


@pytest.mark.parametrize(
    "given",
    [
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "http://elsewhere.example/device"},
        {"user_code": ""},
        {"device_code": "with space"},
        {"expires_in": 0},
        {"interval": -1},
        {"error": "device_flow_disabled"},
    ],
)
async def test_an_api_that_gives_no_usable_code_leaves_the_other_way(story: Story, given: dict[str, object]) -> None:
    story.github.given = given
    tab = await story.house.signed_in()
    await tab.get("/connections/new?integration=github")
    answer = await tab.submit("/connections/begin", {"permission": ["repo"]}, button="Agree on another device")
    assert answer.status == 502
    assert "gave no code for another device" in tab.text
    assert await held_code(story) == []
    await tab.get(story.github.consent(await story.sent(tab)))
    assert "GitHub is connected" in tab.text


async def test_begun_by_device_counts_as_begun(story: Story) -> None:
    tab = await story.house.signed_in()
    for _ in range(30):
        await begun(story, tab)
    await tab.get("/connections/new?integration=github")
    answer = await tab.submit("/connections/begin", {"permission": ["repo"]}, button="Agree on another device")
    assert answer.status == 429
    assert len(story.github.devices) == 30


async def test_where_the_api_has_no_such_codes_there_is_no_such_button(story: Story) -> None:
    await story.house.alice.does("POST", "/v1/apps", integration="slack", client_id="4711.815", client_secret="s")
    tab = await story.house.signed_in()
    await tab.get("/connections/new?integration=slack")
    [form] = [f for f in tab.forms() if f.action == "/connections/begin"]
    assert "Agree on another device" not in [words for _, _, words in form.buttons]
    sent = {"csrf": tab.csrf, "integration": "slack", "permission": "users:read", "decision": "elsewhere"}
    assert (await tab.post("/connections/begin", sent)).status == 400
    assert "gives no codes for another device" in tab.text


async def test_who_began_it_at_the_command_line_hears_what_became_of_it(story: Story) -> None:
    for error, told in (("", "linked"), ("access_denied", "declined"), ("expired_token", "refused")):
        await story.house.alice.sign_in()
        made = await story.house.alice.does("POST", "/v1/connect-codes", integration="github")
        tab = await story.house.signed_in()
        await tab.get("/connect")
        await tab.submit("/connect", {"code": made["code"]})
        await tab.submit("/connections/begin", {"permission": ["repo"]}, button="Agree on another device")
        story.github.typed_in(story.github.devices[-1].user_code, error=error)
        await looked(story, tab)
        await story.house.alice.sign_in()
        found = await story.house.alice.does("GET", f"/v1/connect-codes/{made['id']}")
        assert found["status"] == told, found
