"""An agent without a browser asks on one device and is answered on another: RFC 8628, DV-1 to DV-4."""

import asyncio

import pytest

from tests.support.decoupled import Elsewhere, elsewhere, error_of
from tests.support.house import House

PATH = "/repos/acme-corp/backend"


@pytest.fixture
async def device(house: House) -> Elsewhere:
    return await elsewhere(house)


async def test_dv_4_sign_in_then_code_then_consent_then_a_credential_that_works(
    house: House, device: Elsewhere
) -> None:
    begun = await device.begin()
    assert begun.header("cache-control") == "no-store"
    assert await device.polls() == "authorization_pending"

    stranger = house.tab()
    await stranger.get("/device")
    assert stranger.at.startswith("/login?next=%2Fdevice")

    tab = await house.signed_in()
    assert (await device.allowed(tab)).status == 200
    assert "Done" in tab.text
    reply = await device.poll()
    assert reply.status == 200, reply.body
    tokens = reply.json()
    assert (tokens["token_type"], tokens["scope"]) == ("Bearer", "repo:read")
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    assert (await house.gateway(tokens["access_token"], "GET", "/repos/acme-corp/payroll")).status == 403
    assert (await device.client.refresh(tokens["refresh_token"])).status == 200

    told = [e["event"] for e in await house.events("request.confirmed", "request.approved", "request.redeemed")]
    assert told == ["request.confirmed", "request.approved", "request.redeemed"]
    [opened] = await house.events("task.opened")
    assert opened["evidence"] == "device"


async def test_dv_1_the_codes_are_what_the_specification_asks_for(house: House, device: Elsewhere) -> None:
    begun = (await device.begin()).json()
    letters = begun["user_code"].replace("-", "")
    assert len(letters) == 8
    assert set(letters) <= set("BCDFGHJKLMNPQRSTVWXZ")
    assert begun["device_code"].startswith("vkdv_")
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert begun["verification_uri"] == f"{house.settings.issuer}/device"
    assert begun["verification_uri_complete"] == f"{house.settings.issuer}/device?user_code={begun['user_code']}"
    metadata = (await house.call("GET", "/.well-known/oauth-authorization-server")).json()
    assert metadata["device_authorization_endpoint"] == f"{house.settings.issuer}/oauth/device_authorization"


async def test_dv_1_a_device_code_is_worth_a_task_once(house: House, device: Elsewhere) -> None:
    await device.begin()
    await device.allowed(await house.signed_in())
    assert (await device.poll()).status == 200
    assert error_of(await device.poll()) == "invalid_grant"
    assert len(await house.events("task.opened")) == 1


async def test_dv_2_who_asks_too_often_waits_longer_for_good(house: House, device: Elsewhere) -> None:
    await device.begin()
    assert error_of(await device.poll()) == "authorization_pending"
    house.clock.advance(4)
    assert error_of(await device.poll()) == "slow_down"
    house.clock.advance(9)
    assert error_of(await device.poll()) == "slow_down"  # 10 s from now on, and that was too early again
    house.clock.advance(14)
    assert error_of(await device.poll()) == "slow_down"
    house.clock.advance(20)
    assert error_of(await device.poll()) == "authorization_pending"


async def test_dv_2_declined_on_the_first_page_or_on_the_consent_page(house: House, device: Elsewhere) -> None:
    tab = await house.signed_in()
    await device.begin()
    await device.typed(tab)
    await tab.submit("/device/confirm", button="No, decline")
    assert "Declined" in tab.text
    assert await device.polls() == "access_denied"

    await device.begin()
    await device.typed(tab)
    await tab.submit("/device/confirm", button="Yes, it is mine")
    await tab.submit("/requests/answer", button="Cancel")
    assert await device.polls() == "access_denied"
    assert len(await house.events("consent.declined")) == 2
    assert await house.events("delegation.recorded") == []


