"""The MCP SDK and FastMCP, in a virtual environment of their own under build/mcp: nothing of ours is in it.

Their pins and ours need not agree, and their client must know us by the wire alone.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support import node

FOLDER = Path(__file__).parents[2] / "build" / "mcp"
STORIES = Path(__file__).parent / "mcp"
PACKAGES = ("mcp==2.3.0", "fastmcp==4.1.2")
PYTHON = FOLDER / "venv" / "bin" / "python"


def missing() -> str | None:
    """Why its stories cannot run here, as a reason to skip, or None."""
    mark = FOLDER / "installed.txt"
    if not PYTHON.exists() or not mark.exists() or mark.read_text().split() != list(PACKAGES):
        return "the MCP packages are not prepared: python -m tests.support.prepare"
    return None


def prepare() -> list[str]:
    """Install what is missing; return one line for what was done. Raises `RuntimeError` with pip's words."""
    if missing() is None:
        return []
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    node.run_or_say([sys.executable, "-m", "venv", str(FOLDER / "venv")])
    node.run_or_say([str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-q", *PACKAGES])
    (FOLDER / "installed.txt").write_text(" ".join(PACKAGES))
    return [f"installed {' and '.join(PACKAGES)} into build/mcp/venv"]


@contextlib.asynccontextmanager
async def program(story: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """One of the programs in tests/support/mcp, with pipes; killed with the block."""
    command = node.leashed([str(PYTHON), str(STORIES / story), *arguments])
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "HOME": str(FOLDER)},
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
