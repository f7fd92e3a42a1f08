"""Asking the gRPC decision door without being an engine, in two readings, or by what is no question."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.flows.test_engines import ISSUES, Asked, asked
from tests.support.check import asks, check, door, raw
from tests.support.house import REAL
from valetkey.server.gateway.engine_grpc import MAX_QUESTION_BYTES
from valetkey.server.gateway.protobuf import write
from valetkey.server.ids import new_handle


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Asked]:
    async with asked(tmp_path / "data", database_url) as found:
        yield found


async def test_whoever_is_no_engine_finds_no_method(at: Asked) -> None:
    question = asks("GET", ISSUES, [("authorization", f"Bearer {at.token}")])
    secret = at.engine["secret"]
    async with door(at) as place:
        with pytest.raises(grpc.aio.AioRpcError) as nothing:
            await check(place, question, secret, method="/envoy.service.auth.v3.Authorization/Nothing")
        for shown in ((), ("",), ("x",), (new_handle("en").reveal(),), (at.agent.secret,), (secret, secret)):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await check(place, question, *shown)
            same = (refused.value.code(), refused.value.details())
            assert same == (nothing.value.code(), nothing.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, same[1])
        assert await at.house.events("call.allowed", "call.denied") == []
        assert (await check(place, question, secret)).code == 0


async def test_a_revoked_engine_finds_no_method_any_more(at: Asked) -> None:
    question = asks("GET", ISSUES, [("authorization", f"Bearer {at.token}")])
    async with door(at) as place:
        assert (await check(place, question, at.engine["secret"])).code == 0
        await at.house.alice.does("POST", "/v1/revocations", node=at.engine["id"])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await check(place, question, at.engine["secret"])
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_question_in_two_readings_is_refused(at: Asked) -> None:
    bearer = [("authorization", f"Bearer {at.token}")]
    named = asks("GET", ISSUES, bearer)
    elsewhere = named.replace(b"backend", b"payroll", 1)  # the path, and not the raw header
    joined = write(3, write(1, "authorization") + write(2, f"Bearer {at.token}"))  # the map that joins by commas
    questions = {
        "another path": elsewhere,
        "two raw paths": asks("GET", ISSUES, [*bearer, (":path", "/user")]),
        "joined headers": asks("GET", ISSUES, bearer, more=joined),
        "a query apart": asks("GET", ISSUES, bearer, more=write(7, "state=all")),
        "a path twice": asks("GET", ISSUES, bearer, more=write(4, ISSUES)),
        "a path that is no text": asks("GET", ISSUES.replace("backend", "\xff"), bearer),
        "two credentials": asks("GET", ISSUES, [*bearer, *bearer]),
    }
    async with door(at) as place:
        for what, question in questions.items():
            told = await check(place, question, at.engine["secret"])
            assert (told.code, told.status) == (3, 400), what
            assert REAL not in str(told)
        assert (await check(place, named, at.engine["secret"])).code == 0


@pytest.mark.parametrize("data", [b"", b"\x0a", b"\x0b\x0c", b"\xff" * 11, write(1, b"\x22\xff"), write(1, 5)])
async def test_what_is_no_question_is_refused(at: Asked, data: bytes) -> None:
    async with door(at) as place:
        told = await check(place, data, at.engine["secret"])
    assert (told.code, told.status) == (3, 400)


async def test_a_question_larger_than_any_head_is_not_read(at: Asked) -> None:
    async with door(at) as place:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await raw(place, asks("GET", ISSUES, [("x", "y" * MAX_QUESTION_BYTES)]), at.engine["secret"])
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await at.house.events("call.allowed") == []
