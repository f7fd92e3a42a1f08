"""`python -m bench [ROW …]`: measure against peers in one run, print a table, keep it in build/bench.json.

Takes about nine minutes. Names of groups measure only those: issue, refresh, gateway, bodies, engines, verify,
<<<<<<< HEAD
footprint, revoke, herd, decide, leases, workers.
=======
footprint, revoke, herd, decide, leases, query.
>>>>>>> dbdoor
"""

import contextlib
import sys

from tests.support.postgres import Postgres, missing

from bench import (
    asking,
    bodies,
    deciding,
    documents,
    engines,
    footprint,
    gateway,
    herd,
    issuing,
    leasing,
    refreshing,
    revoking,
    verifying,
    workers,
)
from bench.cores import stay_away
from bench.deployment import deployment
from bench.prepare import prepare
from bench.processes import ROOT, program
from bench.rows import Row, table, write

GROUPS = (
    "issue", "refresh", "gateway", "bodies", "engines", "verify", "footprint", "revoke", "herd", "decide", "leases",
    "workers", "query",
)  # fmt: skip


def main(asked: list[str]) -> int:
    """Measure; a missed goal is printed, not an error."""
    if unknown := set(asked) - set(GROUPS):
        print(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    groups = asked or list(GROUPS)
    for line in prepare():
        print(f"prepare: {line}", flush=True)
    stay_away()
    rows = _measured(groups)
    write(rows, ROOT / "build" / "bench.json")
    print(table(rows))
    return 0


def _measured(groups: list[str]) -> list[Row]:
    rows: list[Row] = []
    with contextlib.ExitStack() as opened:
        _, upstream = opened.enter_context(program("bench.upstream"))
        house = opened.enter_context(deployment("sqlite", upstream))
        if {"issue", "refresh"} & set(groups):
            houses = {"sqlite": house}
            with contextlib.ExitStack() as short:
                if (why := missing()) is None:
                    server = Postgres.start()
                    short.callback(server.stop)
                    url = server.database()
                    houses["postgresql"] = short.enter_context(deployment("postgresql", upstream, database_url=url))
                if "issue" in groups:
                    rows += _said(issuing.rows({_named("issue", name): one for name, one in houses.items()}))
                if "refresh" in groups:
                    rows += _said(refreshing.rows({_named("refresh", name): one for name, one in houses.items()}))
            if why is not None:
                rows += _said([Row(id="postgresql", ours=0, met=False, note=f"not measured: {why}")])
        if "gateway" in groups:
            rows += _said([*gateway.rows(house, upstream), gateway.idle_row(house)])
        if "bodies" in groups:
            rows += _said(bodies.rows(house, upstream))
        if "engines" in groups:
            rows += _said(engines.rows(house, upstream))
        if "verify" in groups:
            rows += _said([*verifying.verify_rows(house), verifying.audit_row(house), documents.row()])
        if "decide" in groups:
            rows += _said(deciding.rows())
        if "revoke" in groups:
            rows += _said([revoking.row(house)])
        if "workers" in groups and missing() is None:
            server = Postgres.start()
            try:
                rows += _said(workers.rows(server, upstream))
            finally:
                server.stop()
        if "footprint" in groups:
            rows += _said(footprint.rows(upstream))
    if "herd" in groups:
        server = Postgres.start() if missing() is None else None
        try:
            rows += _said(herd.rows(server))
        finally:
            if server is not None:
                server.stop()
    if {"leases", "query"} & set(groups) and missing() is None:
        server = Postgres.start()
        try:
            rows += _said(leasing.rows(server)) if "leases" in groups else []
            rows += _said(asking.rows(server)) if "query" in groups else []
        finally:
            server.stop()
    return rows


def _named(row: str, database: str) -> str:
    return row if database == "sqlite" else f"{row}-{database}"


def _said(rows: list[Row]) -> list[Row]:
    """At once, so that a group that fails takes nothing with it that was measured before."""
    print(table(rows), file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
