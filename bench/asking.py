"""Questions to a database: asked here, judged, recorded and by a role of their own, against psycopg asking it directly.

In turns, one at a time. Who asks directly holds the password of a login that may do everything; on a connection of its
own for each question, as a program begins, and, beside it, on one that stays open.
"""

import asyncio
import json
import os
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tests.support.database_clients import CLIENTS
from tests.support.postgres import Postgres
from tests.support.serve_process import ServeProcess
from tests.support.shop import AUDIENCE, shop

from bench.cores import measured
from bench.leasing import CONNECTIONS, NOBODY, Lending, timed
from bench.rows import Row

ROUNDS = 7
EACH = 30
STATEMENT = "SELECT id, owner, total FROM sales.orders ORDER BY id"
_PEER = Path(__file__).parent / "peers" / "asks_directly.py"


def rows(server: Postgres) -> list[Row]:
    """One row, or why there is none."""
    if (why := CLIENTS.missing()) is not None:
        return [Row(id="query", ours=0, met=False, note=f"not measured: {why}")]
    return [asyncio.run(_row(server))]


async def _row(server: Postgres) -> Row:
    async with shop(server) as there:
        with tempfile.TemporaryDirectory(prefix="valetkey-asking-") as folder:
            process = ServeProcess(Path(folder) / "data", NOBODY, local=(there.place,))
            with measured():
                await process.start()
                peer = await asyncio.create_subprocess_exec(
                    str(CLIENTS.python), "-P", str(_PEER), STATEMENT,
                    env={"DATABASE_URL": there.url, "PATH": os.defpath, "HOME": folder},
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                )  # fmt: skip
            try:
                lending = Lending(process, there)
                await lending.begin()
                agent, task_token = lending.tasks[0]
                bearer = await agent.token(task_token, resource=AUDIENCE)
                await _ours(lending, bearer)
                found = [
                    (await _ours(lending, bearer), await _theirs(peer, "new"), await _theirs(peer, "kept"))
                    for _ in range(ROUNDS)
                ]
            finally:
                peer.kill()
                await peer.wait()
                process.kill()
                await process.gone()
    ours, new, kept = (median(one) for one in zip(*found, strict=True))
    ratios = sorted(mine / theirs for mine, theirs, _ in found)
    return Row(
        id="query",
        ours=round(ours, 2),
        theirs=round(new, 2),
        ratio=round(ours / new, 2),
        note=f"ms for one of 8 rows, p50 of {ROUNDS} rounds of {EACH} in turns; against psycopg on a connection "
        f"of its own (rounds {ratios[0]:.1f} to {ratios[-1]:.1f}); {kept:.2f} ms on one that stays open; no bar",
    )


async def _ours(lending: Lending, bearer: str) -> float:
    headers = {"authorization": f"Bearer {bearer}"}
    path, body = f"/p/postgres/{CONNECTIONS[0]}/query", {"statement": STATEMENT, "parameters": []}
    times = []
    for _ in range(EACH):
        seconds, reply = await timed(lending.house.call("POST", path, headers=headers, json=body))
        if reply.status != 200 or json.loads(reply.body.splitlines()[-1]) != {"end": "complete", "rows": 8}:
            raise RuntimeError(str(reply.body))
        times.append(seconds * 1000)
    return median(times)


async def _theirs(peer: Any, how: str) -> float:
    peer.stdin.write(f"{how} {EACH}\n".encode())
    return median(json.loads(await peer.stdout.readline()))
