"""WebSockets through the gateway with a stock client: opened where an operation opts in, scrubbed, counted and cut."""

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.holder import Prover
from tests.support.house import EXCHANGE, JWT
from tests.support.http import call
from tests.support.spoken import AUDIENCE, KEY, open_spoken
from valetkey.server.listen import Listener


async def test_what_is_said_comes_back_and_the_api_saw_the_credential(tmp_path: Path, database_url: str | None) -> None:
    async with open_spoken(tmp_path, database_url=database_url) as spoken:
        async with spoken.opened("/live?since=5") as client:
            for said in ("hello", b"\x00\xff", "", "ü" * 100_000):
                await client.send(said)
                assert await client.recv() == said
            await client.send(["in ", "pieces ", "ü"])
            assert await client.recv() == "in pieces ü"
            assert await (await client.ping())
            decision = client.response.headers["x-decision-id"]  # type: ignore[union-attr]
        await spoken.gone.wait()
        [api] = spoken.heard
        assert api.request is not None
        assert api.request.path == "/v2/live?since=5"
        assert api.request.headers.get_all("x-api-key") == [KEY]
        assert spoken.token not in str(api.request.headers)
        assert "sec-websocket-extensions" not in api.request.headers
        assert spoken.closed == [(1000, "")]
        [allowed] = [r for r in await spoken.house.events("call.allowed") if r["operation"] == "live/follow"]
        [finished] = [r for r in await spoken.outcomes() if r["decision"] == decision]
        assert allowed["id"] == decision
        assert (finished["status"], finished["ended"]) == (101, "complete")
        assert finished["bytes"] == finished["sent"] == 5 + 2 + 200_000 + 12


@pytest.mark.parametrize(
    ("path", "status"), [("/list", 400), ("/nowhere", 400), ("/other", 403)], ids=["plain", "unknown", "not delegated"]
)
async def test_nothing_else_is_opened(tmp_path: Path, path: str, status: int) -> None:
    async with open_spoken(tmp_path) as spoken:
        with pytest.raises(InvalidStatus) as refused:
            async with spoken.opened(path):
                pass
        assert refused.value.response.status_code == status
        assert spoken.heard == []


async def test_a_credential_that_is_none_opens_nothing(tmp_path: Path) -> None:
    async with open_spoken(tmp_path) as spoken:
        with pytest.raises(InvalidStatus) as refused:
            async with spoken.opened(token=spoken.token[:-6] + "AAAAAA"):
                pass
        assert refused.value.response.status_code == 401
        await spoken.house.alice.does("POST", "/v1/revocations", node=spoken.task["id"])
        with pytest.raises(InvalidStatus) as refused:
            async with spoken.opened():
                pass
        assert refused.value.response.status_code == 403
        assert spoken.heard == []


@pytest.mark.parametrize("what", ["task", "delegation"])
async def test_a_revocation_cuts_both_sides_at_once(tmp_path: Path, database_url: str | None, what: str) -> None:
    async with open_spoken(tmp_path, database_url=database_url) as spoken, spoken.opened() as client:
        await client.send("still here")
        assert await client.recv() == "still here"
        node = (spoken.task if what == "task" else spoken.delegation)["id"]
        report = await spoken.house.alice.does("POST", "/v1/revocations", node=node)
        assert [hop["detail"] for hop in report["hops"] if hop["hop"] == "open calls"] == ["1 cut on this node."]
        assert await spoken.ended(client) == (1008, "This was revoked or has ended.")
        await spoken.gone.wait()
        assert spoken.closed == [(1008, "This was revoked or has ended.")]
        [finished] = await spoken.outcomes()
        assert finished["ended"] == "cut"


async def test_the_end_of_the_task_cuts_and_another_revocation_does_not(tmp_path: Path) -> None:
    async with open_spoken(tmp_path) as spoken, spoken.opened() as client:
        other = await spoken.house.task(spoken.delegation)
        await spoken.house.alice.does("POST", "/v1/revocations", node=other["id"])
        await client.send("still here")
        assert await client.recv() == "still here"
        spoken.house.clock.advance(3601)
        spoken.house.app.streams.sweep()
        assert (await spoken.ended(client))[0] == 1008


