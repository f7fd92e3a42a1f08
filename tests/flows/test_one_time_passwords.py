"""Codes of an authenticator app, and the recovery codes that stand in for one."""

from urllib.parse import parse_qs, urlsplit

from sqlalchemy import text

from tests.support.house import House
from tests.support.http import Reply
from tests.support.people import App, is_in, shown_key, try_password, with_app, with_password
from tests.support.tab import Tab


async def second(tab: Tab, code: str) -> Reply:
    """Type a code where the page asks for it."""
    return await tab.submit("/login/second", {"code": code}, follow=False)


async def with_code(house: House, code: str) -> Reply:
    """Password, then this code, in a new browser."""
    tab = house.tab()
    await try_password(tab)
    return await second(tab, code)


async def test_setting_up_shows_an_address_apps_know_and_the_key_in_groups(house: House) -> None:
    tab = await with_password(house)
    await tab.submit("/account/one-time", {})
    (uri,) = [link for link in tab.links() if link.startswith("otpauth://")]
    parts = urlsplit(uri)
    facts = parse_qs(parts.query)
    assert parts.netloc == "totp"
    assert parts.path == "/Valetkey%20%28localhost%29:alice%40acme.com"
    assert facts["issuer"] == ["Valetkey (localhost)"]
    key = shown_key(tab)
    assert key.replace(" ", "") == facts["secret"][0]
    assert [len(group) for group in key.split(" ")] == [4] * 8


async def test_password_then_code_signs_in_at_the_second_level(house: House) -> None:
    app, _ = await with_app(house, await with_password(house))
    house.clock.advance(30)
    assert is_in(await with_code(house, app.code()))
    last = (await house.events("login.succeeded"))[-1]
    assert (last["amr"], last["acr"]) == (["pwd", "otp", "mfa"], "urn:valetkey:acr:two")


async def test_a_code_is_worth_one_sign_in(house: House) -> None:
    app, _ = await with_app(house, await with_password(house))
    assert not is_in(await with_code(house, app.code()))  # confirming it spent it
    house.clock.advance(30)
    code = app.code()
    assert is_in(await with_code(house, code))
    assert not is_in(await with_code(house, code))
    house.clock.advance(30)
    assert is_in(await with_code(house, app.code()))


async def test_a_clock_may_be_one_step_off_and_no_more(house: House) -> None:
    app, _ = await with_app(house, await with_password(house))
    house.clock.advance(3600)
    for steps, right in ((-2, False), (2, False), (-1, True), (1, True)):
        house.clock.advance(300)
        assert is_in(await with_code(house, app.code(steps))) == right, steps


async def test_spaces_in_a_code_do_not_matter_and_anything_else_does(house: House) -> None:
    app, _ = await with_app(house, await with_password(house))
    house.clock.advance(60)
    code = app.code()
    for wrong in (code[:-1], code + "0", "", "abcdef", "१२३४५६", f"-{code[1:]}"):
        assert not is_in(await with_code(house, wrong))
        house.clock.advance(3600)
    code = app.code()
    assert is_in(await with_code(house, f" {code[:3]} {code[3:]} "))


async def test_an_app_that_was_not_confirmed_is_not_asked_for(house: House) -> None:
    tab = await with_password(house)
    await tab.submit("/account/one-time", {})
    assert is_in(await try_password(house.tab()))
    app = App(house, shown_key(tab))
    assert (await tab.submit("/account/one-time/confirm", {"code": app.code(5)})).status == 400
    assert shown_key(tab)  # it is shown again, to be typed once more
    assert is_in(await try_password(house.tab()))
    await tab.submit("/account/one-time/confirm", {"code": app.code()})
    assert not is_in(await try_password(house.tab()))


