"""Two nodes on one PostgreSQL against one: whether the second brings a second worker's calls.

Where four cores are free the rates themselves are compared. On fewer, nodes, load, upstream and database take the same
cores from each other, so what a call costs the nodes in processor time is: two nodes that pay no more for a call than
one would carry twice as many.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from tests.support.house import free_port
from tests.support.postgres import Postgres

from bench import load
from bench.deployment import ISSUES, Deployment, deployment
from bench.processes import program
from bench.rows import Row, ratio_row

ROUNDS = 7
CONNECTIONS = 32
"""To each node."""
_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = len(os.sched_getaffinity(0))
_FREE = _CORES >= 4


def rows(server: Postgres, upstream: str) -> list[Row]:
    """Calls through two nodes, in alternation with calls through one of them."""
    url = server.database()
    with deployment("one-of-two", upstream, database_url=url) as house, _second(house, upstream, url) as (pid, base):
        one, two = {house.pid: house.url}, {house.pid: house.url, pid: base}
        _measure(house, two)
        alone, both = [], []
        for _ in range(ROUNDS):
            alone.append(_measure(house, one))
            both.append(_measure(house, two))
    what = "calls/s" if _FREE else "calls per second of the nodes' processor time, times nodes"
    rates = (
        f"{median(rate for rate, _ in both):,.0f} calls/s by two and {median(rate for rate, _ in alone):,.0f} by one"
    )
    found = [[rate if _FREE else cost for rate, cost in column] for column in (both, alone)]
    note = f"{what}, two nodes on one PostgreSQL against one; {rates}, everything on {_CORES} cores"
    return [ratio_row("workers", *found, goal=1.7, bar=1.7, note=note)]


def _measure(house: Deployment, nodes: dict[int, str]) -> tuple[float, float]:
    """Calls a second, and calls for each second that one node computes, times the nodes there are."""
    bearer = {"authorization": f"Bearer {house.token()}"}
    before = sum(map(_seconds, nodes))
    with ThreadPoolExecutor(len(nodes)) as pool:
        rates = [
            found.rate
            for found in pool.map(
                lambda base: load.get(base + ISSUES, headers=bearer, connections=CONNECTIONS), nodes.values()
            )
        ]
    spent = sum(map(_seconds, nodes)) - before
    return sum(rates), sum(rates) * load.SECONDS / spent * len(nodes)


def _seconds(pid: int) -> float:
    """Processor time of a process so far."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / _TICKS


@contextlib.contextmanager
def _second(house: Deployment, upstream: str, database_url: str) -> Iterator[tuple[int, str]]:
    """Another node of the same deployment; its process and its address."""
    data = house.data.with_name("two-of-two")
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(house.data / "keys", data / "keys")
    port = free_port()
    environment = {
        "VALETKEY_DATA": str(data),
        "VALETKEY_PORT": str(port),
        "VALETKEY_PUBLIC_URL": house.url.replace("127.0.0.1", "localhost"),
        "VALETKEY_HEALTH_PORT": str(free_port()),
        "VALETKEY_UPSTREAMS": f"github={upstream}",
        "VALETKEY_UNSAFE_LOOPBACK_UPSTREAMS": upstream.removeprefix("http://"),
        "VALETKEY_TOKEN_SECONDS": "900",
        "VALETKEY_DATABASE_URL": database_url,
    }
    with program("valetkey.cli.main", "serve", "--json", environment=environment, log=data / "serve.log") as (
        run,
        line,
    ):
        json.loads(line)
        yield run.pid, f"http://127.0.0.1:{port}"
