"""Connections to one place, dialled at one proven address. The only module, with `send`, that knows the HTTP client.

A pool never re-resolves: the client is told name and address together, so SNI, Host and certificate check keep the
name. A pool that saw bad framing is retired: calls under way end on it, no new one starts.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from pyreqwest.client import Client, ClientBuilder

from valetkey.server.egress.url import Url

CONNECT_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 30.0
IDLE_CONNECTIONS: Final = 64


class Pool:
    """One client, one place, one address."""

    __slots__ = ("address", "client", "good_until", "spares")

    def __init__(self, client: Client, *, address: str, spares: tuple[str, ...], good_until: float) -> None:
        self.client = client
        self.address = address
        self.spares = spares  # proven at the same time, for when this one does not answer
        self.good_until = good_until  # monotonic seconds


def new_client(url: Url, address: str, *, extra_roots: Sequence[bytes], silence_seconds: float) -> Client:
    """Return a client that can reach nothing but `address`, under the name of `url`'s host.

    Certificates are always verified, against the system's roots and `extra_roots` (PEM). `silence_seconds` also
    bounds how long the client itself keeps a connection whose caller has gone before the answer began.
    """
    builder = (
        ClientBuilder()
        .no_proxy()  # SECURITY: never HTTP_PROXY. Guarded by test_ssrf.py::test_a_proxy_in_the_environment_is_not_used
        .follow_redirects(False)
        .referer(False)
        .default_cookie_store(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .http1_only()
        .http1_lower_case_headers()
        .user_agent("valetkey")
        .https_only(url.scheme == "https")
        .connect_timeout(timedelta(seconds=CONNECT_SECONDS))
        .read_timeout(timedelta(seconds=silence_seconds))
        .pool_idle_timeout(timedelta(seconds=IDLE_SECONDS))
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
    )
    if url.literal is None:
        builder = builder.resolve(url.host, address, url.port)
    for root in extra_roots:
        builder = builder.add_root_certificate_pem(root)
    return builder.build()
