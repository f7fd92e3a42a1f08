"""WebSockets of a command under `valetkey run`, at the API's own address, by clients that know a proxy and a token."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import node
from tests.support.served import BIN
from tests.support.served_feed import Feed, served_feed
from tests.support.spoken import KEY

LIVE = "wss://feed.acme.example/v2/live"
RUN = ("run", "--agent", "follower")

PYTHON = """
import os, sys
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

shown = {"authorization": "Bearer " + os.environ["VALETKEY_FEED_TOKEN"]}
try:
    with connect(sys.argv[1], additional_headers=shown, max_size=None, origin=os.environ.get("ORIGIN")) as opened:
        for said in ("hello", bytes(range(256)), "", "ü" * 500_000):
            opened.send(said)
            assert opened.recv() == said
        assert opened.ping().wait(20)
        print("opened", flush=True)
        if len(sys.argv) > 2:
            opened.recv()
except InvalidStatus as refused:
    print(refused.response.status_code, refused.response.body.decode())
    sys.exit(1)
except ConnectionClosed as closed:
    print(closed.rcvd.code, closed.rcvd.reason)
    sys.exit(2)
"""
WITHOUT_NODE = pytest.mark.skipif(node.missing_node() is not None, reason=str(node.missing_node()))
CLIENTS = {
    "python": (sys.executable, "-c", PYTHON),
    "node": (str(node.NODE), str(node.STORIES / "websocket_story.mjs")),
}
every = pytest.mark.parametrize("client", ["python", pytest.param("node", marks=WITHOUT_NODE)])


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    with served_feed(tmp_path_factory.mktemp("feed")) as opened:
        yield opened


def run(
    feed: Feed, client: str, address: str, grant: str = "feed:live:read@*", **environ: str
) -> "subprocess.CompletedProcess[str]":
    return feed.server.valetkey(*RUN, "--grant", grant, "--", *CLIENTS[client], address, **environ)


def records(feed: Feed, event: str) -> list[Any]:
    lines = feed.server.valetkey("audit", "tail", "--json").stdout.splitlines()
    return [record for record in map(json.loads, lines) if record["event"] == event]


@every
def test_a_websocket_is_opened_as_the_agent_and_closed_as_the_client_does(feed: Feed, client: str) -> None:
    since = len(feed.heard)
    done = run(feed, client, LIVE + "?since=5")
    assert (done.returncode, done.stdout) == (0, "opened\n"), done.stdout + done.stderr
    assert feed.closed.get(timeout=20) == 1000
    [heard] = feed.heard[since:]
    assert heard.path == "/v2/live?since=5"
    assert heard.headers.get_all("x-api-key") == [KEY]
    assert "vkrun-" not in str(heard.headers)
    assert "eyJ" not in str(heard.headers)
    finished = records(feed, "call.finished")[-1]
    assert (finished["status"], finished["ended"]) == (101, "complete")


@every
@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("wss://feed.acme.example/v2/list", "400", "upgrades are not offered"),
        ("wss://feed.acme.example/v2/other", "403", '"code":"denied"'),
        ("wss://feed.acme.example/v2/rooms/two/live", "403", '"code":"denied"'),
    ],
    ids=["not opted in", "not granted", "another room"],
)
def test_nothing_else_is_opened(feed: Feed, client: str, address: str, status: str, said: str) -> None:
    since = len(feed.heard)
    done = run(feed, client, address, "feed:live:read@*" if "rooms" not in address else "feed:rooms:read@one")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith(status if client == "python" else "refused")
    assert said in done.stdout or client == "node"  # which tells nobody why
    assert feed.heard[since:] == []


@every
def test_the_room_that_was_granted_is(feed: Feed, client: str) -> None:
    since = len(feed.heard)
    done = run(feed, client, "wss://feed.acme.example/v2/rooms/one/live", "feed:rooms:read@one")
    assert (done.returncode, done.stdout) == (0, "opened\n"), done.stdout + done.stderr
    assert [heard.path for heard in feed.heard[since:]] == ["/v2/rooms/one/live"]
    assert feed.closed.get(timeout=20) == 1000


def test_at_the_base_url_of_the_run_too(feed: Feed) -> None:
    script = 'exec "$0" -c "$1" "$(echo "$VALETKEY_FEED_URL" | sed s/^http/ws/)/live"'
    done = feed.server.valetkey(
        *RUN, "--grant", "feed:live:read@*", "--", "sh", "-c", script, sys.executable, PYTHON
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "opened\n"), done.stdout + done.stderr
    assert feed.closed.get(timeout=20) == 1000


@pytest.mark.parametrize("origin", ["https://feed.acme.example", "https://evil.example", "null"])
def test_a_page_of_another_place_opens_nothing(feed: Feed, origin: str) -> None:
    since = len(feed.heard)
    done = run(feed, "python", LIVE, ORIGIN=origin)
    is_own = origin == "https://feed.acme.example"
    assert done.stdout.startswith("opened" if is_own else "400"), done.stdout + done.stderr
    assert len(feed.heard[since:]) == is_own
    if is_own:
        assert "origin" not in feed.heard[-1].headers
        assert feed.closed.get(timeout=20) == 1000


def test_what_is_revoked_is_closed_at_both_ends(feed: Feed) -> None:
    command = [f"{BIN}/valetkey", *RUN, "--grant", "feed:live:read@*", "--", *CLIENTS["python"], LIVE, "stay"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=feed.server.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "opened\n"
        task = records(feed, "task.opened")[-1]["task"]
        feed.server.answer("revoke", task)
        assert process.stdout.read() == "1008 This was revoked or has ended.\n"
    assert process.returncode == 2
    assert feed.closed.get(timeout=20) == 1008


def test_a_task_that_is_over_opens_nothing(feed: Feed) -> None:
    delegation = feed.server.answer("delegate", "--agent", "follower", "--grant", "feed:live:read@*", "--purpose", "x")
    task = feed.server.answer("task", "open", delegation["id"])
    since = len(feed.heard)
    with_token = ("run", "--task-token-stdin", "--for", "feed", "--", *CLIENTS["python"], LIVE)
    assert feed.server.valetkey(*with_token, stdin=task["task_token"]).stdout == "opened\n"
    assert feed.closed.get(timeout=20) == 1000
    again = feed.server.valetkey(*with_token, stdin=task["task_token"])  # it ended with the run
    assert again.returncode == 1, again.stdout + again.stderr
    assert "opened" not in again.stdout
    assert len(feed.heard[since:]) == 1
