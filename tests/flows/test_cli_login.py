"""A command line is signed in by a browser: what she sees, what the program gets, and who gets nothing."""

import asyncio
import html
import re
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from tests.support.command_line import REDIRECT, STATE, CommandLine, api_token, told, who_am_i
from tests.support.house import House
from tests.support.nodes import second_node
from tests.support.people import PASSWORD, try_password, with_password
from tests.support.tab import Tab
from valetkey.client.shown_login import comparison
from valetkey.client.unverified import unverified_claims

OTHER = "w" * 43


async def test_she_says_yes_and_the_program_acts_as_her_for_a_month(house: House) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    await tab.get(line.address())
    for words in ("act as you", "alices-laptop", "127.0.0.1:50123", "Everything you may do", "alice@acme.com", "Until"):
        assert words in tab.text, words
    assert tab.reply is not None
    policy = tab.reply.header("content-security-policy") or ""
    assert "form-action 'self' http://127.0.0.1:50123;" in policy
    assert "script-src" not in policy
    brought = told(await tab.submit("/login/cli", button="Allow"))
    assert (brought["state"], brought["iss"]) == (STATE, house.settings.issuer)
    reply = await line.redeem(brought["code"])
    said = reply.json()
    assert (reply.status, said["user"]["email"], said["issuer"]) == (201, "alice@acme.com", house.settings.issuer)
    assert said["credential"].startswith("vkcl_")
    token = (await api_token(house, said["credential"])).json()["access_token"]
    assert (await who_am_i(house, token)).json()["name"] == "alice@acme.com"
    [issued] = await house.events("code.issued")
    login = (await house.events("login.succeeded"))[-1]
    assert (issued["user"], issued["command_line"]) == (house.alice.id, "alices-laptop")
    assert (login["code"], login["credential"]) == (issued["code"], unverified_claims(token)["credential"])
    house.clock.advance(30 * 86_400 - 1)
    assert (await api_token(house, said["credential"])).status == 200
    house.clock.advance(1)
    assert (await api_token(house, said["credential"])).status == 401


async def test_she_says_no_and_the_program_is_told(house: House) -> None:
    tab = await house.signed_in()
    await tab.get(CommandLine(house).address())
    brought = told(await tab.submit("/login/cli", button="Cancel"))
    assert brought == {"error": "access_denied", "state": STATE, "iss": house.settings.issuer}
    assert [e["command_line"] for e in await house.events("consent.declined")] == ["alices-laptop"]
    assert await house.events("code.issued") == []


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://evil.example/callback",
        "https://127.0.0.1:50123/callback",
        "http://localhost:50123/callback",
        "http://127.0.0.1.evil.example:50123/callback",
        "http://evil.example@127.0.0.1:50123/callback",
        "http://127.0.0.1:50123@evil.example/callback",
        "http://127.0.0.1:50123/other",
        "http://127.0.0.1:50123/callback?x=1",
        "http://127.0.0.1:50123/callback#",
        "http://127.0.0.1:50123/callback\n",
        "http://127.0.0.1:70000/callback",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1/callback",
        "http://0.0.0.0:50123/callback",
        "http://[::]:50123/callback",
        "http://127.1:50123/callback",
        "//127.0.0.1:50123/callback",
        "javascript:alert(1)",
        "",
        None,
    ],
)
async def test_the_answer_goes_to_this_computer_or_nowhere(house: House, elsewhere: str | None) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    for browser in (tab, house.tab()):  # who is not signed in is not sent to sign in for it, either
        reply = await browser.get(line.address(redirect_uri=elsewhere), follow=False)
        assert (reply.status, reply.header("location")) == (400, None)
    await tab.get(line.address())
    for button in ("Allow", "Cancel"):  # nor does a changed form lead there
        form = tab.forms()[-1]
        pressed = {"decision": button.lower()} | ({} if elsewhere is None else {"redirect_uri": elsewhere})
        kept = {name: value for name, value in form.fields if name != "redirect_uri"}
        reply = await tab.post("/login/cli", kept | pressed)
        assert (reply.status, reply.header("location")) == (400, None)
        await tab.get(line.address())
    assert await house.events("code.issued", "consent.declined") == []


async def test_the_other_loopback_address_is_this_computer_too(house: House) -> None:
    tab = await house.signed_in()
    await tab.get(CommandLine(house).address(redirect_uri="http://[::1]:50123/callback"))
    reply = await tab.submit("/login/cli", button="Allow")
    assert (reply.header("location") or "").startswith("http://[::1]:50123/callback?code=vklc_")


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None},
        {"code_challenge": ""},
        {"code_challenge": "short"},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"state": None},
        {"state": "short"},
        {"state": "s" * 30 + "\r\nset-cookie: x"},
        {"name": "n" * 257},
        {"client_id": "agt_x"},
    ],
)
async def test_a_request_that_proves_too_little_is_a_page_and_no_answer(
    house: House, changes: dict[str, str | None]
) -> None:
    tab = await house.signed_in()
    reply = await tab.get(CommandLine(house).address(**changes), follow=False)
    assert (reply.status, reply.header("location")) == (400, None)


