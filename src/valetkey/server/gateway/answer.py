"""The upstream's answer on its way to the client: headers kept apart from our pages, addresses led back to the gateway,
the injected credential scrubbed, all of it streaming. Nothing is followed.

A short answer that arrives in one piece is handed on in one piece; any other as it comes. Where an API says 200 to its
failures, how the answer begins says which it is.
"""

import re
from typing import Final, Protocol

from valetkey.server.connections.borrow import Borrowed
from valetkey.server.egress import Response, Sending
from valetkey.server.errors import UpstreamFailed
from valetkey.server.gateway.allowance import Allowance, over_budget
from valetkey.server.gateway.headers import incoming, is_encoded
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.rewrite import Addresses
from valetkey.server.gateway.scrub import Scrubber

Headers = list[tuple[bytes, bytes]]

_LARGEST_WHOLE: Final = 64 * 1024
_BEGINNING: Final = 256


class Finished(Protocol):
    """Told once how a call ended."""

    def __call__(self, *, status: int, size: int, sent: int, ended: str) -> None: ...


class Answer:
    """What a door sends: `whole` where there is one, else chunk after chunk. To be closed: that reports the outcome."""

    def __init__(
        self,
        response: Response,
        sending: Sending,
        headers: Headers,
        *,
        scrubber: Scrubber,
        addresses: Addresses | None,
        success: str,
        finished: Finished,
        allowance: Allowance,
    ) -> None:
        self.status = response.status
        self.headers = headers
        self.whole: bytes | None = None
        self._response = response
        self._sending = sending
        self._scrubber = scrubber
        self._addresses = addresses  # None where nothing is rewritten
        self._success = success
        self._finished = finished
        self._allowance = allowance
        self._began = b""
        self._size = 0
        self._ended = "interrupted"

    async def begin(self) -> None:
        """Take the body at once where it is short and there as a whole; prepare for chunks otherwise."""
        declared = next((int(value) for name, value in self._response.headers if name == b"content-length"), 0)
        is_short = 0 < declared <= _LARGEST_WHOLE
        first = await self._response.next_chunk() if is_short else b""
        if first and len(first) == declared:
            self._began = first[:_BEGINNING]
            clean = self._scrubber.scrub(first)
            self.whole = clean if self._addresses is None else self._addresses.rewritten(clean)
            self._size = len(self.whole)
            self._allowance.must_fit(self._size)
            self.headers.append((b"content-length", b"%d" % self._size))
            return
        self._is_over = False
        self._scrubbing = self._scrubber.stream()
        self._rewriting = None if self._addresses is None else self._addresses.stream()
        self._ready = self._cleaned(first)

    async def next_chunk(self) -> bytes | None:
        """The next piece of the body, clean; None at its end. Raises `UpstreamFailed` when it breaks off."""
        clean, self._ready = self._ready, b""
        while not clean:
            if self._is_over:
                return None
            try:
                chunk = await self._response.next_chunk()
            except UpstreamFailed:
                self._ended = "truncated"
                raise
            clean = self._cleaned(chunk)
        left = self._allowance.left_after(self._size)
        if left is not None and len(clean) > left:
            clean, self._ready = clean[:left], clean[left:]
            if not clean:
                self._ended = "over_budget"
                raise over_budget()
        self._size += len(clean)
        return clean

    def was_taken(self) -> None:
        """All of it is on its way to the client."""
        self._ended = "complete"

    async def close(self) -> None:
        """Report how the call ended and let go of the upstream."""
        ended = "failed" if self._ended == "complete" and self._says_no() else self._ended
        self._finished(status=self.status, size=self._size, sent=self._allowance.sent, ended=ended)
        await self._sending.close()

    def _says_no(self) -> bool:
        """Whether a 200 is a failure: the member that says so is the first one of the object."""
        no = rb'\s*\{\s*"%s"\s*:\s*false\b' % re.escape(self._success.encode())
        return bool(self._success) and re.match(no, self._began) is not None

    def _cleaned(self, chunk: bytes | None) -> bytes:
        """What can be sent on, now that `chunk` has arrived; None is the end."""
        if chunk and len(self._began) < _BEGINNING:
            self._began += chunk[:_BEGINNING]
        self._is_over = chunk is None
        clean = self._scrubbing.finish() if chunk is None else self._scrubbing.feed(chunk)
        if self._rewriting is None:
            return clean
        return self._rewriting.feed(clean) + (self._rewriting.finish() if chunk is None else b"")


async def answer(
    response: Response,
    sending: Sending,
    door: Prepared,
    borrowed: Borrowed,
    *,
    base_url: str,
    path: str,
    decision_id: str,
    finished: Finished,
    allowance: Allowance,
) -> Answer:
    """Begin the answer. Raises `UpstreamFailed` for what cannot be read, so cannot be scrubbed."""
    if is_encoded(response.headers):
        raise UpstreamFailed(detail="the upstream compressed what was asked for plain")
    addresses = door.addresses(base_url)
    scrubber = door.scrubber(borrowed)
    headers = [
        *_led_back(
            incoming(response.headers, keep_length=sending.method == "HEAD"),
            addresses,
            scrubber,
            status=response.status,
            path=path,
        ),
        (b"x-decision-id", decision_id.encode()),
    ]
    begun = Answer(
        response,
        sending,
        headers,
        scrubber=scrubber,
        addresses=addresses if _is_json(response.headers) else None,
        success=door.integration.success,
        finished=finished,
        allowance=allowance,
    )
    await begun.begin()
    return begun


def _led_back(headers: Headers, addresses: Addresses, scrubber: Scrubber, *, status: int, path: str) -> Headers:
    kept: Headers = []
    for name, value in headers:
        clean = scrubber.scrub(value)
        if name == b"link":
            clean = addresses.link(clean.decode("latin-1"), at=path).encode("latin-1")
        elif name == b"location":
            landing = addresses.landing(clean.decode("latin-1"), status=status, at=path)
            if landing.address is None:
                continue
            clean = landing.address.encode("latin-1")
        kept.append((name, clean))
    return kept


def _is_json(headers: Headers) -> bool:
    kinds = [value.split(b";")[0].strip().lower() for name, value in headers if name.lower() == b"content-type"]
    return any(kind == b"application/json" or kind.endswith(b"+json") for kind in kinds)
