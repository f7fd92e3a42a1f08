"""How many bytes one call may still send and be answered with. Counts; knows nothing of where the number is from."""

from collections.abc import AsyncIterator

from valetkey.server.errors import TooMany


class OverBudget(TooMany):
    """The number of bytes that was delegated is used up."""

    hint = "Stop. Only a new task, or a delegation of more, has more."

    def __init__(self, public: str | None = None) -> None:
        super().__init__(public, retry_after=None, reason="out_of_bytes")


class Allowance:
    """One per call. `most` is None where bytes are not limited; they are counted all the same."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self.sent = 0
        self.is_over = False

    async def counted(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The request's body as it leaves. Raises `OverBudget` before anything leaves that is too much."""
        async for chunk in body:
            if self._most is not None and self.sent + len(chunk) > self._most:
                self.is_over = True
                raise OverBudget
            self.sent += len(chunk)
            yield chunk

    def left_after(self, answered: int) -> int | None:
        """How much more of the answer may pass; None: all of it."""
        return None if self._most is None else max(0, self._most - self.sent - answered)

    def must_fit(self, size: int) -> None:
        """A short answer is handed on whole, or not at all. Raises `OverBudget`."""
        if self._most is not None and self.sent + size > self._most:
            raise OverBudget("The call was made; its answer is longer than what is left of the bytes delegated.")
