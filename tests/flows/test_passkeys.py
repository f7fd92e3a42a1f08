"""Passkeys: registering, signing in, proving oneself again, and removing them."""

import asyncio
import secrets
from typing import Any

import pytest

from tests.support.authenticator import PRESENT, VERIFIED, Authenticator, encoded
from tests.support.house import House
from tests.support.people import add_passkey, is_in, try_password, use_passkey, with_password


async def test_a_passkey_signs_in_without_a_name(house: House) -> None:
    made = await add_passkey(house, await house.signed_in())
    tab = house.tab()
    reply = await use_passkey(tab, made)
    assert is_in(reply)
    await tab.get("/")
    assert "Hello, alice@acme.com" in tab.text
    last = (await house.events("login.succeeded"))[-1]
    assert (last["amr"], last["acr"]) == (["hwk", "user"], "urn:valetkey:acr:passkey")


async def test_what_the_browser_is_asked_for(house: House) -> None:
    tab = await house.signed_in()
    first = await add_passkey(house, tab)
    await tab.get("/account")
    options = (await tab.post("/account/passkeys/begin", {"csrf": tab.csrf})).json()["options"]
    assert options["rp"] == {"id": "localhost", "name": "Valetkey"}
    assert options["user"]["id"] == encoded(house.alice.id.encode())
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert [known["id"] for known in options["excludeCredentials"]] == [encoded(first.credential)]
    stranger = house.tab()
    await stranger.get("/login")
    asked = (await stranger.post("/login/passkey/begin", {"csrf": stranger.csrf})).json()["options"]
    assert asked["userVerification"] == "required"
    assert asked["rpId"] == "localhost"
    assert not asked["allowCredentials"]  # nobody learns who has which


LIES: list[dict[str, Any]] = [
    {"origin": "https://evil.example"},
    {"origin": "http://127.0.0.1"},
    {"rp_id": "evil.example"},
    {"challenge": encoded(bytes(64))},
    {"type": "webauthn.create"},
    {"flags": PRESENT},
    {"flags": VERIFIED},
    {"signature": bytes(70)},
    {"user_handle": b"usr_somebodyelse"},
    {"sign_count": 1},
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: next(iter(lie)))
async def test_an_answer_with_one_lie_in_it_signs_nobody_in(house: House, lie: dict[str, Any]) -> None:
    made = await add_passkey(house, await house.signed_in())
    assert is_in(await use_passkey(house.tab(), made))
    tab = house.tab()
    reply = await use_passkey(tab, made, **lie)
    assert reply.status == 400
    assert not is_in(reply)
    assert "not known here, or did not prove itself" in tab.text
    assert is_in(await use_passkey(house.tab(), made))


@pytest.mark.parametrize("lie", [lie for lie in LIES if not {"signature", "user_handle", "sign_count"} & set(lie)])
async def test_an_answer_with_one_lie_in_it_registers_nothing(house: House, lie: dict[str, Any]) -> None:
    tab = await house.signed_in()
    await tab.get("/account")
    made = Authenticator(house.settings.origin)
    asked = (await tab.post("/account/passkeys/begin", {"csrf": tab.csrf})).json()
    if lie.get("type"):
        lie = {"type": "webauthn.get"}
    await tab.get("/account")
    form = {"step": asked["step"], "credential": made.create(asked["options"], **lie)}
    assert (await tab.submit("/account/passkeys", form)).status == 400
    await tab.get("/account")
    assert "None yet." in tab.text


@pytest.mark.parametrize(
    "junk", ["", "{}", "[]", "null", '{"rawId": 1}', '{"rawId": "AA", "response": []}', "[" * 9000]
)
async def test_junk_is_refused_and_is_no_bug(house: House, junk: str) -> None:
    tab = house.tab()
    await tab.get("/login")
    page = tab.reply
    asked = (await tab.post("/login/passkey/begin", {"csrf": tab.csrf})).json()
    tab.reply = page
    assert (await tab.submit("/login/passkey", {"step": asked["step"], "credential": junk})).status == 400


async def test_a_challenge_is_answered_once_in_its_browser_within_five_minutes(house: House) -> None:
    made = await add_passkey(house, await house.signed_in())
    tab, other = house.tab(), house.tab()
    await tab.get("/login")
    await other.get("/login")
    asked = (await tab.post("/login/passkey/begin", {"csrf": tab.csrf})).json()
    form = {"step": asked["step"], "credential": made.get(asked["options"])}
    await tab.get("/login")
    stolen = await other.post("/login/passkey", {"csrf": other.csrf, **form})
    assert not is_in(stolen)  # and the challenge is burned
    assert not is_in(await tab.post("/login/passkey", {"csrf": tab.csrf, **form}))
    csrf = (await tab.get("/login"), tab.csrf)[1]
    asked = (await tab.post("/login/passkey/begin", {"csrf": csrf})).json()
    form = {"csrf": csrf, "step": asked["step"], "credential": made.get(asked["options"])}
    both = await asyncio.gather(*(house.call("POST", "/login/passkey", form=form, headers=_as(tab)) for _ in range(5)))
    assert sum(is_in(reply) for reply in both) == 1
    late = house.tab()
    csrf = (await late.get("/login"), late.csrf)[1]
    asked = (await late.post("/login/passkey/begin", {"csrf": csrf})).json()
    house.clock.advance(300)
    form = {"csrf": csrf, "step": asked["step"], "credential": made.get(asked["options"])}
    assert not is_in(await late.post("/login/passkey", form))


def _as(tab: Any) -> dict[str, str]:
    cookie = "; ".join(f"{name}={value}" for name, value in tab.cookies.items())
    return {"cookie": cookie, "origin": "null", "sec-fetch-site": "same-origin"}


