"""Bodies through the gateway as they come, and streams that end when what allowed them ends: REV-02, DO-03, DO-04."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import scripts
from tests.support.behind import ALLOWED, STREAMED, Behind, open_behind
from tests.support.http import read_reply
from tests.support.upstream import Script


@pytest.fixture
async def behind(tmp_path: Path, database_url: str | None) -> AsyncIterator[Behind]:
    async with open_behind(tmp_path / "data", database_url=database_url) as opened:
        yield opened


async def test_the_first_chunk_reaches_the_client_before_the_upstream_has_finished(behind: Behind) -> None:
    gate = asyncio.Event()
    behind.up.answers("GET", ALLOWED, script=scripts.gated(b"first ", gate, b"rest"))
    async with behind.opened() as (reader, writer):
        writer.write(behind.head())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"content-length" not in head
        assert await reader.readuntil(b"first \r\n") == b"6\r\nfirst \r\n"
        gate.set()
        assert (await reader.readuntil(b"0\r\n\r\n")) == b"4\r\nrest\r\n0\r\n\r\n"


async def test_an_upload_arrives_while_it_is_being_sent(behind: Behind) -> None:
    arrived, whole = asyncio.Event(), asyncio.Event()

    async def listens(seen, wire):  # type: ignore[no-untyped-def]
        heard = b""
        while b"second" not in heard:
            heard += await wire.hear()
            if b"first" in heard:
                arrived.set()
        whole.set()
        await wire.say(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
        wire.hang_up()

    behind.up.answers("POST", STREAMED, script=listens, before_body=True)
    async with behind.opened() as (reader, writer):
        writer.write(behind.head("POST", STREAMED, "transfer-encoding: chunked") + b"5\r\nfirst\r\n")
        await arrived.wait()
        assert not whole.is_set()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")
        assert (await read_reply(reader)).status == 201


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_an_upload_keeps_its_bytes_and_its_length(behind: Behind, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    answer = await behind.call("POST", STREAMED, body=body)
    assert answer.status == 200
    [seen] = behind.calls
    assert seen.body == body
    assert seen.header("content-length") == str(size).encode()
    assert seen.oddities == []


async def test_a_slow_reader_holds_the_upstream_back_instead_of_filling_memory(behind: Behind) -> None:
    """DO-03: what is on its way at any moment is bounded by buffers, whatever the upstream would like to say."""
    total, said, left = 64 << 20, 0, asyncio.Event()
    piece = b"x" * 65536

    async def talks(seen, wire):  # type: ignore[no-untyped-def]
        nonlocal said
        await wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        try:
            while said < total:
                await wire.say(piece)
                said += len(piece)
        finally:
            left.set()

    behind.up.answers("GET", ALLOWED, script=talks)
    async with behind.opened() as (reader, writer):
        writer.write(behind.head())
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while before != said:  # until nothing moves any more: every buffer on the way is full
            before = said
            for _ in range(200):
                await asyncio.wait({asyncio.ensure_future(left.wait())}, timeout=0.001)
        assert said < total // 2
        assert not left.is_set()
    async with asyncio.timeout(10):
        await left.wait()


async def test_a_client_that_leaves_frees_the_upstream(behind: Behind) -> None:
    """Also when nothing is being said: a silent event stream would otherwise be held open to the end of the task."""
    for script in (scripts.watched, scripts.endless):
        left = asyncio.Event()
        behind.up.answers("GET", ALLOWED, script=script(left))
        async with behind.opened() as (reader, writer):
            writer.write(behind.head())
            head = await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(10):
            await left.wait()
        outcome = await behind.outcome(decision_of(head))
        assert outcome["ended"] == "interrupted"


@pytest.mark.parametrize(
    "script",
    [scripts.truncated(b'{"a": 1', promised=50), scripts.truncated_chunks(b'{"a"', b": 1")],
    ids=["length", "chunks"],
)
async def test_an_answer_that_breaks_off_is_never_handed_on_as_whole(behind: Behind, script: Script) -> None:
    behind.up.answers("GET", ALLOWED, script=script)
    answer = await behind.call()
    assert (answer.status, answer.is_whole) == (200, False)
    outcome = await behind.outcome(answer.header("x-decision-id") or "")
    assert (outcome["status"], outcome["ended"]) == (200, "truncated")
    behind.up.answers("GET", ALLOWED, json={"a": 1})
    whole = await behind.call()
    assert whole.is_whole
    assert (await behind.outcome(whole.header("x-decision-id") or ""))["ended"] == "complete"


ENDS = ["token", "task", "delegation", "connection", "agent", "user", "organization"]


@pytest.mark.parametrize("what", ENDS)
async def test_a_revocation_cuts_an_open_stream_at_once(behind: Behind, what: str) -> None:
    """REV-02, for each node a call hangs on; the neighbour in the twin below goes on."""
    left = asyncio.Event()
    behind.up.answers("GET", ALLOWED, script=scripts.watched(left))
    node = await node_of(behind, what)
    async with behind.opened() as (reader, writer):
        writer.write(behind.head())
        await reader.readuntil(b"data: 1\n\n\r\n")
        report = await behind.house.alice.does("POST", "/v1/revocations", node=node)
        assert [hop["detail"] for hop in report["hops"] if hop["hop"] == "open calls"] == ["1 cut on this node."]
        assert await ended(reader) is False
        await left.wait()
    assert len(behind.house.app.streams) == 0


async def test_a_busy_stream_is_cut_as_surely_as_a_silent_one(behind: Behind) -> None:
    for _ in range(5):
        left = asyncio.Event()
        behind.up.answers("GET", ALLOWED, script=scripts.endless(left))
        task = await behind.house.task(behind.delegation)
        behind.token = await behind.agent.token(task["task_token"])
        async with behind.opened() as (reader, writer):
            writer.write(behind.head())
            head = await reader.readuntil(b"\r\n\r\n")
            drained = asyncio.create_task(drain(reader))
            await behind.house.alice.does("POST", "/v1/revocations", node=task["id"])
            assert await drained is False
            await left.wait()
        assert (await behind.outcome(decision_of(head)))["ended"] == "cut"


async def test_revoking_something_else_leaves_a_stream_alone(behind: Behind) -> None:
    gate = asyncio.Event()
    behind.up.answers("GET", ALLOWED, script=scripts.gated(b"first ", gate, b"rest"))
    other = await behind.house.task(behind.delegation)
    async with behind.opened() as (reader, writer):
        writer.write(behind.head())
        await reader.readuntil(b"first \r\n")
        await behind.house.alice.does("POST", "/v1/revocations", node=other["id"])
        gate.set()
        assert await ended(reader) is True


@pytest.mark.parametrize(("seconds", "what"), [(3600, "task"), (7200, "delegation")])
async def test_a_stream_ends_with_what_allowed_it(behind: Behind, seconds: int, what: str) -> None:
    """REV-02: a token bounds only the start of a stream; its task and delegation bound the stream."""
    left = asyncio.Event()
    behind.up.answers("GET", ALLOWED, script=scripts.watched(left))
    if what == "delegation":
        longer = await behind.house.task(behind.delegation, seconds=7200)
        behind.token = await behind.agent.token(longer["task_token"])
    async with behind.opened() as (reader, writer):
        writer.write(behind.head())
        await reader.readuntil(b"data: 1\n\n\r\n")
        behind.house.clock.advance(seconds - 1)
        assert behind.house.app.streams.sweep() == 0
        behind.house.clock.advance(1)
        behind.house.app.streams.sweep()
        assert await ended(reader) is False
        await left.wait()


async def test_a_call_cut_before_its_answer_began_is_refused_as_revoked(behind: Behind) -> None:
    gate = asyncio.Event()
    behind.up.answers("GET", ALLOWED, script=scripts.held(gate))
    async with behind.opened() as (reader, writer):
        writer.write(behind.head())
        await behind.up.saw(1)
        await behind.house.alice.does("POST", "/v1/revocations", node=behind.task["id"])
        answer = await read_reply(reader)
    gate.set()
    assert (answer.status, answer.code) == (403, "revoked")
    await behind.house.app.calls.settle()
    [outcome] = await behind.house.events("call.finished")
    assert outcome["ended"] == "cut"


async def node_of(behind: Behind, what: str) -> str:
    match what:
        case "task":
            return str(behind.task["id"])
        case "delegation":
            return str(behind.delegation["id"])
        case "agent":
            return behind.agent.id
        case "user":
            return behind.house.alice.id
        case "connection":
            return str((await behind.house.alice.does("GET", "/v1/connections"))["data"][0]["id"])
        case "organization":
            return str((await behind.house.alice.does("GET", "/v1/whoami"))["organization"]["id"])
    payload = behind.token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=="))["jti"])


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the chunked body came to its proper end; False when the connection broke off in it."""
    try:
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            if not (piece := await reader.read(1 << 20)):
                return False
            received += piece
        return True
    except ConnectionResetError:
        return False


async def drain(reader: asyncio.StreamReader) -> bool:
    """Read as fast as it comes; False when the connection broke off."""
    try:
        while await reader.read(1 << 20):
            pass
    except ConnectionResetError:
        return False
    return True


def decision_of(head: bytes) -> str:
    found = re.search(rb"x-decision-id: (\S+)", head)
    assert found is not None
    return found[1].decode()