@pytest.mark.parametrize("cut_at", [1, 9, 20, 35])
async def test_the_credential_never_comes_down_in_one_message_or_two(tmp_path: Path, cut_at: int) -> None:
    async def tells(connection: ServerConnection) -> None:
        await connection.send(f"<{KEY}>")
        await connection.send([f"<{KEY[:cut_at]}", f"{KEY[cut_at:]}>"])
        await connection.send(b"\xff" + KEY.encode() + b"\xff")
        await connection.send("<" + KEY[:cut_at])
        await connection.send(KEY[cut_at:] + ">")
        await connection.close(1000, "of " + KEY)

    async with open_spoken(tmp_path, tells) as spoken, spoken.opened() as client:
        whole = [message async for message in client]
        mark = "[valetkey:redacted]"
        assert whole[:3] == [f"<{mark}>", f"<{mark}>", b"\xff" + mark.encode() + b"\xff"]
        text = "".join(map(str, whole[3:]))
        assert KEY not in text
        assert KEY[8:] not in text
        assert await spoken.ended(client) == (1000, f"of {mark}")


@pytest.mark.parametrize("cut_at", [1, 7, 8, 35])
async def test_at_most_its_first_seven_bytes_pass_at_the_end_of_a_message(tmp_path: Path, cut_at: int) -> None:
    async def tells(connection: ServerConnection) -> None:
        await connection.send("<" + KEY[:cut_at])
        await connection.send(KEY[cut_at:] + ">")
        await connection.close()

    async with open_spoken(tmp_path, tells) as spoken, spoken.opened() as client:
        mark = "[valetkey:redacted]"
        begun = "<" + (KEY[:cut_at] if cut_at < 8 else mark)
        assert [message async for message in client] == [begun, f"{mark}>"]


async def test_an_answer_of_a_person_cannot_be_waited_for(tmp_path: Path) -> None:
    async with open_spoken(tmp_path, grants=("feed:other:read@*",), delegated={"ask": ["feed:live:read@*"]}) as spoken:
        with pytest.raises(InvalidStatus) as refused:
            async with spoken.opened():
                pass
        assert refused.value.response.status_code == 403
        assert b"websocket_cannot_wait" in refused.value.response.body
        assert spoken.heard == []


async def test_too_long_a_message_and_text_that_is_none_end_it(tmp_path: Path) -> None:
    async with open_spoken(tmp_path) as spoken:
        async with spoken.opened() as client:
            await client.send(b"x" * ((1 << 20) + 1))
            assert (await spoken.ended(client))[0] == 1009
        async with spoken.opened() as client:
            await client.send(b"\xff\xfe", text=True)
            assert (await spoken.ended(client))[0] == 1007
        async with spoken.opened(max_size=None) as client:
            await client.send(b"x" * (1 << 20))
            assert len(await client.recv()) == 1 << 20


async def test_the_server_stops_and_says_so(tmp_path: Path) -> None:
    async with open_spoken(tmp_path) as spoken:
        client = await spoken.opened()
        await client.send("hello")
        assert await client.recv() == "hello"
    assert await spoken.ended(client) == (1001, "The server is stopping. Connect again.")
    assert spoken.closed == [(1001, "The server is stopping. Connect again.")]


