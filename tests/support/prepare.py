"""Bring what the tests need from outside Python: `python -m tests.support.prepare`, run by `make test`.

Installs only what is missing and says each thing it does in one line. What cannot be had here is named together with
the command that would bring it; the tests that need it are then skipped, visibly.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

from tests.support import (
    aws_programs,
    caddy,
    chromium,
    database_clients,
    gh,
    mcp_conformance,
    mcp_programs,
    nginx,
    node,
    postgres_keeper,
    slack_clients,
)


def main() -> int:
    """Prepare; a thing that cannot be had is said and is not a failure."""
    for name, install, is_there in _PACKAGES:
        _say(_debian(name, install, is_there))
    _say(_node())
    _say(_mcp())
    _say(_slack())
    _say(_aws())
    _say(_databases())
    return 0


_PACKAGES: Final = (
    ("PostgreSQL", postgres_keeper.INSTALL, postgres_keeper.programs),
    ("Chromium", chromium.INSTALL, chromium.program),
    ("nginx", nginx.INSTALL, nginx.program),
    ("Caddy", caddy.INSTALL, caddy.program),
    ("gh", gh.INSTALL, gh.program),
)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"prepare: {line}", flush=True)


def _debian(name: str, install: Sequence[str], is_there: Callable[[], object]) -> list[str]:
    """Install one Debian package unless its program is there."""
    if is_there():
        return []
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return [f"{name} is missing, its tests will be skipped; to have them: sudo {' '.join(install)}"]
    # RUNLEVEL: the package's own server is not wanted, only its programs.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update", "-qq"], list(install)):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True)
    if isinstance(is_there, functools._lru_cache_wrapper):
        is_there.cache_clear()
    if done.returncode or not is_there():
        return [f"{name} could not be installed, its tests will be skipped: {done.stderr.strip()[-400:]}"]
    return [f"installed the Debian package {install[-1]}"]


def _node() -> list[str]:
    try:
        return node.prepare()
    except (RuntimeError, OSError) as failed:
        return [f"Node could not be prepared, the stock-client tests will be skipped: {failed}"]


def _mcp() -> list[str]:
    try:
        return [*mcp_programs.prepare(), *mcp_conformance.prepare()]
    except (RuntimeError, OSError) as failed:
        return [f"The MCP programs could not be prepared, their tests will be skipped: {failed}"]


def _slack() -> list[str]:
    try:
        return slack_clients.prepare()
    except (RuntimeError, OSError) as failed:
        return [f"Slack's SDK could not be prepared, its tests will be skipped: {failed}"]


def _aws() -> list[str]:
    try:
        return aws_programs.prepare()
    except (RuntimeError, OSError) as failed:
        return [f"boto3 and moto could not be prepared, their tests will be skipped: {failed}"]


def _databases() -> list[str]:
    try:
        return database_clients.prepare()
    except (RuntimeError, OSError) as failed:
        return [f"psycopg and SQLAlchemy could not be prepared, their test will be skipped: {failed}"]


if __name__ == "__main__":
    sys.exit(main())
