"""An account is connected by its person, in her browser, at the API that was asked; all else connects nothing."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import text

from tests.support.consent_provider import CLIENT_ID, CLIENT_SECRET, ConsentProvider
from tests.support.house import House, open_house
from tests.support.nodes import pause
from tests.support.tab import Tab
from tests.support.upstream import Upstream
from valetkey.server.revocation.revoke import revoke


@dataclass
class Story:
    house: House
    up: Upstream
    github: ConsentProvider
    app: Any

    async def sent(self, tab: Tab, permissions: tuple[str, ...] = ("read:org", "repo"), **asked: str) -> str:
        """Where the browser is sent to consent."""
        query = "&".join(f"{name}={value}" for name, value in ({"integration": "github"} | asked).items())
        await tab.get(f"/connections/new?{query}")
        reply = await tab.submit("/connections/begin", {"permission": list(permissions)}, follow=False)
        assert reply.status == 303, tab.text
        return reply.header("location") or ""

    async def connected(self, tab: Tab, account: str = "alice", **asked: str) -> Any:
        """The whole way; returns the connections the person sees afterwards."""
        await tab.get(self.github.consent(await self.sent(tab, **asked), account=account))
        return await self.connections()

    async def connections(self) -> list[Any]:
        await self.house.alice.sign_in()
        return list((await self.house.alice.does("GET", "/v1/connections"))["data"])

    async def refusals(self) -> list[str]:
        await self.house.alice.sign_in()
        return [r["reason"] for r in await self.house.events("connection.link-refused")]


@contextlib.asynccontextmanager
async def open_story(folder: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with Upstream() as up:
        github = ConsentProvider(up).install()
        async with open_house(folder, database_url=database_url, upstream=up.url) as house:
            app = await house.alice.does(
                "POST", "/v1/apps", integration="github", client_id=CLIENT_ID, client_secret=CLIENT_SECRET
            )
            yield Story(house, up, github, app)


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with open_story(tmp_path / "data", database_url) as opened:
        yield opened


async def test_she_agrees_there_and_sees_which_account_is_connected_and_what_it_may_do(story: Story) -> None:
    tab = await story.house.signed_in()
    await tab.get("/connections")
    assert "/connections/new?integration=github&next=" in tab.links()
    address = await story.sent(tab)
    asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert address.startswith(f"{story.up.url}/login/oauth/authorize?")
    assert asked["redirect_uri"] == story.app["redirect_uri"]
    assert set(asked["scope"].split()) == {"repo", "read:org"}
    assert asked["code_challenge_method"] == "S256"
    await tab.get(story.github.consent(address))
    assert "GitHub is connected" in tab.text
    assert "alice" in tab.text
    assert "do nearly everything in every repository" in tab.text
    [connection] = await story.connections()
    assert (connection["account"], connection["status"], connection["shared"]) == ("alice", "linked", False)
    [record] = await story.house.events("connection.created")
    assert record["permissions"] == ["repo", "read:org"]
    assert "gho_practice" not in str(record)
    async with story.house.app.database.read() as db:
        for table in ("connections", "linkings", "apps"):
            rows = str((await db.execute(text(f"SELECT * FROM {table}"))).all())
            assert "gho_practice" not in rows
            assert CLIENT_SECRET not in rows


async def test_what_the_api_gave_is_what_can_be_delegated(story: Story) -> None:
    story.github.granted = "read:org"
    [connection] = await story.connected(await story.house.signed_in())
    report = await story.house.alice.does("GET", f"/v1/connections/{connection['id']}/why")
    assert [p["name"] for p in report["asked"]] == ["repo", "read:org"]
    assert [p["name"] for p in report["granted"]] == ["read:org"]
    assert "read organizations" in report["could_do"]
    assert report["held_back_by"] == "gateway"
    assert "does not expire" in report["for_how_long"]


async def test_oa_10_another_person_who_comes_back_with_it_connects_nothing(story: Story) -> None:
    """COSF: a link begun by one person and finished by another."""
    await story.house.person("bob@acme.com")
    mallory, victim = await story.house.signed_in(), await story.house.signed_in("bob@acme.com")
    back = story.github.consent(await story.sent(mallory), account="alice")
    reply = await victim.get(back)
    assert reply.status == 403
    assert "Somebody else began" in victim.text
    assert story.github.redeemed == 0
    assert await story.connections() == []
    assert await story.refusals() == ["another_person"] * 2  # one for each of the two
    reply = await mallory.get(back)  # and it is spent: nor does it work where it began
    assert (reply.status, story.github.redeemed) == (403, 0)


async def test_oa_10_somebody_signed_in_nowhere_connects_nothing(story: Story) -> None:
    back = story.github.consent(await story.sent(await story.house.signed_in()))
    stranger = story.house.tab()
    assert (await stranger.get(back)).status == 403
    assert story.github.redeemed == 0
    assert await story.connections() == []
    assert await story.refusals() == ["another_person"]


async def test_oa_12_the_same_person_in_another_browser_connects_nothing(story: Story) -> None:
    first, second = await story.house.signed_in(), await story.house.signed_in()
    back = story.github.consent(await story.sent(first))
    assert (await second.get(back)).status == 403
    assert "another browser" in second.text
    assert story.github.redeemed == 0
    assert await story.connections() == []


async def test_oa_11_an_answer_at_another_apps_address_is_never_redeemed(story: Story) -> None:
    """COAT: every app has an address of its own."""
    other = await story.house.alice.does(
        "POST", "/v1/apps", integration="slack", client_id="1.2", client_secret=CLIENT_SECRET
    )
    tab = await story.house.signed_in()
    back = story.github.consent(await story.sent(tab)).replace(story.app["id"], other["id"])
    assert (await tab.get(back)).status == 403
    assert "another API" in tab.text
    assert story.github.redeemed == 0
    assert await story.connections() == []


async def test_oa_11_an_answer_of_another_issuer_is_never_redeemed(tmp_path: Path) -> None:
    async with open_story(tmp_path / "data", None) as story:
        catalogue = story.house.app.catalogue
        github = catalogue.built_in["github"]
        assert github.oauth is not None
        named = dataclasses.replace(github.oauth, issuer="https://id.example", sends_iss=True)
        cast(dict[str, Any], catalogue.built_in)["github"] = dataclasses.replace(github, oauth=named)
        catalogue._replace({})
        tab = await story.house.signed_in()
        for iss in ("https://evil.example", None):
            assert (await tab.get(story.github.consent(await story.sent(tab), iss=iss))).status == 403
            assert "not from the API that was asked" in tab.text
        assert story.github.redeemed == 0
        await tab.get(story.github.consent(await story.sent(tab), iss="https://id.example"))
        assert story.github.redeemed == 1
        assert len(await story.connections()) == 1


async def test_it_is_good_once_and_for_ten_minutes(story: Story) -> None:
    tab = await story.house.signed_in()
    back = story.github.consent(await story.sent(tab))
    await tab.get(back)
    assert (await tab.get(back)).status == 403
    assert story.github.redeemed == 1
    late = story.github.consent(await story.sent(tab))
    story.house.clock.advance(600)
    assert (await tab.get(late)).status == 403
    assert story.github.redeemed == 1
    assert len(await story.connections()) == 1


async def test_a_state_nobody_here_made_and_a_parameter_twice_are_refused(story: Story) -> None:
    tab = await story.house.signed_in()
    back = story.github.consent(await story.sent(tab))
    assert (await tab.get(back.replace("state=vkcs_", "state=vkcs_x"))).status == 403
    assert (await tab.get(f"{back}&code=another")).status == 400
    assert story.github.redeemed == 0
    await tab.get(back)
    assert len(await story.connections()) == 1


async def test_declining_there_connects_nothing_and_says_so(story: Story) -> None:
    tab = await story.house.signed_in()
    address = await story.sent(tab)
    state = parse_qs(urlsplit(address).query)["state"][0]
    reply = await tab.get(f"/connect/{story.app['id']}/callback?error=access_denied&state={state}")
    assert reply.status == 403
    assert "You declined at GitHub" in tab.text
    assert await story.connections() == []


@pytest.mark.parametrize("broken", [{"access_token": ""}, {"token_type": "mac"}, {"error": "server_error"}])
async def test_an_answer_that_gives_nothing_connects_nothing(story: Story, broken: dict[str, str]) -> None:
    story.github.extra = broken
    tab = await story.house.signed_in()
    assert (await tab.get(story.github.consent(await story.sent(tab)))).status == 502
    assert await story.connections() == []


async def test_the_same_account_again_is_the_same_connection_with_what_it_may_do_now(story: Story) -> None:
    tab = await story.house.signed_in()
    story.github.granted = "read:org"
    [first] = await story.connected(tab)
    story.github.granted = "repo,read:org"
    [again] = await story.connected(tab)
    assert again["id"] == first["id"]
    report = await story.house.alice.does("GET", f"/v1/connections/{first['id']}/why")
    assert [p["name"] for p in report["granted"]] == ["repo", "read:org"]
    assert [r["connection"] for r in await story.house.events("connection.linked-again")] == [first["id"]]
    await tab.get(f"/connections?reconnect={first['id']}")
    assert "again" in tab.text
    await tab.submit("/connections/begin", {"permission": ["repo"]}, follow=False)
    assert tab.reply is not None
    back = story.github.consent(tab.reply.header("location") or "", account="mallory")
    assert (await tab.get(back)).status == 403
    assert "another account" in tab.text
    assert len(await story.connections()) == 1


async def test_another_account_is_another_connection(story: Story) -> None:
    tab = await story.house.signed_in()
    await story.connected(tab)
    found = await story.connected(tab, account="mallory")
    assert sorted(c["account"] for c in found) == ["alice", "mallory"]


async def test_nobody_connects_somebody_elses_again(story: Story) -> None:
    [mine] = await story.connected(await story.house.signed_in())
    await story.house.person("bob@acme.com")
    bob = await story.house.signed_in("bob@acme.com")
    assert (await bob.get(f"/connections/new?reconnect={mine['id']}")).status == 404
    await bob.get("/connections/new?integration=github")
    reply = await bob.submit("/connections/begin", {"permission": ["repo"], "reconnect": mine["id"]}, follow=False)
    assert reply.status == 404


async def test_nothing_is_connected_for_who_was_ended_meanwhile(story: Story) -> None:
    bob = await story.house.person("bob@acme.com")
    tab = await story.house.signed_in("bob@acme.com")
    back = story.github.consent(await story.sent(tab))
    await story.house.alice.sign_in()
    await story.house.alice.does("POST", "/v1/revocations", node=bob.id)
    assert (await tab.get(back)).status == 403
    assert story.github.redeemed == 0
    async with story.house.app.database.read() as db:
        assert (await db.execute(text("SELECT count(*) FROM connections"))).scalar() == 0


async def test_disconnecting_ends_it_at_the_api_and_says_so(story: Story) -> None:
    tab = await story.house.signed_in()
    await story.connected(tab)
    assert len(story.github.tokens) == 1
    await tab.get("/connections")
    await tab.submit("/connections/disconnect")
    assert "GitHub ended it." in tab.text
    assert story.github.tokens == {}
    [record] = await story.house.events("connection.ended-there")
    assert record["outcome"] == "ended"


async def test_what_could_not_be_ended_there_is_pending_and_tried_again(story: Story) -> None:
    tab = await story.house.signed_in()
    [connection] = await story.connected(tab)
    story.github.ending_status = 503
    await pause(story.house.app)  # it sweeps by itself too; here the test does
    report = await story.house.alice.does("POST", "/v1/revocations", node=connection["id"])
    hop = next(h for h in report["hops"] if h["hop"] == "at the API")
    assert (hop["outcome"], hop["detail"]) == ("pending", "GitHub was too busy; it is tried again.")
    story.github.ending_status = 204
    story.house.clock.advance(16)
    await _swept(story)
    assert story.github.tokens == {}
    assert [r["outcome"] for r in await story.house.events("connection.ended-there")] == ["ended"]
    before = len(story.up.seen)
    await _swept(story)
    assert len(story.up.seen) == before


async def test_an_app_the_api_does_not_know_has_ended_nothing(story: Story) -> None:
    tab = await story.house.signed_in()
    [connection] = await story.connected(tab)
    await story.house.alice.does("POST", "/v1/apps", integration="github", client_id=CLIENT_ID, client_secret="old")
    report = await story.house.alice.does("POST", "/v1/revocations", node=connection["id"])
    hop = next(h for h in report["hops"] if h["hop"] == "at the API")
    assert (hop["outcome"], hop["detail"]) == ("pending", "GitHub refused to end it; it is tried again.")
    assert len(story.github.tokens) == 1


async def test_who_is_no_administrator_any_more_shares_nothing(story: Story) -> None:
    bob = await story.house.person("bob@acme.com", role="administrator")
    for shared, role, status in (("1", "administrator", 200), ("1", "member", 403)):
        tab = await story.house.signed_in("bob@acme.com")
        await tab.get("/connections/new?integration=github")
        sent = await tab.submit("/connections/begin", {"permission": ["repo"], "shared": shared}, follow=False)
        async with story.house.app.database.write() as tx:
            await tx.execute(text("UPDATE users SET role = :role WHERE id = :id"), {"role": role, "id": bob.id})
        back = story.github.consent(sent.header("location") or "", account="alice" if status == 200 else "mallory")
        assert (await tab.get(back)).status == status
    async with story.house.app.database.read() as db:
        assert (await db.execute(text("SELECT count(*) FROM connections WHERE owner IS NULL"))).scalar() == 1
    assert list(story.github.tokens.values()) == ["alice"]  # what was given for nothing is ended there


async def test_ui_08_what_an_api_has_not_confirmed_stays_to_be_seen(story: Story) -> None:
    tab = await story.house.signed_in()
    await story.connected(tab)
    await pause(story.house.app)
    story.github.ending_status = 503
    await tab.get("/connections")
    await tab.submit("/connections/disconnect")
    await tab.get("/connections")
    assert (
        "Ended here, not confirmed there GitHub: alice . GitHub was too busy; it is tried again."
        in tab.text.replace("No agent can use these any more. What was stored may still work at the API itself. ", "")
    )
    story.github.ending_status = 204
    story.house.clock.advance(16)
    await _swept(story)
    await tab.get("/connections")
    assert "not confirmed" not in tab.text


async def test_a_credential_that_ends_says_until_when_and_is_renewed(story: Story) -> None:
    story.github.extra = {"refresh_token": "ghr_1", "expires_in": 28800}
    tab = await story.house.signed_in()
    [connection] = await story.connected(tab)
    await tab.get("/connections")
    assert "and is renewed before." in tab.text
    report = await story.house.alice.does("GET", f"/v1/connections/{connection['id']}/why")
    assert "refresh token makes new ones" in report["for_how_long"]
    async with story.house.app.database.read() as db:
        assert "ghr_1" not in str((await db.execute(text("SELECT * FROM refreshables"))).all())


async def test_a_person_who_is_ended_loses_her_accounts_there_too(story: Story) -> None:
    bob = await story.house.person("bob@acme.com")
    tab = await story.house.signed_in("bob@acme.com")
    await tab.get(story.github.consent(await story.sent(tab)))
    assert len(story.github.tokens) == 1
    await story.house.alice.sign_in()
    await story.house.alice.does("POST", "/v1/revocations", node=bob.id)
    assert story.github.tokens == {}


async def test_a_pasted_token_is_not_ended_there_and_it_is_said(story: Story) -> None:
    story.github.tokens["ghp_pasted"] = "alice"
    await story.house.alice.sign_in()
    made = await story.house.connect(credential="ghp_pasted")
    report = await story.house.alice.does("POST", "/v1/revocations", node=made["id"])
    hop = next(h for h in report["hops"] if h["hop"] == "at the API")
    assert (hop["outcome"], "was pasted" in hop["detail"]) == ("unsupported", True)
    assert story.github.tokens == {"ghp_pasted": "alice"}


async def test_an_app_is_an_administrators_and_its_check_asks_the_api(story: Story) -> None:
    bob = await story.house.person("bob@acme.com")
    body = {"integration": "slack", "client_id": "1.2", "client_secret": "x"}
    assert (await bob.call("POST", "/v1/apps", **body)).status == 403
    assert (await bob.call("DELETE", f"/v1/apps/{story.app['id']}")).status == 403
    checked = await story.house.alice.does("POST", f"/v1/apps/{story.app['id']}/check")
    assert (checked["client"], checked["redirect_uri"]) == ("accepted", story.app["redirect_uri"])
    await story.house.alice.does("POST", "/v1/apps", integration="github", client_id=CLIENT_ID, client_secret="another")
    checked = await story.house.alice.does("POST", f"/v1/apps/{story.app['id']}/check")
    assert checked["client"] == "refused"
    other = await story.house.alice.call("POST", "/v1/apps", integration="github", client_id="x", client_secret="y")
    assert other.status == 409


async def test_an_administrator_registers_an_app_on_the_page_and_nobody_else_does(story: Story) -> None:
    await story.house.person("bob@acme.com")
    bob, tab = await story.house.signed_in("bob@acme.com"), await story.house.signed_in()
    assert (await bob.get("/admin/apps")).status == 403
    form = {"integration": "slack", "client_id": "1.2", "client_secret": "of-slack"}
    await bob.get("/connections")
    assert (await bob.post("/admin/apps", {**form, "csrf": bob.csrf})).status == 403
    await tab.get("/admin/apps")
    await tab.submit("/admin/apps", {**form, "client_secret": ""})
    assert "client secret" in tab.text
    await tab.submit("/admin/apps", form)
    assert "Slack" in tab.text
    assert "of-slack" not in tab.text
    listed = {app["integration"]: app for app in (await story.house.alice.does("GET", "/v1/apps"))["data"]}
    assert listed["slack"]["redirect_uri"] in tab.text
    await tab.submit("/admin/apps/remove", {"app": listed["slack"]["id"]})
    listed = {app["integration"]: app for app in (await story.house.alice.does("GET", "/v1/apps"))["data"]}
    assert list(listed) == ["github"]
    assert [r["by"] for r in await story.house.events("app.removed")] == [story.house.alice.id]


async def test_the_first_try_to_end_it_there_is_left_to_who_revoked(story: Story) -> None:
    """A look at the same moment would take the API's answer away from the report; one that crashed is made up for."""
    [connection] = await story.connected(await story.house.signed_in())
    services = story.house.app.services
    await revoke(
        connection["id"],
        org=(await story.house.alice.does("GET", "/v1/whoami"))["organization"]["id"],
        by=story.house.alice.id,
        reason="disconnected",
        journal=services.journal,
        clock=services.clock,
        hops=(),  # it crashed before the first of them
    )
    await _swept(story)
    assert len(story.github.tokens) == 1
    story.house.clock.advance(5)
    await _swept(story)
    assert story.github.tokens == {}


async def test_where_no_app_is_registered_nothing_is_offered(story: Story) -> None:
    await story.house.alice.does("DELETE", f"/v1/apps/{story.app['id']}")
    tab = await story.house.signed_in()
    await tab.get("/connections")
    assert not [link for link in tab.links() if link.startswith("/connections/new")]
    assert (await tab.get("/connections/new?integration=github")).status == 404


async def _swept(story: Story) -> None:
    end_there = next(stop.__self__ for stop in story.house.app.services.hops if stop.__qualname__ == "EndThere.stop")
    await end_there.sweep()
