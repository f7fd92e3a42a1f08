"""A throw-away PostgreSQL for one test run: private folder, free loopback port, gone when the last user is gone.

One server serves all pytest-xdist workers of a run. The first to ask starts a *keeper*, which starts the server and
then waits for an exclusive lock on a file every user holds shared. The kernel drops a user's lock however it ends, so
a killed test run leaves nothing behind; the server in turn dies with its keeper.

Knows no schema: whoever needs tables hands `template` something that builds them, once per run.
"""

import fcntl
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.postgres_keeper import locked, program, programs

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 60
_THIS_RUN = secrets.token_hex(8)  # where pytest-xdist names no run


class PostgresMissing(RuntimeError):
    """PostgreSQL's server programs are not on this machine."""


def missing() -> str | None:
    """Return why there can be no PostgreSQL here, as a reason to skip, or None."""
    return None if programs() else "PostgreSQL is not installed: apt-get install postgresql"


class Postgres:
    """One user's hold on the run's server. `stop` lets go; the last to let go ends the server."""

    def __init__(self, *, folder: Path, address: str, hold: int) -> None:
        self.folder = folder
        self.socket_folder = folder / "socket"
        self._address = address
        self._hold = hold

    @classmethod
    def start(cls, *, run: str | None = None) -> "Postgres":
        """Join the run's server, starting it if nobody has. Raises `PostgresMissing`."""
        if reason := missing():
            raise PostgresMissing(reason)
        run = run or os.environ.get("PYTEST_XDIST_TESTRUNUID") or _THIS_RUN
        folder = Path(tempfile.gettempdir()) / f"valetkey-pg-{os.getuid()}-{run}"
        folder.mkdir(mode=0o711, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise RuntimeError(f"{folder} belongs to somebody else")
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with locked(folder / "start.lock"):
                hold = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
                if not _take(hold, fcntl.LOCK_SH):
                    os.close(hold)  # the keeper of earlier users is just closing: wait for it, then start anew
                    time.sleep(0.05)
                    continue
                try:
                    if not (folder / "ready").exists():
                        _start_keeper(folder)
                    address = json.loads((folder / "ready").read_text())
                except BaseException:
                    os.close(hold)
                    raise
                return cls(folder=folder, address=address, hold=hold)
        raise TimeoutError("the previous PostgreSQL of this run did not end")

    def stop(self) -> None:
        """Let go. Harmless to repeat."""
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1

    def url(self, database: str) -> str:
        """Return the address of a database of this server."""
        return f"{self._address}/{database}"

    def database(self, *, template: str = "template0") -> str:
        """Return the address of a fresh database, a copy of `template`."""
        name = f"t_{secrets.token_hex(6)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def discard(self, url: str) -> None:
        """Drop a database, ending whatever sessions it still has."""
        name = url.rpartition("/")[2]
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def template(self, name: str, build: Callable[[str], None]) -> str:
        """Return `name`, a database built by the first worker that asks; `build` gets its address and closes after."""
        with locked(self.folder / f"template-{name}.lock"):
            done = self.folder / f"template-{name}"
            if not done.exists():
                self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
                build(self.url(name))
                self.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
                done.touch()
        return name

    def execute(self, sql: str, *, database: str = "postgres") -> str:
        """Run one statement as the superuser from outside; return what psql prints, unaligned."""
        command = [program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", sql]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"{sql}: {done.stderr.strip()}")
        return done.stdout.strip()


def _take(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_keeper(folder: Path) -> None:
    """Return once the server answers; its keeper lives on, a child of nobody here."""
    log = folder / "keeper.log"
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.postgres_keeper", str(folder)],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=_START_SECONDS,
            start_new_session=True,
        )
    if done.returncode or not (folder / "ready").exists():
        raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')[-4000:]}")
