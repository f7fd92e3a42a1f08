"""Who is believed to be an API that speaks WebSocket: certificates are verified, and only proven addresses dialled."""

import ssl
from pathlib import Path

import pytest
from websockets.asyncio.server import serve

from tests.support.certificates import Authority, self_signed
from tests.support.spoken import echo
from valetkey.server.egress import Egress, Url
from valetkey.server.egress.websocket import dial
from valetkey.server.errors import UpstreamFailed


async def dialled(tls: ssl.SSLContext, authority: Authority, *, trusted: bool = True, local: bool = True) -> int:
    """The status, and nothing heard by who is not believed."""
    heard: list[str] = []

    async def lookup(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    def hears(connection: object, request: object) -> None:
        heard.append(str(request))

    async with serve(echo, "127.0.0.1", 0, ssl=tls, process_request=hears) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        egress = Egress(
            allow_loopback_hosts=frozenset({f"api.test:{port}"} if local else ()),
            extra_roots=[authority.root] if trusted else [],
            lookup=lookup,
        )
        await egress.open()
        url = Url(host="api.test", port=port, target=b"/live?a=b")
        try:
            opened = await dial(egress, url, [(b"x-api-key", b"k")], subprotocols=[], timeout=5)
        except UpstreamFailed:
            assert heard == []
            raise
        finally:
            await egress.close()
        await opened.finish()
        return opened.status


async def test_who_proves_its_name_is_spoken_to(tmp_path: Path) -> None:
    authority = Authority()
    assert await dialled(authority.serves(tmp_path, "api.test"), authority) == 101


@pytest.mark.parametrize("kind", ["another name", "ended", "self-signed", "unknown root", "loopback"])
async def test_who_does_not_hears_nothing(tmp_path: Path, kind: str) -> None:
    authority = Authority()
    name = "other.test" if kind == "another name" else "api.test"
    tls = self_signed(tmp_path, name) if kind == "self-signed" else None
    tls = tls or authority.serves(tmp_path, name, ended=kind == "ended")
    with pytest.raises(UpstreamFailed):
        await dialled(tls, authority, trusted=kind != "unknown root", local=kind != "loopback")
