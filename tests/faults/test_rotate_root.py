"""Another root key under the same data keys: stopped after any step and run again, nothing is lost, nobody is out."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import House, open_house
from tests.support.key_services import GcpService, VaultService
from tests.support.nodes import second_node
from tests.support.sealed import key_states, rotated, seal_everywhere
from valetkey.server.app import build
from valetkey.server.clock import DrivenClock
from valetkey.server.db import admin
from valetkey.server.errors import Conflict, NotFound
from valetkey.server.listen import Listener
from valetkey.server.restore import restore
from valetkey.server.rotate_root import Rotated, rotate_root
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings
from valetkey.server.vault.errors import KeyServiceAway, RootKeyRefused

NEW_PASSPHRASE = Secret("six other random words of a dictionary")


class Stopped(Exception):
    """The process is no more."""


async def moved(house_settings: Settings, new: Settings, *, stop_after: str = "", clock: Any = None) -> Rotated:
    def reached(step: str) -> None:
        if step == stop_after:
            raise Stopped

    return await asyncio.to_thread(rotate_root, house_settings, new, clock, reached)


@pytest.mark.parametrize("step", ["made", "rewrapped", "placed"])
async def test_kr_02_stopped_after_each_step_and_run_again_everything_opens(
    step: str, tmp_path: Path, database_url: str | None
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url) as house:
        sealed = await seal_everywhere(house)
        robot = await house.agent("second")
        settings = house.settings
    before = (tmp_path / "data" / "keys" / "root").read_bytes()
    new = Settings(data=tmp_path / "elsewhere", root_passphrase=NEW_PASSPHRASE)
    with pytest.raises(Stopped):
        await moved(settings, new, stop_after=step)
    app = build(settings, house.clock)
    if step == "made":
        await app.start()  # nothing has changed yet
        await app.close()
    else:
        with pytest.raises(RootKeyRefused, match="wrapped by") as refusal:
            await app.start()
        assert "rotate-root" in refusal.value.next_step
        await app.database.close()
    done = await moved(settings, new)
    assert done.rewrapped == (1 if step == "made" else 0)
    assert done.previous == tmp_path / "data" / "keys" / "root"
    assert done.previous.read_bytes() == before
    async with open_house(
        tmp_path / "data", database_url=database_url, root="passphrase", root_passphrase=NEW_PASSPHRASE
    ) as again:
        await sealed.opens(again.app)
        robot.house = again
        house.alice.house = again
        for known in (robot, house.alice):  # their handles were authenticated under the first root key
            assert (await known.sign_in()).bearer
        trail = [line async for line in again.app.journal.export()]
        assert sum(b'"event":"root-key.rotated"' in line for line in trail) == 1
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("step", ["made", "rewrapped", "placed"])
async def test_the_same_kind_of_root_key_is_replaced_in_its_place(
    step: str, tmp_path: Path, database_url: str | None
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url) as house:
        sealed = await seal_everywhere(house)
        settings = house.settings
    keys = tmp_path / "data" / "keys"
    first = (keys / "root").read_bytes()
    with pytest.raises(Stopped):
        await moved(settings, Settings(), stop_after=step)
    await moved(settings, Settings())
    second = (keys / "root").read_bytes()
    assert second != first
    assert first in {path.read_bytes() for path in keys.glob("root.before-*")}
    assert not list(keys.glob("*.next"))
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys.iterdir())
    async with open_house(tmp_path / "data", database_url=database_url) as again:
        await sealed.opens(again.app)
        await rotated(again.app.data_keys)
        await sealed.opens(again.app)


async def test_from_a_file_to_a_key_service_and_on_to_another(tmp_path: Path) -> None:
    clock = DrivenClock()
    vault, gcp = VaultService(), GcpService(now=clock.now)
    async with (
        Listener(vault, host="127.0.0.1", port=0) as one,
        Listener(gcp, host="127.0.0.1", port=0) as two,
        open_house(tmp_path / "data", clock=clock) as house,
    ):
        vault.base, gcp.base = f"http://127.0.0.1:{one.port}", f"http://127.0.0.1:{two.port}"
        sealed = await seal_everywhere(house)
        chosen = []
        for service in (vault, gcp):
            fields = {**service.settings(), "root_network": "loopback"}
            chosen.append(fields | {"root_secret": Secret(fields["root_secret"])})
        with pytest.raises(Conflict):  # on SQLite the server has the file
            await moved(house.settings, Settings(**chosen[0]), clock=clock)
        await _stopped(house)
        await moved(house.settings, Settings(**chosen[0]), clock=clock)
        now = replace(house.settings, **chosen[0])
        gcp.away = True
        with pytest.raises(KeyServiceAway):
            await moved(now, Settings(**chosen[1]), clock=clock)
        async with open_house(tmp_path / "data", clock=clock, **chosen[0]) as again:
            await sealed.opens(again.app)
        gcp.away = False
        await moved(now, Settings(**chosen[1]), clock=clock)
        vault.away = True  # nothing asks it any more
        async with open_house(tmp_path / "data", clock=clock, **chosen[1]) as again:
            await sealed.opens(again.app)


async def test_a_backup_from_before_needs_the_root_key_of_before_and_says_so(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        await seal_everywhere(house)
        await asyncio.to_thread(admin.backup, house.settings, tmp_path / "copy")
        settings = house.settings
    done = await moved(settings, Settings())
    with pytest.raises(RootKeyRefused, match="wrapped by"):
        await asyncio.to_thread(restore, settings, tmp_path / "copy", house.clock)
    assert done.previous is not None
    done.previous.replace(done.file)
    await asyncio.to_thread(restore, settings, tmp_path / "copy", house.clock)
    async with open_house(tmp_path / "data"):
        pass


async def test_there_must_be_something_to_rewrap(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        await moved(Settings(data=tmp_path / "none"), Settings())
    admin_only = Settings(data=tmp_path / "data")
    await asyncio.to_thread(admin.migrate, admin_only)
    with pytest.raises(NotFound, match="Nothing is sealed"):
        await moved(admin_only, Settings())
    assert not (tmp_path / "data" / "keys").exists()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_nodes_that_run_go_on_and_no_data_key_is_made_under_the_old_root(house: House, tmp_path: Path) -> None:
    sealed = await seal_everywhere(house)
    await moved(house.settings, Settings(root_passphrase=NEW_PASSPHRASE))
    await sealed.opens(house.app)
    await house.connect(name="after")
    states = await key_states(house.app)
    with pytest.raises(Conflict, match="root key was changed") as refusal:
        await house.app.data_keys.begin(org="", by="test")
    assert "Start it again" in refusal.value.next_step
    assert await key_states(house.app) == states
    restarted = replace(house.settings, root="passphrase", root_passphrase=NEW_PASSPHRASE)
    house.settings = restarted
    async with second_node(house, tmp_path / "other") as other:
        await sealed.opens(other.app)
        await rotated(other.app.data_keys)
        # The one that was not started again knows nothing of the new data key: it stays closed, and says so.
        await house.app.authorities.refresh()
        reply = await house.alice.call("POST", "/v1/connections", integration="github", credential="ghp_x" * 8)
        assert reply.status >= 400


async def _stopped(house: House) -> None:
    """Let go of the database while the story goes on; closing again at its end is harmless."""
    await house.app.close()
    closed = asyncio.get_running_loop().create_future()
    closed.set_result(None)
    house.app.close = lambda: closed  # type: ignore[method-assign]
