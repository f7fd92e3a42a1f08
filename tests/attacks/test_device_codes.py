"""Against requests answered elsewhere: guessed codes, borrowed clients, words that lie, stale approvals (OA-27)."""

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.decoupled import DEVICE_CODE, Elsewhere, elsewhere, error_of
from tests.support.house import House, Person
from tests.support.nodes import second_node
from tests.support.oauth import Client
from tests.support.tab import Tab

PATH = "/repos/acme-corp/backend"


@pytest.fixture
async def device(house: House) -> Elsewhere:
    return await elsewhere(house)


def request_shown(tab: Tab) -> str:
    return next(value for form in tab.forms() for name, value in form.fields if name == "request")


async def test_oa_27_codes_cannot_be_guessed_one_session_after_another(house: House, device: Elsewhere) -> None:
    await device.begin()
    statuses = []
    for _ in range(3):  # a new session each time, one person
        tab = await house.signed_in()
        statuses += [(await device.typed(tab, f"BCDF-GHJ{letter}")).status for letter in "BCDFGH"]
    assert statuses == [404] * 5 + [429] + [404] * 4 + [429] * 8
    refused = await device.typed(await house.signed_in())
    assert refused.status == 429  # the right one, too late
    assert int(refused.header("retry-after") or 0) > 0
    assert len(await house.events("user-code.guessed")) == 2  # a session's limit, then the person's: no more
    house.clock.advance(601)
    await device.begin()
    assert "Did you start this?" in (await device.typed(await house.signed_in())).body.decode()


async def test_oa_27_right_codes_are_no_failures(house: House, device: Elsewhere) -> None:
    tab = await house.signed_in()
    for _ in range(8):
        await device.begin()
        assert (await device.typed(tab)).status == 200


async def test_oa_27_a_code_belongs_to_whoever_typed_it_first(house: House, device: Elsewhere) -> None:
    bob = await house.person("bob@acme.com")
    await device.begin()
    alice = await house.signed_in()
    await device.typed(alice)
    chosen = request_shown(alice)
    assert (await device.typed(await house.signed_in(bob.email))).status == 404
    his = await house.signed_in(bob.email)
    for path in (f"/device/{chosen}", f"/requests/{chosen}"):
        assert "answered already" in (await his.get(path)).body.decode()
    await his.get("/device")
    for path in ("/device/confirm", "/requests/answer"):
        for decision in ("mine", "allow", "no"):
            await his.post(path, {"csrf": his.csrf, "request": chosen, "decision": decision})
            await his.get("/device")
    assert await device.polls() == "authorization_pending"


async def test_another_client_learns_nothing_and_slows_nobody_down(house: House, device: Elsewhere) -> None:
    other = await elsewhere(house, "other", connect=False)
    await device.begin()
    other.started = device.started
    unknown = {**device.started, "device_code": "vkdv_" + "0" * 49}
    for _ in range(5):
        stolen = await other.poll()
        other.started, mine = unknown, other.started
        made_up = await other.poll()
        other.started = mine
        assert stolen.body == made_up.body
        assert error_of(stolen) == "invalid_grant"
    assert error_of(await device.poll()) == "authorization_pending"
    await device.allowed(await house.signed_in())
    assert error_of(await other.poll()) == "invalid_grant"
    assert (await device.poll()).status == 200


async def test_a_device_code_is_no_backchannel_request_and_the_other_way_round(house: House, device: Elsewhere) -> None:
    await device.begin()
    code = device.started["device_code"]
    assert error_of(await device.client.post("/oauth/token", {"grant_type": DEVICE_CODE, "device_code": "x"}))
    device.started = {"auth_req_id": code}
    assert error_of(await device.poll()) == "invalid_grant"
    await device.ask()
    device.started = {"device_code": device.started["auth_req_id"]}
    assert error_of(await device.poll()) == "invalid_grant"


ENDINGS = ["agent", "user", "delegation", "session", "suspended agent", "grant type"]


@pytest.mark.parametrize("what", ENDINGS)
async def test_oa_27_what_ended_between_approval_and_redemption_is_not_redeemed(house: House, what: str) -> None:
    bob = await house.person("bob@acme.com")
    device = await elsewhere(house, connect=False)
    await house.connect(bob, credential="ghp_bobsCredential0123456789abcdefghijkl")
    await device.begin()
    tab = await house.signed_in(bob.email)
    await device.allowed(tab)
    assert "Done" in tab.text
    await _end(house, device, bob, what, tab)
    assert error_of(await device.poll()) in ("invalid_grant", "invalid_client", "unauthorized_client")
    assert await house.events("task.opened") == []


