"""Keeps one throw-away PostgreSQL running while anybody holds `users.lock`, then removes every trace of it.

Run as `python -m tests.support.postgres_keeper FOLDER`: the program returns once the server answers and stays behind as
a child of nobody. Failing to start is exit code 1 with the reason on stderr.
"""

import contextlib
import fcntl
import functools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

INSTALL = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql")
_START_SECONDS = 20


@functools.cache
def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL server programs, or None. VALETKEY_TEST_POSTGRES names another."""
    if chosen := os.environ.get("VALETKEY_TEST_POSTGRES"):
        return Path(chosen)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def program(name: str) -> str:
    """One of the programs that ask a server; the system's where the server's own folder has none."""
    folder = programs()
    return str(folder / name) if folder is not None and (folder / name).exists() else name


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file alone. Its folder may be swept away while we wait: then the lock is taken in a new one."""
    handle = -1
    try:
        while handle < 0:
            path.parent.mkdir(mode=0o711, exist_ok=True)  # the server's own user has to reach its data through here
            with contextlib.suppress(FileNotFoundError):
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(handle, fcntl.LOCK_EX)
                if not _is_still_there(handle, path):
                    os.close(handle)
                    handle = -1
        yield
    finally:
        if handle >= 0:
            os.close(handle)


def _is_still_there(handle: int, path: Path) -> bool:
    return path.exists() and path.stat().st_ino == os.fstat(handle).st_ino


def _keep(folder: Path) -> None:
    """Start the server, let the starter go on, end the server when nobody holds `users.lock` any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests; we follow when they are gone
    data = folder / f"data-{secrets.token_hex(4)}"
    answered, answer = os.pipe()
    if os.fork():
        os.close(answer)
        sys.exit(0 if os.read(answered, 1) == b"y" else 1)
    os.close(answered)
    server, address = _start_server(folder, data)
    try:
        (folder / "ready").write_text(json.dumps(address))
        os.write(answer, b"y")
        os.close(answer)
        users = os.open(folder / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(users, fcntl.LOCK_EX)
    finally:
        with locked(folder / "start.lock"):
            server.send_signal(signal.SIGQUIT)  # at once: nothing in there is worth a checkpoint
            server.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


def _start_server(folder: Path, data: Path) -> tuple["subprocess.Popen[bytes]", str]:
    bin_folder = programs()
    assert bin_folder is not None
    # The server refuses to run as root; Debian's package brings a user for it.
    owner = "postgres" if os.getuid() == 0 else None
    sockets = folder / "socket"
    for path in (data, sockets):
        path.mkdir(mode=0o700, exist_ok=True)
        if owner:
            shutil.chown(path, owner, owner)
    password = secrets.token_urlsafe(24)
    word = sockets / "password"
    word.touch(mode=0o600)
    word.write_text(password)
    if owner:
        shutil.chown(word, owner, owner)
    as_owner: dict[str, object] = {"user": owner, "group": owner, "extra_groups": []} if owner else {}
    initdb = [str(bin_folder / "initdb"), "-D", str(data), "-U", "postgres", "-E", "UTF8", "--locale=C"]
    initdb += ["--auth=scram-sha-256", f"--pwfile={word}", "--no-sync", "--no-instructions"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", **as_owner)  # type: ignore[call-overload]
    word.unlink()
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [str(bin_folder / "postgres"), "-D", str(data), "-k", str(sockets), "-p", str(port)]
        for setting in ("listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=64MB", "jit=off"):
            command += ["-c", setting]
        if shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "QUIT", *command]  # dies with the keeper, however that ends
        server: subprocess.Popen[bytes] = subprocess.Popen(command, cwd="/", **as_owner)  # type: ignore[call-overload]
        if _answers(port, server):
            return server, f"postgresql://postgres:{password}@127.0.0.1:{port}"
        server.kill()
        server.wait()
    raise RuntimeError("no free port was accepted")


def _answers(port: int, server: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + _START_SECONDS / 3
    while time.monotonic() < deadline and server.poll() is None:
        asked = subprocess.run([program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)])
        if asked.returncode == 0:
            return True
        time.sleep(0.03)
    return False


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
