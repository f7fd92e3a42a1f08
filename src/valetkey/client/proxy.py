"""The proxy of `valetkey run`: the forwarder's port, spoken to by clients that only know how to use a proxy.

Whoever knows this run's password may ask for a tunnel. One to the host of an API that was granted is ended here, with a
certificate only the child trusts, and each request inside is carried to the gateway as if it had come to the forwarder;
one to a known API that was not granted is refused; any other leads where it says, untouched, unless the run refuses
those. Plain `http://` requests likewise. It is a convenience for the child, not a wall around it. RFC 9110 section
9.3.6 (CONNECT), RFC 9112 section 3.2 (forms of a target).
"""

import contextlib
import hmac
import secrets
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from typing import ClassVar, Final
from urllib.parse import urlsplit

from valetkey.client.addressed import Addressing, Route, Tunnelled, authority_of, not_granted
from valetkey.client.carrying import Connection, Headers, Server
from valetkey.client.errors import Denied, InvalidRequest, NotAuthenticated, Unreachable
from valetkey.client.fresh import Fresh
from valetkey.client.http import reach
from valetkey.client.loopback import Forwarder, onward_headers
from valetkey.client.proving import ProofKey

USER: Final = "valetkey"
_HANDSHAKE_SECONDS: Final = 30.0
_CHUNK: Final = 64 * 1024  # bytes


class ProxyConnection(Connection):
    """A connection to the proxy: requests for the forwarder itself, or one tunnel."""

    def serve(self, headers: Headers) -> None:
        proxy = self.server.forwarder
        if not isinstance(proxy, Proxy) or (self.command != "CONNECT" and self.path.startswith("/")):
            return self.forward(headers, proxy.addressing)
        # SECURITY: before anything else is read into a request: another user of this machine can reach this port.
        # Guarded by tests/flows/test_proxy.py::test_without_the_password_there_is_407_and_nothing_else
        if not proxy.is_known([value for name, value in headers if name.lower() == "proxy-authorization"]):
            refusal = NotAuthenticated("This proxy belongs to a run of valetkey.", status=407, hint=_ASK)
            return self.refuse(refusal, 'Proxy-Authenticate: Basic realm="valetkey run"')
        try:
            if self.command == "CONNECT":
                self.close_connection = True
                return self._tunnel(proxy, *authority_of(self.path))
            return self._plain(proxy, headers)
        except Denied as refusal:  # many clients show of a refused tunnel the status line at most
            proxy.say(f"{refusal.detail} {refusal.hint}")
            return self.refuse(refusal, reason=refusal.detail)

    def _tunnel(self, proxy: "Proxy", host: str, port: int) -> None:
        inside = proxy.leads(host, port)
        if inside is not None:
            self._established()
            return self._ended_here(proxy, inside)
        try:
            there = reach(host, port)
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{host}:{port} cannot be reached: {error}", status=502) from error
        with there:
            self._established()
            there.settimeout(None)
            return _joined(self.connection, there)

    def _established(self) -> None:
        self.connection.setblocking(False)
        early = self.rfile.peek(1)  # type: ignore[attr-defined]
        self.connection.setblocking(True)
        if early:
            raise InvalidRequest("What goes into a tunnel is sent when it is there, not before.", status=400)
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def _ended_here(self, proxy: "Proxy", inside: Tunnelled) -> None:
        self.connection.settimeout(_HANDSHAKE_SECONDS)
        with contextlib.suppress(OSError, ValueError), proxy.secured(inside.host, self.connection) as secure:
            secure.settimeout(None)
            Inside(secure, self.client_address, self.server, inside)
            secure.setblocking(False)
            secure.unwrap()  # says goodbye and waits for nobody; `ValueError`: a WebSocket said it already

    def _plain(self, proxy: "Proxy", headers: Headers) -> None:
        try:
            parts = urlsplit(self.path)
            port = parts.port or 80
        except ValueError:
            raise InvalidRequest("The target is no address.", status=400) from None
        if parts.scheme != "http" or not parts.hostname or parts.username is not None or not self.path.isascii():
            raise InvalidRequest("A proxy is asked for http://HOST/…, or with CONNECT.", status=400)
        if proxy.leads(parts.hostname, port) is not None:
            raise Denied(f"{parts.hostname} is reached by https alone.", hint=_PORT, status=403)
        length, is_chunked = self.framing()
        upstream = HTTPConnection(parts.hostname, port, timeout=_HANDSHAKE_SECONDS)
        self.close_connection = True
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            self.send(upstream, target, onward_headers(headers), length, is_chunked)
            self.answer(upstream.getresponse())
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{parts.hostname}:{port} cannot be reached: {error}", status=502) from error
        finally:
            upstream.close()


