"""Tokens by which AWS lets roles be taken on, used for anything else; and roles that trust too much."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_aws_leases import Account
from tests.flows.test_web_identity import BODY, provided, trusted
from tests.support.aws_account import KEY_ID, KEY_SECRET


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Account]:
    async with trusted(tmp_path / "data", database_url) as found:
        yield found


async def test_such_a_token_opens_no_door_here(at: Account) -> None:
    await at.lent()
    token = at.sts.sessions[-1].said["WebIdentityToken"]
    bearer = [("authorization", f"Bearer {token}")]
    for path in ("/v1/whoami", "/p/github/repos/acme-corp/backend"):
        assert (await at.house.call("GET", path, headers=bearer)).status == 401, path
    s3 = await at.house.call("GET", "/p/aws/acme-reports/q1.csv", headers=[("x-amz-security-token", token)])
    assert s3.status in (401, 403)
    assert (await at.agent.exchange(token)).status == 400
    lease = {"task_token": token, "target": "https://s3.us-east-1.amazonaws.com"}
    assert (await at.agent.call("POST", "/v1/leases", **lease)).status in (400, 401)
    assert len(at.sts.calls) == 0


async def test_a_role_that_trusts_every_organization_is_not_connected(tmp_path: Path) -> None:
    async with provided(tmp_path / "data", None) as (house, sts):
        assert sts.provider is not None
        narrow, sts.provider.trusts = sts.provider.trusts, "org:"
        refused = await house.alice.call("POST", "/v1/connections", **BODY)
        assert (refused.status, "any organization" in refused.body.decode()) == (400, True)
        assert narrow in refused.json()["hint"]
        assert (await house.alice.does("GET", "/v1/connections"))["data"] == []
        sts.provider.trusts = narrow
        await house.alice.does("POST", "/v1/connections", **BODY)


@pytest.mark.parametrize(
    "audience",
    [
        "",
        " ",
        "agt_x",
        "https://api.github.com",
        "sts.amazonaws.com/",
        "sts.amazonaws.com.evil.example",
        "sts.amazonaws.com\n",
        "sts.amazonaws.com:",
        "xsts.amazonaws.com",
        "stsxamazonaws.com",
        "sts.amazonaws.com:a b",
    ],
)
async def test_no_token_is_signed_for_somebody_else(tmp_path: Path, audience: str) -> None:
    async with provided(tmp_path / "data", None) as (house, sts):
        refused = await house.alice.call("POST", "/v1/connections", **(BODY | {"audience": audience}))
        assert refused.status == 400
        assert sts.asked == []


@pytest.mark.parametrize("more", [{"credential": KEY_SECRET}, {"access_key_id": KEY_ID}, {"app_id": "1"}])
async def test_a_key_and_a_token_together_are_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    async with provided(tmp_path / "data", None) as (house, sts):
        assert (await house.alice.call("POST", "/v1/connections", **(BODY | more))).status == 400
        assert sts.asked == []


async def test_only_an_administrator_connects_such_a_role(tmp_path: Path) -> None:
    async with provided(tmp_path / "data", None) as (house, sts):
        bob = await house.person("bob@acme.com")
        assert (await bob.call("POST", "/v1/connections", **BODY)).status == 403
        assert sts.asked == []


@pytest.mark.parametrize("said", ["Throttling", "InvalidIdentityToken", "ValidationError"])
async def test_only_a_plain_no_shows_that_a_role_trusts_nobody_else(tmp_path: Path, said: str) -> None:
    """The role trusts everybody, and STS happens to refuse the second question for another reason."""
    async with provided(tmp_path / "data", None) as (house, sts):
        assert sts.provider is not None
        sts.provider.trusts = "org:"

        async def the_second_is_refused() -> None:
            sts.refuses = said if len(sts.asked) == 2 else ""

        sts.on_assume = the_second_is_refused
        refused = await house.alice.call("POST", "/v1/connections", **BODY)
        assert len(sts.asked) == 2
        assert (refused.status, refused.code) == (502, "upstream_failed")
        assert (await house.alice.does("GET", "/v1/connections"))["data"] == []


async def test_who_asks_too_often_is_not_told_that_the_role_is_wrong(tmp_path: Path) -> None:
    async with provided(tmp_path / "data", None) as (house, sts):
        sts.refuses = "Throttling"
        refused = await house.alice.call("POST", "/v1/connections", **BODY)
        assert (refused.status, refused.code) == (502, "upstream_failed")
        sts.refuses = ""
        await house.alice.does("POST", "/v1/connections", **BODY)
