"""psycopg and SQLAlchemy in an environment of their own under build/databases: they know a lease by itself alone.

psycopg is LGPL, so it is beside the project and never in it. It uses the system's libpq, which psql brings.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.support.environment import Environment

CLIENTS: Final = Environment("databases", ("psycopg==3.3.9", "sqlalchemy==2.1.9", "typing-extensions==4.16.0"))
_STORY: Final = Path(__file__).parent / "database_story.py"


def story(lent: Any, folder: Path) -> dict[str, Any]:
    """What ordinary programs get with a lease, step by step: by its address, and by its service and password file."""
    words, services = folder / "pgpass", folder / "services"
    words.write_text(lent["pgpass"] + "\n")
    words.chmod(0o600)
    services.write_text(lent["service"] + "\n")
    files = {"PGPASSFILE": str(words), "PGSERVICEFILE": str(services)}
    env = {"DATABASE_URL": lent["url"], "PATH": os.defpath, "HOME": str(folder), **files}
    done = subprocess.run([str(CLIENTS.python), "-P", str(_STORY)], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
