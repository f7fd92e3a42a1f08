"""Which resources of a task have rows of their own: so many of each, then one row for all the others."""

from collections.abc import Sequence

from valetkey.server.memory.model import MOST_RESOURCES, OTHERS, Place

_TASKS = 4_096


class Slots:
    """One per process. What it forgets costs rows, never a count: whoever reads one resource adds the others' row."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], set[str]] = {}

    def of(self, spans: tuple[str, ...], places: Sequence[Place]) -> tuple[str, ...]:
        """Where what is done on these resources is counted."""
        if not places:
            return ()
        known = self._known.get(spans)
        if known is None:
            if len(self._known) >= _TASKS:
                self._known.clear()
            known = self._known[spans] = set()
        for _, key in places:
            if len(known) < MOST_RESOURCES:
                known.add(key)
        return tuple(dict.fromkeys([key if key in known else OTHERS for _, key in places]))
