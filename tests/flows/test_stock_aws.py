"""Stock boto3 with a leased session against moto, an AWS nobody here wrote; and botocore's signer against ours.

moto takes every session for whole: that one is narrow is asserted on what STS received (test_aws_leases.py), and is
AWS's to enforce.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_aws_leases import READ
from tests.support import aws_programs
from tests.support.house import open_house
from valetkey.server.clock import DrivenClock
from valetkey.server.secret import Secret
from valetkey.server.sigv4 import signed

pytestmark = pytest.mark.skipif((why := aws_programs.PROGRAMS.missing()) is not None, reason=str(why))


VALETKEY = Path(sys.executable).parent / "valetkey"


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[str, dict[str, str]]]:
    with aws_programs.moto() as url:
        yield url, aws_programs.run("account.py", env={"AWS_URL": url})


async def test_stock_boto3_reads_a_bucket_with_a_leased_session(
    moto: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    url, account = moto
    clock = DrivenClock(float(int(time.time())))  # moto goes by the machine's clock
    place = url.removeprefix("http://")
    async with open_house(tmp_path / "data", clock=clock, upstreams={"aws": url}, local=(place,)) as house:
        connection = await house.alice.does(
            "POST",
            "/v1/connections",
            integration="aws",
            role_arn=account["role"],
            access_key_id=account["key"],
            credential=account["secret"],
        )
        await house.alice.does(
            "POST", f"/v1/connections/{connection['id']}/entitlements", user="alice@acme.com", grants=[READ]
        )
        agent = await house.agent("report-writer")
        task = await house.task(await house.delegate(agent, READ))
        ours = {
            "VALETKEY_URL": house.base,
            "VALETKEY_AGENT": agent.id,
            "VALETKEY_AGENT_SECRET": agent.secret,
            "VALETKEY_TASK_TOKEN": task["task_token"],
        }
        env = {**ours, **_profile(tmp_path), "AWS_URL": url}
        used = await asyncio.to_thread(aws_programs.run, "by_process.py", env=env)
        leases = {lease["id"] for lease in (await house.alice.does("GET", "/v1/leases"))["data"]}
        role, _, name = used.pop("who").rpartition("/")
        assert role == "arn:aws:sts::123456789012:assumed-role/agents"
        assert name in leases
        assert used == {
            "method": "custom-process",
            "read": "quarter,revenue\n",
            "listed": ["2026/q1.csv", "2027/q 1+(é).csv", "2027/q1.csv", "q1.csv"],
        }
        shell = await asyncio.to_thread(_printed, "env", {**ours, "HOME": str(tmp_path)})
        assert shell.startswith("export AWS_ACCESS_KEY_ID=ASIA")
        assert [line.split("=")[0] for line in shell.splitlines()] == [
            "export AWS_ACCESS_KEY_ID",
            "export AWS_SECRET_ACCESS_KEY",
            "export AWS_SESSION_TOKEN",
        ]
        await house.alice.does("POST", "/v1/revocations", node=task["id"])
        with pytest.raises(RuntimeError, match="custom-process"):
            await asyncio.to_thread(aws_programs.run, "by_process.py", env=env)


def _profile(folder: Path) -> dict[str, str]:
    """The one line docs/aws.md shows, with the whole path of the program."""
    line = f"credential_process = {VALETKEY} leases open --for aws --format credential-process"
    (folder / "config").write_text(f"[profile agent]\n{line}\n")
    return {"AWS_CONFIG_FILE": str(folder / "config"), "AWS_EC2_METADATA_DISABLED": "true"}


def _printed(form: str, env: dict[str, str]) -> str:
    command = [str(VALETKEY), "leases", "open", "--for", "aws", "--format", form]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60).stdout


NOW = 1_800_000_000
KEY, SECRET = "AKIAVALETKEYEXAMPLE1", "canarySecretOfTheAccessKey/0123456789+abc"
FORM = {"content-type": "application/x-www-form-urlencoded"}
REQUESTS: list[dict[str, Any]] = [
    {"method": "POST", "path": "/", "headers": FORM, "body": "Action=AssumeRole&Version=2011-06-15", "service": "sts"},
    {"method": "POST", "path": "/", "headers": {**FORM, "x-amz-target": "TrentService.Encrypt"}, "body": "{}",
     "service": "kms", "region": "eu-west-1"},
    {"method": "GET", "path": "/", "query": "b=2&a=1&a=0&c=", "headers": {}, "body": "", "service": "iam"},
    {"method": "GET", "path": "/", "query": "a=%2F&a-b=%7E&a=~", "headers": {}, "body": "", "service": "iam"},
    {"method": "POST", "path": "/", "headers": FORM, "body": "x=1", "service": "sts", "token": "sessionToken=="},
]  # fmt: skip


def test_botocore_signs_the_same_requests_the_same_way() -> None:
    asked = [
        {
            **one,
            "url": f"https://aws.example{one['path']}" + (f"?{one['query']}" if "query" in one else ""),
            "region": one.get("region", "us-east-1"),
        }
        for one in REQUESTS
    ]
    theirs = aws_programs.run(
        "signatures.py", env={}, given={"now": NOW, "key": KEY, "secret": SECRET, "requests": asked}
    )
    for one, their in zip(asked, theirs, strict=True):
        token = {"x-amz-security-token": one["token"]} if "token" in one else {}
        ours = signed(
            one["method"],
            one["path"],
            {"host": "aws.example", **one["headers"], **token},
            one["body"].encode(),
            access_key=KEY,
            secret=Secret(SECRET),
            region=one["region"],
            service=one["service"],
            now=NOW,
            query=one.get("query", ""),
        )
        assert ours["authorization"] == their["Authorization"], one
    other = signed(
        "POST", "/", {"host": "aws.example", **FORM}, b"Action=AssumeRole&Version=2011-06-16",
        access_key=KEY, secret=Secret(SECRET), region="us-east-1", service="sts", now=NOW,
    )  # fmt: skip
    assert other["authorization"] != theirs[0]["Authorization"]
