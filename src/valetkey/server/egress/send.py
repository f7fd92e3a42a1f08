"""`Egress`: send one request to one place, stream the answer back, believe nothing else.

In order: (1) the place must be public, or configured as local; (2) its name is resolved and every answer proven;
(3) the request goes to the proven address; (4) the answer's head must be well framed; (5) its body is bounded in size
and in silence. No redirects, cookies, proxies or decompression. Failures are `UpstreamFailed`, whose detail names the
place and never the target, a header or a body.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, PyreqwestError, TransportError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response as Answer

from valetkey.server.clock import Clock, SystemClock
from valetkey.server.egress.addresses import is_loopback, is_private, is_public
from valetkey.server.egress.framing import Headers, declared_length, exactly, outgoing, wrong_with
from valetkey.server.egress.pool import Pool, new_client
from valetkey.server.egress.resolve import KEPT_SECONDS, Lookup, proven_addresses, system_lookup
from valetkey.server.egress.response import Response, head_of
from valetkey.server.egress.url import Url
from valetkey.server.errors import InvalidRequest, UpstreamFailed

MAX_PLACES: Final = 256
MAX_BODY_BYTES: Final = 1 << 30
SILENCE_SECONDS: Final = 60.0
_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class Egress:
    """The one way out. `open` before use, `close` at the end.

    `allow_loopback_hosts`: exact `host:port` of local upstreams an administrator configured; only these may be plain
    http, and they must be on loopback. `allow_private_hosts`: the same for what must be in the operator's own network,
    by https. `silence_seconds`: longest wait for the next chunk of a body.
    """

    def __init__(
        self,
        *,
        allow_loopback_hosts: frozenset[str] = frozenset(),
        allow_private_hosts: frozenset[str] = frozenset(),
        extra_roots: Sequence[bytes] = (),
        lookup: Lookup = system_lookup,
        clock: Clock | None = None,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self._local = allow_loopback_hosts
        self._private = allow_private_hosts
        self._roots = tuple(extra_roots)
        self._lookup = lookup
        self._clock = clock or SystemClock()
        self._silence = silence_seconds
        self._pools: OrderedDict[tuple[str, str], Pool] = OrderedDict()
        self._is_open = False

    async def open(self) -> None:
        """Be ready to send."""
        self._is_open = True

    async def close(self) -> None:
        """Send nothing more; calls under way fail."""
        self._is_open = False
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await pool.client.close()

    def send(
        self,
        method: str,
        url: Url,
        headers: Headers,
        body: AsyncIterator[bytes] | bytes | None,
        *,
        timeout: float,
        max_bytes: int = MAX_BODY_BYTES,
    ) -> "Sending":
        """One request, to be sent when it is opened: an `async with` block yields its answer.

        `timeout`: seconds until the answer's head is there, connecting and uploading included. A streamed body must
        have the length its `content-length` declares; without one it is chunked. Nothing is sent twice: only when no
        connection came about is another proven address of the host tried.
        """
        return Sending(self, method, url, headers, body, timeout, max_bytes)

    async def fetch(
        self, method: str, url: Url, headers: Headers, *, max_bytes: int, timeout: float, body: bytes | None = None
    ) -> tuple[int, Headers, bytes]:
        """Send a small request and return the whole answer, at most `max_bytes`, within `timeout` seconds."""
        try:
            async with (
                asyncio.timeout(timeout),
                self.send(method, url, headers, body, timeout=timeout, max_bytes=max_bytes) as response,
            ):
                return response.status, response.headers, b"".join([chunk async for chunk in response.body])
        except TimeoutError as error:
            raise _failed(url, error) from None

    async def prove(self, url: Url) -> None:
        """Raise `UpstreamFailed` unless a request to this place would be sent now. It is judged again when one is."""
        self._refuse_plain(url)
        await self._proven(url)

    async def addresses(self, url: Url) -> tuple[str, ...]:
        """The addresses that may be dialled for this place now, by who speaks another protocol there."""
        if not self._is_open:
            raise UpstreamFailed(detail="egress is closed")
        self._refuse_plain(url)
        return await self._proven(url)

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The certificate authorities (PEM) that are trusted besides the system's."""
        return self._roots

    async def answer(
        self, method: str, url: Url, headers: list[tuple[str, str]], body: AsyncIterator[bytes] | bytes | None
    ) -> tuple[Pool, StreamRequest, Answer]:
        """Return the first head that comes back, and whose it is."""
        pool = await self._pool(url)
        request = _built(pool, method, url, headers, body)
        try:
            return pool, request, await request.__aenter__()
        except ConnectError:
            spare = self._turned_to_spare(url, pool)
            if spare is None or isinstance(body, AsyncIterator):
                raise
            request = _built(spare, method, url, headers, body)
            return spare, request, await request.__aenter__()
        except TransportError:
            raise
        except PyreqwestError:
            self.retire(url, pool)
            raise

    async def _pool(self, url: Url) -> Pool:
        """Return the pool of a place, proven at most `KEPT_SECONDS` ago."""
        if not self._is_open:
            raise UpstreamFailed(detail="egress is closed")
        self._refuse_plain(url)
        key = (url.scheme, url.place)
        pool = self._pools.get(key)
        if pool is not None and self._clock.monotonic() < pool.good_until:
            self._pools.move_to_end(key)
            return pool
        addresses = await self._proven(url)
        good_until = self._clock.monotonic() + KEPT_SECONDS
        pool = self._pools.get(key)
        if pool is not None and pool.address in addresses:
            pool.good_until = good_until
            pool.spares = tuple(address for address in addresses if address != pool.address)
            return pool
        return self._dial(url, addresses, good_until)

    async def _proven(self, url: Url) -> tuple[str, ...]:
        allowed = is_loopback if url.place in self._local else is_private if url.place in self._private else is_public
        return await proven_addresses(url, lookup=self._lookup, allowed=allowed)

    def _refuse_plain(self, url: Url) -> None:
        if url.scheme != "https" and url.place not in self._local:
            raise UpstreamFailed(detail=f"{url.place}: plain http is for configured local upstreams only")

    def _dial(self, url: Url, addresses: tuple[str, ...], good_until: float) -> Pool:
        client = new_client(url, addresses[0], extra_roots=self._roots, silence_seconds=self._silence)
        pool = Pool(client, address=addresses[0], spares=addresses[1:], good_until=good_until)
        self._pools[url.scheme, url.place] = pool
        while len(self._pools) > MAX_PLACES:
            self._pools.popitem(last=False)  # calls under way keep it alive; no new one starts on it
        return pool

    def _turned_to_spare(self, url: Url, pool: Pool) -> Pool | None:
        if self._pools.get((url.scheme, url.place)) is not pool:
            return None
        self.retire(url, pool)
        return self._dial(url, (*pool.spares, pool.address), pool.good_until) if pool.spares else None

    def retire(self, url: Url, pool: Pool) -> None:
        """Start no new call on this pool."""
        key = (url.scheme, url.place)
        if self._pools.get(key) is pool:
            del self._pools[key]