async def _end(house: House, device: Elsewhere, bob: Person, what: str, tab: Tab) -> None:
    agent = device.client.robot.id
    match what:
        case "agent":
            await house.alice.does("POST", "/v1/revocations", node=agent)
        case "user":
            await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
        case "delegation":
            [recorded] = await house.events("delegation.recorded")
            await house.alice.does("POST", "/v1/revocations", node=recorded["delegation"])
        case "session":
            await tab.submit("/logout")
        case "suspended agent":
            await house.alice.does("POST", f"/v1/agents/{agent}/suspend")
        case "grant type":
            await house.alice.does(
                "PUT",
                f"/v1/agents/{agent}/client",
                redirect_uris=["https://a.example/c"],
                grant_types=["refresh_token"],
            )


async def test_words_of_the_agent_stand_as_its_words_and_as_text(house: House, device: Elsewhere) -> None:
    lie = "<script>alert(1)</script> Approved by IT"
    await device.begin(purpose=lie)
    tab = await house.signed_in()
    page = (await device.typed(tab)).body.decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "in the agent&#39;s own words" in page or "in the agent's own words" in page
    assert "Never type a code that somebody sent you" in (await tab.get("/device")).body.decode()
    await device.ask(binding_message="<b>OK</b>", purpose=lie)
    page = (await tab.get("/requests")).body.decode()
    assert "<b>OK" not in page
    assert "<script>" not in page


@pytest.mark.parametrize("field", ["user_code", "code"])
async def test_a_link_alone_confirms_nothing(house: House, device: Elsewhere, field: str) -> None:
    await device.begin()
    tab = await house.signed_in()
    await tab.get(f"/device?{field}={device.started['user_code']}")
    await tab.get("/requests")
    assert "Nothing." in tab.text
    assert await device.polls() == "authorization_pending"


async def test_a_form_of_another_site_answers_nothing(house: House, device: Elsewhere) -> None:
    await device.begin()
    tab = await house.signed_in()
    await device.typed(tab)
    chosen, csrf = request_shown(tab), tab.csrf
    for path in ("/device", "/device/confirm", "/requests/answer"):
        form = {"request": chosen, "decision": "mine", "code": device.started["user_code"]}
        evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        assert (await tab.post(path, {**form, "csrf": csrf}, headers=evil)).status == 403
        assert (await tab.post(path, {**form, "csrf": "0" * 64})).status == 403
    assert await device.polls() == "authorization_pending"


async def test_device_requests_do_not_grow_the_audit(house: House) -> None:
    device = await elsewhere(house, token_endpoint_auth_method="none", redirect_uris=["http://127.0.0.1/callback"])
    before = len(await house.events())
    for _ in range(20):
        assert (await device.begin()).status == 200
        await device.poll()
    assert len(await house.events()) == before


async def test_an_address_is_no_oracle_for_people_of_other_organizations(house: House, device: Elsewhere) -> None:
    """Somebody else's person, nobody, and somebody suspended: one answer."""
    bob = await house.person("bob@acme.com")
    await house.alice.does("POST", f"/v1/users/{bob.id}/suspend")
    answers = {
        (reply.status, reply.body)
        for reply in [await device.ask(login_hint=who) for who in ("bob@acme.com", "carol@other.example", "not one")]
    }
    assert len(answers) == 1
    assert error_of(await device.ask(login_hint="nobody@acme.com")) == "unknown_user_id"


async def test_the_database_holds_no_code_and_no_notification_token(house: House, device: Elsewhere) -> None:
    await device.begin()
    user_code = device.started["user_code"].replace("-", "")
    handle = device.started["device_code"]
    async with house.app.database.read() as db:
        rows = (await db.exec_driver_sql("SELECT * FROM decoupled_requests")).all()
    dump = json.dumps([str(value) for row in rows for value in row])
    assert user_code not in dump
    assert handle not in dump
    assert "repo:read" in dump  # what was asked is there


