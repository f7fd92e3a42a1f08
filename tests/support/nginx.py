"""The real nginx as a data plane: `auth_request` asks our decision door, the bytes are nginx's own."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.engine_process import listening
from tests.support.ports import free_port

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
    port = free_port()
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
        log = folder / "error.log"
        with listening([found, "-p", name, "-e", log, "-c", folder / "nginx.conf"], port, log) as address:
            yield address


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
