"""Which resources of a task have rows of their own: so many of each, then one row for all the others."""

from collections.abc import Iterable

from valetkey.server.memory.model import MOST_RESOURCES, OTHERS

_TASKS = 4_096


class Slots:
    """One per process. What it forgets costs rows, never a count: whoever reads one resource adds the others' row."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def of(self, agents: Iterable[str], resources: Iterable[str]) -> tuple[str, ...]:
        """Where what is done on these resources is counted."""
        owner = " ".join(agents)
        known = self._known.get(owner)
        if known is None:
            if len(self._known) >= _TASKS:
                self._known.clear()
            known = self._known[owner] = set()
        for resource in resources:
            if len(known) < MOST_RESOURCES:
                known.add(resource)
        return tuple(dict.fromkeys(resource if resource in known else OTHERS for resource in resources))