async def test_an_api_that_goes_away_or_will_not_is_told_of(tmp_path: Path) -> None:
    async def leaves(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with open_spoken(tmp_path, leaves) as spoken, spoken.opened() as client:
        assert (await spoken.ended(client))[0] == 1001
        [finished] = await spoken.outcomes()
        assert finished["ended"] == "interrupted"


async def test_a_subprotocol_is_the_one_both_named(tmp_path: Path) -> None:
    async with (
        open_spoken(tmp_path, subprotocols=["graphql-ws"]) as spoken,
        spoken.opened(subprotocols=["other", "graphql-ws"]) as client,
    ):
        assert client.subprotocol == "graphql-ws"


async def test_a_limit_of_bytes_ends_it(tmp_path: Path, database_url: str | None) -> None:
    limits = {"delegated": {"max_bytes": 1000}}
    async with open_spoken(tmp_path, database_url=database_url, **limits) as spoken:  # type: ignore[arg-type]
        async with spoken.opened() as client:
            await client.send("x" * 300)
            assert await client.recv() == "x" * 300
            await client.send("x" * 500)
            assert (await spoken.ended(client))[0] == 1008
        [finished] = await spoken.outcomes()
        assert finished["ended"] == "over_budget"


async def test_a_slow_reader_holds_the_api_back(tmp_path: Path) -> None:
    said = 0

    async def floods(connection: ServerConnection) -> None:
        nonlocal said
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.send(b"x" * 65_536)
                said += 65_536

    async with open_spoken(tmp_path, floods) as spoken:
        client = await spoken.opened(max_queue=1)
        before = -1
        while before != said:
            before = said
            for _ in range(200):
                await asyncio.wait({asyncio.ensure_future(spoken.gone.wait())}, timeout=0.001)
        assert said < 32 << 20
        await spoken.house.alice.does("POST", "/v1/revocations", node=spoken.task["id"])
        async with asyncio.timeout(20):
            await spoken.gone.wait()
        client.transport.abort()


async def test_not_even_the_most_talkative_log_says_what_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("websockets.client", "websockets.server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the test's own client and API
    seen = logging.getLogger("websockets")
    assert seen.isEnabledFor(logging.DEBUG)
    async with open_spoken(tmp_path) as spoken, spoken.opened() as client:
        await client.send("unspeakable")
        assert await client.recv() == "unspeakable"
    assert "unspeakable" not in caplog.text
    assert KEY not in caplog.text


async def test_an_engine_is_told_to_use_the_gateway(tmp_path: Path) -> None:
    async with open_spoken(tmp_path) as spoken:
        made = {"name": "edge", "integration": "feed", "address": "https://feed.acme.com"}
        engine = await spoken.house.alice.does("POST", "/v1/engines", **made)
        async with Listener(spoken.house.app.decisions, host="127.0.0.1", port=0) as door:
            for path, told in (("/live", "websocket_needs_the_gateway"), ("/list", "")):
                headers = {
                    "authorization": f"Bearer {spoken.token}",
                    "x-valetkey-engine": engine["secret"],
                    "x-forwarded-method": "GET",
                    "x-forwarded-uri": path,
                }
                reply = await call(f"http://127.0.0.1:{door.port}", "GET", "/forward-auth", headers=headers)
                assert (reply.status, told.encode() in reply.body) == (403 if told else 200, True)
        assert [r["reason"] for r in await spoken.house.events("call.denied")] == ["websocket_needs_the_gateway"]


async def test_a_bound_credential_opens_with_its_proof_alone_and_once(tmp_path: Path, database_url: str | None) -> None:
    async with open_spoken(tmp_path, database_url=database_url) as spoken:
        prover = Prover(spoken.house)
        form = {
            "grant_type": EXCHANGE,
            "subject_token": spoken.task["task_token"],
            "subject_token_type": JWT,
            "resource": AUDIENCE,
        }
        token = (await prover.asks(spoken.agent.basic, form)).json()["access_token"]
        address = spoken.house.settings.gateway + "/p/feed/live"
        proof = prover.holder.proof("GET", address, now=spoken.house.clock.now(), token=token)
        shown = {"authorization": f"DPoP {token}", "dpop": proof}
        async with spoken.opened(headers=shown) as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        elsewhere = prover.holder.proof("GET", address + "r", now=spoken.house.clock.now(), token=token)
        for headers in (shown, {"authorization": f"DPoP {token}"}, {**shown, "dpop": elsewhere}):
            with pytest.raises(InvalidStatus) as refused:
                async with spoken.opened(headers=headers):
                    pass
            assert refused.value.response.status_code == 401
        assert len(spoken.heard) == 1


async def test_an_api_that_is_not_there_is_not_asked_for_ever(tmp_path: Path) -> None:
    async with open_spoken(tmp_path) as spoken:
        spoken.server.close()
        await spoken.server.wait_closed()
        for _ in range(6):
            with pytest.raises(InvalidStatus) as refused:
                async with spoken.opened():
                    pass
            assert refused.value.response.status_code == 502
        assert [r["ended"] for r in await spoken.outcomes()] == ["upstream_failed"] * 5 + ["not_sent"]


async def test_a_handshake_that_is_refused_there_is_a_failure_here(tmp_path: Path) -> None:
    async with open_spoken(tmp_path, subprotocols=["only-this"]) as spoken:
        with pytest.raises(InvalidStatus) as refused:
            async with spoken.opened():
                pass
        assert refused.value.response.status_code == 502
        assert b"400 instead of opening" in bytes(refused.value.response.body), bytes(
            refused.value.response.body
        ).decode()
        [finished] = await spoken.outcomes()
        assert (finished["status"], finished["ended"]) == (400, "upstream_failed")


async def test_a_place_is_held_while_it_is_open_and_no_longer(tmp_path: Path) -> None:
    async with open_spoken(tmp_path) as spoken:
        assert len(spoken.house.app.streams) == 0
        async with spoken.opened() as client:
            await client.send("hello")
            await client.recv()
            assert len(spoken.house.app.streams) == 1
        await spoken.outcomes()
        assert len(spoken.house.app.streams) == 0