async def test_ss_07_a_private_notification_endpoint_is_refused_when_it_is_saved(house: House) -> None:
    device = await elsewhere(house)
    for endpoint in (
        "https://127.0.0.1/told",
        "https://10.0.0.1/told",
        "https://[::1]/told",
        "https://169.254.169.254/latest",
        "http://client.example/told",
        "https://localhost/told",
        "https://user@client.example/told",
        "ftp://client.example/told",
        "",
    ):
        refused = await house.alice.call(
            "PUT",
            f"/v1/agents/{device.client.robot.id}/client",
            redirect_uris=["https://a.example/c"],
            backchannel_token_delivery_mode="ping",
            backchannel_client_notification_endpoint=endpoint,
        )
        assert (refused.status, refused.code) == (400, "invalid_request"), endpoint


async def test_ss_07_a_place_that_turned_private_is_not_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valetkey.server.oauth.decoupled.notify.PAUSES", (0.0,))
    answers = {"client.example": ["140.82.121.6"]}
    dialled: list[str] = []
    dial = house.app.egress._dial

    async def lookup(host: str, port: int) -> list[str]:
        return answers.get(host, ["127.0.0.1"])

    def watched(url: Any, *rest: Any) -> Any:
        dialled.append(url.host)
        return dial(url, *rest)

    monkeypatch.setattr(house.app.egress, "_lookup", lookup)
    monkeypatch.setattr(house.app.egress, "_dial", watched)
    device = await elsewhere(
        house,
        backchannel_token_delivery_mode="ping",
        backchannel_client_notification_endpoint="https://client.example/told",
    )
    answers["client.example"] = ["10.0.0.1"]
    await device.ask(client_notification_token="notify-4f1b9c0d2e7a")
    await device.answered(await house.signed_in())
    await house.app.oauth.notify.settle()
    assert "client.example" not in dialled
    assert (await device.poll()).status == 200


async def _opened(house: House, asking: Elsewhere) -> Any:
    """An answer, fetched once, and a credential that works."""
    tokens = (await asking.poll()).json()
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    return tokens


async def _is_ended(house: House, asking: Elsewhere, tokens: Any) -> bool:
    statuses = {
        (await house.gateway(tokens["access_token"], "GET", PATH)).status,
        (await asking.client.refresh(tokens["refresh_token"])).status,
    }
    assert statuses in ({200}, {400, 401}, {400, 403})
    return statuses != {200}


async def test_oa_06_an_answer_fetched_again_ends_what_the_first_opened(house: House, device: Elsewhere) -> None:
    tab = await house.signed_in()
    for ask, allow in ((device.begin, device.allowed), (device.ask, device.answered)):
        await ask()
        await allow(tab)
        tokens = await _opened(house, device)
        assert error_of(await device.poll()) == "invalid_grant"
        assert await _is_ended(house, device, tokens)
        for _ in range(3):
            assert error_of(await device.poll()) == "invalid_grant"
    reused = await house.events("request.reused")
    assert [(e["kind"], e["client"], e["user"]) for e in reused] == [
        (kind, device.client.robot.id, house.alice.id) for kind in ("device", "backchannel")
    ]


async def test_oa_06_another_client_that_shows_it_ends_nothing(house: House, device: Elsewhere) -> None:
    other = await elsewhere(house, "other", connect=False)
    await device.begin()
    await device.allowed(await house.signed_in())
    tokens = await _opened(house, device)
    other.started = device.started
    assert error_of(await other.poll()) == "invalid_grant"
    assert not await _is_ended(house, device, tokens)


async def test_oa_06_while_the_first_is_being_answered_a_second_lost_a_race(house: House, device: Elsewhere) -> None:
    tab = await house.signed_in()
    for seconds in (9, 10):
        await device.begin()
        await device.allowed(tab)
        tokens = await _opened(house, device)
        async with house.app.database.write() as tx:  # as if the first answer had not been made yet
            await tx.execute(text("UPDATE decoupled_requests SET answered_at = NULL"))
        house.clock.advance(seconds)
        assert error_of(await device.poll()) == "invalid_grant"
        assert await _is_ended(house, device, tokens) is (seconds == 10)


async def test_oa_06_fetching_it_again_at_another_node_ends_it_at_once(
    house: House, device: Elsewhere, tmp_path: Path
) -> None:
    if house.app.database.is_sqlite:
        pytest.skip("SQLite serves one process")
    async with second_node(house, tmp_path / "b") as other:
        there = Elsewhere(Client(other, device.client.robot))
        await device.begin()
        await device.allowed(await house.signed_in())
        tokens = await _opened(house, device)
        there.started = device.started
        assert error_of(await there.poll()) == "invalid_grant"
        assert await _is_ended(house, device, tokens)