async def test_a_name_cannot_write_on_the_page(house: House) -> None:
    line = CommandLine(house, name="<b>Valetkey\u202e</b>\n\n  " + "x" * 200)
    tab = await house.signed_in()
    await tab.get(line.address())
    assert tab.reply is not None
    shown = tab.reply.body.decode()
    assert "<b>" not in shown
    assert "\u202e" not in shown
    assert "&lt;b&gt;Valetkey&lt;/b&gt; xxxx" in shown
    assert "x" * 65 not in shown
    await tab.get(line.address(name=None))
    assert "a computer without a name" in tab.text


async def test_who_is_signed_out_signs_in_and_comes_back(house: House) -> None:
    await with_password(house)
    line, tab = CommandLine(house), house.tab()
    reply = await tab.get(line.address(), follow=False)
    assert reply.header("location") == "/login?next=" + quote(line.address(), safe="")
    await tab.get(line.address())
    await tab.submit("/login/password", {"email": "alice@acme.com", "password": PASSWORD})
    assert tab.at == line.address()
    assert "act as you" in tab.text
    code = told(await tab.submit("/login/cli", button="Allow"))["code"]
    assert (await line.redeem(code)).status == 201


async def test_who_was_invited_signs_in_by_the_code_adds_a_password_and_goes_on(house: House) -> None:
    invited = await house.alice.does("POST", "/v1/users", email="bob@acme.com")
    line, tab = CommandLine(house), house.tab()
    await tab.get(line.address())
    await tab.submit("/login/code", {"code": invited["code"]})
    assert tab.at == "/account?next=" + quote(line.address(), safe="")
    await tab.submit("/account/password", {"password": PASSWORD, "repeated": PASSWORD})
    assert line.address() in [html.unescape(link) for link in tab.links()]
    reply = await line.redeem(await line.code(tab))
    assert reply.json()["user"]["email"] == "bob@acme.com"


async def test_who_is_signed_out_allows_nothing(house: House) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    await tab.get(line.address())
    form = dict(tab.forms()[-1].fields) | {"decision": "allow"}
    stranger = house.tab()
    await stranger.get("/login")
    reply = await stranger.post("/login/cli", form | {"csrf": stranger.csrf})
    assert (reply.status, reply.header("location")) == (401, None)
    assert (await tab.post("/login/cli", form)).status == 303  # the same form of who is signed in


async def test_who_signed_in_long_ago_proves_it_again(house: House) -> None:
    await with_password(house)
    line, tab = CommandLine(house), house.tab()
    await try_password(tab)
    await tab.get(line.address())
    house.clock.advance(601)
    late = await tab.submit("/login/cli", button="Allow", follow=False)  # the page was open for too long
    assert late.header("location") == f"/login?next={quote(line.address(), safe='')}&again=1"
    reply = await tab.get(line.address(), follow=False)
    assert reply.header("location") == late.header("location")
    await tab.get(line.address())
    await tab.submit("/login/password", {"email": "alice@acme.com", "password": PASSWORD})
    assert tab.at == line.address()
    assert (await line.redeem(await line.code(tab))).status == 201


async def test_a_form_of_another_site_or_without_its_token_allows_nothing(house: House) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    await tab.get(line.address())
    form = dict(tab.forms()[-1].fields) | {"decision": "allow"}
    without = {name: value for name, value in form.items() if name != "csrf"}
    other = await house.signed_in()
    await other.get("/sessions")
    for sent, headers in (
        (without, {}),
        (without | {"csrf": other.csrf}, {}),
        (form, {"origin": "https://evil.example"}),
        (form, {"sec-fetch-site": "cross-site"}),
    ):
        reply = await tab.post("/login/cli", sent, headers=headers)
        assert (reply.status, reply.header("location")) == (403, None)
    assert await house.events("code.issued") == []
    assert (await tab.post("/login/cli", form)).status == 303


@pytest.mark.parametrize(
    "changes",
    [{"code_verifier": OTHER}, {"code_verifier": "short"}, {"redirect_uri": "http://127.0.0.1:50124/callback"}],
)
async def test_another_program_gets_nothing_for_the_code_and_nobody_does_after_it(
    house: House, changes: dict[str, str]
) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    code = await line.code(tab)
    wrong = await line.redeem(code, **changes)
    assert (wrong.status, wrong.code) == (401, "not_authenticated")
    assert (await line.redeem(code)).status == 401  # it was in the wrong hands
    assert len(await house.events("login.failed")) == 1


