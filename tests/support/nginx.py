"""The real nginx as a data plane: `auth_request` asks our decision door, the bytes are nginx's own."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

INSTALL: Final = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "nginx-light")
CONFIGURATION: Final = Path(__file__).parents[2] / "deploy" / "nginx.conf"


def program() -> str | None:
    """Where nginx is."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


def missing() -> str | None:
    """Why there is none, and what brings one; None when there is."""
    return None if program() else f"nginx is missing; to have these tests: sudo {' '.join(INSTALL)}"


@contextlib.contextmanager
def running(*, decisions: str, upstream: str, secret: str) -> Iterator[str]:
    """Run it with the configuration we ship, its places filled in; yields its address."""
    found = program()
    assert found is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="valetkey-nginx-") as name:
        folder = Path(name)
        places = {
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            "127.0.0.1:8472": decisions.removeprefix("http://"),
            "https://api.github.com": upstream,
            "ENGINE_SECRET": secret,
        }
        text = CONFIGURATION.read_text()
        for place, value in places.items():
            assert place in text
            text = text.replace(place, value)
        (folder / "nginx.conf").write_text(_alone(text, folder))
        process = subprocess.Popen(
            [found, "-p", name, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait(port, process, folder)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _alone(text: str, folder: Path) -> str:
    """The shipped file is to be included in `http`; this is all that is around it."""
    temp = "\n".join(
        f"  {kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    root = "user root;\n" if os.getuid() == 0 else ""
    return (
        f"{root}daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log info;\n"
        f"events {{ worker_connections 256; }}\nhttp {{\n  access_log off;\n{temp}\n{text}\n}}\n"
    )


def _wait(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    log = folder / "error.log"
    raise RuntimeError(f"nginx did not start: {log.read_text() if log.exists() else 'it said nothing'}")
