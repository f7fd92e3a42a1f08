"""The real Caddy as a data plane: `forward_auth` asks our decision door, the bytes are Caddy's own."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.engine_process import listening
from tests.support.ports import free_port

INSTALL: Final = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "caddy")
CONFIGURATION: Final = Path(__file__).parents[2] / "deploy" / "Caddyfile"


def program() -> str | None:
    """Where Caddy is."""
    return shutil.which("caddy")


def missing() -> str | None:
    """Why there is none, and what brings one; None when there is."""
    return None if program() else f"Caddy is missing; to have these tests: sudo {' '.join(INSTALL)}"


@contextlib.contextmanager
def running(*, decisions: str, upstream: str, secret: str) -> Iterator[str]:
    """Run it with the configuration we ship, its places filled in; yields its address."""
    found = program()
    assert found is not None
    port = free_port()
    text = CONFIGURATION.read_text()
    places = {
        "http://127.0.0.1:8080": f"http://127.0.0.1:{port}",
        "http://127.0.0.1:8472": decisions,
        "https://api.github.com": upstream,
        "ENGINE_SECRET": secret,
    }
    for place, value in places.items():
        assert place in text
        text = text.replace(place, value)
    with tempfile.TemporaryDirectory(prefix="valetkey-caddy-") as name:
        folder = Path(name)
        (folder / "Caddyfile").write_text(text)
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": name, "XDG_DATA_HOME": name, "XDG_CONFIG_HOME": name}
        command = [found, "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]
        with listening(command, port, folder / "log", env=env) as address:
            yield address
