"""Chromium as a process of its own, spoken to over its debugging socket; and the reason where it is missing."""

import functools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FLAGS = ("--no-sandbox", "--disable-quic", "--disable-background-networking")
INSTALL = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium")
_START_SECONDS = 60


@functools.cache
def program() -> str | None:
    """Where Chromium is."""
    usual = Path("/usr/bin/chromium")
    return str(usual) if usual.exists() else shutil.which("chromium")


def missing() -> str | None:
    """Why there is no real browser here, and what brings one; None when there is."""
    return None if program() else f"Chromium is missing; to have these tests: sudo {' '.join(INSTALL)}"


@contextmanager
def running() -> Iterator[str]:
    """Run it without a screen; yields the address of its debugging socket."""
    found = program()
    assert found is not None
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        command = [
            found,
            "--headless=new",
            *FLAGS,
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield _address(process, Path(profile) / "DevToolsActivePort")
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _address(process: "subprocess.Popen[bytes]", file: Path) -> str:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise RuntimeError("Chromium did not start")
