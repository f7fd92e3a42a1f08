"""Who is believed to be the upstream: certificates are verified in every path, by default. GW-21."""

from pathlib import Path

import pytest

from tests.support.certificates import Authority, self_signed
from tests.support.upstream import Upstream, reply
from valetkey.server.egress import Egress, Url
from valetkey.server.errors import UpstreamFailed


async def _says(folder: Path, kind: str, authority: Authority, *, trusted: bool = True) -> bytes:
    tls = {
        "right": lambda: authority.serves(folder, "api.test"),
        "another name": lambda: authority.serves(folder, "other.test"),
        "ended": lambda: authority.serves(folder, "api.test", ended=True),
        "self-signed": lambda: self_signed(folder, "api.test"),
    }[kind]()

    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async with Upstream(tls=tls) as up:
        up.raw_answer(reply(200, body=b"hello"))
        local = frozenset({f"api.test:{up.port}"})
        egress = Egress(allow_loopback_hosts=local, extra_roots=[authority.root] if trusted else [], lookup=lookup)
        await egress.open()
        try:
            return (
                await egress.fetch("GET", Url(host="api.test", port=up.port, target=b"/"), [], max_bytes=9, timeout=5)
            )[2]
        finally:
            await egress.close()
            assert len(up.seen) == (1 if kind == "right" and trusted else 0)


async def test_a_server_that_proves_its_name_is_believed(tmp_path: Path) -> None:
    assert await _says(tmp_path, "right", Authority()) == b"hello"


@pytest.mark.parametrize("kind", ["another name", "ended", "self-signed"])
async def test_a_server_that_does_not_prove_its_name_hears_nothing(tmp_path: Path, kind: str) -> None:
    """GW-21"""
    with pytest.raises(UpstreamFailed, match="certificate"):
        await _says(tmp_path, kind, Authority())


async def test_a_root_nobody_trusted_is_not_trusted(tmp_path: Path) -> None:
    """GW-21"""
    with pytest.raises(UpstreamFailed, match="certificate"):
        await _says(tmp_path, "right", Authority(), trusted=False)
