"""A throw-away MariaDB of one test worker: a private folder, a free loopback port, gone when its worker is gone.

Runs as an unprivileged user, with no anonymous accounts and no database `test`, as a server that is secured. Its root
password is this run's; what tests look at they ask as root, from outside.
"""

import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pymysql

INSTALL = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "mariadb-server")
_START_SECONDS = 60


@functools.cache
def program() -> str | None:
    """The server's program; Debian keeps it where only root's PATH looks."""
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin:/usr/libexec")


def missing() -> str | None:
    """Return why there can be no MariaDB here, as a reason to skip, or None."""
    return None if program() else f"MariaDB is not installed: {' '.join(INSTALL)}"


@dataclass
class MariaDB:
    """A running server."""

    folder: Path
    port: int
    password: str

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    def root(self) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", password=self.password, ssl_disabled=True, autocommit=True
        )

    def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as root from outside; the rows of the last."""
        with contextlib.closing(self.root()) as db, db.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())


@contextlib.contextmanager
def running(*more: str) -> Iterator[MariaDB]:
    """A server for as long as it is wanted; `more` are options of its own."""
    folder = Path(tempfile.mkdtemp(prefix=f"valetkey-mariadb-{os.getuid()}-"))
    owner = "mysql" if os.getuid() == 0 else None
    password = secrets.token_hex(16)
    try:
        _made(folder, owner, password)
        server, port = _started(folder, owner, more)
        try:
            yield MariaDB(folder, port, password)
        finally:
            server.send_signal(signal.SIGKILL)  # nothing in there is worth an orderly end
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made(folder: Path, owner: str | None, password: str) -> None:
    data = folder / "data"
    folder.chmod(0o711)
    data.mkdir()
    words = folder / "begin.sql"
    words.write_text(
        "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost');"
        "DELETE FROM mysql.db WHERE User = '';"
        f"FLUSH PRIVILEGES; CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{password}';"
        "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n".replace("; ", ";").replace(";", ";\n")
    )
    if owner:
        shutil.chown(data, owner, owner)
    done = subprocess.run(
        [
            "mariadb-install-db",
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            f"--datadir={data}",
            *([f"--user={owner}"] if owner else []),
        ],
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"MariaDB could not be prepared: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _started(folder: Path, owner: str | None, more: Sequence[str]) -> tuple["subprocess.Popen[bytes]", int]:
    found = program()
    assert found is not None
    log = folder / "server.log"
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            found,
            "--no-defaults",
            f"--datadir={folder / 'data'}",
            f"--socket={folder / 'data' / 's'}",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            f"--init-file={folder / 'begin.sql'}",
            "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-log-file-size=16M",
            "--performance-schema=off",
            *([f"--user={owner}"] if owner else []),
            *more,
        ]
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "KILL", *command]  # dies with the worker, however that ends
        with log.open("wb") as out:
            server = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        if _answers(port, server):
            return server, port
        server.kill()
        server.wait()
    raise RuntimeError(f"MariaDB did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _answers(port: int, server: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + _START_SECONDS / 3
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as asked:
            if asked.recv(5):
                return True
        time.sleep(0.05)
    return False