class Inside(Connection):
    """A connection inside a tunnel that is ended here."""

    def __init__(self, connection: ssl.SSLSocket, client: tuple[str, int], server: Server, at: Addressing) -> None:
        self._at = at
        super().__init__(connection, client, server)

    def serve(self, headers: Headers) -> None:
        self.forward(headers, self._at)


class Proxy(Forwarder):
    """A forwarder that is a proxy, too.

    `routes` are all the addresses of APIs anybody knows; `tunnel` the hosts that are reached untouched all the same.
    `context` has the TLS of a host, with a certificate for it. `say` is told, once each, what was refused and why.
    """

    serves: ClassVar[type[Connection]] = ProxyConnection

    def __init__(
        self,
        gateway: str,
        apis: frozenset[str],
        fresh: Fresh,
        key: ProofKey | None = None,
        *,
        routes: Sequence[Route],
        context: Callable[[str], ssl.SSLContext],
        say: Callable[[str], None],
        tunnel: frozenset[str] = frozenset(),
        refuses_others: bool = False,
    ) -> None:
        super().__init__(gateway, apis, fresh, key)
        self._routes = routes
        self._context = context
        self._tunnel = tunnel
        self._refuses_others = refuses_others
        self._say = say
        self._said: set[str] = set()
        self._password = secrets.token_hex(32)
        pair = b64encode(f"{USER}:{self._password}".encode()).decode()
        self._expected = f"Basic {pair}"

    @property
    def proxy_url(self) -> str:
        """What the environment of the child names as its proxy, the password in it."""
        return f"http://{USER}:{self._password}@127.0.0.1:{self.port}"

    @property
    def git_addresses(self) -> list[str]:
        """The git hosts of the granted APIs, where git shows the placeholder."""
        at_git = {(r.host, r.port) for r in self._routes if r.api in self.apis and r.gateway.endswith("/git")}
        return [f"https://{host}" + ("" if port == 443 else f":{port}") for host, port in sorted(at_git)]

    def is_known(self, shown: Sequence[str]) -> bool:
        """Whether this is the child, or somebody it told the password."""
        if len(shown) != 1:
            return False
        scheme, _, pair = shown[0].strip().partition(" ")
        offered = f"{scheme.capitalize()} {pair.strip()}"
        return hmac.compare_digest(offered.encode("latin-1", "replace"), self._expected.encode())

    def leads(self, host: str, port: int) -> Tunnelled | None:
        """What a tunnel to this place means; None: it is somebody else's, and led there. Raises `Denied`."""
        host = host.lower().removesuffix(".")
        if host in self._tunnel:
            return None
        here = tuple(route for route in self._routes if route.host == host)
        if not here:
            if self._refuses_others:
                raise Denied(
                    f"{host} is not an API of this run.",
                    hint=f"Start it with --tunnel {host}, or with --other-hosts tunnel.",
                    status=403,
                )
            return None
        apis = {route.api for route in here}
        # SECURITY: never led through, so that what a run does at an API it was not granted is not the child's choice
        # of port or spelling. Guarded by tests/flows/test_proxy.py::test_an_api_that_was_not_granted_is_refused
        if not apis & self.apis:
            raise not_granted(host, apis)
        found = tuple(route for route in here if route.port == port)
        if not found:
            raise Denied(f"{host} is reached at https port {here[0].port} and at no other.", hint=_PORT, status=403)
        return Tunnelled(host=host, port=port, routes=found, granted=self.apis, gateway=self.gateway.geturl())

    def secured(self, host: str, connection: socket.socket) -> ssl.SSLSocket:
        """The connection with TLS ended here. Raises `OSError` when the client asks for another host, or for none."""
        return self._context(host).wrap_socket(connection, server_side=True)

    def say(self, sentence: str) -> None:
        """Tell the person, once."""
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)


def _joined(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until both sides have ended."""
    back = threading.Thread(target=_carried, args=(other, one), daemon=True)
    back.start()
    _carried(one, other)
    back.join()


def _carried(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(_CHUNK):
            sink.sendall(piece)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


_ASK: Final = "Use the proxy of the environment as it stands there, with its password."
_PORT: Final = "Use https at its usual port."
