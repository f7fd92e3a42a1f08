"""The Model Context Protocol's own conformance suite against our authorization server, consent clicked by a browser."""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support import mcp_conformance, node
from tests.support.house import House, open_house
from tests.support.http import call
from tests.support.ports import free_port
from valetkey.server.clock import DrivenClock

if (why := mcp_conformance.missing()) is not None:
    pytest.skip(why, allow_module_level=True)

RESOURCE = "https://notes.example/mcp"


@pytest.fixture
async def house(tmp_path: Path, database_url: str | None) -> AsyncIterator[House]:
    async with open_house(
        tmp_path / "data", database_url=database_url, clock=DrivenClock(float(int(time.time())))
    ) as opened:
        yield opened


async def test_the_authorization_server_conforms(house: House, tmp_path: Path) -> None:
    port = free_port()
    await house.alice.does(
        "POST", "/v1/resource-servers", name="notes", title="Notes", audience=RESOURCE,
        scopes=[{"name": "notes:read", "sentence": "read your notes"}],
    )  # fmt: skip
    agent = await house.agent("conformance")
    await house.alice.does("PUT", f"/v1/agents/{agent.id}/ceiling", ceiling=["notes:notes:read@*"])
    await house.alice.does(
        "PUT", f"/v1/agents/{agent.id}/client", token_endpoint_auth_method="none", application_type="native",
        redirect_uris=[f"http://127.0.0.1:{port}/callback"],
    )  # fmt: skip
    command = [
        *(str(node.NODE), str(mcp_conformance.PROGRAM), "authorization", "--url", house.settings.issuer),
        *("--client-id", agent.id, "--port", str(port), "--resource", RESOURCE, "-o", str(tmp_path / "out")),
    ]
    suite = await asyncio.create_subprocess_exec(
        *node.leashed(command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
    )
    said = []
    assert suite.stdout is not None
    tab = await house.signed_in()
    while line := (await suite.stdout.readline()).decode():
        said.append(line)
        if (opened := re.search(rf"{re.escape(house.settings.issuer)}/oauth/authorize\?\S+", line)) is not None:
            where = urlsplit(opened[0])
            await tab.get(f"{where.path}?{where.query}")
            reply = await tab.submit("/consent", {"scope": ["0:notes:read"], "line": ["0"]}, button="Allow")
            landing = urlsplit(reply.header("location") or "")
            await call(f"http://127.0.0.1:{port}", "GET", f"{landing.path}?{landing.query}")
    assert await suite.wait() == 0, "".join(said)
    found = [json.loads(file.read_text()) for file in (tmp_path / "out").rglob("checks.json")]
    checks = [check for scenario in found for check in scenario]
    assert len(found) >= 2
    assert [c["id"] for c in checks if c["status"] == "FAILURE"] == []
    assert {c["status"] for c in checks} >= {"SUCCESS"}
