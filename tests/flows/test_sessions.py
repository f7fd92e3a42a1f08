"""The browsers somebody is signed in with: seeing them, ending them, and new ones at every sign-in."""

from tests.support.house import House
from tests.support.people import add_passkey, is_in, use_passkey
from tests.support.strangers import other_organization


async def test_one_sees_ones_own_browsers_and_ends_one(house: House) -> None:
    mine, other = await house.signed_in(), await house.signed_in()
    await mine.get("/sessions")
    assert mine.text.count("Tab/1") == 2
    assert mine.text.count("this browser") == 1
    theirs = [dict(form.fields)["session"] for form in mine.forms() if form.action == "/sessions/end"]
    assert len(theirs) == 2
    await other.get("/sessions")
    marked = _session_of(other)
    await mine.submit("/sessions/end", {"session": marked})
    assert (await other.get("/", follow=False)).status == 303
    assert (await mine.get("/", follow=False)).status == 200
    (ended,) = await house.events("session.ended")
    assert (ended["session"], ended["by"]) == (marked, house.alice.id)


async def test_ending_all_others_keeps_this_one(house: House) -> None:
    mine = await house.signed_in()
    others = [await house.signed_in() for _ in range(3)]
    await mine.get("/sessions")
    await mine.submit("/sessions/end-others", {})
    assert [(await other.get("/", follow=False)).status for other in others] == [303, 303, 303]
    assert (await mine.get("/", follow=False)).status == 200
    assert len(await house.events("session.ended")) == 3


async def test_ending_this_browsers_session_signs_out(house: House) -> None:
    tab = await house.signed_in()
    await tab.get("/sessions")
    await tab.submit("/sessions/end", {"session": _session_of(tab)})
    assert tab.at == "/login"
    assert "__Host-valetkey" not in tab.cookies


async def test_administrators_see_and_end_those_of_their_organization_and_members_their_own(house: House) -> None:
    bob = await house.person("bob@acme.com")
    bobs, alices = await house.signed_in(bob.email), await house.signed_in()
    await bobs.get("/sessions")
    assert "alice@acme.com" not in bobs.text
    assert "Everyone in your organization" not in bobs.text
    own, csrf = _session_of(bobs), bobs.csrf
    await alices.get("/sessions")
    assert "bob@acme.com" in alices.text
    reply = await bobs.post("/sessions/end", {"csrf": csrf, "session": _session_of(alices)})
    none = await bobs.post("/sessions/end", {"csrf": csrf, "session": "ses_" + "0" * 26})
    assert (reply.status, none.status) == (404, 404)
    await alices.submit("/sessions/end", {"session": own})
    assert (await bobs.get("/", follow=False)).status == 303


async def test_an_administrator_of_another_organization_sees_and_ends_nothing(house: House) -> None:
    _, mallory = await _stranger(house)
    mine = await house.signed_in()
    await mine.get("/sessions")
    tab = await house.signed_in(mallory)
    await tab.get("/sessions")
    assert "alice@acme.com" not in tab.text
    reply = await tab.post("/sessions/end", {"csrf": tab.csrf, "session": _session_of(mine)})
    assert reply.status == 404
    assert (await mine.get("/", follow=False)).status == 200


async def _stranger(house: House) -> tuple[str, str]:
    person = await other_organization(house)
    return person.id, person.email


async def test_oa_17_a_suspended_persons_sessions_stop_at_once_and_resume_with_them(house: House) -> None:
    bob = await house.person("bob@acme.com")
    tab = await house.signed_in(bob.email)
    assert (await tab.get("/", follow=False)).status == 200
    await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
    assert (await tab.get("/", follow=False)).status == 303
    alices = await house.signed_in()
    await alices.get("/sessions")
    assert "bob@acme.com" not in alices.text
    await house.alice.does("POST", f"/v1/users/{bob.id}/resume")
    assert (await tab.get("/", follow=False)).status == 200
    await house.alice.does("POST", "/v1/revocations", node=bob.id)
    assert (await tab.get("/", follow=False)).status == 303


async def test_ui_05_the_handle_changes_at_step_up_and_the_old_one_is_worth_nothing(house: House) -> None:
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    old = dict(tab.cookies)
    house.clock.advance(601)
    assert is_in(await use_passkey(tab, made, "/login?again=1&next=%2Faccount"))
    assert tab.cookies["__Host-valetkey"] != old["__Host-valetkey"]
    held = house.tab()
    held.cookies = old
    assert (await held.get("/", follow=False)).status == 303
    assert (await tab.get("/", follow=False)).status == 200


async def test_who_is_signed_in_is_asked_again_only_when_told_to(house: House) -> None:
    tab = await house.signed_in()
    reply = await tab.get("/login?next=%2Fsessions", follow=False)
    assert (reply.status, reply.header("location")) == (303, "/sessions")
    reply = await tab.get("/login?next=%2Fsessions&again=1", follow=False)
    assert reply.status == 200
    assert "You are signed in as alice@acme.com." in tab.text


def _session_of(tab: object) -> str:
    """The id of the browser's own session, as its page of sessions marks it."""
    body = tab.reply.body.decode()  # type: ignore[attr-defined]
    own = body.split("this browser")[1]
    return str(own.split('name="session" value="')[1].split('"')[0])
