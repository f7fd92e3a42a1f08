"""Who opens a WebSocket through the gateway: places, rooms, credentials the API no longer takes, and node's client."""

import asyncio
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response

from tests.support import node
from tests.support.hostile_provider import install
from tests.support.nodes import pause
from tests.support.refreshable import begin, describe, replace_credential
from tests.support.spoken import KEY, open_spoken
from tests.support.upstream import Upstream


async def test_who_has_no_place_opens_nothing_until_one_is_free(tmp_path: Path) -> None:
    async with open_spoken(tmp_path, gateway_calls_per_person=1) as spoken:
        async with spoken.opened() as client:
            await client.send("hello")
            await client.recv()
            with pytest.raises(InvalidStatus) as refused:
                async with spoken.opened():
                    pass
            assert refused.value.response.status_code == 429
            assert b"1 calls of yours are under way" in refused.value.response.body
            assert len(spoken.heard) == 1
        assert len(await spoken.outcomes()) == 1
        async with spoken.opened():
            assert len(spoken.heard) == 2


async def test_the_room_that_was_named_is_opened_and_no_other(tmp_path: Path, database_url: str | None) -> None:
    async with open_spoken(tmp_path, database_url=database_url, grants=("feed:rooms:read@one",)) as spoken:
        async with spoken.opened("/rooms/one/live") as client:
            await client.send("hello")
            assert await client.recv() == "hello"
        for path in ("/rooms/two/live", "/live"):
            with pytest.raises(InvalidStatus) as refused:
                async with spoken.opened(path):
                    pass
            assert refused.value.response.status_code == 403
        assert [api.request.path for api in spoken.heard if api.request is not None] == ["/v2/rooms/one/live"]


class Taking:
    """An API that answers 401 to every key but one."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.shown: list[str] = []

    def answers(self, connection: ServerConnection, request: Request) -> Response | None:
        self.shown.append(request.headers["x-api-key"])
        return None if self.shown[-1] == self.key else connection.respond(HTTPStatus.UNAUTHORIZED, "no")


async def test_after_a_401_the_handshake_is_sent_once_more_with_a_fresh_credential(
    tmp_path: Path, database_url: str | None
) -> None:
    up = Upstream()
    async with up:
        provider, place = install(up), up.url.removeprefix("http://")
        taking = Taking("acc-a-1")
        async with open_spoken(tmp_path, database_url=database_url, answers=taking.answers, local=(place,)) as spoken:
            app = spoken.house.app
            await pause(app)
            describe(app, provider.oauth(), "feed")
            [connection] = [c["id"] for c in (await spoken.house.alice.does("GET", "/v1/connections"))["data"]]
            access, refresh = provider.give("a")
            await replace_credential(app, connection, access)
            await begin(app, provider, connection, refresh=refresh)
            async with spoken.opened():
                pass
            spoken.house.clock.advance(61)  # it has lived a while
            taking.key = "acc-a-2"  # the API has ended the first one
            async with spoken.opened() as client:
                await client.send("acc-a-2")
                assert await client.recv() == "[valetkey:redacted]"
            assert taking.shown == ["acc-a-1", "acc-a-1", "acc-a-2"]
            assert provider.calls["a"] == 1
            taking.key = "acc-a-lost"  # and now it takes nothing any more: the fresh one is not renewed at once
            with pytest.raises(InvalidStatus) as refused:
                async with spoken.opened():
                    pass
            assert refused.value.response.status_code == 403
            assert b"connection_required" in refused.value.response.body
            assert taking.shown[3:] == ["acc-a-2"]
            assert provider.calls["a"] == 1
            last = (await spoken.outcomes())[-1]
            assert (last["status"], last["ended"]) == (401, "connection_required")


async def test_a_key_that_nobody_can_renew_is_shown_once(tmp_path: Path) -> None:
    taking = Taking("another")
    async with open_spoken(tmp_path, answers=taking.answers) as spoken:
        with pytest.raises(InvalidStatus) as refused:
            async with spoken.opened():
                pass
        assert refused.value.response.status_code == 403
        assert b"connection_required" in refused.value.response.body
        assert taking.shown == [KEY]


@pytest.mark.skipif(node.missing_node() is not None, reason=str(node.missing_node()))
@pytest.mark.parametrize(("path", "said"), [("/live", "opened\n"), ("/list", "refused"), ("/other", "refused")])
async def test_nodes_own_client_opens_what_was_granted_and_nothing_else(tmp_path: Path, path: str, said: str) -> None:
    async with open_spoken(tmp_path) as spoken:
        command = (str(node.NODE), str(node.STORIES / "websocket_story.mjs"), spoken.address + path)
        process = await asyncio.create_subprocess_exec(
            *command, env={"VALETKEY_FEED_TOKEN": spoken.token}, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            told, _ = await process.communicate()
        assert told.decode().startswith(said)
        assert len(spoken.heard) == (path == "/live")
