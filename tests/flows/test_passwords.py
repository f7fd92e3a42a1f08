"""Passwords: setting, changing and removing one, and signing in with it."""

import pytest
from sqlalchemy import text

from tests.support.house import House
from tests.support.people import EMAIL, PASSWORD, add_passkey, is_in, try_password, with_app, with_password


async def test_a_password_signs_in_and_the_session_says_how(house: House) -> None:
    await with_password(house)
    tab = house.tab()
    reply = await try_password(tab, email="  Alice@ACME.com ")
    assert is_in(reply)
    assert reply.header("location") == "/"
    assert (await tab.get("/", follow=False)).status == 200
    (signed_in,) = [e for e in await house.events("login.succeeded") if e.get("amr") == ["pwd"]]
    assert signed_in["acr"] == "urn:valetkey:acr:one"


async def test_another_password_does_not(house: House) -> None:
    await with_password(house)
    tab = house.tab()
    for wrong in (PASSWORD + ".", PASSWORD[:-1], PASSWORD.upper(), "x" * 4000, ""):
        reply = await try_password(tab, password=wrong)
        assert reply.status == 400
        assert not is_in(reply)
        house.clock.advance(60)


async def test_the_same_characters_typed_differently_are_the_same_password(house: House) -> None:
    await with_password(house, password="pass word ﬁve Å cafe\u0301")
    assert is_in(await try_password(house.tab(), password="pass word five Å café"))
    assert not is_in(await try_password(house.tab(), password="pass word five A cafe"))


@pytest.mark.parametrize(
    ("password", "fits"), [("x" * 11, False), ("x" * 12, True), ("é" * 256, True), ("x" * 257, False)]
)
async def test_a_password_has_twelve_to_256_characters_of_any_kind(house: House, password: str, fits: bool) -> None:
    tab = await house.signed_in()
    await tab.get("/account")
    reply = await tab.submit("/account/password", {"password": password, "repeated": password})
    assert (reply.status == 200) == fits
    assert ("A password has 12 to 256 characters." in tab.text) != fits
    assert is_in(await try_password(house.tab(), password=password)) == fits


async def test_a_mistyped_repetition_sets_nothing(house: House) -> None:
    tab = await house.signed_in()
    await tab.get("/account")
    assert (await tab.submit("/account/password", {"password": PASSWORD, "repeated": PASSWORD + "x"})).status == 400
    assert "The two passwords differ." in tab.text
    assert not is_in(await try_password(house.tab()))


async def test_changing_the_password_ends_the_old_one_and_the_other_sessions(house: House) -> None:
    tab, other = await with_password(house), house.tab()
    await try_password(other)
    await tab.get("/account")
    await tab.submit("/account/password", {"password": "another long password", "repeated": "another long password"})
    assert (await tab.get("/", follow=False)).status == 200
    assert (await other.get("/", follow=False)).status == 303
    assert not is_in(await try_password(house.tab()))
    assert is_in(await try_password(house.tab(), password="another long password"))


async def test_what_is_stored_is_an_argon2id_hash_with_its_parameters(house: House) -> None:
    await with_password(house)
    async with house.app.database.read() as db:
        (stored,) = (await db.execute(text("SELECT hash FROM passwords"))).scalars().all()
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PASSWORD not in stored


async def test_a_suspended_person_is_told_what_a_stranger_is_told(house: House) -> None:
    bob = await house.person("bob@acme.com")
    tab = await with_password(house, bob.email)
    assert is_in(await try_password(house.tab(), bob.email))
    await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
    suspended, stranger = house.tab(), house.tab()
    one = await try_password(suspended, bob.email)
    other = await try_password(stranger, "nobody@acme.com")
    assert (one.status, suspended.text) == (other.status, stranger.text)
    assert (await tab.get("/", follow=False)).status == 303
    await house.alice.does("POST", f"/v1/users/{bob.id}/resume")
    house.clock.advance(60)
    assert is_in(await try_password(house.tab(), bob.email))


async def test_a_password_alone_is_enough_only_until_there_is_an_app(house: House) -> None:
    tab = await with_password(house)
    assert is_in(await try_password(house.tab()))
    await with_app(house, tab)
    reply = await try_password(house.tab())
    assert reply.status == 200
    assert not is_in(reply)


async def test_the_only_password_cannot_be_removed_and_a_second_way_frees_it(house: House) -> None:
    tab = await with_password(house)
    await tab.get("/account")
    assert (await tab.submit("/account/password/remove", {})).status == 409
    assert is_in(await try_password(house.tab()))
    await add_passkey(house, tab)
    await tab.get("/account")
    assert (await tab.submit("/account/password/remove", {})).status == 200
    assert not is_in(await try_password(house.tab()))
    (removed,) = await house.events("login-way.removed")
    assert (removed["user"], removed["way"]) == (house.alice.id, "password")


async def test_change_password_of_password_managers_leads_to_the_account(house: House) -> None:
    reply = await house.call("GET", "/.well-known/change-password")
    assert (reply.status, reply.header("location")) == (303, "/account")
    assert EMAIL not in str(reply.headers)