async def test_a_suspended_persons_passkey_opens_nothing(house: House) -> None:
    bob = await house.person("bob@acme.com")
    made = await add_passkey(house, await house.signed_in(bob.email))
    assert is_in(await use_passkey(house.tab(), made))
    await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
    assert not is_in(await use_passkey(house.tab(), made))


async def test_a_passkey_belongs_to_one_person(house: House) -> None:
    made = await add_passkey(house, await house.signed_in())
    bob = await house.person("bob@acme.com")
    tab = await house.signed_in(bob.email)
    await tab.get("/account")
    asked = (await tab.post("/account/passkeys/begin", {"csrf": tab.csrf})).json()
    await tab.get("/account")
    form = {"step": asked["step"], "credential": made.create(asked["options"])}
    assert (await tab.submit("/account/passkeys", form)).status == 409
    made.user_handle = house.alice.id.encode()
    tab = house.tab()
    assert is_in(await use_passkey(tab, made))
    await tab.get("/")
    assert "alice@acme.com" in tab.text


async def test_changing_ways_needs_a_recent_proof(house: House) -> None:
    tab = await house.signed_in()
    made = await add_passkey(house, tab)
    house.clock.advance(601)
    await tab.get("/account")
    assert "prove that it is you" in tab.text
    assert not [form for form in tab.forms() if form.action.startswith("/account")]
    csrf = tab.csrf
    for path, form in [
        ("/account/password", {"password": "a long enough one", "repeated": "a long enough one"}),
        ("/account/passkeys/remove", {"passkey": encoded(made.credential)}),
        ("/account/passkeys", {"step": "x", "credential": "x"}),
        ("/account/one-time", {}),
        ("/account/recovery", {}),
        ("/account/sso", {"provider": "idp_x"}),
    ]:
        reply = await tab.post(path, {"csrf": csrf, **form})
        assert (reply.status, reply.header("location")) == (303, "/login?next=%2Faccount&again=1"), path
    assert (await tab.post("/account/passkeys/begin", {"csrf": csrf})).status == 403
    reply = await use_passkey(tab, made, "/login?next=%2Faccount&again=1")
    assert (is_in(reply), reply.header("location")) == (True, "/account")
    await tab.get("/account")
    await tab.submit("/account/password", {"password": "a long enough one", "repeated": "a long enough one"})
    assert "Change the password" in tab.text


async def test_the_very_first_way_needs_no_second_proof(house: House) -> None:
    tab = await house.signed_in()
    house.clock.advance(3600)
    await add_passkey(house, tab)
    house.clock.advance(60)
    await tab.get("/account")
    assert "prove that it is you" in tab.text


async def test_the_last_way_in_cannot_be_removed(house: House) -> None:
    tab = await house.signed_in()
    one, other = await add_passkey(house, tab, "one"), await add_passkey(house, tab, "other")
    await tab.get("/account")
    csrf = tab.csrf
    replies = await asyncio.gather(
        *(
            house.call(
                "POST",
                "/account/passkeys/remove",
                form={"csrf": csrf, "passkey": encoded(made.credential)},
                headers=_as(tab),
            )
            for made in (one, other)
        )
    )
    assert sorted(reply.status for reply in replies) == [303, 409]
    left = [made for made in (one, other) if is_in(await use_passkey(house.tab(), made))]
    assert len(left) == 1


async def test_nobody_removes_somebody_elses_passkey(house: House) -> None:
    made = await add_passkey(house, await house.signed_in())
    bob = await house.person("bob@acme.com")
    tab = await with_password(house, bob.email)
    reply = await tab.post("/account/passkeys/remove", {"csrf": tab.csrf, "passkey": encoded(made.credential)})
    none = await tab.post(
        "/account/passkeys/remove",
        {"csrf": (await tab.get("/account"), tab.csrf)[1], "passkey": encoded(secrets.token_bytes(32))},
    )
    assert (reply.status, none.status) == (404, 404)
    assert is_in(await use_passkey(house.tab(), made))


async def test_a_passkeys_name_is_shown_without_tricks(house: House) -> None:
    tab = await house.signed_in()
    await add_passkey(house, tab, "<b>My\u202elaptop\u200b</b>")
    body = (await tab.get("/account")).body.decode()
    assert "&lt;b&gt;Mylaptop&lt;/b&gt;" in body
    assert "\u202e" not in body


async def test_somebody_else_at_the_step_up_does_not_inherit_what_was_begun(house: House) -> None:
    bob = await house.person("bob@acme.com")
    tab = await house.signed_in()
    await add_passkey(house, tab)
    bobs = await add_passkey(house, await house.signed_in(bob.email))
    house.clock.advance(601)
    held = dict(tab.cookies)
    reply = await use_passkey(tab, bobs, "/login?next=%2Faccount&again=1")
    assert (is_in(reply), reply.header("location")) == (True, "/")
    await tab.get("/")
    assert "Hello, bob@acme.com" in tab.text
    before = house.tab()
    before.cookies = held
    assert (await before.get("/", follow=False)).status == 303  # Alice's session in this browser is over


async def test_a_level_that_only_a_passkey_reaches_hides_the_password(house: House) -> None:
    await with_password(house)
    tab = await house.signed_in()
    await tab.get("/login?again=1&next=%2Fagents&acr=urn%3Avaletkey%3Aacr%3Apasskey")
    actions = {form.action for form in tab.forms()}
    assert "/login/password" not in actions
    assert "/login/passkey" in actions
    assert "This needs a passkey." in tab.text
    await tab.get("/login?again=1&next=%2Fagents")
    assert "/login/password" in {form.action for form in tab.forms()}
    assert is_in(await try_password(house.tab()))
