"""Whatever a decision or an issue depends on fails: denied, nothing sent, no secret (FO-01, AUD-01, CA-02).

Each dependency raises, hangs, answers nothing and answers something of another kind; the fault is put on the very
object the running server uses, and judged by what the upstream saw. When the fault is gone, the same call goes through.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.support import tables
from tests.support.house import REAL, House, Robot, open_house
from tests.support.http import Reply
from tests.support.postgres import Postgres
from valetkey.server.audit.model import Event
from valetkey.server.audit.store import Entry
from valetkey.server.connections import borrow
from valetkey.server.db import fence
from valetkey.server.gateway import judge

READ = "/repos/acme-corp/backend"
FAULTS = ("raises", "hangs", "answers nothing", "answers another kind")

Spot = Callable[[House], tuple[Any, str]]
CALL_SPOTS: dict[str, Spot] = {
    "verifying": lambda h: (h.app.calls._admit._verifying, "at_gateway"),
    "knowledge": lambda h: (h.app.calls._admit._authorities, "of_task"),
    "database": lambda h: (h.app.database, "read"),
    "lookup": lambda h: (h.app.calls._admit._judge._lookups, "resource"),
    "permitted": lambda h: (judge, "permitted"),
    "rules": lambda h: (judge, "ruled"),
    "clock": lambda h: (h.clock, "now"),
    "journal": lambda h: (h.app.journal, "record"),
    "group commit": lambda h: (h.app.journal._group, "_write"),
    "transaction": lambda h: (h.app.database, "write"),
    "fence": lambda h: (fence, "hold_shared"),
    "borrow": lambda h: (h.app.calls._borrow, "borrow"),
    "vault": lambda h: (borrow.store, "open_credential"),
    "egress": lambda h: (h.app.calls._egress, "send"),
}
ISSUE_SPOTS: dict[str, Spot] = {
    "authenticate": lambda h: (h.app.mount._services.authenticate, "client"),
    "verifying": lambda h: (h.app.mount._services.issue._verifying, "at_exchange"),
    "knowledge": lambda h: (h.app.authorities, "of_task"),
    "database": lambda h: (h.app.database, "read"),
    "keys": lambda h: (h.app.keys, "signer"),
    "clock": lambda h: (h.clock, "now"),
    "journal": lambda h: (h.app.journal, "record"),
    "group commit": lambda h: (h.app.journal._group, "_write"),
    "transaction": lambda h: (h.app.database, "write"),
    "fence": lambda h: (fence, "hold_shared"),
}
CANNOT_HANG = {"permitted", "rules", "clock", "vault", "keys"}  # plain functions: nothing waits in them
CODES = {"denied", "not_authenticated", "expired", "revoked", "upstream_failed", "unavailable", "internal"}
OAUTH_CODES = {"server_error", "temporarily_unavailable", "invalid_request", "invalid_client"}


class _Fault:
    """Stands where the dependency stood. `reached` is set when it is used."""

    def __init__(self, kind: str, *, is_async: bool) -> None:
        self.kind, self.is_async = kind, is_async
        self.reached, self.released = asyncio.Event(), asyncio.Event()

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.reached.set()
        if self.is_async:
            return self._later()
        return self._now()

    async def _later(self) -> Any:
        if self.kind == "hangs":
            await self.released.wait()
            raise RuntimeError("it hung until the test was over")
        return self._now()

    def _now(self) -> Any:
        if self.kind == "raises":
            raise RuntimeError("a fault of the test")
        return None if self.kind == "answers nothing" else object()


def _forget(house: House) -> None:
    """A node that remembers nothing asks every dependency."""
    house.app.calls._admit._authorities._known.clear()
    house.app.calls._borrow._known.clear()
    house.app.mount._services.authenticate._agents.clear()


async def _under_fault(
    house: House, spot: Spot, name: str, kind: str, act: Callable[[], Awaitable[Reply]], patch: pytest.MonkeyPatch
) -> Reply | None:
    """Act while the dependency has the fault; None when it hung and the caller left."""
    await house.app.calls.settle()
    _forget(house)
    fault = _Fault(kind, is_async=name not in CANNOT_HANG | {"database", "transaction", "egress"})
    with patch.context() as patched:
        patched.setattr(*spot(house), fault)
        acting = asyncio.ensure_future(act())
        if kind != "hangs":
            return await acting
        await fault.reached.wait()
        acting.cancel()
        await asyncio.gather(acting, return_exceptions=True)
        fault.released.set()
        await house.app.calls.settle()
        return None


def _is_refused(reply: Reply) -> None:
    assert reply.status >= 400
    assert REAL.encode() not in reply.body
    assert b"access_token" not in reply.body
    assert b"fault of the test" not in reply.body  # the detail is ours
    document = reply.json()
    assert document.get("code", document.get("error")) in CODES | OAUTH_CODES


@pytest.mark.parametrize("name", CALL_SPOTS)
async def test_a_call_is_refused_and_sends_nothing_when_this_fails(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_house(tmp_path / "data") as house:
        _, _, _, token = await house.ready()
        assert (await house.gateway(token, "GET", READ)).status == 200
        for kind in FAULTS:
            if kind == "hangs" and name in CANNOT_HANG | {"database", "transaction", "egress"}:
                continue
            sent = len(house.github.requests)
            reply = await _under_fault(
                house, CALL_SPOTS[name], name, kind, lambda: house.gateway(token, "GET", READ), monkeypatch
            )
            if reply is not None:
                _is_refused(reply)
            assert len(house.github.requests) == sent, kind
            house.app.calls._admit._judge._lookups._known.clear()  # nothing learnt under a fault is trusted, nor needed
            assert (await house.gateway(token, "GET", READ)).status == 200, kind


@pytest.mark.parametrize("name", ISSUE_SPOTS)
async def test_no_credential_is_issued_when_this_fails(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_house(tmp_path / "data") as house:
        agent, _, task, _ = await house.ready()
        for kind in FAULTS:
            if kind == "hangs" and name in CANNOT_HANG | {"database", "transaction"}:
                continue
            act = lambda: agent.exchange(task["task_token"])  # noqa: E731
            reply = await _under_fault(house, ISSUE_SPOTS[name], name, kind, act, monkeypatch)
            if reply is not None:
                _is_refused(reply)
            assert (await agent.exchange(task["task_token"])).status == 200, kind


async def test_an_audit_that_hangs_refuses_within_the_deadline_and_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AUD-01; that the decision was written after all is recorded as interrupted, not as an open call."""
    async with open_house(tmp_path / "data") as house:
        agent, _, task, token = await house.ready()
        assert (await house.gateway(token, "GET", READ)).status == 200
        await house.app.calls.settle()
        group, sent = house.app.journal._group, len(house.github.requests)
        assert group.longest_wait_seconds <= 2.0
        group.longest_wait_seconds = 0.05
        released, settled = asyncio.Event(), group._settled

        async def late(committed: bool) -> None:
            await released.wait()
            await settled(committed)

        monkeypatch.setattr(group, "_settled", late)
        assert (await house.gateway(token, "GET", READ)).status == 503
        assert (await agent.exchange(task["task_token"])).status == 503
        assert len(house.github.requests) == sent
        monkeypatch.undo()
        group.longest_wait_seconds = 2.0
        released.set()
        assert (await house.gateway(token, "GET", READ)).status == 200
        await house.app.calls.settle()
        allowed = {r["id"] for r in await house.events("call.allowed")}
        ended = {r["decision"]: r["ended"] for r in await house.events("call.finished")}
        assert set(ended) == allowed
        assert "interrupted" in ended.values()


