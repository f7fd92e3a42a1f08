"""A new one-time code for somebody who is a user already: who may make it, what it is worth, and who learns of it."""

import asyncio
from pathlib import Path
from typing import Any

from tests.support import tables
from tests.support.house import USER_CREDENTIAL, House, Person, open_house
from tests.support.http import Reply
from tests.support.nodes import second_node
from tests.support.people import add_passkey, is_in, use_passkey
from tests.support.postgres import Postgres
from tests.support.strangers import other_organization
from tests.support.tab import Tab
from valetkey.server.principals.invitations import store as invitations


async def new_code(house: House, user: str, by: Person | None = None) -> Any:
    return await (by or house.alice).does("POST", f"/v1/users/{user}/one-time-code")


async def log_in(house: House, code: str) -> Reply:
    return await house.call("POST", "/v1/login", json={"code": code})


async def in_a_browser(house: House, code: str) -> tuple[Tab, Reply]:
    tab = house.tab()
    await tab.get("/login")
    return tab, await tab.post("/login/code", {"csrf": tab.csrf, "code": code, "next": "/agents"})


async def test_somebody_who_lost_her_passkey_signs_in_and_enrols_anew(house: House) -> None:
    bob = await house.person("bob@acme.com")
    lost = await add_passkey(house, await house.signed_in(bob.email))
    made = await new_code(house, bob.email)
    assert (made["id"], made["email"]) == (bob.id, bob.email)
    assert made["expires_at"] == int(house.clock.now()) + 600
    tab, reply = await in_a_browser(house, made["code"])
    assert is_in(reply)
    assert reply.header("location") == "/account?next=%2Fagents"
    fresh = await add_passkey(house, tab, "new phone")
    assert is_in(await use_passkey(house.tab(), fresh))
    assert is_in(await use_passkey(house.tab(), lost))  # until she removes it there, which the page tells her to do
    _, again = await in_a_browser(house, made["code"])
    assert not is_in(again)


async def test_a_code_lives_ten_minutes(house: House) -> None:
    bob = await house.person("bob@acme.com")
    soon = await new_code(house, bob.id)
    house.clock.advance(599)
    assert (await log_in(house, soon["code"])).status == 201
    late = await new_code(house, bob.id)
    house.clock.advance(600)
    assert (await log_in(house, late["code"])).status == 401


async def test_somebody_whose_invitation_expired_gets_in_and_the_old_one_stays_void(house: House) -> None:
    invited = await house.alice.does("POST", "/v1/users", email="bob@acme.com")
    made = await new_code(house, invited["id"])
    assert (await log_in(house, invited["code"])).status == 401  # unused, but replaced
    newer = await new_code(house, invited["id"])
    assert (await log_in(house, made["code"])).status == 401
    assert (await log_in(house, newer["code"])).status == 201


async def test_of_many_made_at_once_one_is_good(house: House) -> None:
    bob = await house.person("bob@acme.com")
    made = await asyncio.gather(*(new_code(house, bob.id) for _ in range(5)))
    answers = [(await log_in(house, one["code"])).status for one in made]
    assert sorted(answers) == [201, 401, 401, 401, 401]


async def test_only_administrators_make_one(house: House) -> None:
    bob, carol = await house.person("bob@acme.com"), await house.person("carol@acme.com")
    dave = await house.person("dave@acme.com", role="administrator")
    service = await house.alice.does("POST", "/v1/service-accounts", name="keeper", scopes=["users:write"])
    token = await house.call(
        "POST",
        "/oauth/token",
        form={"grant_type": "client_credentials", "client_id": service["id"], "client_secret": service["secret"]},
    )
    keeper = Person(house, service["id"], "", "", token.json()["access_token"])
    agent = await house.agent("pr-reviewer-v2", owner=dave)
    for other in (bob, keeper, agent):
        assert (await other.call("POST", f"/v1/users/{carol.id}/one-time-code")).status == 403
    assert await house.events("invitation.created") == []
    assert (await dave.call("POST", f"/v1/users/{carol.id}/one-time-code")).status == 201


async def test_nobody_makes_a_code_for_themselves(house: House) -> None:
    dave = await house.person("dave@acme.com", role="administrator")
    for named in (house.alice.id, house.alice.email, house.alice.email.upper()):
        reply = await house.alice.call("POST", f"/v1/users/{named}/one-time-code")
        assert (reply.status, reply.json()["reason"]) == (403, "oneself")
    assert (await dave.call("POST", f"/v1/users/{house.alice.id}/one-time-code")).status == 201


async def test_the_unknown_the_foreign_the_suspended_and_the_ended_answer_alike(house: House) -> None:
    mallory = await other_organization(house)
    there, suspended, ended = [await house.person(f"{n}@acme.com") for n in ("bob", "carol", "dave")]
    await house.alice.does("POST", f"/v1/users/{suspended.id}/suspend")
    await house.alice.does("POST", "/v1/revocations", node=ended.id)
    said = set()
    for named in ("usr_" + "0" * 26, "nobody@acme.com", mallory.id, mallory.email, suspended.id, ended.email):
        reply = await house.alice.call("POST", f"/v1/users/{named}/one-time-code")
        said.add((reply.status, reply.code, reply.json()["detail"]))
    assert len(said) == 1
    assert said.pop()[:2] == (404, "not_found")
    assert (await mallory.call("POST", f"/v1/users/{there.id}/one-time-code")).status == 404
    assert await house.events("invitation.created") == []
    await house.alice.does("POST", f"/v1/users/{suspended.id}/resume")
    assert (await house.alice.call("POST", f"/v1/users/{suspended.id}/one-time-code")).status == 201


