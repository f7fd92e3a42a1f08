"""Calls per second through the gateway with everything on, and what one call costs in time."""

import contextlib
import socket
from statistics import median

from bench import load, peers
from bench.cores import measured
from bench.deployment import ISSUES, Deployment
from bench.processes import program
from bench.rows import Row, most_row, ratio_row
from valetkey.server.room import open_more_files

ROUNDS = 7
CONNECTIONS = 32


IDLE = 10_000


def idle_row(house: Deployment) -> Row:
    """What others notice of ten thousand connections that say nothing: the p99 of calls, with them and without."""
    open_more_files()
    where = ("127.0.0.1", int(house.url.rsplit(":", 1)[1]))

    def p99() -> float:
        bearer = {"authorization": f"Bearer {house.token()}"}
        return load.get(house.url + ISSUES, headers=bearer, connections=8).p99

    p99()
    without, beside = [], []
    for _ in range(ROUNDS):
        without.append(p99())
        with contextlib.ExitStack() as opened:
            for _ in range(IDLE):
                opened.enter_context(socket.create_connection(where))
            beside.append(p99())
    ratio = median(beside) / median(without)
    return Row(
        id="idle-sockets",
        ours=round(median(beside), 2),
        theirs=round(median(without), 2),
        ratio=round(ratio, 3),
        goal=1.1,
        met=ratio <= 1.1,
        note=f"ms, p99 of calls beside {IDLE:,} silent connections, and without them",
    )


def rows(house: Deployment, upstream: str) -> list[Row]:
    """Against the bare proxy, against mitmproxy, and against no proxy at all."""
    with contextlib.ExitStack() as opened:
        with measured():
            _, bare = opened.enter_context(program("bench.bare_proxy", upstream))
            mitm = opened.enter_context(peers.mitmproxy(upstream))
        path = ISSUES.removeprefix("/p/github")
        addresses = {"ours": house.url + ISSUES, "bare": bare + path, "mitm": mitm + path, "direct": upstream + path}

        def measure(who: str, connections: int, seconds: float = load.SECONDS) -> load.Load:
            bearer = {"authorization": f"Bearer {house.token()}"} if who == "ours" else {}
            return load.get(addresses[who], headers=bearer, connections=connections, seconds=seconds)

        for who in addresses:
            measure(who, CONNECTIONS, 1)
        rates: dict[str, list[float]] = {"ours": [], "bare": [], "mitm": []}
        alone: dict[str, list[load.Load]] = {"ours": [], "direct": []}
        for _ in range(ROUNDS):
            for who, found in rates.items():
                found.append(measure(who, CONNECTIONS).rate)
            for who, seen in alone.items():
                seen.append(measure(who, 1, 1))
    p50 = [a.p50 - b.p50 for a, b in zip(alone["ours"], alone["direct"], strict=True)]
    p99 = [a.p99 - b.p99 for a, b in zip(alone["ours"], alone["direct"], strict=True)]
    note = f"ms added at concurrency 1; rounds {min(p50):.2f} to {max(p50):.2f}; bar 1.5 "
    note += "passed" if median(p50) <= 1.5 else "MISSED"
    return [
        ratio_row(
            "gateway-bare",
            rates["ours"],
            rates["bare"],
            goal=0.5,
            bar=0.4,
            note="calls/s, one worker, against a bare proxy of the same server and HTTP client",
        ),
        ratio_row(
            "gateway-mitm",
            rates["ours"],
            rates["mitm"],
            goal=8.0,
            bar=6.0,
            note="calls/s against mitmproxy in reverse mode",
        ),
        most_row("gateway-latency-p50", median(p50), goal=1.0, note=note),
        most_row(
            "gateway-latency-p99",
            median(p99),
            goal=5.0,
            note=f"ms added at concurrency 1; rounds {min(p99):.2f} to {max(p99):.2f}",
        ),
    ]
