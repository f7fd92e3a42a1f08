"""Both sides of a WebSocket told what the other says, until one ends, the call is cut, or the server stops.

Who reads slowly holds up the one who speaks: at any moment one message of each direction is on its way. What passes is
counted, up and down, and what comes down is scrubbed.
"""

import asyncio
from typing import Final, NamedTuple

from valetkey.server.gateway.allowance import Allowance
from valetkey.server.gateway.scrub import Scrubber
from valetkey.server.gateway.streams import Stream
from valetkey.server.gateway.websocket.scrubbed import ScrubbedMessages
from valetkey.server.gateway.websocket.side import Message, Side

IDLE_SECONDS: Final = 300.0
_NO_CODE: Final = 1005


class Ending(NamedTuple):
    """How it ends: the word for the record, and what each side is told, unless it has said so itself."""

    ended: str
    down: tuple[int | None, str]
    up: tuple[int | None, str]


def _both(ended: str, code: int, reason: str) -> Ending:
    return Ending(ended, (code, reason), (code, reason))


CUT: Final = _both("cut", 1008, "This was revoked or has ended.")
OVER_BUDGET: Final = _both("over_budget", 1008, "The number of bytes that was delegated is used up.")
UNCLEAR: Final = _both("interrupted", 1008, "Too many messages could hold a part of a credential.")
IDLE: Final = _both("idle", 1001, "Nothing was said for too long.")
STOPPING: Final = _both("interrupted", 1001, "The server is stopping. Connect again.")
LOST: Final = _both("interrupted", 1001, "The other side went away.")
BROKEN: Final = _both("interrupted", 1001, "The other side sent what is no WebSocket message.")


class Relay:
    """One per WebSocket."""

    def __init__(
        self,
        client: Side,
        api: Side,
        *,
        scrubber: Scrubber,
        allowance: Allowance,
        stream: Stream,
        leaving: asyncio.Event,
    ) -> None:
        self.size = 0
        """Bytes that went down."""
        self._client = client
        self._api = api
        self._scrubber = scrubber
        self._scrubbing = ScrubbedMessages(scrubber.needles)
        self._allowance = allowance
        self._stream = stream
        self._leaving = leaving

    async def run(self) -> str:
        """Relay until it ends; return the word for how."""
        pumps = [asyncio.create_task(pump) for pump in (self._up(), self._down())]
        leaving = asyncio.create_task(self._leaving.wait())
        is_cancelled = False
        try:
            ending = await self._first(pumps, leaving)
        except asyncio.CancelledError:
            if self._stream.was_cut or self._stream.is_idle:
                self._stream.task.uncancel()
                ending = CUT if self._stream.was_cut else IDLE
            else:
                is_cancelled, ending = True, STOPPING
        finally:
            self._stream.no_longer_heard()
            for task in (*pumps, leaving):
                task.cancel()
            await asyncio.gather(*pumps, leaving, return_exceptions=True)
        self._client.close(*ending.down)
        self._api.close(*ending.up)
        if is_cancelled:
            raise asyncio.CancelledError
        await asyncio.gather(self._client.finish(), self._api.finish())
        return ending.ended

    async def _first(self, pumps: list["asyncio.Task[Ending]"], leaving: "asyncio.Task[bool]") -> Ending:
        """How it ends, as soon as it does."""
        done, _ = await asyncio.wait({*pumps, leaving}, return_when=asyncio.FIRST_COMPLETED)
        # SECURITY: whatever else ended it in the same moment, what was cut is told that it was.
        if self._stream.was_cut:
            return CUT
        return next((pump.result() for pump in pumps if pump in done), STOPPING)

    async def _up(self) -> Ending:
        async for message in self._client.messages():
            self._stream.go_on()
            left = self._allowance.left_after(self.size)
            if left is not None and len(message.data) > left:
                return OVER_BUDGET
            self._allowance.sent += len(message.data)
            await self._api.say(message)
        return self._ended(self._client)

    async def _down(self) -> Ending:
        async for message in self._api.messages():
            clean = self._scrubbing.feed(message)
            if clean is None:
                return UNCLEAR
            if (over := await self._tell(clean)) is not None:
                return over
        return await self._tell(self._scrubbing.finish()) or self._ended(self._api)

    async def _tell(self, messages: list[Message]) -> Ending | None:
        for message in messages:
            self._stream.go_on()
            left = self._allowance.left_after(self.size)
            if left is not None and len(message.data) > left:
                return OVER_BUDGET
            self.size += len(message.data)
            await self._client.say(message)
        return None

    def _ended(self, side: Side) -> Ending:
        """How it ends when this side has ended it."""
        if (closed := side.closed_by) is None:
            return BROKEN if side.was_failed else LOST
        code = None if closed.code == _NO_CODE else int(closed.code)
        reason = self._scrubber.scrub(closed.reason.encode()).decode(errors="replace")
        return Ending("complete", (code, reason), (code, closed.reason))
