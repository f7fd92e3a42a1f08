"""The calls under way: what is cut, and how many a revocation says were."""

import asyncio
import contextlib

from valetkey.server.clock import DrivenClock
from valetkey.server.gateway.crowd import Crowd
from valetkey.server.gateway.streams import Stream, Streams

NODES = frozenset({"dlg_1", "tsk_1"})


async def test_what_its_change_cut_before_the_hop_asked_is_counted() -> None:
    """The change may be learned before whoever made it comes to its hops."""
    streams = Streams(DrivenClock(), Crowd(per_api=0, per_person=0))
    async with under_way(streams, known_under=4) as call:
        streams.outrun(frozenset({"tsk_1"}), 6)
        with contextlib.suppress(asyncio.CancelledError):
            await call
        assert (await streams.stop(frozenset({"tsk_1"}), 5)).detail == "1 cut on this node."


async def test_what_another_change_cut_is_not_counted() -> None:
    streams = Streams(DrivenClock(), Crowd(per_api=0, per_person=0))
    async with under_way(streams, known_under=4):
        streams.outrun(frozenset({"tsk_1"}), 6)
        assert (await streams.stop(frozenset({"tsk_1"}), 7)).detail == "0 cut on this node."
        assert (await streams.stop(frozenset({"tsk_1"}), 4)).detail == "0 cut on this node."
        assert (await streams.stop(frozenset({"tsk_2"}), 5)).detail == "0 cut on this node."


async def test_what_was_decided_on_the_change_goes_on_until_the_hop() -> None:
    streams = Streams(DrivenClock(), Crowd(per_api=0, per_person=0))
    async with under_way(streams, known_under=6) as call:
        streams.outrun(frozenset({"tsk_1"}), 6)
        await asyncio.sleep(0)
        assert not call.done()
        assert (await streams.stop(frozenset({"tsk_1"}), 6)).detail == "1 cut on this node."
        with contextlib.suppress(asyncio.CancelledError):
            await call
        assert call.cancelled()


@contextlib.asynccontextmanager
async def under_way(streams: Streams, *, known_under: int):  # type: ignore[no-untyped-def]
    entered: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()

    async def runs() -> None:
        stream = streams.enter()
        stream.nodes, stream.known_under = NODES, known_under
        stream.decided()
        entered.set_result(stream)
        try:
            await asyncio.Event().wait()
        finally:
            streams.leave(stream)

    call = asyncio.create_task(runs())
    await entered
    try:
        yield call
    finally:
        call.cancel()
        await asyncio.wait({call})
