"""Bring what the tests need from outside Python: `python -m tests.support.prepare`, run by `make test`.

Installs only what is missing and says each thing it does in one line. What cannot be had here is named together with
the command that would bring it; the tests that need it are then skipped, visibly.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.support import (
    aws_programs,
    caddy,
    chromium,
    database_clients,
    gh,
    google_clients,
    jdbc,
    mariadb,
    mcp_conformance,
    mcp_programs,
    nginx,
    node,
    postgres_keeper,
    slack_clients,
)

_PACKAGES: Final = (
    ("PostgreSQL", postgres_keeper.INSTALL[-1], postgres_keeper.programs),
    ("MariaDB", mariadb.INSTALL[-1], mariadb.program),
    ("Chromium", chromium.INSTALL[-1], chromium.program),
    ("nginx", nginx.INSTALL[-1], nginx.program),
    ("Caddy", caddy.INSTALL[-1], caddy.program),
    ("gh", gh.INSTALL[-1], gh.program),
    ("PostgreSQL's driver for Java", jdbc.PACKAGE, jdbc.driver),
)


def main() -> int:
    """Prepare, several things at once; a thing that cannot be had is said and is not a failure."""
    tasks: tuple[Callable[[], list[str]], ...] = (
        _debian,
        _registry("Node and what runs on it", lambda: [*node.prepare(), *mcp_conformance.prepare()]),
        _registry("the MCP programs", mcp_programs.PROGRAMS.prepare),
        _registry("Slack's SDK", slack_clients.PYTHON_SDK.prepare),
        _registry("Google's client", google_clients.CLIENT.prepare),
        _registry("boto3 and moto", aws_programs.PROGRAMS.prepare),
        _registry("psycopg and SQLAlchemy", database_clients.CLIENTS.prepare),
    )
    with ThreadPoolExecutor(3) as pool:
        for lines in pool.map(lambda task: task(), tasks):
            _say(lines)
    return 0


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"prepare: {line}", flush=True)


def _debian() -> list[str]:
    """Install the Debian packages whose programs are not there, in one go."""
    wanted = [(name, package, is_there) for name, package, is_there in _PACKAGES if not is_there()]
    if not wanted:
        return []
    names, packages = ", ".join(name for name, _, _ in wanted), [package for _, package, _ in wanted]
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return [f"{names}: missing, the tests will be skipped; to have them: sudo {' '.join(install)}"]
    # RUNLEVEL: the packages' own servers are not wanted, only their programs.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True)
    return [_outcome(*one, said=done.stderr) for one in wanted]


def _outcome(name: str, package: str, is_there: Callable[[], object], *, said: str) -> str:
    if isinstance(is_there, functools._lru_cache_wrapper):
        is_there.cache_clear()
    if is_there():
        return f"installed the Debian package {package}"
    return f"{name} could not be installed, its tests will be skipped: {said.strip()[-400:]}"


def _registry(name: str, prepare: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """What comes from the registries of Python and npm."""

    def prepared() -> list[str]:
        try:
            return prepare()
        except (RuntimeError, OSError) as failed:
            return [f"{name} could not be prepared, the tests will be skipped: {failed}"]

    return prepared


if __name__ == "__main__":
    sys.exit(main())
