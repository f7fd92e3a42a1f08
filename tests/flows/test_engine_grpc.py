"""Envoy asks by gRPC: the same judgement and record as at the HTTP door; by a gRPC client, and by the real Envoy."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.flows.test_engines import ISSUES, Asked, asked, header
from tests.support import envoy
from tests.support.check import asks, check, door
from tests.support.house import REAL
from tests.support.http import call
from tests.support.upstream import Upstream


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Asked]:
    async with asked(tmp_path / "data", database_url) as found:
        yield found


async def test_an_allowed_call_is_given_the_credential_and_its_record(at: Asked) -> None:
    sent = [("authorization", f"Bearer {at.token}"), ("cookie", "a=b"), ("x_api_key", "k"), ("accept", "*/*")]
    async with door(at) as place:
        told = await check(place, asks("GET", f"{ISSUES}?state=open", sent), at.engine["secret"])
    assert told.code == 0
    assert told.headers["authorization"] == f"Bearer {REAL}"
    assert "agent pr-reviewer-v2" in told.headers["user-agent"]
    assert told.removed == ["cookie", "x_api_key"]
    (allowed,) = await at.house.events("call.allowed")
    assert told.to_client == {"x-decision-id": allowed["id"]}
    await at.house.app.calls.settle()
    assert {r["ended"] for r in await at.house.events("call.finished")} == {"unobserved"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", ISSUES, 403),
        ("GET", "/repos/acme-corp/payroll/issues", 403),
        ("GET", "/repos/acme-corp/backend/../payroll/issues", 400),
        ("GET", "/repos/acme-corp/%62ackend/issues", 400),
        ("GET", f"{ISSUES}?", 400),
        ("GET", f"http://evil.example{ISSUES}", 400),
        ("get", ISSUES, 400),
    ],
)
async def test_whatever_else_gets_no_credential(at: Asked, method: str, path: str, status: int) -> None:
    async with door(at) as place:
        told = await check(place, asks(method, path, [("authorization", f"Bearer {at.token}")]), at.engine["secret"])
    assert (told.code != 0, told.status) == (True, status)
    assert REAL not in str(told)


async def test_a_revoked_task_is_refused_at_the_very_next_question(at: Asked) -> None:
    question = asks("GET", ISSUES, [("authorization", f"Bearer {at.token}")])
    async with door(at) as place:
        assert (await check(place, question, at.engine["secret"])).code == 0
        await at.house.alice.does("POST", "/v1/revocations", node=at.task["id"])
        told = await check(place, question, at.engine["secret"])
    assert (told.code, told.status) == (7, 403)
    assert REAL not in str(told)


async def test_a_sealed_server_lets_nothing_pass(at: Asked) -> None:
    question = asks("GET", ISSUES, [("authorization", f"Bearer {at.token}")])
    async with door(at) as place:
        assert (await check(place, question, at.engine["secret"])).code == 0
        at.house.app.still.sealed.set()
        told = await check(place, question, at.engine["secret"])
        at.house.app.still.sealed.clear()
    assert (told.code, told.status) == (14, 503)


async def test_the_real_envoy_asks_by_grpc_and_carries_the_bytes(tmp_path: Path) -> None:
    if (why := envoy.missing()) is not None:
        pytest.skip(why)
    async with Upstream() as upstream:
        repository = {"id": 1, "full_name": "acme-corp/backend", "owner": {"id": 2, "login": "acme-corp"}}
        for path in ("/repos/acme-corp/backend", "/repositories/1"):
            upstream.answers("GET", path, json=repository)
        upstream.answers("GET", "/user", json={"login": "alice", "id": 3})
        upstream.answers("GET", ISSUES, json=[{"title": "one"}], headers={"set-cookie": "a=b"})
        async with asked(tmp_path / "data", upstream=upstream.url) as at, door(at) as place:
            running = envoy.running(
                decisions=f"http://{place}",
                upstream=upstream.url,
                secret=at.engine["secret"],
                configuration=envoy.BY_GRPC,
            )
            with running as front:
                bearer = {"authorization": f"Bearer {at.token}", "cookie": "a=b", "x-valetkey-engine": "mine"}
                sent = bearer | {"x-session-token": "t", "accept": "application/json"}
                seen = await call(front, "GET", f"{ISSUES}?state=open", headers=sent)
                assert (seen.status, seen.json()) == (200, [{"title": "one"}])
                assert header(seen, "x-decision-id") in [r["id"] for r in await at.house.events("call.allowed")]
                assert header(seen, "set-cookie") == ""
                arrived = upstream.seen[-1]
                assert arrived.target == f"{ISSUES}?state=open".encode()
                assert [v for k, v in arrived.headers if k.lower() == b"authorization"] == [f"Bearer {REAL}".encode()]
                values = {name.lower(): value for name, value in arrived.headers}
                assert b"agent pr-reviewer-v2" in values[b"user-agent"]
                assert values[b"accept"] == b"application/json"
                assert not {b"cookie", b"x-forwarded-for", b"x-valetkey-engine", b"x-session-token"} & values.keys()
                count = len(upstream.seen)
                for method, path in [
                    ("POST", ISSUES),
                    ("GET", "/repos/acme-corp/payroll/issues"),
                    ("GET", "/repos/acme-corp//backend/issues"),
                    ("GET", "/repos/acme-corp/x/../backend/issues"),
                    ("GET", "/repos/acme-corp/%62ackend/issues"),
                    ("GET", "/repos/acme-corp/backend\xff/issues"),
                ]:
                    refused = await call(front, method, path, headers=bearer)
                    assert 400 <= refused.status < 500, (path, refused.status)
                    assert REAL not in str(refused.headers) + refused.body.decode()
                twice = [*bearer.items(), ("authorization", f"Bearer {at.token}")]
                assert (await call(front, "GET", ISSUES, headers=twice)).status == 400
                assert (await call(front, "GET", ISSUES)).status == 401
                # What arrived since are our own questions about names, none of these calls.
                assert not [s for s in upstream.seen[count:] if s.method != "GET" or s.target.endswith(b"/issues")]
                await at.house.alice.does("POST", "/v1/revocations", node=at.delegation["id"])
                assert (await call(front, "GET", ISSUES, headers=bearer)).status == 403
                await at.house.alice.does("POST", "/v1/revocations", node=at.engine["id"])
                assert (await call(front, "GET", ISSUES, headers=bearer)).status == 403