async def test_a_code_shown_again_ends_what_it_opened(house: House) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    code = await line.code(tab)
    first = await line.redeem(code)
    credential = first.json()["credential"]
    token = (await api_token(house, credential)).json()["access_token"]
    assert (await who_am_i(house, token)).status == 200
    assert [(await line.redeem(code, code_verifier=OTHER)).status for _ in range(3)] == [401] * 3
    assert (await api_token(house, credential)).status == 401
    assert (await who_am_i(house, token)).status == 401
    [reused] = await house.events("code.reused")
    assert reused["ended"] == [unverified_claims(token)["credential"]]


async def test_a_code_is_spent_once_over_two_nodes(house: House, tmp_path: Path) -> None:
    if house.app.database.is_sqlite:
        pytest.skip("one process has the file")
    line, tab = CommandLine(house), await house.signed_in()
    async with second_node(house, tmp_path / "b") as other:
        code = await line.code(tab)
        there = CommandLine(other)
        replies = await asyncio.gather(*(one.redeem(code) for one in (line, there, line, there)))
        assert sorted(reply.status for reply in replies) == [201, 401, 401, 401]
        assert len(await house.events("code.reused")) == 1


async def test_a_code_lives_a_minute(house: House) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    code = await line.code(tab)
    house.clock.advance(60)
    assert (await line.redeem(code)).status == 401
    code = await line.code(tab)
    house.clock.advance(59)
    assert (await line.redeem(code)).status == 201


async def test_what_is_no_code_is_refused(house: House) -> None:
    line = CommandLine(house)
    wrong = ("", "vklc_", "vklc_" + "0" * 49, "vkin_" + "0" * 49, house.alice.credential, "x" * 60_000)
    assert {(await line.redeem(code)).status for code in wrong} == {401}
    await house.alice.sign_in()
    assert await house.events("login.failed") == []


async def test_who_signs_out_before_it_is_fetched_gave_nothing(house: House) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    code = await line.code(tab)
    await tab.get("/")
    await tab.submit("/logout")
    assert (await line.redeem(code)).status == 401


async def test_who_is_suspended_before_it_is_fetched_gave_nothing(house: House) -> None:
    bob = await house.person("bob@acme.com")
    line, tab = CommandLine(house), await house.signed_in(bob.email)
    code = await line.code(tab)
    await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
    assert (await line.redeem(code)).status == 401


async def test_sessions_lists_command_lines_and_ends_one(house: House) -> None:
    tab = await house.signed_in()
    kept = await CommandLine(house, name="build-box").sign_in(tab)
    ended = await CommandLine(house, name="alices-laptop").sign_in(tab)
    token = (await api_token(house, ended)).json()["access_token"]
    await tab.get("/sessions")
    for words in ("alices-laptop", "build-box", "Signed in with a one-time code", "until"):
        assert words in tab.text, words
    form = next(f for f in tab.forms() if unverified_claims(token)["credential"] in dict(f.fields).values())
    assert form.action == "/sessions/end-command-line"
    await tab.post("/sessions/end-command-line", dict(form.fields))
    assert (await api_token(house, ended)).status == 401
    assert (await who_am_i(house, token)).status == 401
    assert (await api_token(house, kept)).status == 200
    await tab.get("/sessions")
    assert "alices-laptop" not in tab.text
    assert "build-box" in tab.text
    [record] = await house.events("node.revoked")
    assert (record["node"], record["by"]) == (unverified_claims(token)["credential"], house.alice.id)


async def test_only_ones_own_command_lines_are_seen_and_ended_but_by_administrators(house: House) -> None:
    bob = await house.person("bob@acme.com")
    alices, bobs = await house.signed_in(), await house.signed_in(bob.email)
    hers = await CommandLine(house, name="alices-laptop").sign_in(alices)
    his = await CommandLine(house, name="bobs-laptop").sign_in(bobs)
    await bobs.get("/sessions")
    assert "alices-laptop" not in bobs.text
    node = unverified_claims((await api_token(house, hers)).json()["access_token"])["credential"]
    for wrong in (node, "tok_" + "0" * 26, "", bob.id):
        sent = {"csrf": bobs.csrf, "command_line": wrong}
        assert (await bobs.post("/sessions/end-command-line", sent)).status == 404
    assert (await api_token(house, hers)).status == 200
    await alices.get("/sessions")
    assert "bobs-laptop" in alices.text
    node = unverified_claims((await api_token(house, his)).json()["access_token"])["credential"]
    await alices.submit("/sessions/end-command-line", {"command_line": node})
    assert (await api_token(house, his)).status == 401


