"""Leads addresses from one base to another in a stream: what begins with `old` begins with `new` afterwards.

The result does not depend on where the pieces end, and no more is held back than could still become an address.
"""


class Rebase:
    """One body. `feed` every piece, then `finish`."""

    def __init__(self, old: bytes, new: bytes) -> None:
        self._old, self._new = old, new
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be sent on, now that `piece` has arrived."""
        *whole, rest = (self._held + piece).split(self._old)
        cut = len(rest) - self._begun(rest)
        self._held = rest[cut:]
        return self._new.join([*whole, rest[:cut]])

    def finish(self) -> bytes:
        """What was held back: the body has ended."""
        held, self._held = self._held, b""
        return held

    def _begun(self, text: bytes) -> int:
        """How many bytes at the end could be the beginning of `old`."""
        longest = min(len(self._old) - 1, len(text))
        return next((n for n in range(longest, 0, -1) if self._old.startswith(text[-n:])), 0)
