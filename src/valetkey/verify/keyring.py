"""The issuer's published keys, fetched when needed and no more often than bounded; looked up like a mapping.

A set is believed for `MAX_AGE` seconds. An unknown `kid` asks again, at most once in `MIN_INTERVAL` seconds however
many such tokens arrive. A failed fetch keeps a set that is still fresh, and means "no keys" otherwise. Knows nothing
of tokens. The fetch is any function from URL to bytes; the one given here blocks, so an asynchronous program calls the
verifier in a thread or hands in keys.
"""

import ipaddress
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol
from urllib.parse import urlsplit

from valetkey.verify.errors import KeysUnavailable
from valetkey.verify.keys import PublicKey, parse_jwks

Fetch = Callable[[str], bytes]
MAX_AGE: Final = 300.0  # seconds
MIN_INTERVAL: Final = 10.0  # seconds
MAX_DOCUMENT: Final = 256 * 1024  # bytes
_TIMEOUT: Final = 5.0  # seconds


class Clock(Protocol):
    """Where time comes from: wall time decides expiry, monotonic time decides waiting."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point, never going back."""
        ...


class KeyRing(Mapping[str, PublicKey]):
    """Keys by `kid`. A lookup may fetch, and raises `KeysUnavailable` when no fresh set can be had."""

    def __init__(self, jwks_uri: str, *, fetch: Fetch, clock: Clock) -> None:
        refuse_unsafe_url(jwks_uri)
        self._uri, self._fetch, self._clock = jwks_uri, fetch, clock
        self._keys: dict[str, PublicKey] = {}
        self._fresh_until = self._ask_again_at = clock.monotonic()
        self._generation = 0
        self._lock = threading.Lock()

    def __getitem__(self, kid: str) -> PublicKey:
        seen = self._generation
        if self.fresh_for() <= 0 or kid not in self._keys:
            self._renew(seen)
        return self._keys[kid]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def fresh_for(self) -> float:
        """Seconds for which the present set may still be believed."""
        return self._fresh_until - self._clock.monotonic()

    def _renew(self, seen: int) -> None:
        with self._lock:
            if self._generation != seen:
                return  # somebody fetched while we waited for the lock
            now = self._clock.monotonic()
            if now >= self._ask_again_at:
                self._ask_again_at = now + MIN_INTERVAL
                try:
                    self._keys = parse_jwks(self._fetch(self._uri))
                # Whatever a fetch or a document does wrong, the answer is the same: no new keys.
                except Exception as error:
                    if now >= self._fresh_until:
                        raise KeysUnavailable(f"{self._uri} gave no keys") from error
                    return
                self._fresh_until = now + MAX_AGE
                self._generation += 1
            elif now >= self._fresh_until:
                raise KeysUnavailable(f"{self._uri} gave no keys a moment ago")


def refuse_unsafe_url(url: str) -> None:
    """Raise `ValueError` unless `url` is https, or http to this very machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme != "http" or not _is_loopback(parts.hostname or ""):
        raise ValueError("keys are fetched over https; plain http is for loopback only")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow nothing: keys come from the configured address or not at all."""


def fetch_document(url: str) -> bytes:
    """Return what `url` answers: no redirects, at most 256 KiB, within seconds. Raises `OSError` or `ValueError`."""
    refuse_unsafe_url(url)
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(url, timeout=_TIMEOUT) as answer:
        document = answer.read(MAX_DOCUMENT + 1)
    if not isinstance(document, bytes) or len(document) > MAX_DOCUMENT:
        raise ValueError("the key set is too long")
    return document
