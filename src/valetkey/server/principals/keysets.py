"""The published keys of others, by their address: fetched when needed, believed for minutes, asked for no more often.

An unknown `kid` asks again, at most once in `MIN_INTERVAL` seconds however many such assertions arrive. A failed fetch
keeps a set that is still fresh. Without one nobody is proven: `UpstreamFailed` where its host cannot be asked now,
`NotAuthenticated` where it has none that can be used. Knows neither clients nor issuers.
"""

from collections.abc import Callable, Mapping
from typing import Final

from valetkey.server.bounded import Bounded
from valetkey.server.clock import Clock
from valetkey.server.egress import Documents, Url, parsed
from valetkey.server.errors import InvalidRequest, NotAuthenticated, TooMany, UpstreamFailed
from valetkey.server.settings import LOOPBACK
from valetkey.verify.errors import InvalidKey
from valetkey.verify.keys import PublicKey, parse_jwks

MAX_AGE: Final = 300.0  # seconds
MIN_INTERVAL: Final = 10.0  # seconds
MOST_BYTES: Final = 64 * 1024
_REMEMBERED: Final = 256

Keys = Mapping[str, PublicKey]
Reader = Callable[[Mapping[str, object]], Keys]


def place_of(text: str, *, on_loopback: bool) -> Url:
    """Where `text` leads: https, or to this very machine when this server itself is reached there only.

    Raises `InvalidRequest`. What is on loopback must besides be a place the operator configured: `Egress` sees to it.
    """
    url = parsed(text)
    is_here = url.host.strip("[]") in LOOPBACK
    # SECURITY: plain http, and this machine, are for development; a server others reach never looks inside itself.
    # Guarded by tests/attacks/test_documents.py::test_ci_3_loopback_is_for_a_server_on_loopback
    if (is_here or url.scheme != "https") and not (is_here and on_loopback):
        raise InvalidRequest("This is not an https address on the public internet.", detail=f"{url.place} refused")
    return url


class KeySets:
    """One per process."""

    def __init__(self, documents: Documents, clock: Clock, *, on_loopback: bool) -> None:
        self._documents = documents
        self._clock = clock
        self._on_loopback = on_loopback
        self._sets: Bounded[tuple[float, Keys]] = Bounded(_REMEMBERED)
        self._asked: Bounded[tuple[float, bool]] = Bounded(_REMEMBERED)  # when, and whether its host was down

    async def holding(self, uri: str, kid: str, *, reader: Reader = parse_jwks) -> Keys:
        """The keys at `uri`, newest enough to hold `kid` if it was ever published."""
        now = self._clock.monotonic()
        fetched_at, keys = self._sets.get(uri, (now - MAX_AGE, {}))
        is_fresh = now < fetched_at + MAX_AGE
        if is_fresh and kid in keys:
            return keys
        asked_at, was_down = self._asked.get(uri, (now - MIN_INTERVAL, False))
        if now < asked_at + MIN_INTERVAL:
            if is_fresh:
                return keys
            raise _down("a moment ago") if was_down else NotAuthenticated(detail="it gave no keys a moment ago")
        self._asked[uri] = now, False
        try:
            url = place_of(uri, on_loopback=self._on_loopback)
            found = reader((await self._documents.get(url, most_bytes=MOST_BYTES)).members)
        except UpstreamFailed as error:
            if is_fresh:
                return keys
            self._asked[uri] = now, True
            raise _down(error.detail) from error
        except (TooMany, InvalidRequest, InvalidKey) as error:
            if is_fresh:
                return keys
            raise NotAuthenticated(detail=f"no keys: {error}") from error
        self._sets[uri] = now, found
        return found


def _down(detail: str) -> UpstreamFailed:
    return UpstreamFailed("The published keys that would prove this cannot be read now.", detail=detail)
