"""The upstream's answer on its way to the client: headers kept apart from our pages, addresses led back to the gateway,
the injected credential scrubbed, all of it streaming. Nothing is followed.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from valetkey.server.connections.borrow import Borrowed
from valetkey.server.egress import Response
from valetkey.server.errors import UpstreamFailed
from valetkey.server.gateway.headers import incoming, is_encoded
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.rewrite import Addresses, AddressStream
from valetkey.server.gateway.scrub import ScrubbedStream, Scrubber

Headers = list[tuple[bytes, bytes]]


class Finished(Protocol):
    """Told once how a call ended."""

    def __call__(self, *, status: int, size: int, ended: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a door sends. `body` must be run to its end or closed: it reports the outcome."""

    status: int
    headers: Headers
    body: AsyncIterator[bytes]


def answer(
    response: Response,
    door: Prepared,
    borrowed: Borrowed,
    *,
    base_url: str,
    path: str,
    decision_id: str,
    finished: Finished,
) -> Answer:
    """Prepare the answer. Raises `UpstreamFailed` for what cannot be read, so cannot be scrubbed."""
    if is_encoded(response.headers):
        raise UpstreamFailed(detail="the upstream compressed what was asked for plain")
    addresses = door.addresses(base_url)
    scrubber = door.scrubber(borrowed)
    headers = [
        *_led_back(incoming(response.headers), addresses, scrubber, status=response.status, path=path),
        (b"x-decision-id", decision_id.encode()),
    ]
    rewriting = addresses.stream() if _is_json(response.headers) else None
    return Answer(
        status=response.status,
        headers=headers,
        body=_body(response, scrubber.stream(), rewriting, finished),
    )


async def _body(
    response: Response, scrubbing: ScrubbedStream, rewriting: AddressStream | None, finished: Finished
) -> AsyncIterator[bytes]:
    size = 0
    ended = "interrupted"
    try:
        async for chunk in response.body:
            clean = scrubbing.feed(chunk)
            out = rewriting.feed(clean) if rewriting is not None else clean
            if out:
                size += len(out)
                yield out
        clean = scrubbing.finish()
        out = rewriting.feed(clean) + rewriting.finish() if rewriting is not None else clean
        if out:
            size += len(out)
            yield out
        ended = "complete"
    except UpstreamFailed:
        ended = "truncated"
        raise
    finally:
        finished(status=response.status, size=size, ended=ended)


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