async def test_one_members_fault_refuses_only_that_member(house: House) -> None:
    async def breaks(tx: object) -> Exception | None:
        raise RuntimeError("a fault of the test")

    entries = [
        Entry(event=Event.LOGIN_FAILED, org="", members={"n": n}, also=breaks if n == 3 else None) for n in range(8)
    ]
    outcomes = await asyncio.gather(*(house.app.journal.record(e) for e in entries), return_exceptions=True)
    assert [isinstance(o, Exception) for o in outcomes] == [n == 3 for n in range(8)]


async def test_what_an_entry_does_is_undone_when_it_cannot_be_recorded(house: House) -> None:
    def entry(name: str, **members: object) -> Entry:
        async def writes(tx: AsyncConnection) -> Exception | None:
            row = {"key": name, "began_at": 0, "count": 1}
            await tx.execute(text("INSERT INTO attempts (key, began_at, count) VALUES (:key, :began_at, :count)"), row)
            return None

        return Entry(event=Event.LOGIN_FAILED, org="", members=members, also=writes)

    entries = [entry("one", n=1), entry("two", n=2.5), entry("three", n=3)]  # no float has a place in a record
    outcomes = await asyncio.gather(*(house.app.journal.record(e) for e in entries), return_exceptions=True)
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, True, False]
    async with house.app.database.read() as db:
        found = await db.execute(text("SELECT key FROM attempts WHERE key IN ('one', 'two', 'three')"))
        assert {row.key for row in found} == {"one", "three"}


