"""Whether an outside key service would still unlock the root key; a server that has not heard so for long is sealed.

The key it unlocked is held in memory, so a service that is away for a while stops no call. But whoever takes the key
away at the service must be obeyed by servers that run already: it is asked again every few minutes, and after fifteen
without a yes the data keys are forgotten and every door is shut. Only a new start, which asks the service, opens them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from valetkey.server.clock import Clock

EVERY_SECONDS: Final = 120.0
SEALED_AFTER_SECONDS: Final = 900

log = logging.getLogger("valetkey")


class StillUnlocked:
    """One per process. `ask` raises when the service says no, or nothing; None where there is no service."""

    def __init__(self, ask: Callable[[], Awaitable[object]] | None, clock: Clock, seal: Callable[[], None]) -> None:
        self._ask = ask
        self._clock = clock
        self._seal = seal
        self._heard = clock.monotonic()
        self.sealed = asyncio.Event()

    async def watch(self) -> None:
        """Ask for as long as the server runs."""
        while not self.sealed.is_set():
            await asyncio.sleep(EVERY_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Ask once, and seal the server when there was no yes for too long."""
        if self._ask is None or self.sealed.is_set():
            return
        try:
            await self._ask()
        # SECURITY: whatever it was, it was no yes; a watch that fails instead is begun again and counts nothing.
        # Guarded by tests/faults/test_key_services.py::test_kr_05_an_answer_nobody_foresaw_is_no_yes
        except Exception as error:
            silent = self._clock.monotonic() - self._heard
            log.warning("the key service does not unlock the root key: %s, for %d s", type(error).__name__, silent)
            if silent >= SEALED_AFTER_SECONDS:
                self._seal()
                self.sealed.set()
                log.critical("sealed: the key service has not unlocked the root key for %d s; start again", silent)
        else:
            self._heard = self._clock.monotonic()
