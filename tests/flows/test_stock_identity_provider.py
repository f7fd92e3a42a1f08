"""Signing in by somebody else's identity provider, in a process of its own: nothing of ours on the other side."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.flows.test_sso import to_provider
from tests.support.house import open_house
from tests.support.http import call
from tests.support.people import is_in
from tests.support.ports import free_port
from valetkey.server.clock import DrivenClock

PERSON = {"sub": "carol-9", "email": "carol@acme.com", "email_verified": True}
_START_SECONDS = 60


@contextlib.asynccontextmanager
async def stock_provider() -> AsyncIterator[str]:
    """oidc-provider-mock, knowing one person; yields its issuer."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "oidc-provider-mock"), "-p", str(port)]
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(  # noqa: ASYNC220 - it only starts here
        [*command, "--user-claims", json.dumps(PERSON)], env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    issuer = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                await call(issuer, "GET", "/.well-known/openid-configuration")
                break
            except OSError:
                assert time.monotonic() < until, "it did not start"
                await asyncio.sleep(0.1)
        yield issuer
    finally:
        process.terminate()
        process.wait(20)


async def test_a_stock_provider_signs_somebody_in(tmp_path: Path, database_url: str | None) -> None:
    async with stock_provider() as issuer:
        place = urlsplit(issuer).netloc
        clock = DrivenClock(at=float(int(time.time())))
        async with open_house(tmp_path / "data", database_url=database_url, clock=clock, local=(place,)) as house:
            asked = {"name": "Stock", "issuer": issuer, "client_id": "valetkey", "client_secret": "s"}
            made = await house.alice.does("POST", "/v1/identity-providers", **asked, enrolls=True, domains=["acme.com"])
            tab = house.tab()
            address = urlsplit(await to_provider(tab, made, "/login?next=%2Fsessions"))
            reply = await call(issuer, "POST", f"{address.path}?{address.query}", form={"sub": "carol-9"})
            back = urlsplit(reply.header("location") or "")
            assert f"{back.scheme}://{back.netloc}" == house.settings.origin
            reply = await tab.get(f"{back.path}?{back.query}", follow=False)
            assert is_in(reply), tab.text
            await tab.get("/")
            assert "Hello, carol@acme.com" in tab.text
            assert not is_in(await house.tab().get(f"{back.path}?{back.query}", follow=False))
