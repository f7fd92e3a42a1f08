"""A role at AWS that trusts tokens of this server: taken on without any access key.

The STS is ours and strict; it reads tokens with PyJWT, by the key set it fetched from us.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from sqlalchemy import text

from tests.flows.test_aws_leases import READ, Account
from tests.support.aws_account import KEY_ID, ROLE, AwsAccount, Provider
from tests.support.house import House, open_house
from tests.support.served import BIN
from valetkey.server.clock import DrivenClock
from valetkey.server.listen import Listener

BODY = {"integration": "aws", "role_arn": ROLE, "audience": "sts.amazonaws.com"}


@contextlib.asynccontextmanager
async def provided(folder: Path, database_url: str | None) -> AsyncIterator[tuple[House, AwsAccount]]:
    """A house, and an account whose role trusts the house's tokens for its one organization."""
    clock = DrivenClock()
    sts = AwsAccount(clock)
    async with Listener(sts, host="127.0.0.1", port=0) as behind:
        place = f"127.0.0.1:{behind.port}"
        async with open_house(
            folder, database_url=database_url, clock=clock, upstreams={"aws": f"http://{place}"}, local=(place,)
        ) as house:

            async def reads() -> Any:
                return (await house.call("GET", "/.well-known/jwks.json")).json()

            org = (await house.alice.does("GET", "/v1/whoami"))["organization"]["id"]
            sts.provider = Provider(house.settings.issuer, reads, f"org:{org}:")
            yield house, sts


@contextlib.asynccontextmanager
async def trusted(folder: Path, database_url: str | None) -> AsyncIterator[Account]:
    """Everything up to the task."""
    async with provided(folder, database_url) as (house, sts):
        connection = await house.alice.does("POST", "/v1/connections", **BODY)
        await house.alice.does(
            "POST", f"/v1/connections/{connection['id']}/entitlements", user="alice@acme.com", grants=[READ]
        )
        agent = await house.agent("report-writer")
        delegation = await house.delegate(agent, READ, seconds=7_200)
        yield Account(house, sts, connection, agent, delegation, await house.task(delegation))


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Account]:
    async with trusted(tmp_path / "data", database_url) as found:
        yield found


async def test_a_session_is_got_with_a_token_that_says_who_and_for_whom(at: Account) -> None:
    lent = await at.lent()
    (asked,) = at.sts.sessions
    assert asked.said.keys() == {
        "Action", "Version", "RoleArn", "RoleSessionName", "DurationSeconds", "Policy", "WebIdentityToken"
    }  # fmt: skip
    assert "authorization" not in asked.headers
    assert (asked.said["RoleSessionName"], asked.said["DurationSeconds"]) == (lent["id"], "900")
    assert [s["Resource"] for s in asked.policy["Statement"]] == [
        ["arn:aws:s3:::acme-reports"],
        ["arn:aws:s3:::acme-reports/*"],
    ]
    said = jwt.decode(asked.said["WebIdentityToken"], options={"verify_signature": False})
    alice, now = at.house.alice.id, int(at.house.clock.now())
    assert at.sts.provider is not None
    assert said.pop("jti")
    assert said == {
        "iss": at.house.settings.issuer,
        "sub": f"{at.sts.provider.trusts}user:{alice}:agent:{at.agent.id}",
        "aud": "sts.amazonaws.com",
        "iat": now,
        "exp": now + 300,
        "https://aws.amazon.com/tags": {
            "principal_tags": {
                "valetkey:user": [alice],
                "valetkey:agent": [at.agent.id],
                "valetkey:task": [at.task["id"]],
            },
            "transitive_tag_keys": ["valetkey:user", "valetkey:agent", "valetkey:task"],
        },
        "https://aws.amazon.com/source_identity": alice,
    }


async def test_nothing_that_is_worth_anything_is_kept(at: Account) -> None:
    token = at.sts.asked[0].said["WebIdentityToken"]
    (made,) = await at.house.events("connection.created")
    assert made["credential"] == ""
    assert token not in str(await at.house.events())
    report = await at.house.alice.does("GET", f"/v1/connections/{at.connection['id']}/why")
    assert "no key is kept" in report["could_do"]


async def test_the_gateway_signs_with_such_a_session_too(at: Account) -> None:
    token = await at.agent.token(at.task["task_token"], resource="https://s3.us-east-1.amazonaws.com")
    headers = [("x-amz-security-token", token)]
    reply = await at.house.call("GET", "/p/aws/acme-reports/q1.csv", headers=headers)
    assert reply.status == 200, reply.body
    (asked,) = at.sts.sessions
    assert asked.said["Action"] == "AssumeRoleWithWebIdentity"
    denied = await at.house.call("GET", "/p/aws/acme-payroll/q1.csv", headers=headers)
    assert denied.status == 403
    assert len(at.sts.calls) == 1


