"""Attacks on signing in: planted handles, guessing, telling who exists, and slowing down honest people."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.flows.test_sso import CAROL, sso, with_provider
from tests.support.house import House
from tests.support.http import Reply
from tests.support.nodes import second_node
from tests.support.people import EMAIL, PASSWORD, add_passkey, is_in, try_password, use_passkey, with_app, with_password
from valetkey.server.ids import new_handle


async def test_ui_01_signing_in_needs_a_form_of_ours_in_this_browser(house: House) -> None:
    await with_password(house)
    tab, other = house.tab(), house.tab()
    await tab.get("/login")
    await other.get("/login")
    fields = {"email": EMAIL, "password": PASSWORD}
    for csrf, headers in [
        ("", {}),
        (other.csrf, {}),
        (tab.csrf, {"origin": "https://evil.example"}),
        (tab.csrf, {"sec-fetch-site": "cross-site"}),
    ]:
        assert (await tab.post("/login/password", {"csrf": csrf, **fields}, headers=headers)).status == 403
        await tab.get("/login")
    assert (await house.call("GET", f"/login/password?email={EMAIL}&password=x")).status == 404
    assert is_in(await tab.submit("/login/password", fields, follow=False))


@pytest.mark.parametrize("planted", ["__Host-valetkey", "__Host-valetkey-guest"])
async def test_ui_05_a_handle_planted_before_is_worth_nothing_after(house: House, planted: str) -> None:
    await with_password(house)
    kind = "se" if planted == "__Host-valetkey" else "gu"
    handle = new_handle(kind).reveal()
    victim, thief = house.tab(), house.tab()
    victim.cookies[planted] = thief.cookies[planted] = handle
    reply = await try_password(victim)
    assert is_in(reply)
    assert victim.cookies["__Host-valetkey"] != handle
    assert (await thief.get("/", follow=False)).status == 303
    assert (await victim.get("/", follow=False)).status == 200


async def test_ui_05_a_strangers_own_session_in_the_victims_browser_ends_there(house: House) -> None:
    mallory = await house.person("mallory@acme.com")
    await with_password(house)
    thief, victim = await house.signed_in(mallory.email), house.tab()
    victim.cookies = dict(thief.cookies)
    await victim.get("/login?again=1")
    reply = await victim.submit("/login/password", {"email": EMAIL, "password": PASSWORD}, follow=False)
    assert is_in(reply)
    assert (await thief.get("/", follow=False)).status == 303
    await victim.get("/")
    assert "Hello, alice@acme.com" in victim.text


async def test_ui_07_known_and_unknown_people_get_the_same_answer_after_the_same_work(house: House) -> None:
    await with_password(house)
    nobody_has = await house.person("bob@acme.com")  # exists, without a password
    hashed: list[str] = []
    passwords = house.app.services.login.passwords
    verified = passwords._verified

    def seen(stored: str, password: Any) -> bool:
        hashed.append(stored.rpartition("$")[0].rpartition("$")[0])
        return verified(stored, password)

    passwords._verified = seen  # type: ignore[method-assign]
    said = set()
    for email in (EMAIL, nobody_has.email, "nobody@acme.com", "no address", "a@x@y", ""):
        tab = house.tab()
        reply = await try_password(tab, email, "not the password")
        said.add((reply.status, tab.text))
        house.clock.advance(60)
    assert len(said) == 1
    assert hashed == ["$argon2id$v=19$m=19456,t=2,p=1"] * 6


async def test_ui_07_one_identity_is_counted_however_it_is_spelled(house: House) -> None:
    await with_password(house)
    for email in ("alice@acme.com", "ALICE@acme.com", " alice@ACME.com", "Alice@acme.com ", "aLICE@acme.com"):
        assert (await try_password(house.tab(), email, "wrong")).status == 400
    assert (await try_password(house.tab(), "nobody@acme.com", "wrong")).status == 400
    assert (await try_password(house.tab(), EMAIL, "wrong")).status == 400
    assert (await try_password(house.tab(), EMAIL, "wrong")).status == 429


async def test_guessing_is_slowed_more_and_more_and_told_how_long(house: House) -> None:
    await with_password(house)
    waits: list[int] = []
    for _ in range(10):
        tab = house.tab()
        reply = await try_password(tab, password="wrong")
        if reply.status == 429:
            waits.append(int(reply.header("retry-after") or 0))
            assert "Too many attempts to sign in. Try again in" in tab.text
            assert (await try_password(house.tab())).status == 429  # the right password is not tried either
            house.clock.advance(waits[-1])
            assert (await try_password(house.tab(), password="wrong")).status == 400
    assert waits == [1, 2, 4, 8, 16][: len(waits)]
    assert len(waits) >= 4
    house.clock.advance(3600)
    assert is_in(await try_password(house.tab()))


async def test_guessing_at_once_is_no_more_than_guessing_in_turn(house: House) -> None:
    await with_password(house)
    tabs = [house.tab() for _ in range(12)]
    for tab in tabs:
        await tab.get("/login")
    fields = {"email": EMAIL, "password": "wrong"}
    replies = await asyncio.gather(*(tab.submit("/login/password", fields, follow=False) for tab in tabs))
    assert sorted(reply.status for reply in replies) == [400] * 6 + [429] * 6


async def test_a_stranger_guessing_locks_nobody_out(house: House) -> None:
    tab = await with_password(house)
    made = await add_passkey(house, tab)
    await _fail(house, EMAIL, "203.0.113.7", 40)
    # Alice's own address is one she signed in from: what happens elsewhere does not slow her there.
    assert is_in(await try_password(house.tab()))
    await _fail(house, EMAIL, "127.0.0.1", 40)
    assert (await try_password(house.tab())).status == 429
    assert is_in(await use_passkey(house.tab(), made))


async def _fail(house: House, email: str, address: str, times: int) -> None:
    """Wrong passwords from another address, as the door would count them."""
    login = house.app.services.login
    user = await login.people.by_email(email)
    for _ in range(times):
        try:
            await login.attempts.did_fail(await login.attempts.begin(email, address, user=user), user)
        except Exception as error:
            house.clock.advance(error.retry_after)  # type: ignore[attr-defined]


async def test_failures_grow_a_counter_and_not_the_audit(house: House) -> None:
    before = len(await house.events())
    await _fail(house, "nobody@acme.com", "203.0.113.7", 30)
    await house.alice.sign_in()
    assert len(await house.events()) == before
    await with_password(house)
    for address in range(30):
        await _fail(house, EMAIL, f"203.0.113.{address}", 1)
    await house.alice.sign_in()
    (failed,) = await house.events("login.failed")
    assert failed["user"] == house.alice.id
    async with house.app.database.read() as db:
        total = (await db.execute(text("SELECT count FROM attempts WHERE key = 'failed'"))).scalar()
        keys = (await db.execute(text("SELECT key FROM attempts"))).scalars().all()
    assert total is not None
    assert total > 30
    assert not any("acme" in key or "203.0" in key for key in keys)
    house.clock.advance(3601)
    for address in range(30):
        await _fail(house, EMAIL, f"203.0.113.{address}", 1)
    await house.alice.sign_in()
    assert len(await house.events("login.failed")) == 2


async def test_codes_after_a_known_password_are_slowed_for_every_address(house: House) -> None:
    app, _ = await with_app(house, await with_password(house))
    house.clock.advance(30)
    last: Reply | None = None
    for _ in range(7):
        tab = house.tab()
        await try_password(tab)
        last = await tab.submit("/login/second", {"code": "000000"}, follow=False)
    assert last is not None
    assert last.status == 429
    assert (await tab.submit("/login/second", {"code": app.code()}, follow=False)).status == 429
    house.clock.advance(60)
    tab = house.tab()
    await try_password(tab)
    assert is_in(await tab.submit("/login/second", {"code": app.code()}, follow=False))


async def test_limits_hold_over_two_nodes(house: House, tmp_path: Path, database_url: str | None) -> None:
    if database_url is None:
        pytest.skip("SQLite serves one node")
    await with_password(house)
    for _ in range(6):
        await try_password(house.tab(), password="wrong")
    async with second_node(house, tmp_path) as other:
        assert (await try_password(other.tab(), password="wrong")).status == 429


async def test_do_07_few_passwords_are_hashed_at_once(house: House) -> None:
    await with_password(house)
    passwords = house.app.services.login.passwords
    now = most = 0
    verified = passwords._verified

    def counted(stored: str, password: Any) -> bool:
        nonlocal now, most
        now += 1
        most = max(most, now)
        found = verified(stored, password)
        now -= 1
        return found

    passwords._verified = counted  # type: ignore[method-assign]
    tabs = [house.tab() for _ in range(12)]
    for tab in tabs:
        await tab.get("/login")
    await asyncio.gather(
        *(
            tab.submit("/login/password", {"email": f"p{at}@acme.com", "password": "x"}, follow=False)
            for at, tab in enumerate(tabs)
        )
    )
    assert 1 <= most <= 2


async def test_do_07_what_is_no_code_never_reaches_the_store(house: House) -> None:
    code = (await house.alice.does("POST", "/v1/users", email="bob@acme.com"))["code"]
    asked: list[str] = []
    journal = house.app.journal
    change = journal.change
    journal.change = lambda: (asked.append("change"), change())[1]  # type: ignore[method-assign]
    for wrong in (
        code[:-1] + ("0" if code[-1] != "0" else "1"),
        "vkin_x",
        "",
        "x" * 5000,
        code.replace("vkin", "vkse"),
    ):
        tab = house.tab()
        await tab.get("/login")
        assert (await tab.submit("/login/code", {"code": wrong}, follow=False)).status == 400
    assert asked == []
    tab = house.tab()
    await tab.get("/login")
    assert is_in(await tab.submit("/login/code", {"code": f" {code[:20]} {code[20:]}\n"}, follow=False))


@pytest.mark.parametrize(
    "claims",
    [
        {"email_verified": "true"},
        {"email_verified": "false"},
        {"email_verified": 1},
        {"email_verified": None},
        {"email_verified": False},
        {"email_verified": ["true"]},
        {"email": "carol@acme.com@evil.example"},
        {"email": "carol@evil.example"},
        {"email": "carol@sub.acme.com"},
        {"email": "carol@acme.com.evil.example"},
        {"email": "carol@acme.com\u0000"},
        {"email": "carol@аcme.com"},
        {"email": ["carol@acme.com"]},
        {"email": None},
    ],
)
async def test_oa_24_only_a_verified_address_is_enrolled(tmp_path: Path, claims: dict[str, Any]) -> None:
    async with with_provider(tmp_path / "data", None) as (house, provider, made):
        provider.person = {**CAROL, **claims}
        reply = await sso(house.tab(), provider, made)
        assert not is_in(reply)
        assert reply.status in (401, 403)
        assert [u["email"] for u in (await house.alice.does("GET", "/v1/users"))["data"]] == [EMAIL]
        provider.person = dict(CAROL)
        assert is_in(await sso(house.tab(), provider, made))
