"""How many bytes one call may still send and be answered with. Counts; knows nothing of where the number is from."""

from collections.abc import AsyncIterator, Sequence

from valetkey.server.errors import TooMany


def over_budget(public: str = "The number of bytes that was delegated is used up.") -> TooMany:
    """No waiting mends it."""
    hint = "Stop. Only a new task, or a delegation of more, has more."
    return TooMany(public, hint=hint, retry_after=None, reason="out_of_bytes")


class Allowance:
    """One per call. `most` is None where bytes are not limited; they are counted all the same."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self.sent = 0
        self.is_over = False

    def must_send(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """A body that says it is too long does not leave at all. Raises `TooMany`."""
        said = [int(value) for name, value in headers if name.lower() == b"content-length" and value.isdigit()]
        if self._most is not None and any(length > self._most for length in said):
            raise over_budget()

    async def counted(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The request's body as it leaves. Raises `TooMany` before anything leaves that is too much."""
        async for chunk in body:
            if self._most is not None and self.sent + len(chunk) > self._most:
                self.is_over = True
                raise over_budget()
            self.sent += len(chunk)
            yield chunk

    def left_after(self, answered: int) -> int | None:
        """How much more of the answer may pass; None: all of it."""
        return None if self._most is None else max(0, self._most - self.sent - answered)

    def must_fit(self, size: int) -> None:
        """A short answer is handed on whole, or not at all. Raises `TooMany`."""
        if self._most is not None and self.sent + size > self._most:
            raise over_budget("The call was made; its answer is longer than what is left of the bytes delegated.")