async def test_a_worker_that_dies_leaves_nobody_waiting(house: House) -> None:
    group, reached = house.app.journal._group, asyncio.Event()
    write = group._write

    async def hangs(*_: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    group._write = hangs
    waiting = asyncio.create_task(house.app.journal.record(Entry(event=Event.LOGIN_FAILED, org="", members={})))
    await reached.wait()
    assert group._worker is not None
    group._worker.cancel()
    assert type((await asyncio.gather(waiting, return_exceptions=True))[0]).__name__ == "Unavailable"
    group._write = write
    await house.app.journal.record(Entry(event=Event.LOGIN_FAILED, org="", members={}))


async def test_a_sqlite_disk_that_is_full_refuses_and_serves_again_when_there_is_room(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        agent, _, task, token = await house.ready()
        assert (await house.gateway(token, "GET", READ)).status == 200
        await _largest(house, 1)
        replies = [await house.gateway(token, "GET", READ) for _ in range(200)]
        full = [n for n, reply in enumerate(replies) if reply.status == 503]
        assert full
        sent = len(house.github.requests)
        assert (await agent.exchange(task["task_token"])).status == 503
        assert (await house.gateway(token, "GET", READ)).status == 503
        assert len(house.github.requests) == sent
        await _largest(house, 1_000_000)
        assert (await house.gateway(token, "GET", READ)).status == 200
        assert (await agent.exchange(task["task_token"])).status == 200


async def test_a_postgresql_that_is_gone_refuses_and_serves_again_when_it_is_back(
    tmp_path: Path, postgres: Postgres
) -> None:
    """R4 in small: the node needs no restart."""
    url = tables.postgresql(postgres)
    name = url.rpartition("/")[2]
    async with open_house(tmp_path / "data", database_url=url) as house:
        agent, _, task, token = await house.ready()
        assert (await house.gateway(token, "GET", READ)).status == 200
        await house.app.calls.settle()
        sent = len(house.github.requests)
        postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        postgres.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        assert (await house.gateway(token, "GET", READ)).status == 503
        assert (await agent.exchange(task["task_token"])).status == 503
        assert len(house.github.requests) == sent
        postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        assert (await house.gateway(token, "GET", READ)).status == 200
        assert (await Robot(house, agent.id, agent.name, agent.secret).exchange(task["task_token"])).status == 200
        await house.app.journal.keep_claim()
        assert house.app.journal.writer == "w1"
    postgres.discard(url)


async def _largest(house: House, pages: int) -> None:
    """How far the file may grow; never below what it has."""
    async with house.app.database.write() as writer:
        await writer.execute(text(f"PRAGMA max_page_count = {pages}"))
