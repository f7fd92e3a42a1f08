"""Room for connections at one port: idle ones never keep others out, and only so many calls are under way.

Whoever opens thousands of connections and says nothing costs memory, not service: at the limit the connection that has
been idle for longest makes room for the newest. What is being answered is never closed for that.
"""

import resource
from typing import Any, Final

from uvicorn.server import ServerState

RESERVED_FILES: Final = 3_000  # for the database, the upstream side of calls, and files


class Room(ServerState):
    """What the connections of one listener share."""

    def __init__(self, *, max_connections: int, max_calls: int) -> None:
        super().__init__()
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(max_connections, max(64, files - RESERVED_FILES))
        self._max_calls = max_calls
        self._idle: dict[Any, None] = {}  # connections of which no whole request is there, oldest first

    @property
    def is_full(self) -> bool:
        """Whether so many calls are under way that one more is refused."""
        return len(self.tasks) >= self._max_calls

    def entered(self, connection: Any) -> bool:
        """A connection was made. False: there is no room, because every other one is being answered."""
        if len(self.connections) > self._most:
            if not self._idle:
                return False
            oldest = next(iter(self._idle))
            self.left(oldest)
            oldest.make_room()
        self._idle[connection] = None
        return True

    def works(self, connection: Any) -> None:
        """A whole head has come: it is no longer idle."""
        self._idle.pop(connection, None)

    def rests(self, connection: Any) -> None:
        """All that was asked is answered."""
        self._idle[connection] = None

    def left(self, connection: Any) -> None:
        """The connection is over."""
        self._idle.pop(connection, None)
        self.connections.discard(connection)


def open_more_files() -> None:
    """Let this process open as many files as it may; the usual soft limit is far below."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
