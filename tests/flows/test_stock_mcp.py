"""An MCP server and clients nobody here wrote: discovery, registration, consent in a browser, an allowed call.

The server is a resource server of the user's own: it verifies our access token itself, by PyJWT and our key set.
"""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support import mcp_programs
from tests.support.house import House, open_house
from tests.support.ports import free_port
from tests.support.tab import Tab
from valetkey.server.clock import DrivenClock

if (why := mcp_programs.PROGRAMS.missing()) is not None:
    pytest.skip(why, allow_module_level=True)

REDIRECT = "http://127.0.0.1:33418/callback"


@pytest.fixture
async def house(tmp_path: Path, database_url: str | None) -> AsyncIterator[House]:
    """Its clock shows today: the strangers look at their own."""
    more: dict[str, Any] = {"dynamic_registration": "open"}
    clock = DrivenClock(float(int(time.time())))
    async with open_house(tmp_path / "data", database_url=database_url, clock=clock, **more) as opened:
        yield opened


@pytest.fixture
async def notes(house: House) -> AsyncIterator[str]:
    """The protected MCP server, registered with us; yields its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}/mcp"
    scopes = [{"name": "notes:read", "sentence": "read your notes"}]
    await house.alice.does("POST", "/v1/resource-servers", name="notes", title="Notes", audience=address, scopes=scopes)
    await house.alice.does("PUT", "/v1/organization", unknown_client_ceiling=["notes:notes:read@*"])
    arguments = (str(port), house.settings.issuer, address, "notes:read")
    async with mcp_programs.program("server.py", *arguments) as server:
        await mcp_programs.line(server, "ready")
        yield address


async def consents(tab: Tab, opened: str, *, decision: str = "Allow") -> str:
    """Alice follows the client's link and answers; returns where the browser is sent."""
    where = urlsplit(opened.removeprefix("OPEN "))
    assert f"{where.scheme}://{where.netloc}" == tab.origin
    await tab.get(f"{where.path}?{where.query}")
    assert "wants to act for you" in tab.text, tab.text
    reply = await tab.submit("/consent", button=decision)
    return reply.header("location") or ""


@pytest.mark.parametrize("client", ["client.py", "fastmcp_client.py"])
async def test_a_stock_client_registers_asks_and_calls(house: House, notes: str, client: str) -> None:
    tab = await house.signed_in()
    async with mcp_programs.program(client, notes) as running:
        landed = await consents(tab, await mcp_programs.line(running, "OPEN "))
        assert "notes:read" not in landed
        assert landed.startswith(REDIRECT + "?")
        assert running.stdin is not None
        running.stdin.write(f"{landed}\n".encode())
        said = json.loads(await mcp_programs.line(running, "{"))
    assert said["said"]["user"] == "user:alice@acme.com"
    assert said["said"]["agent"].startswith("agent:notes-reader-")
    assert said["said"]["scopes"] == ["notes:read"]
    assert said["client_id"].startswith("cli_")
    [issued] = await house.events("token.issued")
    assert issued["aud"] == notes


async def test_cancelling_gives_the_client_nothing(house: House, notes: str) -> None:
    tab = await house.signed_in()
    async with mcp_programs.program("client.py", notes) as running:
        landed = await consents(tab, await mcp_programs.line(running, "OPEN "), decision="Cancel")
        assert "error=access_denied" in landed
        assert running.stdin is not None
        running.stdin.write(f"{landed}\n".encode())
        assert await running.wait() != 0
    assert await house.events("token.issued", "delegation.recorded", "agent.created") == []


async def test_without_a_ceiling_for_unknown_clients_nobody_is_even_asked(house: House, notes: str) -> None:
    await house.alice.does("PUT", "/v1/organization", unknown_client_ceiling=[])
    tab = await house.signed_in()
    async with mcp_programs.program("client.py", notes) as running:
        opened = urlsplit((await mcp_programs.line(running, "OPEN ")).removeprefix("OPEN "))
        reply = await tab.get(f"{opened.path}?{opened.query}")
    assert "error=access_denied" in (reply.header("location") or "")
    assert "administrator" in (reply.header("location") or "")
