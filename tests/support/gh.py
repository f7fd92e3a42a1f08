"""GitHub's command line, from Debian, for the tests of `valetkey run`."""

import shutil
from typing import Final

INSTALL: Final = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "gh")


def program() -> str | None:
    """Where it is, or None."""
    return shutil.which("gh")


def missing() -> str | None:
    """Why its stories cannot run here, as a reason to skip, or None."""
    return None if program() else f"gh is not installed: {' '.join(INSTALL)}"
