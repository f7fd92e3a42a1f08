"""One answer, a hundred redemptions at once, two server processes on one PostgreSQL: one success (OA-06)."""

import asyncio
import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.support import tables
from tests.support.decoupled import DEVICE_CODE, Elsewhere, elsewhere, error_of
from tests.support.house import REAL, House, first_administrator
from tests.support.postgres import Postgres
from tests.support.serve_process import ServeProcess
from tests.support.upstream import Upstream

OWNER = {"login": "acme-corp", "id": 2}
BACKEND = {"id": 7, "full_name": "acme-corp/backend", "name": "backend", "owner": OWNER}


async def test_oa_06_one_device_code_is_redeemed_once_over_two_processes(tmp_path: Path, postgres: Postgres) -> None:
    url = tables.postgresql(postgres)
    async with Upstream() as upstream:
        upstream.answers("GET", "/user", json={"login": "alice", "id": 1})
        upstream.answers("GET", "/repos/acme-corp/backend", json=BACKEND)
        a, b = (ServeProcess(tmp_path / name, upstream.url, url) for name in "ab")
        try:
            await a.start()
            house = a.house
            house.alice = await first_administrator(house, a.announced["bootstrap"])
            shutil.copytree(a.data / "keys", b.data / "keys")
            b.public_url = f"http://localhost:{a.port}"
            await b.start()
            device = await elsewhere(house)
            assert (await device.begin()).status == 200
            await _allowed(house, a, device)

            form = {"grant_type": DEVICE_CODE, "device_code": device.started["device_code"]}
            replies = await asyncio.gather(
                *(
                    (house, b.house)[number % 2].call(
                        "POST", "/oauth/token", headers=device.client.robot.basic, form=form
                    )
                    for number in range(100)
                )
            )
            assert Counter(reply.status for reply in replies)[200] == 1
            assert {error_of(r) for r in replies} <= {"", "invalid_grant", "slow_down", "temporarily_unavailable"}
            records = [json.loads(body) for (body,) in await a.rows("SELECT body FROM audit_records")]
            counted = Counter(record["event"] for record in records)
            assert (counted["task.opened"], counted["request.redeemed"]) == (1, 1)
        finally:
            for process in (a, b):
                process.kill()
                await process.gone()
    postgres.discard(url)


async def _allowed(house: House, process: ServeProcess, device: Elsewhere) -> None:
    """Somebody invited signs in with her code in a browser, connects her account and allows it."""
    invited = await house.alice.does("POST", "/v1/users", email="carol@acme.com", role="member")
    house.settings = cast(Any, SimpleNamespace(origin=f"http://localhost:{process.port}"))
    tab = house.tab()
    await tab.get("/login")
    await tab.submit("/login/code", {"code": invited["code"]})
    await tab.get("/connections")
    await tab.submit("/connections/paste", {"integration": "github", "credential": REAL})
    await device.allowed(tab)
    assert "Done" in tab.text, tab.text
