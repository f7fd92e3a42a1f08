"""Signing a browser in and out: sessions, their cookies, and forms that only our own pages can send."""

from pathlib import Path

from tests.support.house import House, first_administrator, open_house
from tests.support.tab import Tab


async def test_the_first_administrator_signs_in_with_the_printed_code(tmp_path: Path, database_url: str | None) -> None:
    async with open_house(tmp_path / "data", database_url=database_url, sign_in=False) as house:
        assert house.app.bootstrap is not None
        tab = house.tab()
        await tab.get("/?x=1")
        assert tab.at == "/login?next=%2F%3Fx%3D1"
        fields = {"code": house.app.bootstrap.reveal(), "email": "alice@acme.com"}
        reply = await tab.submit("/login/code", fields, follow=False)
        assert (reply.status, reply.header("location")) == (303, "/account?next=%2F%3Fx%3D1")
        await tab.get("/account?next=%2F%3Fx%3D1")
        assert "You have no way to sign in again yet" in tab.text
        await tab.get("/")
        assert "Hello, alice@acme.com" in tab.text
        again = house.tab()
        await again.get("/login")
        assert not _asks_for_the_first(again)
        assert (await again.submit("/login/code", fields)).status == 400
        assert "not valid, was used, or has expired" in again.text


async def test_the_code_is_open_where_it_is_the_only_way_or_was_just_tried(
    tmp_path: Path, database_url: str | None
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url, sign_in=False) as house:
        tab = house.tab()
        await tab.get("/login")
        assert (_is_open(tab), _asks_for_the_first(tab)) == (True, True)
        assert house.app.bootstrap is not None
        await first_administrator(house, house.app.bootstrap.reveal())
        await tab.get("/login")
        assert (_is_open(tab), _asks_for_the_first(tab)) == (False, False)
        assert (await tab.submit("/login/code", {"code": "wrong"})).status == 400
        assert (_is_open(tab), _asks_for_the_first(tab)) == (True, False)
        await tab.submit("/login/password", {"email": "alice@acme.com", "password": "wrong"})
        assert (_is_open(tab), _asks_for_the_first(tab)) == (False, False)


def _is_open(tab: Tab) -> bool:
    assert tab.reply is not None
    return b'<details class="more" open>' in tab.reply.body


def _asks_for_the_first(tab: Tab) -> bool:
    form = next(f for f in tab.forms() if f.action == "/login/code")
    return "email" in dict(form.fields)


async def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(house: House) -> None:
    tab = await house.signed_in()
    copy = dict(tab.cookies)
    await tab.get("/")
    reply = await tab.submit("/logout")
    assert tab.at == "/login"
    assert "__Host-valetkey" not in tab.cookies
    thief = house.tab()
    thief.cookies = copy
    reply = await thief.get("/", follow=False)
    assert (reply.status, reply.header("location")) == (303, "/login?next=%2F")
    assert (await house.events("session.ended"))[0]["by"] == house.alice.id


async def test_ui_01_a_form_from_elsewhere_or_without_its_token_changes_nothing(house: House) -> None:
    tab = await house.signed_in()
    await tab.get("/")
    csrf = tab.csrf
    for form, headers in [
        ({}, {}),
        ({"csrf": ""}, {}),
        ({"csrf": "0" * 64}, {}),
        ({"csrf": csrf}, {"origin": "https://evil.example"}),
        ({"csrf": csrf}, {"origin": "null", "sec-fetch-site": "cross-site"}),
        ({"csrf": csrf}, {"origin": "http://localhost:1"}),
    ]:
        assert (await tab.post("/logout", form, headers=headers)).status == 403, (form, headers)
    assert not await house.events("session.ended")
    other = await house.signed_in()
    assert (await other.post("/logout", {"csrf": csrf})).status == 403
    assert (await tab.post("/logout", {"csrf": csrf})).status == 303


async def test_ui_02_every_page_forbids_framing_script_caching_and_referrers(house: House) -> None:
    tab = await house.signed_in()
    with_script = {"/login", "/account"}  # passkeys need one: ours, by its address, and nothing inline
    for path in ("/", "/sessions", "/account", "/admin/sign-in", "/login"):
        reply = await (house.tab() if path == "/login" else tab).get(path)
        assert reply.status == 200, path
        policy = reply.header("content-security-policy") or ""
        assert ("script-src 'self';" in policy) == (path in with_script)
        assert reply.body.count(b"<script") == (1 if path in with_script else 0)
        assert b"style=" not in reply.body
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy
        assert reply.header("referrer-policy") == "no-referrer"
        assert reply.header("cache-control") == "no-store"
        assert reply.header("cross-origin-opener-policy") == "same-origin"
        assert reply.header("x-content-type-options") == "nosniff"


async def test_nobody_is_sent_to_another_site_after_signing_in(house: House) -> None:
    for wanted in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evil"):
        tab = house.tab()
        await tab.get(f"/login?next={wanted}")
        form = next(f for f in tab.forms() if f.action == "/login/code")
        assert dict(form.fields)["next"] == "/", wanted


async def test_a_session_ends_by_the_clock(house: House) -> None:
    tab = await house.signed_in()
    house.clock.advance(11 * 3600)
    assert (await tab.get("/", follow=False)).status == 200
    house.clock.advance(11 * 3600)
    assert (await tab.get("/", follow=False)).status == 200  # it was used meanwhile
    house.clock.advance(12 * 3600 + 1)
    assert (await tab.get("/", follow=False)).status == 303
