"""What both decision doors do, by whatever protocol an engine asks: prove the engine, judge the call, tell the headers.

Refuses to know how a question arrives and how an answer is written.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from valetkey.server.errors import NotAuthenticated, NotFound
from valetkey.server.gateway.call import Calls
from valetkey.server.gateway.came import Attempt
from valetkey.server.gateway.inject import Prepared
from valetkey.server.gateway.streams import Stream, Streams
from valetkey.server.principals.engines.engines import Engines
from valetkey.server.principals.engines.model import Engine
from valetkey.server.secret import Secret


class Deciding:
    """One per process."""

    def __init__(self, calls: Calls, streams: Streams, engines: Engines, doors: Mapping[str, Prepared]) -> None:
        self._calls = calls
        self._streams = streams
        self._engines = engines
        self._doors = doors

    def entered(self) -> AbstractContextManager[Stream]:
        """A question is under way, so that a revocation can cut it, until its answer is sent."""
        return self._streams.entered()

    async def proven(self, shown: Sequence[bytes]) -> tuple[Engine, Prepared, Secret]:
        """The engine that showed this one secret. Raises `NotFound`, one sentence for every cause."""
        if len(shown) != 1:
            raise NotFound("There is nothing at this address.")
        secret = Secret(shown[0].decode("latin-1"))
        engine = await self._known(secret)
        door = self._doors.get(engine.integration)
        if door is None:
            raise NotFound("There is nothing at this address.")
        return engine, door, secret

    async def told(
        self, attempt: Attempt, stream: Stream, engine: Engine, door: Prepared, secret: Secret
    ) -> list[tuple[bytes, bytes]]:
        """Judge one call: the headers the engine puts into it. Raises the refusal."""

        async def again() -> None:
            await self._known(secret)

        return await self._calls.told(attempt, door, stream, address=engine.address, org=engine.org, again=again)

    async def _known(self, secret: Secret) -> Engine:
        try:
            return await self._engines.proven(secret)
        except NotAuthenticated as error:
            raise NotFound("There is nothing at this address.") from error
