"""Stock boto3 through the gateway against moto: what it may do works, and each thing it may not is told in S3's words.

moto believes every signature; that ours is the one botocore would make is asserted in test_s3_gateway.py.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_aws_leases import AWS
from tests.support import aws_programs
from tests.support.house import House, Robot, open_house
from valetkey.server.clock import DrivenClock

pytestmark = pytest.mark.skipif((why := aws_programs.PROGRAMS.missing()) is not None, reason=str(why))

WRITE = "aws:s3:write@acme-reports/2027"


@dataclass
class Used:
    """A house whose role is moto's, and an agent with a task."""

    house: House
    agent: Robot
    task: Any
    env: dict[str, str]

    async def story(self) -> Any:
        token = await self.agent.token(self.task["task_token"], resource=AWS)
        env = {"GATEWAY": f"{self.house.base}/p/aws", "TOKEN": token, "AWS_EC2_METADATA_DISABLED": "true"}
        return await asyncio.to_thread(aws_programs.run, "gateway_story.py", env=env)


@contextlib.asynccontextmanager
async def used(folder: Path, grant: str) -> AsyncIterator[Used]:
    clock = DrivenClock(float(int(time.time())))  # moto goes by the machine's clock
    async with contextlib.AsyncExitStack() as stack:
        url = await asyncio.to_thread(stack.enter_context, aws_programs.moto())
        account = await asyncio.to_thread(aws_programs.run, "account.py", env={"AWS_URL": url})
        place = url.removeprefix("http://")
        house = await stack.enter_async_context(open_house(folder, clock=clock, upstreams={"aws": url}, local=(place,)))
        connection = await house.alice.does(
            "POST",
            "/v1/connections",
            integration="aws",
            role_arn=account["role"],
            access_key_id=account["key"],
            credential=account["secret"],
        )
        entitled = f"/v1/connections/{connection['id']}/entitlements"
        await house.alice.does("POST", entitled, user="alice@acme.com", grants=["aws:s3:write@*"])
        agent = await house.agent("report-writer")
        task = await house.task(await house.delegate(agent, grant))
        yield Used(house, agent, task, {"AWS_URL": url})


async def test_stock_boto3_does_what_was_delegated_and_is_told_why_not(tmp_path: Path) -> None:
    async with used(tmp_path / "data", WRITE) as at:
        steps = await at.story()
        done = {name: step["value"] for name, step in steps.items() if step["ok"]}
        assert steps["multipart"]["ok"], steps["multipart"]
        assert done == {
            "list": ["2027/q 1+(é).csv", "2027/q1.csv"],
            "get": "acme-reports/2027/q1.csv\n",
            "get spelled": "spelled\n",
            "put": True,
            "multipart": (5 << 20) + 7,
            "copy": True,
            "delete": True,
        }
        refused = {name: step["text"] for name, step in steps.items() if not step["ok"]}
        assert {step["code"] for step in steps.values() if not step["ok"]} == {"AccessDenied", "InvalidRequest"}
        for name in ("list elsewhere", "get another prefix", "put elsewhere", "copy from elsewhere"):
            assert "is not among the delegated resources" in refused[name], name
        assert "acme-payroll/2027/q1.csv" in refused["copy from elsewhere"]
        assert "changes who may reach the object" in refused["put for everybody"]
        assert "not one the integration knows" in refused["access list"]


async def test_with_reading_alone_the_same_program_writes_nothing(tmp_path: Path) -> None:
    async with used(tmp_path / "data", WRITE.replace("write", "read")) as at:
        steps = await at.story()
        assert {name for name, step in steps.items() if step["ok"]} == {"list", "get", "get spelled"}
        assert "delegated: s3:read" in steps["put"]["text"]
        assert "delegated: s3:read" in steps["copy"]["text"]
