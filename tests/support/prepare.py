"""Bring what the tests need from outside Python: `python -m tests.support.prepare`, run by `make test`.

Installs only what is missing and says each thing it does in one line. What cannot be had here is named together with
the command that would bring it; the tests that need it are then skipped, visibly.
"""

import os
import shutil
import subprocess
import sys

from tests.support import aws_programs, chromium, mcp_conformance, mcp_programs, nginx, node
from tests.support.postgres_keeper import programs


def main() -> int:
    """Prepare; a thing that cannot be had is said and is not a failure."""
    for line in (*_postgresql(), *_chromium(), *_nginx(), *_node(), *_mcp(), *_aws()):
        print(f"prepare: {line}", flush=True)
    return 0


def _postgresql() -> list[str]:
    if programs():
        return []
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql"]
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return [f"PostgreSQL is missing, its tests will be skipped; to have them: sudo {' '.join(install)}"]
    # RUNLEVEL: the package's own server is not wanted, only its programs.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True)
    programs.cache_clear()
    if done.returncode or not programs():
        return [f"PostgreSQL could not be installed, its tests will be skipped: {done.stderr.strip()[-400:]}"]
    return ["installed the Debian package postgresql"]


def _chromium() -> list[str]:
    if chromium.program():
        return []
    install = list(chromium.INSTALL)
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return [f"Chromium is missing, its tests will be skipped; to have them: sudo {' '.join(install)}"]
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True)
    chromium.program.cache_clear()
    if done.returncode or not chromium.program():
        return [f"Chromium could not be installed, its tests will be skipped: {done.stderr.strip()[-400:]}"]
    return ["installed the Debian package chromium"]


def _nginx() -> list[str]:
    if nginx.program():
        return []
    install = list(nginx.INSTALL)
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        return [f"nginx is missing, its tests will be skipped; to have them: sudo {' '.join(install)}"]
    # RUNLEVEL: the package's own server is not wanted, only its program.
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True)
    if done.returncode or not nginx.program():
        return [f"nginx could not be installed, its tests will be skipped: {done.stderr.strip()[-400:]}"]
    return ["installed the Debian package nginx-light"]


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


def _aws() -> list[str]:
    try:
        return aws_programs.prepare()
    except (RuntimeError, OSError) as failed:
        return [f"boto3 and moto could not be prepared, their tests will be skipped: {failed}"]


if __name__ == "__main__":
    sys.exit(main())
