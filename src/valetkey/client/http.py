"""Sends requests of `protocol` over one kept-alive connection. Plain HTTP reaches loopback names only; TLS is verified.

Follows no redirect, keeps no cookie. A proxy from the environment is used for TLS beyond this machine, never for
loopback. A request that was sent on a connection the server had closed is sent again only when it is a GET.
"""

import http.client
import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from valetkey import __version__
from valetkey.client.errors import InvalidRequest, Unreachable, ValetkeyError
from valetkey.client.protocol import Request, Response, refusal

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_ANSWER: Final = 16 * 1024 * 1024  # bytes
TIMEOUT_SECONDS: Final = 30.0
_CHUNK: Final = 64 * 1024


def base_of(url: str) -> SplitResult:
    """The parts of a server's address. Raises `InvalidRequest` for what must not be dialled."""
    parts = urlsplit(url.rstrip("/"))
    try:
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or parts.query or parts.fragment or parts.username is not None:
        raise InvalidRequest(f"{url!r} is not the address of a server.", hint="Write https://HOST[:PORT].")
    if parts.scheme == "http" and not is_loopback(parts):
        raise InvalidRequest(
            f"{url} is plain http, which would show credentials to the network.",
            hint="Use https; plain http is for localhost, 127.0.0.1 and [::1] only.",
        )
    return parts


def is_loopback(parts: SplitResult) -> bool:
    """Whether the address names this machine."""
    return parts.hostname in LOOPBACK


def proxy_for(parts: SplitResult, environ: Mapping[str, str]) -> SplitResult | None:
    """The proxy the environment names for this address: none for loopback, none where NO_PROXY says so."""
    if is_loopback(parts) or parts.scheme != "https":
        return None
    proxy = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    host = parts.hostname or ""
    for entry in (environ.get("no_proxy") or environ.get("NO_PROXY") or "").replace(" ", "").split(","):
        suffix = entry.removeprefix("*").removeprefix(".")
        if entry and (entry == "*" or host == suffix or host.endswith("." + suffix)):
            return None
    return urlsplit(proxy) if proxy else None


def dial(parts: SplitResult, *, timeout: float = TIMEOUT_SECONDS) -> http.client.HTTPConnection:
    """A connection to that address, not opened yet."""
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=timeout)
    context = ssl.create_default_context()
    proxy = proxy_for(parts, os.environ)
    if proxy is None or proxy.hostname is None:
        return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    connection = http.client.HTTPSConnection(proxy.hostname, proxy.port or 8080, timeout=timeout, context=context)
    connection.set_tunnel(host, parts.port or 443)
    return connection


def reach(host: str, port: int, *, timeout: float = TIMEOUT_SECONDS) -> socket.socket:
    """A raw connection to there, through the proxy the environment names for such an address, or straight."""
    proxy = proxy_for(SplitResult("https", f"[{host}]" if ":" in host else host, "", "", ""), os.environ)
    if proxy is None or proxy.hostname is None:
        return socket.create_connection((host, port), timeout=timeout)
    connection = http.client.HTTPConnection(proxy.hostname, proxy.port or 8080, timeout=timeout)
    connection.set_tunnel(host, port)
    connection.connect()
    return connection.sock


def is_stale(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has closed (or broken) an idle connection."""
    if connection.sock is None:
        return False
    return bool(select.select([connection.sock], [], [], 0)[0])  # nothing should arrive unasked


class Transport:
    """One server. Safe for several threads, one request at a time."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.parts = base_of(url)
        self.url = self.parts.geturl()
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._one_at_a_time = threading.Lock()

    def send(self, request: Request) -> Response:
        """Send and read the whole answer. Raises `Unreachable` when none comes."""
        with self._one_at_a_time:
            response = self._asked(request)
            try:
                body = response.read(MAX_ANSWER + 1)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                raise self._unreachable(error) from error
            if len(body) > MAX_ANSWER:
                self._drop()
                raise ValetkeyError(f"The server's answer is larger than {MAX_ANSWER} bytes.", status=response.status)
            return Response(response.status, _headers(response), body)

    def stream(self, request: Request) -> Iterator[bytes]:
        """Send and yield the body of a good answer as it comes. Raises the typed refusal of any other."""
        with self._one_at_a_time:
            response = self._asked(request)
            try:
                if not 200 <= response.status < 300:
                    raise refusal(Response(response.status, _headers(response), response.read(MAX_ANSWER)))
                while chunk := response.read1(_CHUNK):
                    yield chunk
                if response.length:  # read1 ends quietly where the body was promised to go on
                    raise http.client.IncompleteRead(b"", response.length)
            except (OSError, http.client.HTTPException) as error:
                raise self._unreachable(error) from error
            finally:
                self._drop()

    def close(self) -> None:
        """Let the connection go."""
        with self._one_at_a_time:
            self._drop()

    def _asked(self, request: Request) -> http.client.HTTPResponse:
        for is_last in (request.method != "GET", True):
            connection = self._open()
            was_kept = connection.sock is not None
            try:
                headers = {"User-Agent": f"valetkey/{__version__}", **request.headers}
                connection.request(request.method, self.parts.path + request.path, request.body, headers)
                return connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if is_last or not was_kept:
                    raise self._unreachable(error) from error
        raise AssertionError("the last attempt returns or raises")

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is not None and is_stale(self._connection):
            self._drop()
        if self._connection is None:
            self._connection = dial(self.parts, timeout=self._timeout)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = (
            "it did not answer in time" if isinstance(error, socket.timeout) else str(error) or type(error).__name__
        )
        return Unreachable(f"No answer from {self.url}: {reason}.")


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}