async def test_a_token_for_another_audience_takes_nothing_on(at: Account) -> None:
    assert at.sts.provider is not None
    at.sts.provider.audience = "sts.amazonaws.com:other"
    refused = await at.lease()
    assert refused.code == "connection_required"
    at.sts.provider.audience = "sts.amazonaws.com"
    await at.lent()


async def test_an_audience_of_ones_own_is_what_the_token_is_for(tmp_path: Path) -> None:
    async with provided(tmp_path / "data", None) as (house, sts):
        assert sts.provider is not None
        sts.provider.audience = "sts.amazonaws.com:acme"
        assert (await house.alice.call("POST", "/v1/connections", **BODY)).status == 400
        await house.alice.does("POST", "/v1/connections", **(BODY | {"audience": "sts.amazonaws.com:acme"}))


async def test_a_role_without_that_trust_is_not_connected(tmp_path: Path) -> None:
    async with provided(tmp_path / "data", None) as (house, sts):
        assert sts.provider is not None
        sts.provider.trusts = "org:another:"
        refused = await house.alice.call("POST", "/v1/connections", **BODY)
        assert refused.status == 400
        assert "sts:AssumeRoleWithWebIdentity" in refused.json()["hint"]
        assert (await house.alice.does("GET", "/v1/connections"))["data"] == []


async def test_when_the_keys_were_changed_the_new_key_signs_and_an_old_key_set_does_not_know_it(at: Account) -> None:
    assert at.sts.provider is not None
    made = await at.house.alice.does("POST", "/v1/keys/rotate", algorithm="ES256")
    at.house.clock.advance(599)
    await at.lent()
    old = at.sts.sessions[-1].said["WebIdentityToken"]
    assert jwt.get_unverified_header(old)["kid"] != made["kid"]
    at.house.clock.advance(1)
    at.task = await at.house.task(at.delegation)
    refused = await at.lease()  # this STS reads the key set once, and never again
    assert refused.code == "connection_required"
    at.sts.provider.known = None
    await at.lent()
    assert jwt.get_unverified_header(at.sts.sessions[-1].said["WebIdentityToken"])["kid"] == made["kid"]


async def test_when_aws_cannot_read_the_keys_it_is_tried_later(at: Account) -> None:
    at.sts.refuses = "IDPCommunicationError"
    assert (await at.lease()).code == "upstream_failed"
    at.sts.refuses = "AccessDenied"
    assert (await at.lease()).code == "connection_required"


async def test_a_revoked_task_gets_no_token(at: Account) -> None:
    await at.house.alice.does("POST", "/v1/revocations", node=at.delegation["id"])
    before = len(at.sts.asked)
    assert (await at.lease()).status in (400, 401, 403)
    assert len(at.sts.asked) == before


async def test_a_row_that_names_another_role_or_audience_opens_nothing(at: Account) -> None:
    before = len(at.sts.asked)
    for one, other in (("agents/reports", "admin"), ("sts.amazonaws.com", "sts.amazonaws.com:x")):
        async with at.house.app.database.write() as tx:
            await tx.execute(text(f"UPDATE connections SET powers = REPLACE(powers, '{one}\"', '{other}\"')"))
        assert (await at.lease()).status in (500, 502, 503)
        async with at.house.app.database.write() as tx:
            await tx.execute(text(f"UPDATE connections SET powers = REPLACE(powers, '{other}\"', '{one}\"')"))
    assert len(at.sts.asked) == before
    await at.lent()


async def commanded(house: House, home: Path, *more: str) -> tuple[int | None, Any]:
    home.mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        f"{BIN}/valetkey", "connect", "aws", "--json", *more,
        env={
            "PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8",
            "VALETKEY_URL": house.settings.issuer, "VALETKEY_TOKEN": house.alice.credential,
        },
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, json.loads(out)


async def test_the_command_connects_a_role_and_reads_no_key(tmp_path: Path) -> None:
    async with provided(tmp_path / "data", None) as (house, sts):
        status, made = await commanded(house, tmp_path / "home", "--role-arn", ROLE, "--web-identity")
        assert (status, made["account"], made["shared"]) == (0, ROLE, True)
        asked = len(sts.asked)
        for wrong in (
            ["--role-arn", ROLE, "--audience", "sts.amazonaws.com"],
            ["--web-identity"],
            ["--role-arn", ROLE, "--web-identity", "--access-key-id", KEY_ID],
        ):
            status, refused = await commanded(house, tmp_path / "home", *wrong)
            assert status == 2, refused
        assert len(sts.asked) == asked
