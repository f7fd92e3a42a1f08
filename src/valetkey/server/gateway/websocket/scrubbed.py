"""An injected credential that an API says back never reaches the client, also where it is said over several messages.

A message that ends like the beginning of a spelling, longer than chance would have it, waits until the next one shows
what it was: the others pass at once, whole, as they came. At most that many bytes of a beginning get through, and, at
the end, what was never completed. Pure.
"""

from collections.abc import Sequence
from typing import Final

from valetkey.server.gateway.scrub import MARK
from valetkey.server.gateway.websocket.side import Message

_CHANCE: Final = 8
"""Bytes: an end that is shorter is taken for chance."""
MOST_WAITING: Final = 1_024


class ScrubbedMessages:
    """The scrubber of what comes down one WebSocket."""

    def __init__(self, needles: Sequence[bytes]) -> None:
        self._needles = needles  # the longest first
        self._before = b""  # the end of what passed, as it came
        self._waiting: list[Message] = []

    def feed(self, message: Message) -> list[Message] | None:
        """What can be sent on now that this one has come. None: too much would have to wait."""
        self._waiting.append(message)
        keeps = self._kept()
        if keeps > MOST_WAITING:
            return None
        return self._let_go(len(self._waiting) - keeps)

    def finish(self) -> list[Message]:
        """What waited: nothing more comes."""
        return self._let_go(len(self._waiting))

    def _kept(self) -> int:
        """How many messages wait: from the one in which an unfinished spelling begins."""
        heard = self._heard()
        begins = min((at for needle in self._needles if (at := _begun(heard, needle)) is not None), default=len(heard))
        if begins == len(heard):
            return 0
        keeps, start = 0, len(heard)
        for message in reversed(self._waiting):
            if start <= begins:
                break
            start -= len(message.data)
            keeps += 1
        return keeps

    def _heard(self) -> bytes:
        return self._before + b"".join(message.data for message in self._waiting)

    def _let_go(self, count: int) -> list[Message]:
        if not count:
            return []
        spoilt = self._spoilt(self._heard())
        start, clean = len(self._before), []
        for message in self._waiting[:count]:
            clean.append(message._replace(data=_without(message, start, spoilt)))
            start += len(message.data)
        self._before = self._heard()[:start][-_CHANCE:]
        del self._waiting[:count]
        return clean

    def _spoilt(self, heard: bytes) -> list[tuple[int, int]]:
        """Where the spellings are, from the left, the longest at each place; none overlaps another."""
        found = {needle: at for needle in self._needles if (at := heard.find(needle)) >= 0}
        places: list[tuple[int, int]] = []
        while found:
            needle = min(found, key=lambda one: (found[one], -len(one)))
            end = found[needle] + len(needle)
            places.append((found[needle], end))
            found = {one: heard.find(one, max(at, end)) for one, at in found.items()}
            found = {one: at for one, at in found.items() if at >= 0}
        return places


def _begun(heard: bytes, needle: bytes) -> int | None:
    """Where the end of what was heard begins a spelling, unless by chance."""
    shortest = max(1, min(_CHANCE, len(needle) // 2))
    begins = needle[:shortest]
    at = heard.find(begins, max(0, len(heard) - len(needle) + 1))
    while at >= 0:
        if needle.startswith(heard[at:]):
            return at
        at = heard.find(begins, at + 1)
    return None


def _without(message: Message, start: int, spoilt: Sequence[tuple[int, int]]) -> bytes:
    """The message that stands at `start`, a mark where a spelling begins in it, nothing where one goes on."""
    end, position = start + len(message.data), start
    parts: list[bytes] = []
    for begins, ends in spoilt:
        if ends <= start or begins >= end:
            continue
        parts.append(message.data[position - start : max(begins - start, 0)])
        parts.append(MARK)
        position = min(ends, end)
    if not parts:
        return message.data
    parts.append(message.data[position - start :])
    clean = b"".join(parts)
    return clean.decode(errors="replace").encode() if message.is_text else clean
