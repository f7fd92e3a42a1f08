"""What is remembered, as a group of decisions finds and changes it: added up once, handed on from call to call. Pure.

Everything a call needs here is a handful of small lists: it runs for every call there is. Of several agents the one
that has done the most counts; a label of any of them does.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from valetkey.server.memory.model import ALL, OTHERS, Key, Place, Row, Spans, labels_in, slice_ends
from valetkey.server.policy.history import Counter, History, Memory

_NAMES: Final = ("calls", "writes", "rows", "bytes", "comments")
_COUNTERS: Final = tuple((Counter(name), number) for number, name in enumerate(_NAMES, 1))
_LABELS: Final = tuple(tuple(label.value for label in labels_in(stored)) for stored in range(8))
_NONE: Final[Sequence[int]] = (0, 0, 0, 0, 0, 0)

_Sum = list[int]  # labels, then what is counted, as in `Row`
_Where = tuple[Spans, tuple[str, ...], int]
_Seen = tuple[Sequence[int], dict[str, Sequence[int]]]  # in all, and for each resource by its id


class Tally:
    """Good for one transaction, or for one look at what is there. What ended by `now` does not count.

    What `ended` is told comes before `found`, what `add` is told after it.
    """

    __slots__ = ("_added", "_sums", "_touched", "now")

    def __init__(self, now: float) -> None:
        self.now = int(now)
        self._sums: dict[tuple[str, str], _Sum] = {}  # by span and resource
        self._added: dict[_Where, _Sum] = {}
        self._touched: dict[_Where, list[_Sum]] = {}  # the sums that something done there is added to

    def ended(self, spans: Spans, slots: tuple[str, ...], now: float, row: Row) -> None:
        """So much came of a call that was decided at that time."""
        where = (spans, slots, slice_ends(now))
        sum_ = self._added.get(where)
        if sum_ is None:
            self._added[where] = list(row)
        else:
            _plus(sum_, row)

    def found(self, rows: Iterable[Sequence[Any]]) -> None:
        """These rows are there: the three of the key, then what they say."""
        for span, resource, until, *row in rows:
            self._count(span, resource, until, row)
        for key, added in self.added.items():
            self._count(*key, added)

    def add(self, spans: Spans, slots: tuple[str, ...], now: float, done: Row) -> None:
        """So much is done now, and counts for who comes after it."""
        where = (spans, slots, slice_ends(now))
        touched = self._touched.get(where)
        if touched is None:
            # What it adds counts from now on: whoever adds is judged by no earlier time than `self.now`.
            sums = [self._sums.setdefault(key[:2], list(_NONE)) for key in spans.rows(slots, where[2])]
            touched = self._touched[where] = [self._added.setdefault(where, list(_NONE)), *sums]
        for sum_ in touched:
            _plus(sum_, done)

    @property
    def added(self) -> dict[Key, Row]:
        """What has to be added to which rows."""
        sums: dict[Key, _Sum] = {}
        for (spans, slots, ends), done in self._added.items():
            for key in spans.rows(slots, ends):
                if (sum_ := sums.get(key)) is None:
                    sums[key] = list(done)
                else:
                    _plus(sum_, done)
        return {key: Row(*sum_) for key, sum_ in sums.items()}

    def history(self, spans: Spans, places: Sequence[Place]) -> History:
        """What a rule sees of it: counted by the ids of the call's own resources, and in all."""
        return History(
            task=_memory(self._seen(spans.all[:1], places)),
            agent_for_user=_memory(self._seen(spans.for_user, places)),
            agent=_memory(self._seen(spans.agents, places)),
        )

    def recorded(self, spans: Spans, places: Sequence[Place]) -> dict[str, Any]:
        """What of the same is not empty, as the trail keeps it."""
        found = {}
        for name, of in (("task", spans.all[:1]), ("agent_for_user", spans.for_user), ("agent", spans.agents)):
            in_all, each = self._seen(of, places)
            said: dict[str, Any] = _said(in_all)
            if in_all[0]:
                said["labels"] = _LABELS[in_all[0]]
            if resources := {id_: said_of for id_, row in each.items() if (said_of := _said(row))}:
                said["resources"] = resources
            if said:
                found[name] = said
        return found

    def _count(self, span: str, resource: str, until: int, row: Sequence[int]) -> None:
        if until > self.now:
            _plus(self._sums.setdefault((span, resource), list(_NONE)), row)

    def _seen(self, spans: Sequence[str], places: Sequence[Place]) -> _Seen:
        seen = [self._of_one(span, places) for span in spans]
        if len(seen) == 1:
            return seen[0]
        return _most([one for one, _ in seen]), {
            place.id: _most([each[place.id] for _, each in seen]) for place in places
        }

    def _of_one(self, span: str, places: Sequence[Place]) -> _Seen:
        sums = self._sums
        others = sums.get((span, OTHERS))
        each: dict[str, Sequence[int]] = {}
        for id_, key in places:
            own = sums.get((span, key), _NONE)
            if others is not None:
                _plus(own := list(own), others)
            each[id_] = own
        return sums.get((span, ALL), _NONE), each


def _plus(sum_: _Sum, row: Sequence[int]) -> None:
    sum_[0] |= row[0]
    sum_[1] += row[1]
    sum_[2] += row[2]
    sum_[3] += row[3]
    sum_[4] += row[4]
    sum_[5] += row[5]


def _most(rows: Sequence[Sequence[int]]) -> Sequence[int]:
    most = list(_NONE)
    for row in rows:
        most[0] |= row[0]
        most[1:] = map(max, most[1:], row[1:])
    return most


def _said(row: Sequence[int]) -> dict[str, Any]:
    _, calls, writes, rows, bytes_, comments = row
    said = {}
    if calls:
        said["calls"] = calls
    if writes:
        said["writes"] = writes
    if rows:
        said["rows"] = rows
    if bytes_:
        said["bytes"] = bytes_
    if comments:
        said["comments"] = comments
    return said


def _memory(seen: _Seen) -> Memory:
    in_all, each = seen
    counts: Mapping[tuple[Counter, str], int] = {
        (counter, id_): n
        for id_, row in ((ALL, in_all), *each.items())
        for counter, number in _COUNTERS
        if (n := row[number])
    }
    return Memory(labels=frozenset(labels_in(in_all[0])), counts=MappingProxyType(counts))
