"""A session at AWS whose policy is what was delegated, given to an agent for the length of its task.

The STS here is ours and strict, and keeps the raw bytes; test_stock_aws.py has one that nobody here wrote.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_account import ACCOUNT, KEY_ID, KEY_SECRET, ROLE, SESSION_TOKEN, AwsAccount
from tests.support.house import House, Robot, open_house
from tests.support.http import Reply
from valetkey.server.clock import DrivenClock
from valetkey.server.listen import Listener

AWS = "https://s3.us-east-1.amazonaws.com"
READ = "aws:s3:read@acme-reports"
ROLE_BODY = {"integration": "aws", "credential": KEY_SECRET, "role_arn": ROLE, "access_key_id": KEY_ID}


@dataclass
class Account:
    """A house with a role connected, and an agent with a task over it."""

    house: House
    sts: AwsAccount
    connection: Any
    agent: Robot
    delegation: Any
    task: Any

    async def lease(self, **more: Any) -> Reply:
        return await self.agent.call("POST", "/v1/leases", task_token=self.task["task_token"], target=AWS, **more)

    async def lent(self, **more: Any) -> Any:
        reply = await self.lease(**more)
        assert reply.status == 201, reply.body
        return reply.json()


@contextlib.asynccontextmanager
async def connected(
    folder: Path, database_url: str | None, *grants: str, entitled: str = "aws:s3:read@acme-reports", **more: Any
) -> AsyncIterator[Account]:
    """Everything up to the task."""
    clock = DrivenClock()
    sts = AwsAccount(clock)
    async with Listener(sts, host="127.0.0.1", port=0) as behind:
        place = f"127.0.0.1:{behind.port}"
        async with open_house(
            folder, database_url=database_url, clock=clock, upstreams={"aws": f"http://{place}"}, local=(place,)
        ) as house:
            connection = await house.alice.does("POST", "/v1/connections", **ROLE_BODY)
            await house.alice.does(
                "POST", f"/v1/connections/{connection['id']}/entitlements", user="alice@acme.com", grants=[entitled]
            )
            agent = await house.agent("report-writer")
            delegation = await house.delegate(agent, *(grants or (READ,)), **more)
            task = await house.task(delegation)
            yield Account(house, sts, connection, agent, delegation, task)


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Account]:
    async with connected(tmp_path / "data", database_url) as found:
        yield found


async def test_a_role_is_a_shared_account_and_its_key_is_shown_and_sent_to_nobody(at: Account) -> None:
    assert (at.connection["account"], at.connection["shared"]) == (ROLE, True)
    await at.lent()
    assert KEY_SECRET not in (await at.house.alice.call("GET", "/v1/connections")).body.decode()
    assert not [one for one in at.sts.asked if KEY_SECRET in str(one)]
    report = await at.house.alice.does("GET", f"/v1/connections/{at.connection['id']}/why")
    assert report["held_back_by"] == "api"


async def test_a_role_is_tried_out_for_nothing_before_it_is_connected(at: Account) -> None:
    (tried,) = at.sts.asked
    assert tried.policy["Statement"] == [{"Effect": "Deny", "Action": "*", "Resource": "*"}]
    assert set(tried.tags) == {"valetkey:user", "valetkey:agent", "valetkey:task"}


@pytest.mark.parametrize(
    "changed",
    [
        {"access_key_id": "AKIASOMEBODYELSES000"},
        {"role_arn": ROLE + "2"},
        {"role_arn": f"arn:aws:iam::{ACCOUNT}:user/agents"},
        {"role_arn": None},
        {"credential": "no secret of a key"},
        {"app_id": "1"},
        {"integration": "github"},
    ],
)
async def test_a_role_that_cannot_be_taken_on_is_not_connected(at: Account, changed: dict[str, Any]) -> None:
    refused = await at.house.alice.call("POST", "/v1/connections", **(ROLE_BODY | changed))
    assert refused.status == 400, refused.body
    assert len((await at.house.alice.does("GET", "/v1/connections"))["data"]) == 1


async def test_only_an_administrator_connects_a_role_and_nobody_pastes_a_key(at: Account) -> None:
    bob = await at.house.person("bob@acme.com")
    assert (await bob.call("POST", "/v1/connections", **ROLE_BODY)).status == 403
    pasted = {"integration": "aws", "credential": KEY_SECRET}
    assert (await at.house.alice.call("POST", "/v1/connections", **pasted)).status == 400


async def test_what_sts_received_says_who_what_where_and_until_when(at: Account) -> None:
    lent = await at.lent()
    (asked,) = at.sts.sessions
    said = asked.said
    assert (said["Action"], said["RoleArn"], said["RoleSessionName"]) == ("AssumeRole", ROLE, lent["id"])
    alice = at.house.alice.id
    assert asked.tags == {
        "valetkey:user": alice,
        "valetkey:agent": at.agent.id,
        "valetkey:task": at.task["id"],
    }
    assert {said[f"TransitiveTagKeys.member.{n}"] for n in (1, 2, 3)} == set(asked.tags)
    assert said["SourceIdentity"] == alice
    assert said["DurationSeconds"] == "900"  # AWS has none that is shorter; the task has 600 seconds left
    assert [s["Resource"] for s in asked.policy["Statement"]] == [
        ["arn:aws:s3:::acme-reports"],
        ["arn:aws:s3:::acme-reports/*"],
    ]
    for statement in asked.policy["Statement"]:
        assert statement["Condition"] == {
            "DateLessThan": {"aws:CurrentTime": "2027-01-15T08:10:00Z"},
            "StringEquals": {"aws:ResourceAccount": ACCOUNT},
        }
    assert lent["ends_at"] == at.task["expires_at"] == 1_800_000_600
    assert asked.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20270115/us-east-1/sts/")


async def test_the_credential_is_what_stock_programs_read_and_the_trail_holds_its_fingerprint(at: Account) -> None:
    lent = await at.lent()
    session = json.loads(lent["credential"])
    assert set(session) == {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert (session["Version"], session["Expiration"]) == (1, "2027-01-15T08:10:00Z")
    (opened,) = await at.house.events("lease.opened")
    assert opened["permissions"] == ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"]
    assert opened["resource_ids"] == ["acme-reports"]
    assert SESSION_TOKEN not in str(await at.house.events())


async def test_a_long_task_gets_sessions_of_an_hour(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", None, seconds=7_200) as at:
        at.task = await at.house.task(at.delegation, seconds=7_000)
        lent = await at.lent()
        (asked,) = at.sts.sessions
        assert asked.said["DurationSeconds"] == "3600"
        assert json.loads(lent["credential"])["Expiration"] == "2027-01-15T09:00:00Z"
        condition = asked.policy["Statement"][0]["Condition"]
        assert condition["DateLessThan"] == {"aws:CurrentTime": "2027-01-15T09:56:40Z"}


async def test_less_than_the_task_may_be_asked_for_and_never_more(tmp_path: Path) -> None:
    wide = "aws:s3:write@acme-reports"
    async with connected(tmp_path / "data", None, wide, entitled=wide) as at:
        await at.lent(scope="s3:read")
        assert "s3:PutObject" not in at.sts.sessions[0].said["Policy"]
        await at.lent()
        assert "s3:PutObject" in at.sts.sessions[1].said["Policy"]
        at.task = await at.house.task(at.delegation, grants=[READ])
        assert (await at.lease(scope="s3:write")).status == 403
        assert (await at.lease(grants=["aws:s3:read@acme-payroll"])).status == 403
        assert len(at.sts.sessions) == 2


@pytest.mark.parametrize(
    ("grants", "limits", "words"),
    [
        ((READ,), {"max_calls": 3}, "counted"),
        (("aws:s3:read@*",), {}, "one by one"),
        (("aws:s3:read@acme-reports", "aws:s3:write@acme-drafts"), {}, "same permissions"),
        (("aws:s3:read@" + ",".join(f"acme-reports-of-the-year-{n}" for n in range(30)),), {}, "fit into one"),
    ],
)
async def test_what_a_session_policy_cannot_say_is_not_leased(
    tmp_path: Path, grants: tuple[str, ...], limits: dict[str, Any], words: str
) -> None:
    async with connected(tmp_path / "data", None, *grants, entitled="aws:s3:write@*", **limits) as at:
        refused = await at.lease()
        assert (refused.status, refused.json()["reason"]) == (403, "not_leasable")
        assert words in refused.body.decode()
        assert [r["reason"] for r in await at.house.events("lease.refused")] == ["not_leasable"]
        assert at.sts.sessions == []


async def test_bob_without_the_entitlement_is_denied_the_same_sentence(at: Account) -> None:
    bob = await at.house.person("bob@acme.com")
    agent = await at.house.agent("bobs-agent", owner=bob)
    body = {"agent": agent.name, "grants": [READ], "purpose": "the same"}
    assert (await bob.call("POST", "/v1/delegations", **body)).status == 403
    await at.house.alice.does(
        "POST", f"/v1/connections/{at.connection['id']}/entitlements", user="bob@acme.com", grants=[READ]
    )
    assert (await bob.call("POST", "/v1/delegations", **body)).status == 201
    more = {**body, "grants": ["aws:s3:write@acme-reports"]}
    assert (await bob.call("POST", "/v1/delegations", **more)).status == 403


async def test_a_name_that_is_no_buckets_cannot_be_delegated(tmp_path: Path) -> None:
    async with connected(tmp_path / "data", None, entitled="aws:s3:read@*") as at:
        for name in ("Acme-Reports", "acme-reports/2027/*", "acme-reports/*", "a", "acme..reports"):
            body = {"agent": at.agent.name, "grants": [f"aws:s3:read@{name}"], "purpose": "x"}
            assert (await at.house.alice.call("POST", "/v1/delegations", **body)).status in (400, 403, 404), name


async def test_a_task_that_has_ended_gets_nothing(at: Account) -> None:
    at.house.clock.advance(at.task["expires_at"] - at.house.clock.now())
    assert (await at.lease()).status in (400, 401, 403)
    assert at.sts.sessions == []


async def test_revoking_says_that_a_session_cannot_be_ended_and_what_bounds_it(at: Account) -> None:
    lent = await at.lent()
    report = await at.house.alice.does("POST", "/v1/revocations", node=at.delegation["id"])
    (hop,) = [h for h in report["hops"] if h["hop"] == "leased credentials"]
    assert hop["outcome"] == "unsupported"
    assert "2027-01-15T08:10:00Z" in hop["detail"]
    (shown,) = (await at.house.alice.does("GET", "/v1/leases"))["data"]
    assert (shown["status"], shown["problem"], shown["id"]) == ("ending", "unsupported", lent["id"])
    assert await at.house.app.take_back.sweep() == 0
    at.house.clock.advance(599)
    assert await at.house.app.take_back.sweep() == 0
    assert await at.house.events("lease.ended") == []
    at.house.clock.advance(1)
    assert await at.house.app.take_back.sweep() == 1
    (shown,) = (await at.house.alice.does("GET", "/v1/leases"))["data"]
    assert shown["status"] == "ended"
    assert (await at.lease()).status in (400, 401, 403)


async def test_a_lease_ends_with_its_task(at: Account) -> None:
    await at.lent()
    at.house.clock.advance(at.task["expires_at"] - at.house.clock.now())
    assert await at.house.app.take_back.sweep() == 1
    assert len(at.sts.asked) == 2  # nothing is told to AWS: the session's own policy has ended it


async def test_a_role_that_trusts_no_longer_has_to_be_connected_again(at: Account) -> None:
    at.sts.refuses = "AccessDenied"
    refused = await at.lease()
    assert refused.code == "connection_required"
    at.sts.refuses, at.sts.fails_with = "", 503
    assert (await at.lease()).status == 502
    at.sts.fails_with = 0
    await at.lent()
