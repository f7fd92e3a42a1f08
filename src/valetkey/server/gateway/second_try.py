"""The API asked with a borrowed credential, and once more with a later one where it answers 401: for every door.

Refuses to know what is asked and how: calls and handshakes of WebSockets come with their own `ask`.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from valetkey.server.connections.borrow import Borrow, Borrowed, refused
from valetkey.server.errors import Unavailable
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.model import ConnectionFacts


class Answered(Protocol):
    """What the API said, at least by a number."""

    @property
    def status(self) -> int: ...


A = TypeVar("A", bound=Answered)


async def asked(
    ask: Callable[[Borrowed], Awaitable[A]],
    borrowed: Borrowed,
    *,
    borrow: Borrow,
    integration: Integration,
    facts: ConnectionFacts,
    may_repeat: bool,
) -> tuple[A, Borrowed]:
    """What the API answered, and to which credential. `may_repeat`: the question changes nothing and has no body.

    Raises `ConnectionRequired` where it takes no credential there is, `Unavailable` where the client may ask again.
    """
    answered = await ask(borrowed)
    if answered.status == 401:
        borrowed = await borrow.later(facts, borrowed)
        # SECURITY: what may change something is never sent twice by us, whatever the API says it did not do.
        # Guarded by tests/flows/test_refresh_upstream.py::test_rt_10_a_write_is_not_sent_twice
        if not may_repeat:
            raise Unavailable(
                f"{integration.title} refused the call: its credential had just been replaced.",
                hint="A fresh credential is ready: send the call again.",
                retry_after=1,
            )
        answered = await ask(borrowed)
    if answered.status == 401:
        raise refused(integration, facts)
    return answered, borrowed