async def test_a_code_ends_with_the_user_it_was_for(house: House) -> None:
    bob = await house.person("bob@acme.com")
    made = await new_code(house, bob.id)
    await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
    assert (await log_in(house, made["code"])).status == 401
    await house.alice.does("POST", f"/v1/users/{bob.id}/resume")
    assert (await log_in(house, made["code"])).status == 201


async def test_using_it_ends_what_was_signed_in_as_them_and_making_it_does_not(house: House) -> None:
    bob, carol = await house.person("bob@acme.com"), await house.person("carol@acme.com")
    browsers = [await house.signed_in(bob.email) for _ in range(2)]
    carols = await house.signed_in(carol.email)
    made = await new_code(house, bob.id)
    assert [(await tab.get("/", follow=False)).status for tab in browsers] == [200, 200]
    assert (await bob.call("GET", "/v1/whoami")).status == 200
    tab, _ = await in_a_browser(house, made["code"])
    assert [(await tab.get("/", follow=False)).status for tab in browsers] == [303, 303]
    assert (await bob.call("GET", "/v1/whoami")).status == 401
    form = {"grant_type": USER_CREDENTIAL, "credential": bob.credential}
    assert (await house.call("POST", "/oauth/token", form=form)).status == 401
    assert (await tab.get("/", follow=False)).status == 200
    assert (await carols.get("/", follow=False)).status == 200
    assert (await carol.call("GET", "/v1/whoami")).status == 200


async def test_at_the_command_line_too_it_ends_what_was_before_and_not_what_it_begins(house: House) -> None:
    bob = await house.person("bob@acme.com")
    browser = await house.signed_in(bob.email)
    reply = await log_in(house, (await new_code(house, bob.id))["code"])
    fresh = await Person(house, bob.id, bob.email, reply.json()["credential"]).sign_in()
    assert (await fresh.call("GET", "/v1/whoami")).status == 200
    assert (await bob.call("GET", "/v1/whoami")).status == 401
    assert (await browser.get("/", follow=False)).status == 303


async def test_what_was_delegated_goes_on(house: House) -> None:
    dave = await house.person("dave@acme.com", role="administrator")
    _, delegation, _, token = await house.ready()
    assert (await log_in(house, (await new_code(house, house.alice.id, dave))["code"])).status == 201
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 200
    await dave.does("POST", "/v1/revocations", node=delegation["id"])
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 403


async def test_both_are_recorded_by_whom_and_never_the_code(house: House) -> None:
    bob = await house.person("bob@acme.com")
    browser = await house.signed_in(bob.email)
    assert (await browser.get("/", follow=False)).status == 200
    made = await new_code(house, bob.id)
    (created,) = await house.events("invitation.created")
    assert (created["user"], created["by"]) == (bob.id, house.alice.id)
    assert (await log_in(house, made["code"])).status == 201
    used = (await house.events("invitation.used"))[-1]
    assert used["by"] == house.alice.id
    assert (used["user"], used["sessions_ended"], used["credentials_ended"]) == (bob.id, 1, 1)
    everything = await house.events()
    assert made["code"] not in str(everything)
    assert made["code"].removeprefix("vkin_") not in str(everything)
    async with house.app.database.read() as db:
        kept = await invitations.newest(db, bob.id, kind="new-code")
    assert kept is not None
    assert made["code"] not in repr(kept)


async def test_the_person_sees_who_made_it_and_when_it_was_used(house: House) -> None:
    bob = await house.person("bob@acme.com")
    carols = await house.signed_in((await house.person("carol@acme.com")).email)
    made = await new_code(house, bob.id)
    bobs = await house.signed_in(bob.email)
    await bobs.get("/account")
    assert "alice@acme.com made a one-time code to sign in as you" in bobs.text
    assert "It has not been used." in bobs.text
    await carols.get("/account")
    assert "made a one-time code" not in carols.text
    tab, _ = await in_a_browser(house, made["code"])
    await tab.get("/account")
    assert "alice@acme.com made a one-time code to sign in as you" in tab.text
    assert "It was used on" in tab.text
    house.clock.advance(30 * 86_400)
    later = await house.signed_in(bob.email)
    await later.get("/account")
    assert "made a one-time code" not in later.text


async def test_it_proves_one_thing_only(house: House) -> None:
    """So a page that wants a passkey still wants it."""
    bob = await house.person("bob@acme.com")
    await in_a_browser(house, (await new_code(house, bob.id))["code"])
    last = (await house.events("login.succeeded"))[-1]
    assert (last["user"], last["amr"], last["acr"]) == (bob.id, ["otp"], "urn:valetkey:acr:one")


async def test_two_nodes_make_and_spend_at_once_and_neither_waits_for_the_other(
    postgres: Postgres, tmp_path: Path
) -> None:
    async with open_house(tmp_path / "a", database_url=tables.postgresql(postgres)) as house:
        bob = await house.person("bob@acme.com")
        async with second_node(house, tmp_path / "b") as other:
            for _ in range(8):
                old = await new_code(house, bob.id)
                elsewhere = await other.signed_in(bob.email)
                spent, made = await asyncio.gather(
                    log_in(other, old["code"]),
                    house.alice.call("POST", f"/v1/users/{bob.id}/one-time-code"),
                )
                assert made.status == 201, made.body
                assert spent.status in (201, 401), spent.body  # spent before it was replaced, or after
                assert (await log_in(house, made.json()["code"])).status == 201
                assert (await elsewhere.get("/", follow=False)).status == 303
