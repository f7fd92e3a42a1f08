"""Which APIs answer: one that cannot be reached, or hangs, is not asked by everybody until it is known that it does.

A breaker for each place (`host:port`): after five failures in a row calls are answered at once, and one at a time tries
again. It changes no decision: a call is judged and recorded first, and its outcome says that it was not sent. What
counts is that no answer came, never what an answer says. Databases are places too. Refuses to know calls, users and
what is allowed.
"""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

from valetkey.server.bounded import Bounded
from valetkey.server.clock import Clock
from valetkey.server.connections.refreshing.breaker import FAILURES, Breaker
from valetkey.server.egress import Response, Sending
from valetkey.server.errors import UpstreamFailed

T = TypeVar("T")

MOST_PLACES: Final = 1_024
FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 60.0


class Reachable:
    """One per process. `timeout`: seconds after which whoever tries again has its answer, or none."""

    def __init__(self, clock: Clock, *, timeout: float) -> None:
        self._clock = clock
        self._sound = Breaker(first_seconds=FIRST_SECONDS, longest_seconds=LONGEST_SECONDS, probe_seconds=timeout)
        self._breakers: Bounded[Breaker] = Bounded(MOST_PLACES)

    async def open(self, sending: Sending) -> Response:
        """Send one call and return its answer. Raises `UpstreamFailed` at once where nobody is to ask."""
        # SECURITY: a body that an agent sends slowly runs into the same timeout as an API that hangs; it must not close
        # that API to everybody else. Only that no connection came about counts then.
        # Guarded by tests/flows/test_gateway_breaker.py::test_who_sends_slowly_closes_an_api_to_nobody
        is_ours = not isinstance(sending.body, AsyncIterator)
        return await self.ask(sending.url.place, sending.open, silence_counts=is_ours)

    async def ask(
        self, place: str, work: Callable[[], Awaitable[T]], *, silence_counts: bool = True, kind: str = "API"
    ) -> T:
        """Do `work`, which asks this place, unless it has not answered for some time. `kind` is the word for it."""
        known = self._breakers.get(place)
        is_probe = False
        if known is not None:
            now = self._clock.monotonic()
            if left := known.seconds_left(now):
                raise _not_asked(left, kind)
            self._breakers[place] = asked = known.asked(now)
            is_probe = asked.probed_until > now
        try:
            done = await work()
        except BaseException as error:
            if isinstance(error, UpstreamFailed) and (error.is_unreached or (error.is_silent and silence_counts)):
                self._breakers[place] = self._breakers.get(place, self._sound).failed(self._clock.monotonic())
            elif is_probe and (breaker := self._breakers.get(place)) is not None:
                self._breakers[place] = breaker.given_up()
            raise
        self._breakers.pop(place, None)
        return done


def _not_asked(left: float, kind: str) -> UpstreamFailed:
    seconds = math.ceil(left)
    failed = UpstreamFailed(
        f"The {kind} behind the gateway did not answer {FAILURES} times in a row, so this call was not sent.",
        hint=f"Wait {seconds} seconds, then try again. Others are not held up.",
        retry_after=seconds,
    )
    failed.was_sent = False
    return failed
