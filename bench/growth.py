"""`python -m bench.growth`: does it stay as fast when it has grown? A full database against an empty one, in turns.

Grown means a million delegations and ten million audit records (BENCH_DELEGATIONS, BENCH_RECORDS change that). The rows
have the shape and size of real ones; they are written straight into the file, before the server starts on it, and are
no chain: what is measured is the size of the tables and their indexes.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from bench import load
from bench.cores import stay_away
from bench.deployment import ISSUES, Deployment, deployment
from bench.prepare import prepare
from bench.processes import ROOT, program
from bench.rows import Row, ratio_row, table, write
from valetkey.server.ids import new_id

ROUNDS = 7
CONNECTIONS = 32
BATCH = 20_000
EVENTS = ("call.allowed", "call.finished", "token.issued")


def main() -> int:
    """Fill, measure, print; a missed goal is printed, not an error."""
    delegations = int(os.environ.get("BENCH_DELEGATIONS", "1000000"))
    records = int(os.environ.get("BENCH_RECORDS", "10000000"))
    for line in prepare():
        print(f"prepare: {line}", flush=True)
    stay_away()
    with ExitStack() as opened:
        _, upstream = opened.enter_context(program("bench.upstream"))
        empty = opened.enter_context(deployment("empty", upstream))
        grown = opened.enter_context(
            deployment("grown", upstream, filled=lambda data: _fill(data, delegations=delegations, records=records))
        )
        rows = _rows({"empty": empty, "grown": grown}, f"{delegations:,} delegations and {records:,} records")
    write(rows, ROOT / "build" / "bench-growth.json")
    print(table(rows))
    return 0


def _rows(houses: dict[str, Deployment], size: str) -> list[Row]:
    issued: dict[str, list[float]] = {name: [] for name in houses}
    called: dict[str, list[float]] = {name: [] for name in houses}
    for _ in range(ROUNDS):
        for name, house in houses.items():
            issued[name].append(_issue(house))
            called[name].append(_call(house))
    note = f"per second, SQLite, {size} against none"
    return [
        ratio_row("growth-issue", issued["grown"], issued["empty"], goal=0.9, bar=0.9, note=f"credentials {note}"),
        ratio_row("growth-gateway", called["grown"], called["empty"], goal=0.9, bar=0.9, note=f"gateway calls {note}"),
    ]


def _issue(house: Deployment) -> float:
    return load.post_form(f"{house.url}/oauth/token", basic=house.basic, body=house.form, connections=64).rate


def _call(house: Deployment) -> float:
    bearer = {"authorization": f"Bearer {house.token()}"}
    return load.get(house.url + ISSUES, headers=bearer, connections=CONNECTIONS).rate


def _fill(data: Path, *, delegations: int, records: int) -> None:
    """Make the schema by the product's own command, then the rows."""
    environment = {**os.environ, "VALETKEY_DATA": str(data)}
    subprocess.run(
        [sys.executable, "-m", "valetkey.cli.main", "db", "migrate"],
        env=environment,
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    [file] = data.glob("*.db")
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("INSERT INTO audit_writers (writer, number, claimed_at) VALUES ('w1000', 1000, 1800000000)")
        _insert(db, "audit_records", 7, _records(records))
        columns = [row[1] for row in db.execute("PRAGMA table_info(delegations)")]
        _insert(db, "delegations", len(columns), _delegations(delegations, columns))
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(db: sqlite3.Connection, name: str, width: int, rows: Iterator[tuple[Any, ...]]) -> None:
    statement = f"INSERT INTO {name} VALUES ({', '.join('?' * width)})"
    while batch := list(islice(rows, BATCH)):
        db.executemany(statement, batch)


def _records(count: int) -> Iterator[tuple[Any, ...]]:
    for seq in range(1, count + 1):
        record, event = new_id("aud"), EVENTS[seq % len(EVENTS)]
        body = (
            f'{{"v":1,"writer":"w1000","seq":{seq},"prev":"{seq:064x}","id":"{record}",'
            f'"time":"2027-01-15T08:00:00.000Z","event":"{event}","org":"org_01m8894tqgk7bb8dp114h8d0er",'
            f'"agent":"agt_01m8894tqgk7bb8dp114h8d0er","task":"tsk_01m8894tqgk7bb8dp114h8d0er",'
            f'"integration":"github","method":"GET","operation":"issues/list-for-repo","resource":"acme-corp/backend"}}'
        ).encode()
        yield "w1000", seq, record, event, record if event != "call.allowed" else None, sha256(body).digest(), body


def _delegations(count: int, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    grants = (
        '[{"integration":"github","connection":"con_01m8894tqgk7bb8dp114h8d0er","scopes":["repo:read"],'
        '"resources":[{"name":"acme-corp/backend","id":"41","owner":"7","kind":"repository"}],'
        '"max_calls":null,"not_after":null}]'
    )
    usual: dict[str, Any] = {
        "org": new_id("org"), "basis": "consent", "mode": "attended", "purpose": "review the open pull requests",
        "grants": grants, "share_with": "[]", "tasks_per_day": 0, "created_at": 1_800_000_000,
        "expires_at": 1_800_000_600, "used_at": None,
    }  # fmt: skip
    for number in range(count):
        user = f"usr_{number % 1000:026d}"
        own = {"id": new_id("dlg"), "user": user, "created_by": user, "agent": f"agt_{number % 5000:026d}"}
        yield tuple({**usual, **own}[column] for column in columns)


if __name__ == "__main__":
    sys.exit(main())
