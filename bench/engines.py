"""Calls per second behind nginx that asks our decision door, against nginx that asks somebody who always says yes."""

import contextlib

from tests.support import nginx

from bench import load
from bench.cores import measured
from bench.deployment import ISSUES, Deployment
from bench.processes import program
from bench.rows import Row, ratio_row

ROUNDS = 7
CONNECTIONS = 32


def rows(house: Deployment, upstream: str) -> list[Row]:
    """One row; nginx and whoever decides share the measured core, in both cases."""
    if (why := nginx.missing()) is not None:
        return [Row(id="extauthz-nginx", ours=0, met=False, note=f"not measured: {why}")]
    with contextlib.ExitStack() as opened:
        with measured():
            _, no_op = opened.enter_context(program("bench.no_op_decision"))
            ours = opened.enter_context(
                nginx.running(decisions=house.decisions, upstream=upstream, secret=house.engine_secret)
            )
            theirs = opened.enter_context(nginx.running(decisions=no_op, upstream=upstream, secret="none"))
        path = ISSUES.removeprefix("/p/github")
        rates: dict[str, list[float]] = {ours: [], theirs: []}
        for seconds in (1.0, *[float(load.SECONDS)] * ROUNDS):
            for front, found in rates.items():
                bearer = {"authorization": f"Bearer {house.token()}"}
                seen = load.get(front + path, headers=bearer, connections=CONNECTIONS, seconds=seconds)
                found.append(seen.rate)
    note = "calls/s behind nginx auth_request, against nginx asking a Python program that always says yes"
    return [ratio_row("extauthz-nginx", rates[ours][1:], rates[theirs][1:], goal=0.7, bar=0.7, note=note)]
