"""kill -9 of a real server at every labelled step of making a MariaDB login and of taking it back: none is left.

The server is `valetkey serve` in a process of its own; the one that comes after runs here, its clock a minute ahead.
"""

import contextlib
from pathlib import Path

import pymysql
import pytest

from tests.support.maria_shop import AUDIENCE, MariaShop, ask, connect, maria_shop, session
from tests.support.mariadb import MariaDB
from tests.support.shop import Store
from tests.support.struck_shop import Struck, begun
from valetkey.server.connections.databases.model import prefix

OBTAIN = ["role", "account", "open", "made"]
REVOKE = ["shut", "drop", "dropped"]
LEFT = {"role": 0, "account": 0, "open": 1, "made": 1, "shut": 1, "drop": 1, "dropped": 0}
"""How many accounts there are when the process is dead."""


def _begun(
    folder: Path, there: MariaShop, database_url: str | None, step: str
) -> contextlib.AbstractAsyncContextManager[Struck]:
    grant = f"mariadb/analytics:read@{there.sales}.*"
    return begun(folder, there, database_url, dies_at=step, grant=grant, connect=connect, audience=AUDIENCE)


async def _nothing_is_left(at: Store) -> None:
    """Neither an account nor a role, and the trail says what became of the lease."""
    assert at.shop.accounts(prefix(at.house.app.deployment)) == []
    assert at.shop.accounts(prefix(at.house.app.deployment).replace("vk_", "vg_")) == []
    assert [one["status"] for one in await at.leases()] == ["ended"]
    assert len(await at.house.events("lease.ended")) == 1


@pytest.mark.parametrize("step", OBTAIN)
async def test_a_server_killed_while_it_makes_a_login_leaves_none(
    step: str, tmp_path: Path, database_url: str | None, mariadb: MariaDB
) -> None:
    with maria_shop(mariadb) as there:
        async with _begun(tmp_path / "data", there, database_url, step) as struck:
            await struck.dies_of(
                struck.at.agent, "POST", "/v1/leases", task_token=struck.at.task["task_token"], target=AUDIENCE
            )
        made = there.accounts()
        assert len(made) == LEFT[step]
        if step == "open":
            (said,) = there.as_root(f"SHOW CREATE USER `{made[0]}`@`%`")
            assert "ACCOUNT LOCK" in said[0]
        async with struck.a_minute_later() as at:
            await at.house.app.reconcile.compare()  # the role went when nobody had it, or goes now
            await _nothing_is_left(at)
            with contextlib.closing(session(await at.lent())) as db:
                assert ask(db, "SELECT count(*) FROM orders") == [(3,)]


@pytest.mark.parametrize("step", REVOKE)
async def test_a_server_killed_while_it_takes_a_login_back_leaves_none(
    step: str, tmp_path: Path, database_url: str | None, mariadb: MariaDB
) -> None:
    with maria_shop(mariadb) as there:
        async with _begun(tmp_path / "data", there, database_url, step) as struck:
            lent = await struck.at.lent()
            alice = struck.at.house.alice
            await struck.dies_of(alice, "POST", "/v1/revocations", node=struck.at.delegation["id"])
        assert len(there.accounts(lent["user"])) == LEFT[step]
        with pytest.raises(pymysql.MySQLError, match=r"denied|locked"):  # wherever it died: nobody comes in
            session(lent)
        async with struck.a_minute_later() as at:
            await _nothing_is_left(at)
            assert (await at.lease()).code in ("revoked", "invalid_request")
