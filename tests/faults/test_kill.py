"""kill -9 at random moments under load (R1, AUD-02): nothing acknowledged is lost, nothing happened unrecorded.

Every token is used for one call whose query says which, so each request the upstream saw names the token, and the token
names its records. A kill strikes after a random time, or at the very moment a request reaches the upstream, or while
nothing can be committed: whatever got out must be durable already. `VALETKEY_TEST_KILLS` says how many, on both
databases together (`make crash`: 200); the seed is printed, and `VALETKEY_TEST_SEED` repeats it.
"""

import asyncio
import base64
import json
import os
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import tables
from tests.support.house import REAL, Robot, first_administrator
from tests.support.seen import Seen
from tests.support.serve_process import ServeProcess
from tests.support.upstream import Upstream, Wire, reply
from valetkey.server.audit.verify_files import verify_export

KILLS = int(os.environ.get("VALETKEY_TEST_KILLS", "20")) // 2  # of each database
SEED = int(os.environ.get("VALETKEY_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
WORKERS = 8
CAP = 40
READY_SECONDS = 5.0
"""What is promised of a restart on a machine that does nothing else: `make crash` prints it, no test is timed."""

BACKEND = {"id": 7, "name": "backend", "full_name": "acme-corp/backend", "owner": {"login": "acme-corp", "id": 2}}


@dataclass
class Story:
    """What the outside knows: tokens that were answered, calls that arrived, calls that were answered."""

    server: ServeProcess
    chance: random.Random
    tokens: set[str] = field(default_factory=set)
    arrived: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    by_marker: dict[int, str] = field(default_factory=dict)
    markers: int = 0
    kill_at_arrival: int = 0

    async def at_upstream(self, seen: Seen, wire: Wire) -> None:
        """The upstream's script: note who arrived, and maybe strike now."""
        marked = re.fullmatch(rb".*\?page=([0-9]+)", seen.target)
        assert marked is not None
        self.arrived.append(self.by_marker[int(marked[1])])
        if len(self.arrived) == self.kill_at_arrival:
            self.server.kill()
        await wire.say(reply(200, {"Content-Type": "application/json"}, b"[]"))

    async def work(self, agent: Robot, task_token: str) -> None:
        """Get a token, make one call, and again, until the server is gone or the calls are used up."""
        while True:
            try:
                got = await agent.exchange(task_token)
            except (OSError, asyncio.IncompleteReadError):
                return
            if got.status != 200 or not got.is_whole:
                return
            token = got.json()["access_token"]
            jti = _jti(token)
            self.tokens.add(jti)
            self.markers += 1
            marker = self.markers
            self.by_marker[marker] = jti
            try:
                done = await agent.house.gateway(token, "GET", f"/repos/acme-corp/backend/issues?page={marker}")
            except (OSError, asyncio.IncompleteReadError):
                return
            if done.status == 200:
                self.answered.add(jti)
            elif done.status != 429:
                return


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_nothing_is_lost_or_unrecorded_whenever_the_server_is_killed(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    print(f"seed {SEED}, {KILLS} kills on {database}")
    url = tables.postgresql(request.getfixturevalue("postgres")) if database == "postgresql" else None
    async with Upstream() as upstream:
        server = ServeProcess(tmp_path / "data", upstream.url, url)
        story = Story(server, random.Random(f"{SEED}{database}"))
        upstream.answers("GET", "/user", json={"login": "alice", "id": 1})
        upstream.answers("GET", "/repos/acme-corp/backend", json=BACKEND)
        upstream.answers("GET", "/repos/acme-corp/backend/issues", script=story.at_upstream)
        try:
            await _story(story, database, tmp_path)
        finally:
            server.kill()
            await server.gone()
    if url is not None:
        request.getfixturevalue("postgres").discard(url)


async def _story(story: Story, database: str, folder: Path) -> None:
    server, house = story.server, story.server.house
    restarts = [await server.start()]
    alice = house.alice = await first_administrator(house, server.announced["bootstrap"])
    agent = await house.agent("pr-reviewer-v2")
    await alice.does("POST", "/v1/connections", integration="github", credential=REAL)
    for number in range(KILLS):
        await alice.sign_in()
        delegation = await house.delegate(agent, max_calls=CAP if number % 2 else 100_000)
        task = await house.task(delegation)
        story.kill_at_arrival = len(story.arrived) + story.chance.randrange(1, CAP) if number % 3 else 0
        load = [asyncio.create_task(story.work(agent, task["task_token"])) for _ in range(WORKERS)]
        await asyncio.wait(load, timeout=story.chance.uniform(0.02, 0.5))
        if number % 4 == 2:  # the disk stalls just before the end: what waits for it must not have begun
            async with server.nothing_commits():
                await asyncio.wait(load, timeout=story.chance.uniform(0.1, 0.4))
                server.kill()
                await server.gone()
        server.kill()
        await server.gone()
        await asyncio.gather(*load)
        await _nothing_is_missing(story)
        restarts.append(await server.start())
        await _everything_is_closed(story, folder)
    print(
        f"{database}: {KILLS} kills, {len(story.tokens)} credentials, {len(story.arrived)} calls upstream, "
        f"ready after {max(restarts):.2f} s at most (promised {READY_SECONDS:.0f}), "
        f"{sum(restarts) / len(restarts):.2f} s on average"
    )
    assert story.arrived


async def _records(server: ServeProcess) -> list[dict[str, Any]]:
    return [json.loads(row[0]) for row in await server.rows("SELECT body FROM audit_records ORDER BY writer, seq")]


async def _nothing_is_missing(story: Story) -> None:
    """As it lies there, before anything could repair it."""
    found = await _records(story.server)
    issued = {r["token"] for r in found if r["event"] == "token.issued"}
    allowed = Counter(r["token"] for r in found if r["event"] == "call.allowed")
    assert story.tokens <= issued, "a credential was answered that the audit does not know"
    assert set(story.arrived) <= set(allowed), "a call reached the upstream without a durable decision"
    assert story.answered <= set(allowed)
    assert max(allowed.values(), default=1) == 1 >= max(Counter(story.arrived).values(), default=1)
    counters = await story.server.rows("SELECT task, spent FROM budgets WHERE measure = 'calls'")
    calls = Counter(r["task"] for r in found if r["event"] == "call.allowed")
    assert all(spent <= 100_000 for _, spent in counters)
    assert {task: spent for task, spent in counters if spent} == dict(calls), "counted is not what was recorded"


async def _everything_is_closed(story: Story, folder: Path) -> None:
    """After the restart: every decision has one outcome, and the trail verifies with the pinned key."""
    checkpoints, written = folder / "checkpoints-copy.ndjson", story.server.data / "checkpoints-w1.ndjson"
    async with asyncio.timeout(20):
        while not written.exists():  # noqa: ASYNC110 - the first one follows the first record by a second
            await asyncio.sleep(0.02)
    checkpoints.write_bytes(written.read_bytes())
    bodies = [row[0] for row in await story.server.rows("SELECT body FROM audit_records ORDER BY writer, seq")]
    export = folder / "export.ndjson"
    export.write_bytes(b"".join(body + b"\n" for body in bodies))
    report = verify_export(export, checkpoints, [story.server.announced["pin"]])
    assert report.ok, report.first_bad
    found = [json.loads(body) for body in bodies]
    outcomes = Counter(r["decision"] for r in found if r["event"] in ("call.finished", "call.unknown"))
    allowed = {r["id"] for r in found if r["event"] == "call.allowed"}
    assert set(outcomes) == allowed
    assert set(outcomes.values()) <= {1}


def _jti(token: str) -> str:
    payload = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"])
