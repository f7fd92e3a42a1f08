"""A browser is told: encrypted for it alone, nothing of the call, and forgotten when its push service says so."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.flows.test_approvals import asking, held
from tests.support.house import House, open_house
from tests.support.people import with_password
from tests.support.push_service import PushService, octets, push_service
from tests.support.tab import Tab

CANARY = "a title nobody else is told"


@pytest.fixture
async def service() -> AsyncIterator[PushService]:
    async with push_service() as running:
        yield running


@pytest.fixture
async def told_house(tmp_path: Path, database_url: str | None, service: PushService) -> AsyncIterator[House]:
    local = (service.up.url.removeprefix("http://"),)
    async with open_house(tmp_path / "data", database_url=database_url, local=local) as house:
        yield house


async def subscribes(house: House, subscription: str, email: str = "alice@acme.com") -> Tab:
    """Somebody's browser, whose button was pressed."""
    tab = await house.signed_in(email)
    await tab.get("/approvals")
    await tab.submit("/account/notices/browser", {"subscription": subscription})
    return tab


async def settled(house: House) -> None:
    await house.app.notices.round()
    await house.app.notices.settle()


async def test_her_browser_is_told_who_asks_and_nothing_of_the_call(told_house: House, service: PushService) -> None:
    house = told_house
    tab = await subscribes(house, service.subscription())
    assert service.up.url.removeprefix("http://") in tab.text
    assert "/push/alice" not in tab.text
    _, _, _, token = await asking(house)
    approval = await held(house, token, CANARY)
    await settled(house)
    [seen] = service.pushed
    words = "pr-reviewer-v2, acting for alice@acme.com, asks before a call. It waits for you."
    assert service.read(seen) == {"body": words, "link": f"{house.settings.issuer}/approvals/{approval}"}
    for name, value in (("content-encoding", b"aes128gcm"), ("urgency", b"high"), ("ttl", b"600")):
        assert seen.header(name) == value
    sent, key = (seen.header("authorization") or b"").decode().removeprefix("vapid t=").split(", k=")
    assert json.loads(octets(sent.split(".")[1]))["aud"] == service.up.url
    await tab.get("/approvals")
    assert tab.reply is not None
    assert f'data-push="{key}"' in tab.reply.body.decode()  # what it subscribed for is who sends
    raw = seen.body + repr(seen.headers).encode()
    for secret in (CANARY, "pr-reviewer-v2", "alice@acme.com", approval, token):
        assert secret.encode() not in raw


@pytest.mark.parametrize("status", [404, 410])
async def test_a_browser_that_left_is_forgotten(told_house: House, service: PushService, status: int) -> None:
    house = told_house
    tab = await subscribes(house, service.subscription())
    service.ends(status=status)
    _, _, _, token = await asking(house)
    await held(house, token)
    await settled(house)
    await tab.get("/account")
    assert "Send a test" not in tab.text
    [removed] = await house.events("notice-address.removed")
    assert removed["why"] == "its push service no longer knows it"


async def test_a_push_service_that_fails_is_tried_again_and_keeps_the_browser(
    told_house: House, service: PushService
) -> None:
    house = told_house
    tab = await subscribes(house, service.subscription())
    service.ends(status=503)
    _, _, _, token = await asking(house)
    await held(house, token)
    await settled(house)
    await tab.get("/account")
    assert "failed once since: it answers 503" in tab.text
    service.ends(status=201)
    house.clock.advance(20)
    await settled(house)
    assert len(service.pushed) == 2
    await tab.get("/account")
    assert "failed" not in tab.text


async def test_the_same_browser_is_one_and_each_has_its_own(told_house: House, service: PushService) -> None:
    house = told_house
    same = service.subscription("/push/one")
    for subscription in (same, same, service.subscription("/push/two")):
        tab = await subscribes(house, subscription)
    assert tab.text.count("Send a test") == 2
    await tab.submit("/account/notices/remove")
    assert tab.text.count("Send a test") == 1
    for number in range(4):
        await subscribes(house, service.subscription(f"/push/n{number}"))
    refused = await subscribes(house, service.subscription("/push/one-more"))
    assert "You have 5 browsers." in refused.text


async def test_nobody_subscribes_with_an_old_proof_or_a_private_address(
    told_house: House, service: PushService
) -> None:
    house = told_house
    for endpoint in ("https://127.0.0.1/x", "https://10.0.0.1/x", "http://push.example/x"):
        sent = json.loads(service.subscription()) | {"endpoint": endpoint}
        tab = await subscribes(house, json.dumps(sent))
        assert "not a public https address" in tab.text, endpoint
    tab = await with_password(house)
    await tab.get("/approvals")
    csrf = tab.csrf
    house.clock.advance(601)
    reply = await tab.post("/account/notices/browser", {"csrf": csrf, "subscription": service.subscription()})
    assert (reply.header("location") or "").startswith("/login?next=%2Fapprovals")
    assert await house.events("notice-address.added") == []


async def test_the_worker_is_served_as_a_script_and_the_page_lets_nothing_else_run(told_house: House) -> None:
    worker = await told_house.call("GET", "/worker.js")
    assert worker.status == 200
    assert worker.header("content-type") == "text/javascript; charset=utf-8"
    assert worker.header("content-security-policy") == "default-src 'none'"
    tab = await told_house.signed_in()
    page = await tab.get("/approvals")
    policy = page.header("content-security-policy") or ""
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


async def test_the_manifest_is_everybodys_and_only_our_own_is_read(told_house: House) -> None:
    manifest = await told_house.call("GET", "/manifest.webmanifest")
    assert (manifest.status, manifest.header("content-type")) == (200, "application/manifest+json")
    assert manifest.header("set-cookie") is None
    for icon in manifest.json()["icons"]:
        shown = await told_house.call("GET", icon["src"])
        assert (shown.status, shown.header("content-type")) == (200, "image/png")
        assert shown.body.startswith(b"\x89PNG")
    page = await told_house.call("GET", "/login")
    assert "manifest-src 'self'" in (page.header("content-security-policy") or "")
    assert b'<link rel="manifest" href="/manifest.webmanifest">' in page.body
