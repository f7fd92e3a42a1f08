"""Steps that a crash may come between. Each is told by its name before it is taken, so that a test can be the crash."""

from collections.abc import Awaitable, Callable

Step = Callable[[str], Awaitable[None]]


async def onward(_step: str) -> None:
    """Nothing happens between the steps; a test may make something happen."""
