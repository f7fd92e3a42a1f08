"""What a call adds to what is remembered, and what is remembered as a rule sees it. Pure.

Three kinds of span: the root task, every agent of the chain for this user, every agent of the chain. A row counts until
a moment: a task's until the task ends, an agent's between 60 and 75 minutes, so that nothing is forgotten within the
hour. `*` holds what was counted for resources beyond the first `MOST_RESOURCES` of a span: it counts for each of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.policy.history import Counter, History, Label, Memory
from valetkey.server.policy.model import Authority

HOUR_SECONDS = 3_600
SLICE_SECONDS = 900
MOST_RESOURCES = 256
OTHERS = "*"
ALL = ""

_BITS = {Label.PUBLIC: 1, Label.PRIVATE: 2, Label.UNTRUSTED: 4}


class Key(NamedTuple):
    """One row."""

    span: str
    resource: str
    until: int


class Row(NamedTuple):
    """What one row says, or what is added to it. Labels are bits."""

    labels: int = 0
    calls: int = 0
    writes: int = 0
    rows: int = 0
    bytes: int = 0

    def plus(self, other: "Row") -> "Row":
        """Both together."""
        return Row(self.labels | other.labels, *(a + b for a, b in zip(self[1:], other[1:], strict=True)))


@dataclass(frozen=True, slots=True)
class Spans:
    """Whose memory a call is added to and judged by. `until` is the end of the root task."""

    task: str
    until: int
    user: str
    agents: tuple[str, ...]

    @classmethod
    def of(cls, authority: Authority) -> "Spans":
        """The spans of a call under this authority."""
        root = authority.tasks[-1]
        agents = tuple(dict.fromkeys(agent.id for agent in authority.agents))
        return cls(root.id, root.expires_at, authority.user.id, agents)

    @property
    def for_user(self) -> tuple[str, ...]:
        return tuple(f"{agent}/{self.user}" for agent in self.agents)

    @property
    def all(self) -> tuple[str, ...]:
        """Every one of them, by name."""
        return (self.task, *self.for_user, *self.agents)

    def keys(self, resources: Iterable[str], now: float) -> list[Key]:
        """The rows that something done now on these resources is added to, the sums among them."""
        until = (int(now) // SLICE_SECONDS + 1) * SLICE_SECONDS + HOUR_SECONDS
        hours = (*self.for_user, *self.agents)
        return [
            key
            for resource in dict.fromkeys((ALL, *resources))
            for key in (Key(self.task, resource, self.until), *(Key(span, resource, until) for span in hours))
        ]

    def history(self, rows: Mapping[Key, Row], resources: Sequence[ResourceFacts]) -> History:
        """What a rule sees of these rows: counted by the ids of the call's own resources, and in all."""
        return History(
            task=_memory(rows, (self.task,), resources),
            agent_for_user=_memory(rows, self.for_user, resources),
            agent=_memory(rows, self.agents, resources),
        )


def bits(labels: Iterable[Label]) -> int:
    """Labels as they are stored."""
    return sum(_BITS[label] for label in frozenset(labels))


def recorded(history: History) -> dict[str, Any]:
    """What is not empty of it, as the trail keeps it."""
    spans = {"task": history.task, "agent_for_user": history.agent_for_user, "agent": history.agent}
    found: dict[str, Any] = {}
    for name, memory in spans.items():
        said: dict[str, Any] = {counter.value: n for counter in Counter if (n := memory.count(counter))}
        if memory.labels:
            said["labels"] = sorted(label.value for label in memory.labels)
        each: dict[str, dict[str, int]] = {}
        for (counter, resource), n in memory.counts.items():
            if resource and n:
                each.setdefault(resource, {})[counter.value] = n
        if each:
            said["resources"] = each
        if said:
            found[name] = said
    return found


def _memory(rows: Mapping[Key, Row], spans: Sequence[str], resources: Sequence[ResourceFacts]) -> Memory:
    """Of several agents the one that has done the most counts; a label of any of them does."""
    found: dict[tuple[str, str], Row] = {}
    for key, row in rows.items():
        if key.span in spans:
            place = (key.span, key.resource)
            found[place] = found.get(place, Row()).plus(row)
    labels = 0
    counts: dict[tuple[Counter, str], int] = {}
    for span in spans:
        labels |= found.get((span, ALL), Row()).labels
        others = found.get((span, OTHERS), Row())
        own = {r.id: found.get((span, r.key), Row()).plus(others) for r in resources}
        for id_, row in ((ALL, found.get((span, ALL), Row())), *own.items()):
            for counter in Counter:
                if n := getattr(row, counter.value):
                    counts[counter, id_] = max(n, counts.get((counter, id_), 0))
    return Memory(
        labels=frozenset(label for label, bit in _BITS.items() if labels & bit), counts=MappingProxyType(counts)
    )