async def test_the_code_is_asked_in_the_browser_that_gave_the_password(house: House) -> None:
    app, _ = await with_app(house, await with_password(house))
    house.clock.advance(30)
    tab, other = house.tab(), house.tab()
    await try_password(tab)
    step = dict(tab.forms()[0].fields)["step"]
    await other.get("/login")
    reply = await other.post("/login/second", {"csrf": other.csrf, "step": step, "code": app.code()})
    assert reply.status == 403
    twin, csrf = house.tab(), tab.csrf
    twin.cookies = dict(tab.cookies)
    assert is_in(await second(tab, app.code()))
    house.clock.advance(30)
    again = await twin.post("/login/second", {"csrf": csrf, "step": step, "code": app.code()})
    assert again.status == 403
    assert "is over, was used" in twin.text


async def test_a_step_is_over_after_five_minutes(house: House) -> None:
    app, _ = await with_app(house, await with_password(house))
    tab = house.tab()
    await try_password(tab)
    house.clock.advance(299)
    assert "is not right" in (await second(tab, "000000"), tab.text)[1]
    house.clock.advance(1)
    assert (await second(tab, app.code())).status == 403


async def test_ten_recovery_codes_each_work_once(house: House) -> None:
    _, codes = await with_app(house, await with_password(house))
    assert len(set(codes)) == 10
    assert is_in(await with_code(house, codes[0]))
    assert not is_in(await with_code(house, codes[0]))
    assert is_in(await with_code(house, f" {codes[1].upper().replace('-', ' ')} "))
    tab = house.tab()
    await try_password(tab)
    await second(tab, codes[2])
    await tab.get("/account")
    assert "7 recovery codes left." in tab.text
    assert len(await house.events("recovery-code.used")) == 3


async def test_new_recovery_codes_void_the_old_ones_and_are_stored_as_macs(house: House) -> None:
    tab = await with_password(house)
    _, old = await with_app(house, tab)
    await tab.get("/account")
    await tab.submit("/account/recovery", {})
    assert not is_in(await with_code(house, old[0]))
    async with house.app.database.read() as db:
        rows = (await db.execute(text("SELECT mac FROM recovery_codes"))).scalars().all()
    assert len(rows) == 10
    assert all(len(bytes(row)) == 32 for row in rows)
    shown = (await tab.get("/account")).body.decode()
    assert not any(code in shown for code in old)


async def test_bobs_codes_are_worth_nothing_to_alice(house: House) -> None:
    bob = await house.person("bob@acme.com")
    _, codes = await with_app(house, await with_password(house, bob.email))
    await with_app(house, await with_password(house))
    assert not is_in(await with_code(house, codes[0]))


async def test_removing_the_app_makes_the_password_enough_and_drops_the_codes(house: House) -> None:
    tab = await with_password(house)
    await with_app(house, tab)
    await tab.get("/account")
    await tab.submit("/account/one-time/remove", {})
    assert is_in(await try_password(house.tab()))
    async with house.app.database.read() as db:
        assert (await db.execute(text("SELECT count(*) FROM recovery_codes"))).scalar() == 0


async def test_the_secret_is_sealed_and_opens_for_its_owner_alone(house: House) -> None:
    tab = await with_password(house)
    app, _ = await with_app(house, tab)
    bob = await house.person("bob@acme.com")
    await with_app(house, await with_password(house, bob.email))
    async with house.app.database.write() as tx:
        rows = (await tx.execute(text('SELECT "user", sealed FROM one_time_passwords'))).all()
        assert all(app.secret.reveal() not in bytes(row.sealed) for row in rows)
        mine = next(bytes(row.sealed) for row in rows if row.user == house.alice.id)
        await tx.execute(
            text('UPDATE one_time_passwords SET sealed = :sealed WHERE "user" = :user'),
            {"sealed": mine, "user": bob.id},
        )
    house.clock.advance(60)
    moved = house.tab()
    await try_password(moved, bob.email)
    assert (await second(moved, app.code())).status == 500  # it does not open in another's place
    assert is_in(await with_code(house, app.code()))
