"""What a call adds to what is remembered, and for whom. Pure; `tally` adds it up.

Three kinds of span: the root task, every agent of the chain for this user, every agent of the chain. A row counts until
a moment: a task's until the task ends, an agent's between 60 and 75 minutes, so that nothing is forgotten within the
hour. `*` holds what was counted for resources beyond the first `MOST_RESOURCES` of a span: it counts for each of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from valetkey.server.integrations.model import ResourceFacts
from valetkey.server.policy.history import Label
from valetkey.server.policy.model import Authority

HOUR_SECONDS = 3_600
SLICE_SECONDS = 900
MOST_RESOURCES = 256
OTHERS = "*"
ALL = ""

_BITS: Final[Mapping[Label, int]] = {Label.PRIVATE: 2, Label.PUBLIC: 1, Label.UNTRUSTED: 4}
_LABELS: Final = tuple(tuple(label for label, bit in _BITS.items() if stored & bit) for stored in range(8))


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
    comments: int = 0


class Place(NamedTuple):
    """A resource of a call: what it is called in rules and records, and what it is counted by."""

    id: str
    key: str

    @classmethod
    def of(cls, resources: Iterable[ResourceFacts]) -> "tuple[Place, ...]":
        """Those of a call."""
        return tuple([cls(resource.id, resource.key) for resource in resources])


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Whose memory a call is added to and judged by: the same for every call under one authority."""

    task: str
    until: int
    """The end of the root task."""
    for_user: tuple[str, ...]
    agents: tuple[str, ...]
    all: tuple[str, ...]
    """Every one of them, by name."""

    @classmethod
    def of(cls, authority: Authority) -> "Spans":
        """The spans of a call under this authority."""
        root, user = authority.tasks[-1], authority.user.id
        agents = tuple(dict.fromkeys(agent.id for agent in authority.agents))
        for_user = tuple(f"{agent}/{user}" for agent in agents)
        return cls(root.id, root.expires_at, for_user, agents, (root.id, *for_user, *agents))

    def rows(self, slots: Iterable[str], slice_ends: int) -> list[Key]:
        """The rows that something done in a slice on these resources is added to, the sums among them."""
        hours = (*self.for_user, *self.agents)
        return [
            key
            for resource in (ALL, *slots)
            for key in (Key(self.task, resource, self.until), *[Key(span, resource, slice_ends) for span in hours])
        ]


def wanted(asked: Iterable[tuple[Spans, Sequence[Place]]]) -> dict[str, list[str]]:
    """Which resources' rows of which spans calls are judged by."""
    found: dict[str, dict[str, None]] = {}
    for spans, places in asked:
        resources = dict.fromkeys((ALL, OTHERS, *[key for _, key in places]))
        for span in spans.all:
            found.setdefault(span, {}).update(resources)
    return {span: list(resources) for span, resources in found.items()}


def slice_ends(now: float) -> int:
    """Until when counts what an agent does now."""
    return (int(now) // SLICE_SECONDS + 1) * SLICE_SECONDS + HOUR_SECONDS


def bits(labels: Iterable[Label]) -> int:
    """Labels as they are stored."""
    found = 0
    for label in labels:
        found |= _BITS[label]
    return found


def labels_in(stored: int) -> tuple[Label, ...]:
    """Stored labels, by name."""
    return _LABELS[stored]
