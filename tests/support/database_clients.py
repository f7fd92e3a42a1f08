"""psycopg and SQLAlchemy in an environment of their own under build/databases: they know a lease by itself alone.

psycopg is LGPL, so it is beside the project and never in it. It uses the system's libpq, which psql brings.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.support import node

FOLDER: Final = Path(__file__).parents[2] / "build" / "databases"
PACKAGES: Final = ("psycopg==3.3.9", "sqlalchemy==2.1.9", "typing-extensions==4.16.0")
PYTHON: Final = FOLDER / "venv" / "bin" / "python"
_STORY: Final = Path(__file__).parent / "database_story.py"
_MARK: Final = FOLDER / "installed.txt"


def missing() -> str | None:
    """Why the story cannot run here, as a reason to skip, or None."""
    if PYTHON.exists() and _MARK.exists() and _MARK.read_text() == " ".join(PACKAGES):
        return None
    return "psycopg and SQLAlchemy are not prepared: python -m tests.support.prepare"


def prepare() -> list[str]:
    """Install what is missing; return one line for what was done. Raises `RuntimeError` with pip's words."""
    if missing() is None:
        return []
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    node.run_or_say([sys.executable, "-m", "venv", str(FOLDER / "venv")])
    node.run_or_say([str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", *PACKAGES])
    _MARK.write_text(" ".join(PACKAGES))
    return [f"installed {', '.join(PACKAGES)} into build/databases/venv"]


def story(lent: Any, folder: Path) -> dict[str, Any]:
    """What ordinary programs get with a lease, step by step: by its address, and by its service and password file."""
    words, services = folder / "pgpass", folder / "services"
    words.write_text(lent["pgpass"] + "\n")
    words.chmod(0o600)
    services.write_text(lent["service"] + "\n")
    files = {"PGPASSFILE": str(words), "PGSERVICEFILE": str(services)}
    env = {"DATABASE_URL": lent["url"], "PATH": os.defpath, "HOME": str(folder), **files}
    done = subprocess.run([str(PYTHON), "-P", str(_STORY)], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