async def test_a_changed_password_ends_what_was_signed_in_by_browser(house: House) -> None:
    tab = await with_password(house)
    line = CommandLine(house)
    credential, code = await line.sign_in(tab), await line.code(tab)
    await tab.get("/account")
    new = PASSWORD + " again"
    await tab.submit("/account/password", {"password": new, "repeated": new})
    assert (await api_token(house, credential)).status == 401
    assert (await line.redeem(code)).status == 401
    assert (await api_token(house, house.alice.credential)).status == 200


# --- a program on a computer without a browser
SHOWN = "urn:valetkey:shown"


def elsewhere(house: House) -> CommandLine:
    return CommandLine(house, redirect_uri=SHOWN)


def code_on(tab: Tab) -> str:
    assert tab.reply is not None
    [found] = re.findall(r"vklc_[0-9A-Za-z]{49}", tab.reply.body.decode())
    return found


async def allowed(house: House, line: CommandLine) -> str:
    """She says yes on the page; the code it shows."""
    tab = await house.signed_in()
    await tab.get(line.address())
    await tab.submit("/login/cli", button="Allow")
    return code_on(tab)


async def test_she_carries_the_code_to_a_computer_without_a_browser(house: House) -> None:
    line, tab = elsewhere(house), await house.signed_in()
    await tab.get(line.address())
    compared = comparison(parse_qs(urlsplit(line.address()).query)["code_challenge"][0])
    for words in ("on another computer", "alices-laptop", compared, "login --device", "alice@acme.com", "Until"):
        assert words in tab.text, words
    assert tab.reply is not None
    assert "form-action 'self';" in (tab.reply.header("content-security-policy") or "")
    reply = await tab.submit("/login/cli", button="Allow")
    assert (reply.status, reply.header("location"), reply.header("cache-control")) == (200, None, "no-store")
    assert "Give it to nobody" in tab.text
    assert compared in tab.text
    code = code_on(tab)
    house.clock.advance(299)
    said = (await line.redeem(code)).json()
    assert (await api_token(house, said["credential"])).status == 200
    [issued] = await house.events("code.issued")
    assert (issued["user"], issued["command_line"]) == (house.alice.id, "alices-laptop")


async def test_her_no_shows_no_code(house: House) -> None:
    tab = await house.signed_in()
    await tab.get(elsewhere(house).address())
    reply = await tab.submit("/login/cli", button="Cancel")
    assert (reply.status, reply.header("location")) == (200, None)
    assert b"vklc_" not in reply.body
    assert "Nobody was signed in" in tab.text
    assert len(await house.events("consent.declined")) == 1
    assert await house.events("code.issued") == []


@pytest.mark.parametrize("changes", [{"code_verifier": OTHER}, {"redirect_uri": REDIRECT}])
async def test_a_code_that_was_shown_is_worth_nothing_to_another_program(house: House, changes: dict[str, str]) -> None:
    """Somebody who talked her out of it, or read it over her shoulder; then it is spent for everybody."""
    line = elsewhere(house)
    code = await allowed(house, line)
    assert (await line.redeem(code, **changes)).status == 401
    assert (await line.redeem(code)).status == 401
    assert (await line.redeem(await allowed(house, line))).status == 201


async def test_a_code_that_came_back_by_a_browser_is_none_that_is_typed(house: House) -> None:
    line, tab = CommandLine(house), await house.signed_in()
    assert (await line.redeem(await line.code(tab), redirect_uri=SHOWN)).status == 401
    assert (await line.redeem(await line.code(tab))).status == 201


async def test_a_code_that_was_shown_is_good_for_five_minutes_and_once(house: House) -> None:
    line = elsewhere(house)
    code = await allowed(house, line)
    house.clock.advance(300)
    assert (await line.redeem(code)).status == 401
    fresh = await allowed(house, line)
    credential = (await line.redeem(fresh)).json()["credential"]
    assert (await api_token(house, credential)).status == 200
    assert (await line.redeem(fresh)).status == 401  # and whoever got in by it is put out
    assert (await api_token(house, credential)).status == 401


async def test_no_code_is_shown_to_who_signed_in_long_ago(house: House) -> None:
    await with_password(house)
    line, tab = elsewhere(house), house.tab()
    await try_password(tab)
    await tab.get(line.address())
    house.clock.advance(601)
    late = await tab.submit("/login/cli", button="Allow", follow=False)
    assert late.header("location") == f"/login?next={quote(line.address(), safe='')}&again=1"
    assert await house.events("code.issued") == []
