"""Revoke: one verb on any node of the tree, one transaction, one number in the feed.

After it returns, no node issues and no gateway sends on older knowledge: the transaction holds the fence exclusively.
The hops then act, and the report says what each of them did.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Journal
from valetkey.server.clock import Clock
from valetkey.server.revocation import store
from valetkey.server.revocation.hops import HopReport, Outcome, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was revoked, under which number of the change feed, and what every hop did."""

    node: str
    seq: int
    already: bool
    hops: tuple[HopReport, ...]


async def revoke(
    node: str, *, org: str, by: str, reason: str, journal: Journal, clock: Clock, hops: Sequence[Stop]
) -> Report:
    """End `node` and everything under it. Whether `by` may is the door's business, decided before."""
    async with journal.change() as change:
        seq = await change.touches(node)
        fresh = await store.mark(change.tx, node, seq=seq, by=by, reason=reason, now=int(clock.now()))
        change.record(Event.NODE_REVOKED, org, node=node, by=by, reason=reason, again=not fresh)
    tokens = HopReport(
        hop="credentials",
        outcome=Outcome.DONE,
        detail="Refused from now on, on every node: tokens, tasks and calls under it are compared at use.",
    )
    acted = [await _asked(stop, frozenset({node}), seq) for stop in hops]
    return Report(node=node, seq=seq, already=not fresh, hops=(tokens, *acted))


async def _asked(stop: Stop, nodes: frozenset[str], seq: int) -> HopReport:
    try:
        return await stop(nodes, seq)
    except Exception as error:
        return HopReport(hop=getattr(stop, "__name__", "hop"), outcome=Outcome.PENDING, detail=type(error).__name__)
