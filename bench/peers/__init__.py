"""Programs of others the bench measures against: installed under build/peers, started on loopback, ended with a block.

`prepare()` installs what is missing (npm oidc-provider; mitmproxy in a virtual environment of its own, since its pins
and ours do not fit together). `oidc_provider()` and `mitmproxy(upstream)` run them.
"""

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support import node

_HERE: Final = Path(__file__).parent
_FOLDER: Final = Path(__file__).parents[2] / "build" / "peers"
_VENV: Final = _FOLDER / "mitmproxy"
_MITMPROXY: Final = "mitmproxy==11.0.2"  # the newest for Python 3.11
_START_SECONDS: Final = 30
POST: Final = _HERE / "post.lua"
REFRESH: Final = _HERE / "refresh.lua"


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcProvider:
    """Where it listens and what to ask it with."""

    url: str
    client_id: str
    client_secret: str
    resource: str
    scope: str
    refresh_token: str


def prepare() -> list[str]:
    """Install what is missing; return one line for each thing done. Raises `RuntimeError` with the tool's words."""
    done = node.prepare()
    done += node.install_packages(_HERE / "package.json", _FOLDER / "node")
    installed = _VENV / "installed.txt"
    if not installed.exists() or installed.read_text() != _MITMPROXY:
        shutil.rmtree(_VENV, ignore_errors=True)
        node.run_or_say([sys.executable, "-m", "venv", str(_VENV)])
        node.run_or_say([str(_VENV / "bin" / "python"), "-m", "pip", "install", "-q", _MITMPROXY])
        installed.write_text(_MITMPROXY)
        done.append(f"installed {_MITMPROXY} into build/peers/mitmproxy")
    return done


@contextlib.contextmanager
def oidc_provider() -> Iterator[OidcProvider]:
    """Run it; its one client may use client_credentials and the seeded refresh token over and over."""
    script = _FOLDER / "node" / "oidc_provider.mjs"
    shutil.copyfile(_HERE / script.name, script)  # module names resolve from the file's folder
    environment = {"PATH": os.defpath, "NODE_ENV": "production"}
    with _running([str(node.NODE), str(script)], environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        line = process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError("oidc-provider did not start")
        yield OidcProvider(**json.loads(line))


@contextlib.contextmanager
def mitmproxy(upstream: str, *, authorization: str = "Bearer of-the-bench") -> Iterator[str]:
    """Run it in front of `upstream` (a base address); yield its own. One process, as mitmproxy is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(_VENV / "bin" / "mitmdump"), "--quiet", "--mode", f"reverse:{upstream}"]
    command += ["--listen-host", "127.0.0.1", "--listen-port", str(port), "--scripts", str(_HERE / "mitm_addon.py")]
    command += ["--set", f"confdir={_FOLDER / 'mitmproxy-settings'}", "--set", "flow_detail=0"]
    environment = {"PATH": os.defpath, "PEER_AUTHORIZATION": authorization}
    with _running(command, environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError("mitmproxy did not start")
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], *, stdout: int) -> Iterator["subprocess.Popen[bytes]"]:
    leashed = node.leashed(command)
    with subprocess.Popen(leashed, env=environment, stdout=stdout, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()
