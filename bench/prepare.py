"""Bring what the bench needs from outside Python, only if it is missing; one line for each thing done."""

import os
import shutil
import subprocess

from bench import peers


def prepare() -> list[str]:
    """Install wrk and the peers. Raises `RuntimeError` with the command to run by hand."""
    return [*_wrk(), *peers.prepare()]


def _wrk() -> list[str]:
    if shutil.which("wrk"):
        return []
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "wrk"]
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"the load generator wrk is missing; to have it: sudo {' '.join(install)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], install):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True)
    if done.returncode or not shutil.which("wrk"):
        raise RuntimeError(f"wrk could not be installed: {done.stderr.strip()[-400:]}")
    return ["installed the Debian package wrk"]
