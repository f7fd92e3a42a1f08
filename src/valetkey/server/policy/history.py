"""What a task has done so far, as far as decisions may depend on it. Frozen data; the store lives elsewhere.

Labels say what was read, counters how much was done. Both belong to the root task, so that a child sheds nothing, and
are looked at over three spans: the task, and the last hour of the agent for this user and of the agent for anybody, so
that a new task sheds nothing either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType


class Label(StrEnum):
    """What a task has read. A label is never taken away."""

    PUBLIC = "public"  # anybody may read it
    PRIVATE = "private"  # not everybody may read it
    UNTRUSTED = "untrusted"  # somebody outside may have written it


class Counter(StrEnum):
    """What is counted, in all and for each resource."""

    CALLS = "calls"
    WRITES = "writes"
    ROWS = "rows"
    BYTES = "bytes"
    COMMENTS = "comments"  # and messages: each of them, however many one call writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """One span. `counts` is keyed by counter and resource id; the empty id holds the sum over all."""

    labels: frozenset[Label] = frozenset()
    counts: Mapping[tuple[Counter, str], int] = field(default_factory=lambda: MappingProxyType({}))

    def count(self, counter: Counter, resource: str = "") -> int:
        """How much was counted; nothing counted is 0."""
        return self.counts.get((counter, resource), 0)

    def commented(self, places: Sequence[str]) -> "Memory":
        """The same after one more comment at each of these resources; the empty id is a place nobody knows."""
        counts = dict(self.counts)
        for place in places:
            for resource in {"", place}:
                counts[Counter.COMMENTS, resource] = counts.get((Counter.COMMENTS, resource), 0) + 1
        return Memory(labels=self.labels, counts=MappingProxyType(counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The three spans a rule may look at."""

    task: Memory = Memory()
    agent_for_user: Memory = Memory()  # the last hour
    agent: Memory = Memory()  # the last hour

    def commented(self, places: Sequence[str]) -> "History":
        """The same for a part of a call whose parts before it comment there."""
        if not places:
            return self
        return History(
            task=self.task.commented(places),
            agent_for_user=self.agent_for_user.commented(places),
            agent=self.agent.commented(places),
        )


NOTHING_YET = History()
