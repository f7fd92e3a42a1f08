"""Where a database's password may go: the same guard as for every other byte that leaves."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.certificates import Authority, self_signed
from tests.support.house import House, open_house
from tests.support.postgres import Postgres
from tests.support.shop import READ, Shop, shop, stocked
from valetkey.server.clock import DrivenClock
from valetkey.server.egress import Egress
from valetkey.server.egress.postgres import dial
from valetkey.server.errors import UpstreamFailed
from valetkey.server.secret import Secret


async def _dialled(
    place: str, *, local: frozenset[str], tls: bool, answers: str = "127.0.0.1", roots: Sequence[bytes] = ()
) -> None:
    async def lookup(_host: str, _port: int) -> list[str]:
        return answers.split()

    host, _, port = place.partition(":")
    egress = Egress(allow_loopback_hosts=local, lookup=lookup, extra_roots=roots)
    await egress.open()
    try:
        await dial(
            egress, host=host, port=int(port), database="postgres", login="x", password=Secret("canary"), tls=tls
        )
    finally:
        await egress.close()


def _house(folder: Path, there: Shop) -> contextlib.AbstractAsyncContextManager[House]:
    return open_house(folder / "data", clock=DrivenClock(), local=(there.place,))


@pytest.mark.parametrize("answers", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "8.8.8.8 10.0.0.1", "::1", ""])
async def test_a_name_that_leads_inside_is_not_dialled(answers: str) -> None:
    with pytest.raises(UpstreamFailed, match="may not be dialled"):
        await _dialled("db.acme.test:5432", local=frozenset(), tls=True, answers=answers)


async def test_nothing_is_said_in_the_clear_to_a_place_nobody_called_local() -> None:
    with pytest.raises(UpstreamFailed, match="plain"):
        await _dialled("db.acme.test:5432", local=frozenset(), tls=False, answers="8.8.8.8")


@pytest.mark.parametrize(
    ("kind", "is_heard"), [("right", True), ("another name", False), ("self-signed", False), ("none", False)]
)
async def test_a_server_that_does_not_prove_its_name_hears_nothing(tmp_path: Path, kind: str, is_heard: bool) -> None:
    """GW-21: nothing but the question whether it speaks TLS leaves before it has proved its name."""
    authority, heard = Authority(), []
    tls = {
        "right": lambda: authority.serves(tmp_path, "db.acme.test"),
        "another name": lambda: authority.serves(tmp_path, "other.test"),
        "self-signed": lambda: self_signed(tmp_path, "db.acme.test"),
        "none": lambda: None,
    }[kind]()

    gone = asyncio.Event()

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readexactly(8)
            writer.write(b"N" if tls is None else b"S")
            await writer.drain()
            if tls is not None:
                await writer.start_tls(tls)
            heard.append(await reader.read(1024))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            gone.set()

    async with await asyncio.start_server(server, "127.0.0.1", 0) as listening:
        place = f"db.acme.test:{listening.sockets[0].getsockname()[1]}"
        with pytest.raises(UpstreamFailed):
            await _dialled(place, local=frozenset({place}), tls=True, roots=[authority.root])
        await gone.wait()
    assert any(b"user" in said for said in heard) is is_heard


async def test_a_database_on_this_machine_needs_the_setting(tmp_path: Path, postgres: Postgres) -> None:
    async with shop(postgres) as there, open_house(tmp_path / "data", clock=DrivenClock()) as house:
        body = {"integration": "postgres", "credential": there.url, "name": "analytics"}
        refused = await house.alice.call("POST", "/v1/connections", **body)
        assert refused.status == 400
        assert there.password not in refused.body.decode()


async def test_a_weaker_sslmode_is_refused(tmp_path: Path, postgres: Postgres) -> None:
    async with shop(postgres) as there, _house(tmp_path, there) as house:
        for mode in ("prefer", "require", "allow"):
            url = there.url.replace("sslmode=disable", f"sslmode={mode}")
            body = {"integration": "postgres", "credential": url, "name": "analytics"}
            assert (await house.alice.call("POST", "/v1/connections", **body)).status == 400
        bob = await house.person("bob@acme.com")
        body = {"integration": "postgres", "credential": there.url, "name": "analytics"}
        assert (await bob.call("POST", "/v1/connections", **body)).status == 403


async def test_what_everybody_may_do_is_listed_and_nothing_is_taken_away_unasked(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with shop(postgres) as there, _house(tmp_path, there) as house:
        before = there.as_superuser("SELECT datacl FROM pg_database WHERE datname = current_database()")
        body = {"integration": "postgres", "credential": there.url, "name": "analytics"}
        refused = (await house.alice.call("POST", "/v1/connections", **body)).json()
        assert refused["reason"] == "open_to_everybody"
        assert f"REVOKE TEMPORARY ON DATABASE {there.name} FROM PUBLIC" in refused["statements"]
        assert any("lo_create" in one for one in refused["statements"])
        assert before == there.as_superuser("SELECT datacl FROM pg_database WHERE datname = current_database()")
        body["everybody"] = "revoke"  # which the owner may do of the database, and not of the server's functions
        refused = (await house.alice.call("POST", "/v1/connections", **body)).json()
        assert not any("DATABASE" in one for one in refused["statements"])
        assert any("lo_create" in one for one in refused["statements"])
        body["everybody"] = "keep"
        assert (await house.alice.call("POST", "/v1/connections", **body)).status == 201
        (created,) = await house.events("connection.created")
        assert created["everybody"] == "keep"
        assert any("lo_create" in one for one in created["open_to_everybody"])


async def test_another_database_of_the_same_name_gives_nothing(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, READ) as at:
        await at.shop.owner.close()
        await at.house.app.services.rotate_database._admins.close()
        at.shop.as_superuser(f"DROP DATABASE {at.shop.name} WITH (FORCE)", database="postgres")
        at.shop.as_superuser(f"CREATE DATABASE {at.shop.name} OWNER {at.shop.login}", database="postgres")
        assert (await at.lease()).code == "connection_required"


async def test_a_password_moved_to_another_database_does_not_open(tmp_path: Path, postgres: Postgres) -> None:
    async with stocked(tmp_path / "data", postgres, READ) as at:
        await at.house.app.services.rotate_database._admins.close()
        async with at.house.app.database.write() as tx:
            await tx.execute(text('UPDATE connections SET powers = REPLACE(powers, \'"login":"\', \'"login":"x\')'))
        refused = await at.lease()
        assert refused.status in (500, 502, 503)
        assert at.shop.roles("vk_none") == []
