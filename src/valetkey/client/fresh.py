"""Delegated credentials that are always fresh: minted at the first call, renewed after half their life.

One per API; several threads may ask. Knows no HTTP.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

_SHARE: Final = 0.5
"""A credential is used for this share of its life: whoever checks it last still has the other half."""


class Fresh:
    """`mint` answers a credential and its lifetime in seconds; what it raises reaches whoever asked."""

    def __init__(
        self, mint: Callable[[str], tuple[str, float]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._mint = mint
        self._monotonic = monotonic
        self._held: dict[str, tuple[str, float]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._one = threading.Lock()

    def credential(self, api: str) -> str:
        """A credential for that API which lives long enough to be sent."""
        with self._one:
            lock = self._locks.setdefault(api, threading.Lock())
        with lock:
            token, renew_at = self._held.get(api, ("", 0.0))
            asked_at = self._monotonic()
            if token and asked_at < renew_at:
                return token
            token, lifetime = self._mint(api)
            self._held[api] = token, asked_at + lifetime * _SHARE
            return token
