"""Signing keys: the next one is published before it signs, the old one stays until its tokens are over (KR-01)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.billing import AUDIENCE, GRANT, billed, register
from tests.support.house import GITHUB, House, open_house
from tests.support.tokens import unverified_header
from valetkey.server.tokens.keys import PUBLISH_AFTER_RETIRING_SECONDS, PUBLISH_BEFORE_SIGNING_SECONDS
from valetkey.verify import jws
from valetkey.verify.keys import parse_jwks
from valetkey.verify.verifier import Verifier

PATH = "/repos/acme-corp/backend"


async def kids(house: House) -> list[str]:
    reply = await house.call("GET", "/.well-known/jwks.json")
    assert reply.header("cache-control") == "public, max-age=300"
    return [key["kid"] for key in reply.json()["keys"]]


async def verified(house: House, token: str) -> dict[str, Any]:
    """As a stranger does it, by the published key set alone."""
    published = parse_jwks((await house.call("GET", "/.well-known/jwks.json")).body)
    return jws.verify(token, keys=published, typ="delegation+jwt")


async def test_kr_01_the_next_key_is_published_before_it_signs_and_the_old_one_after(house: House) -> None:
    agent, _, task, old = await house.ready(seconds=36_000)
    first = unverified_header(old)["kid"]
    made = await house.alice.does("POST", "/v1/keys/rotate", algorithm="ES256")
    next_kid = made["kid"]
    assert made["signs_from"] == int(house.clock.now()) + PUBLISH_BEFORE_SIGNING_SECONDS
    assert {first, next_kid} <= set(await kids(house))
    # No verifier can have a key set without the next key by the time it signs.
    house.clock.advance(PUBLISH_BEFORE_SIGNING_SECONDS - 1)
    task = await house.task(await house.delegate(agent, seconds=36_000))
    last_old = await agent.token(task["task_token"])
    assert unverified_header(last_old)["kid"] == first
    house.clock.advance(1)
    new = await agent.token(task["task_token"])
    assert unverified_header(new)["kid"] == next_kid
    for token in (last_old, new):
        assert (await house.gateway(token, "GET", PATH)).status == 200
        await verified(house, token)
    assert first in await kids(house)
    house.clock.advance(PUBLISH_AFTER_RETIRING_SECONDS)
    await house.app.keys.reload()
    await house.alice.sign_in()
    assert await kids(house) == [next_kid]


async def test_a_task_token_outlives_the_rotation_of_the_key_that_signed_it(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    task = await house.task(await house.delegate(agent, seconds=36_000), seconds=8 * 3600)
    await house.alice.does("POST", "/v1/keys/rotate", algorithm="ES256")
    house.clock.advance(8 * 3600 - 1)
    assert (await agent.exchange(task["task_token"])).status == 200


async def test_twenty_rotations_leave_every_live_token_good(house: House) -> None:
    """KR-01, in order rather than in seconds."""
    agent, _, task, _ = await house.ready(seconds=86_400)
    task = await house.task(await house.delegate(agent, seconds=86_400), seconds=8 * 3600)
    used = set()
    for _ in range(20):
        await house.alice.does("POST", "/v1/keys/rotate", algorithm="ES256")
        before = await agent.token(task["task_token"])
        house.clock.advance(PUBLISH_BEFORE_SIGNING_SECONDS)
        after = await agent.token(task["task_token"])
        assert (await house.gateway(after, "GET", PATH)).status == 200
        await verified(house, before)
        used |= {unverified_header(before)["kid"], unverified_header(after)["kid"]}
        await house.alice.sign_in()
    assert len(used) == 21


async def test_only_an_administrator_rotates_and_only_to_what_is_signed_with(house: House) -> None:
    bob = await house.person("bob@acme.com")
    assert (await bob.call("POST", "/v1/keys/rotate")).status == 403
    assert (await bob.call("GET", "/v1/keys")).status == 403
    for algorithm in ("HS256", "none", "", "es256", "RSA"):
        refused = await house.alice.call("POST", "/v1/keys/rotate", algorithm=algorithm)
        assert (refused.status, refused.code) == (400, "invalid_request"), algorithm
    rows = (await house.alice.does("GET", "/v1/keys"))["data"]
    assert {row["purpose"] for row in rows} == {"tokens", "checkpoints"}
    assert "sealed" not in str(rows)


async def test_the_key_set_holds_public_parts_of_token_keys_only(house: House) -> None:
    document = (await house.call("GET", "/.well-known/jwks.json")).json()
    for key in document["keys"]:
        assert not {"d", "p", "q", "k", "dp", "dq", "qi"} & key.keys()
    checkpoint = (await house.alice.does("GET", "/v1/audit/key"))["pin"].partition(":")[0]
    assert checkpoint not in await kids(house)


@pytest.mark.parametrize("algorithm", ["Ed25519", "RS256"])
async def test_an_audience_that_asks_for_it_gets_its_own_algorithm(
    tmp_path: Path, database_url: str | None, algorithm: str
) -> None:
    chosen = {"github": algorithm}
    async with open_house(tmp_path / "data", database_url=database_url, algorithms=chosen) as house:
        agent, _, task, token = await house.ready()
        assert unverified_header(token)["alg"] == algorithm
        assert unverified_header(task["task_token"])["alg"] == "ES256"  # only that audience's
        assert (await verified(house, token))["aud"] == GITHUB
        assert (await house.gateway(token, "GET", PATH)).status == 200
        made = await house.alice.does("POST", "/v1/keys/rotate", algorithm=algorithm)
        house.clock.advance(PUBLISH_BEFORE_SIGNING_SECONDS)
        task = await house.task(await house.delegate(agent))
        rotated = await agent.token(task["task_token"])
        assert unverified_header(rotated)["kid"] == made["kid"]
        assert (await house.gateway(rotated, "GET", PATH)).status == 200


async def test_kr_01_under_load_no_verifier_that_caches_ever_refuses_a_token_across_rotations(house: House) -> None:
    """20 rotations, 600 tokens, two resource servers that keep the published keys as long as they may: 0 failures."""
    await register(house)
    agent, _, _ = await billed(house)
    task = await house.task(await house.delegate(agent, GRANT, seconds=86_400), seconds=8 * 3600)
    where = f"{house.settings.issuer}/.well-known/jwks.json"
    servers = [Verifier(house.settings.issuer, AUDIENCE, jwks_uri=where, clock=house.clock) for _ in range(2)]
    signers: set[str] = set()
    alive: list[str] = []
    for _ in range(20):
        await house.alice.sign_in()
        await house.alice.does("POST", "/v1/keys/rotate", algorithm="ES256")
        for _ in range(6):
            house.clock.advance(PUBLISH_BEFORE_SIGNING_SECONDS / 6)
            replies = await asyncio.gather(
                *(agent.exchange(task["task_token"], resource=AUDIENCE, requested_expires_in=120) for _ in range(5))
            )
            fresh = [str(reply.json()["access_token"]) for reply in replies]
            for server in servers:
                for token in (*fresh, *alive):
                    said = await asyncio.to_thread(server.verify, token)
                    assert said.agent.uid == agent.id
            alive = fresh  # they outlive the next step, and perhaps the key that signed them
            signers |= {unverified_header(token)["kid"] for token in fresh}
    assert len(signers) == 21
