"""What an allowed call costs, written in the commit that records it: budgets spent, labels set, counters raised.

Members of a group are taken in their order, so of many on the last unit one gets it. Where rules looked at what the
task remembers, they are asked again on what is remembered now: who would be judged otherwise is sent back.
Labels are always kept, and counters too, read by a rule or not: a rule switched on in the middle of a task must find
what the task did before. A group costs one read and one write for it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from valetkey.server.db.effects import Outcome
from valetkey.server.db.group import Stale
from valetkey.server.delegations.budgets import store as budgets
from valetkey.server.delegations.budgets.model import Measure
from valetkey.server.delegations.budgets.store import Used
from valetkey.server.errors import TooMany
from valetkey.server.memory import store as memory
from valetkey.server.memory.model import Place, Row, Spans, wanted
from valetkey.server.memory.tally import Tally
from valetkey.server.policy.history import History
from valetkey.server.policy.model import WORDS, Reason, Ruled, Spend

_REASONS: Final[Mapping[Measure, Reason]] = {
    Measure.CALLS: Reason.OUT_OF_CALLS,
    Measure.WRITES: Reason.OUT_OF_WRITES,
    Measure.BYTES: Reason.OUT_OF_BYTES,
}
NO_MORE: Final = "Stop. Only a new task, or a delegation of more, has more."


class Outdated(Stale):
    """More is remembered than this was decided on. What proved the caller's key is spent already."""


@dataclass(eq=False, slots=True, kw_only=True)
class Charge:
    """One allowed call. `still` asks the rules that look at a history again; None where none does."""

    spends: Sequence[Spend]
    spans: Spans
    now: float
    done: Row
    places: tuple[Place, ...]
    slots: tuple[str, ...]
    members: dict[str, Any]
    still: Callable[[History], bool] | None = None
    watched: Callable[[History], Ruled] | None = None
    """Says what rules that are only observed would have said, on what is remembered when it is recorded."""
    held: dict[budgets.Key, int] = field(default_factory=dict)
    """Bytes that were set aside for it, on each line that counts them."""

    @property
    def allowance(self) -> int | None:
        """How many bytes it may send and be answered with; None: as many as there are."""
        return min(self.held.values(), default=None)


class Settled(NamedTuple):
    """An outcome: what a call sent and was answered with."""

    charge: Charge
    size: int
    rows: int = 0


async def account(tx: AsyncConnection, items: Sequence[Charge | Settled]) -> list[Outcome]:
    """Carry out all of a group, outcomes first: what they give back is there for who comes.

    One function for both, so that rows are taken once and in one order, and two nodes never wait for each other.
    A refusal for each call that is one too many, or decided on an older history.
    """
    charges = [one for one in items if isinstance(one, Charge)]
    keys = {_key(spend) for one in charges for spend in one.spends}
    keys |= {key for one in items if isinstance(one, Settled) for key in one.charge.held}
    spent = await budgets.lock(tx, keys)
    before = dict(spent)
    tally = Tally(min([one.now for one in charges], default=0.0))
    # SECURITY: what ended in this very group is not in the database yet, and counts for who comes after it.
    # Guarded by tests/flows/test_memory.py::test_an_outcome_written_with_the_next_decision_is_seen_by_it
    for one in items:
        if isinstance(one, Settled):
            _settle(one, spent, tally)
    refused = await _charged(tx, charges, spent, tally)
    await budgets.write(tx, {key: used for key, used in spent.items() if used != before[key]})
    await memory.add(tx, tally.added)
    return [refused.get(id(one)) for one in items]


async def _charged(
    tx: AsyncConnection, charges: Sequence[Charge], spent: dict[budgets.Key, Used], tally: Tally
) -> dict[int, Exception]:
    """The refusals, by who is refused."""
    if not charges:
        return {}
    if any(one.still is not None for one in charges):
        await memory.lock(tx, {span for one in charges for span in one.spans.all})
    asked = {(one.spans, one.places) for one in charges}
    tally.found(await memory.read(tx, wanted(asked), now=tally.now))
    refusals: dict[int, Exception] = {}
    for one in charges:
        # SECURITY: judged again here, for what another call did meanwhile must not be missed.
        # Guarded by tests/flows/test_memory.py::test_a_call_decided_on_an_older_history_is_decided_again
        if one.still is not None and not one.still(tally.history(one.spans, one.places)):
            refusals[id(one)] = Outdated()
            continue
        if (refused := _spend(one, spent)) is not None:
            refusals[id(one)] = refused
            continue
        if said := tally.recorded(one.spans, one.places):
            one.members["history"] = said
        if one.watched is not None:
            for name, found in one.watched(tally.history(one.spans, one.places)).members().items():
                one.members[name] = list(dict.fromkeys((*one.members.get(name, ()), *found)))
        tally.add(one.spans, one.slots, one.now, one.done)
    return refusals


def _settle(ended: Settled, spent: dict[budgets.Key, Used], tally: Tally) -> None:
    """What it sent and was answered with is remembered, and what it did not need is given back."""
    charged, size, rows = ended
    for key, held in charged.held.items():
        spent[key] = Used(spent[key].spent - held + size, spent[key].held - held)
    tally.ended(charged.spans, charged.slots, charged.now, Row(bytes=size, rows=rows))


def _spend(one: Charge, spent: dict[budgets.Key, Used]) -> TooMany | None:
    """All of it or nothing."""
    tried: dict[budgets.Key, Used] = {}
    held: dict[budgets.Key, int] = {}
    for spend in one.spends:
        key = _key(spend)
        used = tried.get(key, spent[key])
        left = spend.cap - used.spent
        if spend.measure is Measure.BYTES:
            if key in held:
                continue  # another part of the same call
            if left <= 0:
                return _too_many(spend, is_final=used.held <= 0)
            # SECURITY: all that is left, so that two answers at once never add up to more than was agreed to.
            # Guarded by tests/flows/test_budgets.py::test_of_two_calls_at_once_on_bytes_the_other_waits
            held[key] = left
            tried[key] = Used(used.spent + left, used.held + left)
        elif left <= 0:
            return _too_many(spend, is_final=True)
        else:
            tried[key] = Used(used.spent + 1, used.held)
    spent.update(tried)
    one.held = held
    return None


def _too_many(spend: Spend, *, is_final: bool) -> TooMany:
    reason = _REASONS[spend.measure]
    if is_final:
        detail = f"{spend.task} line {spend.line}"
        return TooMany(WORDS[reason], hint=NO_MORE, retry_after=None, detail=detail, reason=reason.value)
    return TooMany(
        "Another call is using the bytes that are left.",
        detail=f"{spend.task} line {spend.line}",
        hint="Wait until it is over, then try again.",
        reason=reason.value,
    )


def _key(spend: Spend) -> budgets.Key:
    return budgets.Key(spend.task, spend.line, spend.measure.value, spend.resource)
