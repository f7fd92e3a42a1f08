"""An agent asks somebody who is somewhere else, and comes for the answer: OpenID Connect CIBA, poll and ping."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.decoupled import Elsewhere, elsewhere, error_of
from tests.support.house import House, open_house
from tests.support.ports import free_port
from tests.support.upstream import Upstream
from valetkey.server.tokens.mint import prepare

PATH = "/repos/acme-corp/backend"
TOKEN = "notify-4f1b9c0d2e7a"


@pytest.fixture
async def agent(house: House) -> Elsewhere:
    return await elsewhere(house)


async def test_cb_3_asked_answered_and_fetched_once(house: House, agent: Elsewhere) -> None:
    asked = await agent.ask(binding_message="W4SCT")
    assert asked.status == 200, asked.body
    assert asked.json()["auth_req_id"].startswith("vkbc_")
    assert (asked.json()["expires_in"], asked.json()["interval"]) == (600, 5)
    assert await agent.polls() == "authorization_pending"

    tab = await house.signed_in()
    await tab.get("/requests")
    for words in ("pr-reviewer-v2", "W4SCT", "127.0.0.1", "just now", "repo:read"):
        assert words in tab.text
    await agent.answered(tab)
    assert "Done" in tab.text

    reply = await agent.poll()
    assert reply.status == 200, reply.body
    token = await agent.client.robot.token(reply.json()["access_token"]) if reply.json()["token_type"] == "N_A" else ""
    assert (await house.gateway(token or reply.json()["access_token"], "GET", PATH)).status == 200
    assert error_of(await agent.poll()) == "invalid_grant"
    assert (await house.gateway(token or reply.json()["access_token"], "GET", PATH)).status == 403  # a copy was shown
    told = [e["event"] for e in await house.events("request.made", "request.approved", "request.redeemed")]
    assert told == ["request.made", "request.approved", "request.redeemed"]


async def test_cb_6_what_is_approved_is_what_is_issued(house: House, agent: Elsewhere) -> None:
    both = [{"type": "github", "actions": ["repo:read", "issues:write"], "resources": ["acme-corp/backend"]}]
    await agent.ask(authorization_details=json.dumps(both))
    tab = await house.signed_in()
    await tab.get("/requests")
    await tab.get(next(link for link in tab.links() if link.startswith("/requests/req_")))
    await tab.submit("/requests/answer", {"scope": ["0:repo:read"]}, button="Allow")
    reply = await agent.poll()
    assert reply.status == 200, reply.body
    assert reply.json()["authorization_details"][0]["actions"] == ["repo:read"]


async def test_cb_3_declined_from_the_list_or_on_the_page(house: House, agent: Elsewhere) -> None:
    tab = await house.signed_in()
    await agent.ask()
    await agent.answered(tab, button="Cancel")
    assert await agent.polls() == "access_denied"
    house.clock.advance(600)
    await agent.ask()
    await tab.get("/requests")
    await tab.submit("/requests/answer", button="Decline")
    assert await agent.polls() == "access_denied"
    await tab.get("/requests")
    assert "Nothing." in tab.text


async def test_cb_3_too_fast_is_slow_down_and_too_late_is_expired(house: House, agent: Elsewhere) -> None:
    await agent.ask(requested_expiry="60")
    assert agent.started["expires_in"] == 60
    assert error_of(await agent.poll()) == "authorization_pending"
    assert error_of(await agent.poll()) == "slow_down"
    house.clock.advance(60)
    assert error_of(await agent.poll()) == "expired_token"
    await (tab := await house.signed_in()).get("/requests")
    assert "Nothing." in tab.text


async def test_cb_2_what_both_screens_show_is_short_and_plain(house: House, agent: Elsewhere) -> None:
    for message in ("x" * 101, "two\nlines", "turned \u202e round", " padded", "nothing\u200b hidden"):
        assert error_of(await agent.ask(binding_message=message)) == "invalid_binding_message"
    assert (await agent.ask(binding_message="Zahlung 12,50 € an Straße?")).status == 200


async def test_cb_1_exactly_one_hint(house: House, agent: Elsewhere) -> None:
    assert error_of(await agent.ask(login_hint=None)) == "invalid_request"
    assert error_of(await agent.ask(login_hint="alice@acme.com", id_token_hint="x.y.z")) == "invalid_request"
    refused = await agent.ask(login_hint_token="x.y.z")
    assert error_of(refused) == "invalid_request"
    assert "login_hint_token" in refused.json()["error_description"]
    assert error_of(await agent.ask(id_token_hint="x.y.z")) == "unknown_user_id"


async def test_cb_1_a_public_client_cannot_ask(house: House) -> None:
    public = await elsewhere(house, token_endpoint_auth_method="none")
    assert error_of(await public.ask()) == "unauthorized_client"


async def test_cb_5_one_open_request_and_patience_after_a_refusal(house: House, agent: Elsewhere) -> None:
    assert (await agent.ask()).status == 200
    second = await agent.ask()
    assert second.status == 429
    assert int(second.header("retry-after") or 0) > 0
    await (tab := await house.signed_in()).get("/requests")
    await tab.submit("/requests/answer", button="Decline")
    refused = await agent.ask()
    assert (refused.status, int(refused.header("retry-after") or 0)) == (429, 600)
    house.clock.advance(600)
    assert (await agent.ask()).status == 200


async def test_cb_5_many_at_once_leave_one_open_request(house: House, agent: Elsewhere) -> None:
    statuses = [reply.status for reply in await asyncio.gather(*(agent.ask() for _ in range(20)))]
    assert sorted(statuses) == [200] + [429] * 19


async def test_a_lifetime_that_is_no_number_is_refused_and_a_long_one_is_bounded(
    house: House, agent: Elsewhere
) -> None:
    for text in ("0", "-5", "1.5", "soon"):
        assert error_of(await agent.ask(requested_expiry=text)) == "invalid_request"
    await agent.ask(requested_expiry="999999")
    assert agent.started["expires_in"] == 600


async def test_ping_says_which_request_and_never_what_was_answered(tmp_path: Path, database_url: str | None) -> None:
    async with Upstream() as client_side:
        client_side.answers("POST", "/told", status=204)
        place = client_side.url.removeprefix("http://")
        async with open_house(tmp_path / "data", database_url=database_url) as house:
            house.app.egress._local |= {place}  # as if it were public
            agent = await elsewhere(
                house,
                backchannel_token_delivery_mode="ping",
                backchannel_client_notification_endpoint=f"{client_side.url}/told",
            )
            assert error_of(await agent.ask()) == "invalid_request"
            assert (await agent.ask(client_notification_token=TOKEN)).status == 200
            assert client_side.received("POST", "/told") == 0
            await agent.answered(await house.signed_in())
            await house.app.oauth.notify.settle()
            [told] = [seen for seen in client_side.seen if seen.method == "POST"]
            assert told.header("authorization") == f"Bearer {TOKEN}".encode()
            assert json.loads(told.body) == {"auth_req_id": agent.started["auth_req_id"]}
            assert (await agent.poll()).status == 200

            house.clock.advance(1)
            await agent.ask(client_notification_token=TOKEN)
            await agent.answered(await house.signed_in(), button="Cancel")
            await house.app.oauth.notify.settle()
            assert client_side.received("POST", "/told") == 2
            assert error_of(await agent.poll()) == "access_denied"


async def test_a_client_that_cannot_be_notified_comes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valetkey.server.oauth.decoupled.notify.PAUSES", (0.0, 0.0))
    place = f"127.0.0.1:{free_port()}"
    async with open_house(tmp_path / "data") as house:
        house.app.egress._local |= {place}
        agent = await elsewhere(
            house,
            backchannel_token_delivery_mode="ping",
            backchannel_client_notification_endpoint=f"http://{place}/told",
        )
        await agent.ask(client_notification_token=TOKEN)
        await agent.answered(await house.signed_in())
        await house.app.oauth.notify.settle()
        assert (await agent.poll()).status == 200


async def test_an_id_token_of_ours_made_for_this_client_names_its_person(house: House, agent: Elsewhere) -> None:
    claims = {
        "iss": house.settings.issuer,
        "sub": house.alice.id,
        "aud": agent.client.robot.id,
        "iat": int(house.clock.now()) - 7_200,
        "exp": int(house.clock.now()) - 3_600,  # it may have expired: it is a hint
    }
    assert (await agent.ask(id_token_hint=id_token(house, claims))).status == 200
    await (tab := await house.signed_in()).get("/requests")
    assert "pr-reviewer-v2" in tab.text


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://other.example"},
        {"aud": "agt_00000000000000000000000000"},
        {"sub": "alice@acme.com"},
        {"sub": "usr_00000000000000000000000000"},
    ],
    ids=["issuer", "audience", "subject", "stranger"],
)
async def test_any_other_id_token_names_nobody(house: House, agent: Elsewhere, changed: dict[str, str]) -> None:
    claims = {
        "iss": house.settings.issuer,
        "sub": house.alice.id,
        "aud": agent.client.robot.id,
        "exp": int(house.clock.now()) + 300,
    }
    assert error_of(await agent.ask(id_token_hint=id_token(house, claims | changed))) == "unknown_user_id"


async def test_a_token_of_another_kind_names_nobody(house: House, agent: Elsewhere) -> None:
    assert error_of(await agent.ask(id_token_hint=house.alice.bearer)) == "unknown_user_id"


async def test_who_signed_in_too_long_ago_proves_herself_first(house: House, agent: Elsewhere) -> None:
    tab = await house.signed_in()
    house.clock.advance(600)
    await agent.ask(max_age="60")
    await tab.get("/requests")
    reply = await tab.get(next(link for link in tab.links() if link.startswith("/requests/req_")), follow=False)
    assert reply.status == 303
    assert (reply.header("location") or "").startswith("/login?next=%2Frequests%2Freq_")
    await agent.answered(await house.signed_in())
    assert (await agent.poll()).status == 200


def id_token(house: House, claims: dict[str, Any]) -> str:
    """Signed with the key that signs our tokens, as an ID token is."""
    kind = cast(Any, SimpleNamespace(value="JWT"))
    return prepare(house.app.keys.signer("ES256"), kind, claims).signed()
