"""PostgreSQL's own driver for Java, from Debian, in a program of one file: it knows a lease by itself alone."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = "libpostgresql-jdbc-java"
_DRIVER: Final = Path("/usr/share/java/postgresql.jar")
_STORY: Final = Path(__file__).parent / "JdbcStory.java"


def driver() -> Path | None:
    """Where the driver is. A Java that runs source files is the machine's own: too large to be installed for this."""
    return _DRIVER if _DRIVER.exists() else None


def missing() -> str | None:
    """Why the story cannot run here, as a reason to skip, or None."""
    if shutil.which("javac") is None:
        return "no Java here that runs source files: apt-get install default-jdk-headless"
    return None if driver() else f"the driver is missing: apt-get install {PACKAGE}"


def story(lent: Any) -> list[str]:
    """What the program says, line by line."""
    env = {
        "DB_PLACE": f"{lent['host']}:{lent['port']}/{lent['database']}",
        "DB_USER": lent["user"],
        "DB_PASSWORD": lent["password"],
        "PATH": os.environ.get("PATH", os.defpath),
    }
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", str(_DRIVER), str(_STORY)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