async def test_dv_2_after_ten_minutes_it_has_expired_for_both(house: House, device: Elsewhere) -> None:
    await device.begin()
    house.clock.advance(599)
    assert error_of(await device.poll()) == "authorization_pending"
    house.clock.advance(1)
    assert error_of(await device.poll()) == "expired_token"
    refused = await device.typed(await house.signed_in())
    assert refused.status == 404


async def test_dv_2_what_was_allowed_and_not_fetched_expires_too(house: House, device: Elsewhere) -> None:
    await device.begin()
    await device.allowed(await house.signed_in())
    house.clock.advance(600)
    assert error_of(await device.poll()) == "expired_token"


@pytest.mark.parametrize("complete", [False, True])
async def test_dv_3_the_page_between_always_comes_and_says_who_what_from_where_and_when(
    house: House, device: Elsewhere, complete: bool
) -> None:
    await device.begin()
    house.clock.advance(65)
    tab = await house.signed_in()
    if complete:
        await tab.get("/device?user_code=" + device.started["user_code"])
        assert device.started["user_code"] in (tab.reply.body.decode() if tab.reply else "")
        await tab.submit("/device")
    else:
        await device.typed(tab, device.started["user_code"].lower().replace("-", " "))
    said = tab.text
    for words in (
        "Did you start this?",
        device.started["user_code"],
        "pr-reviewer-v2",
        "repo:read",
        "acme-corp/backend",
        "127.0.0.1",
        "1 minute ago",
    ):
        assert words in said
    assert await house.events("delegation.recorded") == []


async def test_dv_3_the_consent_page_cannot_be_reached_around_the_page_between(house: House, device: Elsewhere) -> None:
    await device.begin()
    tab = await house.signed_in()
    await device.typed(tab)
    chosen = next(value for form in tab.forms() for name, value in form.fields if name == "request")
    await tab.get(f"/requests/{chosen}")
    assert "Did you start this?" in tab.text
    posted = await tab.post("/requests/answer", {"csrf": tab.csrf, "request": chosen, "decision": "allow"})
    assert posted.status == 303
    assert await house.events("delegation.recorded") == []
    await tab.get("/requests")
    assert "Nothing." in tab.text


async def test_a_client_that_did_not_register_for_it_is_refused(house: House) -> None:
    agent = await elsewhere(house, grant_types=["authorization_code"])
    assert error_of(await agent.begin()) == "unauthorized_client"


async def test_a_public_client_may_ask_and_gets_the_credential_itself(house: House) -> None:
    device = await elsewhere(house, token_endpoint_auth_method="none", redirect_uris=["http://127.0.0.1/callback"])
    await device.begin()
    await device.allowed(await house.signed_in())
    reply = await device.poll()
    assert reply.status == 200, reply.body
    assert (await house.gateway(reply.json()["access_token"], "GET", PATH)).status == 200


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"authorization_details": '[{"type":"nowhere","actions":["x"],"resources":["y"]}]'}, "invalid_authorization"),
        ({"resource": "https://unknown.example"}, "invalid_target"),
        ({"scope": "everything", "authorization_details": None}, "invalid_scope"),
        ({"request_uri": "urn:ietf:params:oauth:request_uri:x"}, "invalid_request"),
    ],
)
async def test_the_request_is_read_by_the_same_checks_as_any_other(
    house: House, device: Elsewhere, changed: dict[str, str], error: str
) -> None:
    reply = await device.begin(**changed)
    assert reply.status == 400
    assert error_of(reply).startswith(error)


async def test_a_hundred_redemptions_at_once_are_one(house: House, device: Elsewhere) -> None:
    await device.begin()
    await device.allowed(await house.signed_in())
    replies = await asyncio.gather(*(device.poll() for _ in range(100)))
    assert [reply.status for reply in replies].count(200) == 1
    assert {error_of(reply) for reply in replies} <= {"", "invalid_grant", "slow_down", "temporarily_unavailable"}
    assert len(await house.events("task.opened")) == 1
    assert len(await house.events("request.redeemed")) == 1
