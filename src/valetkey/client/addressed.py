"""How a child addresses an API, and what stands for that at the gateway: by the forwarder's own address, or by the
API's inside a tunnel. Pure. Host name and target are compared as they are; what fits nothing leads nowhere.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from valetkey.client.answers import Integration
from valetkey.client.errors import Denied, InvalidRequest, NotFound


@dataclass(frozen=True, slots=True)
class Onward:
    """Where one request goes at the gateway; in its answer, addresses that begin with `theirs` begin with `own`."""

    api: str
    target: str
    theirs: str = ""
    own: str = ""

    @property
    def is_for_git(self) -> bool:
        """Whether it leads to the API's git host."""
        return self.target.startswith(f"/p/{self.api}/git/")


class Addressing(Protocol):
    """What the requests of one connection mean."""

    def check_host(self, named: Sequence[str]) -> None:
        """Raise `InvalidRequest` unless the values of `Host` name this place, once."""
        ...

    def onward(self, target: str) -> Onward:
        """Where a target leads. Raises the refusal of one that leads nowhere."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAddress:
    """The base-URL mode: `http://127.0.0.1:PORT/p/{api}/…`."""

    hosts: frozenset[str]
    apis: frozenset[str]
    theirs: str
    own: str

    def check_host(self, named: Sequence[str]) -> None:
        # SECURITY: a page in a browser on this machine can reach any port, but not under our name and not with the
        # placeholder. Guarded by tests/flows/test_forwarder.py::test_a_request_under_another_host_name_is_refused
        if len(named) != 1 or named[0] not in self.hosts:
            raise InvalidRequest("This address is not served under that name.", status=421)

    def onward(self, target: str) -> Onward:
        api = target.removeprefix("/p/").partition("?")[0].partition("/")[0]
        if not target.startswith("/p/") or api not in self.apis or not target.isascii():
            raise NotFound("This run leads to no API of that name.", hint=f"It has {sorted(self.apis)}.", status=404)
        return Onward(api, target, self.theirs, self.own)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One address of an API as its clients know it, and what stands for it at the gateway."""

    api: str
    host: str
    port: int
    path: str
    """What stands before every path there; empty, or `/api/v3`."""
    narrower: str
    """What the paths of this API begin with where several share an address, as Google's do."""
    gateway: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnelled:
    """The inside of one tunnel to an API's host. `gateway` is the gateway's own address, without `/p/…`."""

    host: str
    port: int
    routes: tuple[Route, ...]
    granted: frozenset[str]
    gateway: str

    def check_host(self, named: Sequence[str]) -> None:
        # SECURITY: what is judged is what the tunnel was opened for, whatever a request inside it says.
        # Guarded by tests/flows/test_proxy.py::test_a_request_for_another_host_inside_a_tunnel_is_refused
        accepted = {self.host, f"{self.host}:{self.port}"} if self.port == 443 else {f"{self.host}:{self.port}"}
        if len(named) != 1 or named[0].lower() not in accepted:
            raise InvalidRequest(f"This tunnel leads to {self.host} and to no other host.", status=421)

    def onward(self, target: str) -> Onward:
        path = target.partition("?")[0]
        if not target.startswith("/") or not target.isascii():
            raise InvalidRequest("The target of a request inside a tunnel is a path.", status=400)
        below = [route for route in self.routes if _is_below(path, route.path)]
        longest = max((len(route.path) for route in below), default=0)
        found = [route for route in below if len(route.path) == longest]
        if len(found) > 1:
            found = [route for route in found if _is_below(path, route.narrower)]
        if len(found) != 1:
            raise NotFound(f"No API that Valetkey knows is at {self.host} below that path.", status=404)
        [route] = found
        if route.api not in self.granted:
            raise not_granted(self.host, {route.api})
        own = f"https://{self.host}{'' if self.port == 443 else f':{self.port}'}{route.path}/"
        led = route.gateway.removeprefix(self.gateway) + target[len(route.path) :]
        return Onward(route.api, led, route.gateway + "/", own)


def not_granted(host: str, apis: Collection[str]) -> Denied:
    """The refusal of a host that belongs to APIs nobody granted."""
    return Denied(
        f"{host} belongs to {' and '.join(sorted(apis))}, which this run was not granted.",
        hint=f"Start it with --grant {min(apis)}:SCOPE@RESOURCE, or with --tunnel {host} to reach it without Valetkey.",
        status=403,
    )


def routes_of(integrations: Iterable[Integration]) -> tuple[Route, ...]:
    """Every address of every API the server knows."""
    found = []
    for integration in integrations:
        for place in integration["addresses"]:
            parts = urlsplit(place["address"])
            audience = urlsplit(integration["audience"])
            is_same = audience.netloc == parts.netloc and _is_below(audience.path, parts.path)
            found.append(
                Route(
                    api=integration["name"],
                    host=parts.hostname or "",
                    port=parts.port or 443,
                    path=parts.path.rstrip("/"),
                    narrower=audience.path.rstrip("/") if is_same else parts.path.rstrip("/"),
                    gateway=place["gateway"],
                )
            )
    return tuple(found)


def authority_of(text: str) -> tuple[str, int]:
    """Host and port of the target of a CONNECT. Raises `InvalidRequest` for what two readers could read differently."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_name = bool(bare) and set(bare.lower()) <= _IN_A_HOST and (":" not in bare or bare != host)
    if not colon or not is_name or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise InvalidRequest("CONNECT names a host and a port.", hint="CONNECT HOST:PORT", status=400)
    return bare.lower().removesuffix("."), int(port)


_IN_A_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._:")


def _is_below(path: str, begin: str) -> bool:
    return not begin or path == begin or path.startswith(begin + "/")
