"""The MCP SDK and FastMCP, in a virtual environment of their own under build/mcp: nothing of ours is in it.

Their pins and ours need not agree, and their client must know us by the wire alone.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support import node
from tests.support.environment import Environment

STORIES = Path(__file__).parent / "mcp"
PROGRAMS = Environment("mcp", ("mcp==2.3.0", "fastmcp==4.1.2"), with_dependencies=True)


@contextlib.asynccontextmanager
async def program(story: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """One of the programs in tests/support/mcp, with pipes; killed with the block."""
    command = node.leashed([str(PROGRAMS.python), str(STORIES / story), *arguments])
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "HOME": str(PROGRAMS.folder)},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def line(process: asyncio.subprocess.Process, starts: str = "") -> str:
    """The next line it prints that starts so. Raises `RuntimeError` with its complaints when it ends before."""
    assert process.stdout is not None
    while said := (await process.stdout.readline()).decode().strip():
        if said.startswith(starts):
            return said
    assert process.stderr is not None
    raise RuntimeError((await process.stderr.read()).decode()[-3000:])
