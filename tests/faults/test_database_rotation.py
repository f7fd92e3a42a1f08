"""Changing the connected login's password while something breaks: whatever happens, a sealed password works there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support import tables
from tests.support.http import Reply
from tests.support.nodes import second_node
from tests.support.postgres import Postgres
from tests.support.severed import Severed
from tests.support.shop import READ, Store, connect_shop, session, shop, stocked
from tests.support.struck_shop import begun
from valetkey.server.errors import UpstreamFailed

STEPS = ["seal", "change", "commit", "keep"]


@pytest.fixture
async def at(tmp_path: Path, postgres: Postgres) -> AsyncIterator[Store]:
    async with stocked(tmp_path / "data", postgres, READ) as found:
        yield found


def _path(at: Store) -> str:
    return f"/v1/connections/{at.connection['id']}/rotate"


async def _works(at: Store) -> None:
    """The connected login is let in, by a session that was not open before."""
    await at.house.app.services.rotate_database._admins.close()
    async with session(await at.lent()) as db:
        assert await db.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("step", STEPS)
async def test_a_rotation_that_breaks_off_locks_nobody_out(
    step: str, tmp_path: Path, database_url: str | None, postgres: Postgres
) -> None:
    """kill -9 of a real server at each step; and of the next one, which tries again, after the server has changed."""
    async with shop(postgres) as there:
        async with begun(tmp_path / "data", there, database_url, dies_at=step) as struck:
            await struck.dies_of(struck.at.house.alice, "POST", _path(struck.at))
        async with struck.serving(dies_at="keep"):
            assert (await struck.at.lease()).status == 201
            await struck.dies_of(struck.at.house.alice, "POST", _path(struck.at))
        async with struck.a_minute_later() as at:
            await _works(at)
            await at.house.alice.does("POST", _path(at))
            await _works(at)
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(there.url)


@pytest.mark.parametrize("step", STEPS)
async def test_a_rotation_whose_session_is_cut_locks_nobody_out(at: Store, step: str) -> None:
    rotating, cut = at.house.app.services.rotate_database, []

    async def cuts(name: str) -> None:
        if name == step and not cut:
            cut.append(name)
            at.shop.as_superuser(
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{at.shop.login}'"
            )

    rotating.step = cuts
    reply = await at.house.alice.call("POST", _path(at))
    assert cut == [step]
    assert reply.status == (200 if step == "keep" else 502)
    await _works(at)
    await at.house.alice.does("POST", _path(at))
    await _works(at)


@pytest.mark.parametrize("is_delivered", [True, False])
async def test_a_change_whose_answer_is_lost_locks_nobody_out(
    tmp_path: Path, postgres: Postgres, is_delivered: bool
) -> None:
    """The wire is cut at the COMMIT: once the server had it and its answer is lost, once it never came there."""
    async with shop(postgres) as there, Severed(there.place) as wire:
        real, there.url_place = there.place, wire.place
        async with stocked(tmp_path / "data", postgres, READ, there=there) as at:

            async def cuts(name: str) -> None:
                if name == "commit" and not wire.was_cut:
                    wire.cut_at(b"COMMIT", is_delivered=is_delivered)

            at.house.app.services.rotate_database.step = cuts
            reply = await at.house.alice.call("POST", _path(at))
            assert (reply.status, reply.code) == (502, "upstream_failed")
            assert wire.was_cut
            there.url_place = real
            refused: contextlib.AbstractContextManager[object] = pytest.raises(asyncpg.InvalidPasswordError)
            with refused if is_delivered else contextlib.nullcontext():  # whether the server has changed
                await (await asyncpg.connect(there.url)).close()
            await _works(at)
            await at.house.alice.does("POST", _path(at))
            await _works(at)


async def test_of_two_rotations_at_once_one_waits(tmp_path: Path, postgres: Postgres) -> None:
    """Two nodes: the second reads which password works only when the first's change can no longer arrive."""
    url = tables.postgresql(postgres)
    async with (
        stocked(tmp_path / "data", postgres, READ, database_url=url) as at,
        second_node(at.house, tmp_path / "b") as other,
    ):
        mine = f"FROM pg_stat_activity WHERE usename = '{at.shop.login}'"
        second: list[asyncio.Task[Reply]] = []

        async def meanwhile(name: str) -> None:
            if name == "change":
                headers = {"authorization": f"Bearer {at.house.alice.bearer}"}
                second.append(asyncio.create_task(other.call("POST", _path(at), headers=headers, json={})))
                while at.shop.as_superuser(f"SELECT count(*) {mine} AND wait_event_type = 'Lock'") == "0":  # noqa: ASYNC110
                    await asyncio.sleep(0)
                assert not second[0].done()

        rotating = at.house.app.services.rotate_database
        quiet, rotating.step = rotating.step, meanwhile
        first = await at.house.alice.call("POST", _path(at))
        assert {first.status, (await second[0]).status} <= {200, 409}
        await _works(at)
        rotating.step = quiet
        await at.house.alice.does("POST", _path(at))
        await _works(at)
    postgres.discard(url)


async def test_the_password_of_a_login_that_serves_two_connections_is_not_changed(at: Store) -> None:
    again = await connect_shop(at.house, at.shop, name="reports")
    reply = await at.house.alice.call("POST", _path(at))
    assert (reply.status, reply.json()["reason"]) == (409, "login_shared")
    await (await asyncpg.connect(at.shop.url)).close()
    await at.house.alice.does("POST", "/v1/revocations", node=again["id"])
    await at.house.alice.does("POST", _path(at))
    await _works(at)


async def test_only_an_administrator_changes_it(at: Store) -> None:
    bob = await at.house.person("bob@acme.com")
    assert (await bob.call("POST", _path(at))).status == 403
    await (await asyncpg.connect(at.shop.url)).close()


async def test_a_password_that_works_nowhere_is_not_built_upon(at: Store) -> None:
    """Somebody changed it by hand after a rotation broke off: nothing sealed is given up, and nothing is changed."""

    async def breaks(name: str) -> None:
        if name == "keep":
            raise UpstreamFailed(detail="gone")

    rotating = at.house.app.services.rotate_database
    quiet, rotating.step = rotating.step, breaks
    assert (await at.house.alice.call("POST", _path(at))).status == 502
    rotating.step = quiet
    kept = at.shop.as_superuser(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{at.shop.login}'")
    at.shop.as_superuser(f"ALTER ROLE {at.shop.login} PASSWORD 'by hand'")
    await at.house.app.services.rotate_database._admins.close()
    assert (await at.house.alice.call("POST", _path(at))).code == "connection_required"
    at.shop.as_superuser(f"ALTER ROLE {at.shop.login} PASSWORD '{kept}'")
    await _works(at)
