"""The calls under way on this node, so that a revocation can cut them.

A call is entered before its decision is recorded and left when its last byte is sent. It ends at the earliest end of
task, delegation and connection as if revoked. Knows ids and a clock only.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from valetkey.server.clock import Clock
from valetkey.server.gateway.crowd import Crowd, Place
from valetkey.server.revocation.hops import HopReport, Outcome

SWEEP_SECONDS = 0.25
MOST_REMEMBERED = 1_024


@dataclass(eq=False, slots=True)
class Stream:
    """One call under way."""

    task: "asyncio.Task[object]"
    nodes: frozenset[str] = frozenset()
    known_under: int = 0  # the change number it is decided under
    is_decided: bool = False
    outrun_by: int = -1  # a newer change that came while it was being decided
    ends_at: float = float("inf")  # seconds since the epoch
    was_cut: bool = False
    was_left: bool = False  # by its client
    place: Place | None = None  # in the crowd
    idle_at: float = float("inf")  # monotonic seconds: nothing may be said for so long
    is_idle: bool = False

    def decided(self) -> None:
        """Its decision is recorded: a newer change ends it from here on, also one that has just come in."""
        self.is_decided = True
        self.was_cut = self.was_cut or self.outrun_by > self.known_under
        self.go_on()

    def heard(self, monotonic: Callable[[], float], *, seconds: float) -> None:
        """Something was said: it may be silent for so long from now on."""
        self.idle_at = monotonic() + seconds

    def no_longer_heard(self) -> None:
        """It is ending by itself."""
        self.idle_at = float("inf")

    def go_on(self) -> None:
        """Raise `CancelledError` if the call has been ended."""
        # SECURITY: asked at every chunk, because cancelling alone relies on everything below to pass a cancellation
        # on; whatever once swallowed it would let a busy stream outlive its revocation.
        # Guarded by tests/flows/test_gateway_streams.py::test_a_busy_stream_is_cut_as_surely_as_a_silent_one
        if self.was_cut or self.was_left:
            raise asyncio.CancelledError


class _Outrun(NamedTuple):
    """A call that was cut by what was learned, before a hop asked."""

    nodes: frozenset[str]
    known_under: int
    cut_under: int


class Streams:
    """One per process."""

    def __init__(self, clock: Clock, crowd: Crowd) -> None:
        self._clock = clock
        self._crowd = crowd
        self._open: set[Stream] = set()
        self._outrun: deque[_Outrun] = deque(maxlen=MOST_REMEMBERED)

    def __len__(self) -> int:
        return len(self._open)

    def enter(self) -> Stream:
        """Enter the current asyncio task; the caller fills in nodes and end once they are known, and leaves."""
        task = asyncio.current_task()
        assert task is not None
        stream = Stream(task=task)
        self._open.add(stream)
        return stream

    @contextmanager
    def entered(self) -> Iterator[Stream]:
        """The current asyncio task is a call until the end of the block."""
        stream = self.enter()
        try:
            yield stream
        finally:
            self.leave(stream)

    def belongs(self, stream: Stream, *, api: str, person: str) -> None:
        """It is known whose call it is. Raises `TooMany` or `Unavailable` when there is no place for it."""
        if stream.place is None:
            stream.place = self._crowd.enter(api, person)

    def leave(self, stream: Stream) -> None:
        """The call is over."""
        self._open.discard(stream)
        if stream.place is not None:
            self._crowd.leave(stream.place)
            stream.place = None

    async def stop(self, nodes: frozenset[str], seq: int) -> HopReport:
        """Cut every call under one of these nodes; the hop of a revocation. Counts what its change cut already."""
        outrun = [s for s in self._outrun if s.known_under < seq <= s.cut_under and s.nodes & nodes]
        cut = len(outrun) + len(self._cut(lambda s: bool(s.nodes & nodes)))
        return HopReport(hop="open calls", outcome=Outcome.DONE, detail=f"{cut} cut on this node.")

    def outrun(self, nodes: frozenset[str], seq: int) -> None:
        """Cut every call decided on older knowledge of these nodes; one that is being decided is told by the fence."""
        for stream in self._cut(lambda s: s.is_decided and s.known_under < seq and bool(s.nodes & nodes)):
            self._outrun.append(_Outrun(stream.nodes, stream.known_under, seq))
        for stream in self._open:
            if not stream.is_decided and stream.nodes & nodes:
                stream.outrun_by = seq

    def sweep(self) -> int:
        """Cut what has reached its end, and end what was silent for too long; return how many were cut."""
        now, ticks = self._clock.now(), self._clock.monotonic()
        for stream in self._open:
            if ticks >= stream.idle_at and not stream.is_idle:
                stream.is_idle = True
                stream.task.cancel()
        return len(self._cut(lambda s: now >= s.ends_at))

    async def watch(self) -> None:
        """Sweep for as long as the server runs."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def cut_all(self) -> None:
        """Cut everything that is open: the server is sealed."""
        self._cut(lambda _: True)

    def _cut(self, applies: Callable[[Stream], bool]) -> list[Stream]:
        cut = [stream for stream in self._open if not stream.was_cut and applies(stream)]
        for stream in cut:
            stream.was_cut = True
            stream.task.cancel()
        return cut
