"""The tests' own PostgreSQL: one for all workers of a run, separate databases, nothing left however a run ends."""

import contextlib
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.postgres import Postgres

pytestmark = pytest.mark.skipif(postgres.missing() is not None, reason=postgres.missing() or "")

_ROOT = Path(__file__).parents[2]
_HOLD = """
import sys
from tests.support.postgres import Postgres
running = Postgres.start(run=sys.argv[1])
print(open(running.folder / next(running.folder.glob("data-*")) / "postmaster.pid").readline(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    running = Postgres.start()
    yield running
    running.stop()


def test_a_database_is_a_copy_of_its_template_and_of_nothing_else(server):
    def build(url: str) -> None:
        server.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)", database=url.rpartition("/")[2])

    template = server.template("with_table", build)
    one, other = server.database(template=template), server.database(template=template)
    server.execute("UPDATE kept SET n = 8", database=one.rpartition("/")[2])
    assert server.execute("SELECT n FROM kept", database=other.rpartition("/")[2]) == "7"
    server.discard(one)
    with pytest.raises(RuntimeError, match="does not exist"):
        server.execute("SELECT 1", database=one.rpartition("/")[2])


def test_a_template_is_built_once(server):
    built = []
    server.template("once", built.append)
    server.template("once", built.append)
    assert len(built) == 1


def test_commits_reach_the_disk_as_in_production(server):
    assert server.execute("SHOW fsync") == "on"
    assert server.execute("SHOW synchronous_commit") == "on"


def test_users_of_one_run_share_a_server_and_other_runs_do_not():
    run = secrets.token_hex(8)
    first, second = Postgres.start(run=run), Postgres.start(run=run)
    stranger = Postgres.start(run=secrets.token_hex(8))
    try:
        assert first.url("x") == second.url("x")
        assert first.url("x") != stranger.url("x")
        first.stop()
        assert second.execute("SELECT 1") == "1"
    finally:
        for held in (first, second, stranger):
            held.stop()


def test_a_killed_run_leaves_no_server_behind():
    run = secrets.token_hex(8)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, run], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        server_process = int(holder.stdout.readline())
        ended = os.pidfd_open(server_process)
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
    try:
        assert select.select([ended], [], [], 30)[0], "the server outlived its run"
    finally:
        os.close(ended)
        with contextlib.suppress(ProcessLookupError):
            os.kill(server_process, signal.SIGQUIT)
