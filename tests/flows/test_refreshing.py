"""Refresh tokens: a fresh credential for as long as what was agreed to lives, and a stolen one ends it."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.support.holder import Prover
from tests.support.house import GITHUB, House
from tests.support.nodes import second_node
from tests.support.oauth import Client, a_client

PATH = "/repos/acme-corp/backend"
STANDING = {"standing": "1", "standing_seconds": "86400", "tasks_per_day": "5"}


async def test_every_use_makes_a_successor_and_a_credential_that_works(house: House) -> None:
    client = await a_client(house)
    tokens = await client.tokens(await house.signed_in())
    seen = {tokens["refresh_token"]}
    for _ in range(3):
        house.clock.advance(61)
        reply = await client.refresh(tokens["refresh_token"])
        assert (reply.status, reply.header("cache-control")) == (200, "no-store")
        tokens = reply.json()
        assert tokens["refresh_token"] not in seen
        seen.add(tokens["refresh_token"])
        assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    assert len(await house.events("refresh-token.rotated")) == 3
    assert len(await house.events("task.opened")) == 1


async def test_rt_04_a_lost_answer_is_repeated_with_the_same_successor(house: House) -> None:
    client = await a_client(house)
    tokens = await client.tokens(await house.signed_in())
    first = (await client.refresh(tokens["refresh_token"])).json()
    house.clock.advance(59)
    for _ in range(3):
        again = await client.refresh(tokens["refresh_token"])
        assert again.json()["refresh_token"] == first["refresh_token"]
    assert len(await house.events("refresh-token.rotated")) == 1
    fourth = await client.refresh(tokens["refresh_token"])
    assert fourth.json()["error"] == "invalid_grant"
    assert (await client.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"


async def test_rt_04_after_its_minute_a_replaced_token_ends_its_family(house: House) -> None:
    client = await a_client(house)
    tokens = await client.tokens(await house.signed_in())
    first = (await client.refresh(tokens["refresh_token"])).json()
    house.clock.advance(61)
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await client.refresh(first["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await house.gateway(first["access_token"], "GET", PATH)).status in (401, 403)
    reused = (await house.events("refresh-token.reused"))[0]
    assert (reused["client"], reused["user"]) == (client.robot.id, house.alice.id)


async def test_rt_04_a_used_successor_makes_its_predecessor_a_reuse(house: House) -> None:
    client = await a_client(house)
    tokens = await client.tokens(await house.signed_in())
    first = (await client.refresh(tokens["refresh_token"])).json()
    second = (await client.refresh(first["refresh_token"])).json()
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await client.refresh(second["refresh_token"])).json()["error"] == "invalid_grant"


async def test_rt_04_a_hundred_refreshes_at_once_have_one_successor(house: House) -> None:
    client = await a_client(house)
    tokens = await client.tokens(await house.signed_in())
    replies = await asyncio.gather(*(client.refresh(tokens["refresh_token"]) for _ in range(100)))
    await _one_successor(house, client, replies)


async def test_rt_04_a_hundred_refreshes_at_two_nodes_have_one_successor(house: House, tmp_path: Path) -> None:
    if house.app.database.is_sqlite:
        pytest.skip("SQLite serves one process")
    async with second_node(house, tmp_path / "b") as other:
        client = await a_client(house)
        there = Client(other, client.robot)
        tokens = await client.tokens(await house.signed_in())
        calls = ((client, there)[n % 2].refresh(tokens["refresh_token"]) for n in range(100))
        await _one_successor(house, client, await asyncio.gather(*calls))


async def _one_successor(house: House, client: Client, replies: list[object]) -> None:
    found = Counter(reply.status for reply in replies)  # type: ignore[attr-defined]
    assert found == {200: 4, 429: 96}
    successors = {reply.json()["refresh_token"] for reply in replies if reply.status == 200}  # type: ignore[attr-defined]
    assert len(successors) == 1
    assert not await house.events("refresh-token.reused")
    assert (await client.refresh(successors.pop())).status == 200


async def test_an_attended_one_ends_with_its_task(house: House) -> None:
    client = await a_client(house)
    tokens = await client.tokens(await house.signed_in())
    house.clock.advance(601)
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_standing_one_opens_another_task_when_the_old_one_ended_as_often_as_agreed(house: House) -> None:
    client = await a_client(house)
    tokens = await client.tokens(await house.signed_in(), STANDING, scope="offline_access")
    for _ in range(5):
        house.clock.advance(3_601)
        reply = await client.refresh(tokens["refresh_token"])
        assert reply.status == 200, reply.body
        tokens = reply.json()
        assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    await house.alice.sign_in()
    opened = [e["evidence"] for e in await house.events("task.opened")]
    assert opened == ["code", *["standing"] * 5]
    house.clock.advance(3_601)
    reply = await client.refresh(tokens["refresh_token"])
    assert (reply.status, reply.json()["error"]) == (429, "temporarily_unavailable")
    house.clock.advance(86_400)
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_signing_out_ends_what_was_for_while_she_is_there_and_nothing_else(house: House) -> None:
    client = await a_client(house)
    for changes, scope, answer in (({}, None, "invalid_grant"), (STANDING, "offline_access", None)):
        tab = await house.signed_in()
        tokens = await client.tokens(tab, changes, scope=scope, prompt="consent")
        await tab.get("/")
        await tab.submit("/logout")
        assert (await client.refresh(tokens["refresh_token"])).json().get("error") == answer


async def test_what_is_revoked_refreshes_nothing(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    for which in ("delegation", "task"):
        tokens = await client.tokens(tab, prompt="consent")
        recorded = (await house.events("task.opened"))[-1]
        await house.alice.does("POST", "/v1/revocations", node=recorded[which])
        assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant", which
    await house.alice.does("POST", f"/v1/agents/{client.robot.id}/suspend")
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_client"


async def test_ri_3_it_may_pick_one_resource_and_narrow_but_never_widen(house: House) -> None:
    client = await a_client(house)
    asked = [{"type": "github", "actions": ["repo:read", "issues:write"], "resources": ["acme-corp/backend"]}]
    tokens = await client.tokens(await house.signed_in(), authorization_details=asked, resource=None)
    assert tokens["token_type"] == "N_A"
    reply = await client.refresh(tokens["refresh_token"], resource=GITHUB, scope="repo:read")
    assert (reply.json()["token_type"], reply.json()["scope"]) == ("Bearer", "repo:read")
    refresh = reply.json()["refresh_token"]
    reply = await client.refresh(refresh, resource=GITHUB, scope="repo:write")
    assert reply.json()["error"] == "invalid_scope"
    reply = await client.refresh(refresh, resource="https://slack.com/api")
    assert reply.json()["error"] == "invalid_target"
    reply = await client.refresh(refresh, resource=GITHUB)
    assert sorted(reply.json()["authorization_details"][0]["actions"]) == ["issues:write", "repo:read"]


async def test_a_client_without_the_grant_gets_no_refresh_token(house: House) -> None:
    client = await a_client(house, grant_types=["authorization_code"])
    assert "refresh_token" not in await client.tokens(await house.signed_in())


async def test_oa_16_nothing_stored_of_it_can_be_read(house: House) -> None:
    client = await a_client(house)
    tokens = await client.tokens(await house.signed_in())
    fresh = (await client.refresh(tokens["refresh_token"])).json()["refresh_token"]
    if house.app.database.is_sqlite:
        kept = b"".join(path.read_bytes() for path in house.settings.data.glob("valetkey.db*"))
        assert tokens["refresh_token"].encode() not in kept
        assert fresh.encode() not in kept


async def test_dp_9_a_public_clients_refresh_token_is_bound_to_its_key(house: House) -> None:
    """DP-9, DP-06: though the request named no key; so is every successor."""
    client = await a_client(house, token_endpoint_auth_method="none")
    prover, thief = Prover(house), Prover(house)
    code = (await client.allowed(await house.signed_in()))["code"]
    form = {
        "client_id": client.robot.id,
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": client.verifier,
    }
    tokens = (await prover.asks({}, form)).json()
    for _ in range(2):
        refreshing = {
            "client_id": client.robot.id,
            "grant_type": "refresh_token",
            "refresh_token": tokens["refresh_token"],
        }
        assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
        assert (await thief.asks({}, refreshing)).json()["error"] == "invalid_grant"
        reply = await prover.asks({}, refreshing)
        assert (reply.status, reply.json()["token_type"]) == (200, "DPoP")
        tokens = reply.json()