@dataclass(eq=False, repr=False, slots=True)  # no repr: the headers hold a credential
class Sending:
    """One request and its answer. `open` sends it, `close` drops what is unread; `async with` does both."""

    egress: Egress
    method: str
    url: Url
    headers: Headers
    body: AsyncIterator[bytes] | bytes | None
    timeout: float
    max_bytes: int
    _pool: Pool | None = None
    _request: StreamRequest | None = None

    async def open(self) -> Response:
        """Send the request and return its answer, whose head is well framed.

        Raises `InvalidRequest` for what must not be sent, `UpstreamFailed` for all that goes wrong afterwards.
        """
        url = self.url
        ready = outgoing(self.headers)
        try:
            async with asyncio.timeout(self.timeout):
                self._pool, self._request, answer = await self.egress.answer(self.method, url, ready, self.body)
        except (PyreqwestError, TimeoutError) as error:
            raise _failed(url, error) from None
        try:
            received = head_of(answer)
            if wrong := wrong_with(answer.status, received):
                # SECURITY: what follows on this connection, or on its siblings, may be somebody's forged answer.
                # Guarded by test_egress_answers.py::test_a_connection_with_bad_framing_is_never_lent_again
                self.egress.retire(url, self._pool)
                raise UpstreamFailed(detail=f"{url.place}: bad framing, {wrong}")
            return Response(answer, received, place=url.place, max_bytes=self.max_bytes, broken=self._broken)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the connection; what is unread of the answer is dropped."""
        request, self._request = self._request, None
        if request is not None:
            await request.__aexit__(None, None, None)

    async def __aenter__(self) -> Response:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _broken(self, error: Exception) -> UpstreamFailed:
        if self._pool is not None:
            self.egress.retire(self.url, self._pool)
        return _failed(self.url, error)


def _built(
    pool: Pool, method: str, url: Url, headers: list[tuple[str, str]], body: AsyncIterator[bytes] | bytes | None
) -> StreamRequest:
    length = declared_length(headers)
    building = pool.client.request(method, url.text)
    if isinstance(body, AsyncIterator):
        building = building.body_stream(body if length is None else exactly(body, length))
    elif body:
        headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
        building = building.body_bytes(body)
    elif method in _METHODS_WITH_BODY and length is None:
        headers = [*headers, ("content-length", "0")]
    elif length:
        raise InvalidRequest(detail="a content-length without a body")
    # NOTE: with a buffer the client holds back the head until 64 KiB of body are there, or all of it.
    return building.headers(headers).streamed_read_buffer_limit(0).build_streamed()


def _failed(url: Url, error: Exception) -> UpstreamFailed:
    """Name the place and the innermost cause. The client's own sentence holds the whole address, so it is not used."""
    causes = error.details["causes"] if isinstance(error, PyreqwestError) and hasattr(error, "details") else None
    why = causes[-1]["message"] if causes and "://" not in causes[-1]["message"] else ""
    failed = UpstreamFailed(detail=f"{url.place}: {type(error).__name__} {why}".rstrip())
    failed.is_unreached = isinstance(error, ConnectError | ConnectTimeoutError)
    failed.is_silent = isinstance(error, TimeoutError) and not failed.is_unreached
    return failed
