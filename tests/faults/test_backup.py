"""Backup and restore (R17, RB-01): a copy taken beside a running server is whole, and restoring revives nothing."""

import asyncio
import os
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.house import Person, Robot, open_house, practice
from valetkey.cli.practice_github import PracticeGitHub
from valetkey.server.app import build
from valetkey.server.db import admin
from valetkey.server.errors import Conflict, NotFound
from valetkey.server.listen import Listener
from valetkey.server.restore import restore
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings

READ = "/repos/acme-corp/backend"


async def test_a_backup_taken_while_the_server_works_is_consistent_and_private(
    tmp_path: Path, database_url: str | None
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url) as house:
        _, _, _, token = await house.ready()
        working = [asyncio.create_task(house.gateway(token, "GET", READ)) for _ in range(30)]
        await asyncio.to_thread(admin.backup, house.settings, tmp_path / "copy")
        assert {(await call).status for call in working} == {200}
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
        assert await asyncio.to_thread(admin.check, house.settings) == []
        if database_url is None:
            kept = sqlite3.connect(tmp_path / "copy")
            assert kept.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert kept.execute("SELECT max(seq) = count(*) FROM audit_records").fetchone() == (1,)
            kept.close()
        with pytest.raises(Conflict):  # and it never replaces what is there
            await asyncio.to_thread(admin.backup, house.settings, tmp_path / "copy")
    assert not list(tmp_path.glob("*.part"))


async def test_a_restored_backup_revives_no_token_delegation_secret_or_login(
    tmp_path: Path, database_url: str | None
) -> None:
    data, github = tmp_path / "data", practice()
    async with Listener(github, host="127.0.0.1", port=0) as behind:
        github.base_url = behind.url
        await _restored_story(data, database_url, github)


async def _restored_story(data: Path, database_url: str | None, github: PracticeGitHub) -> None:
    copy = data.parent / "copy"
    async with open_house(data, database_url=database_url, upstream=github.base_url) as house:
        agent, delegation, task, token = await house.ready()
        alice, settings = house.alice, house.settings
        account = await alice.does("POST", "/v1/service-accounts", name="deploy", scopes=["agents:read"])
        vouched = await alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence")
        await asyncio.to_thread(admin.backup, settings, copy)
        await alice.does("POST", "/v1/revocations", node=delegation["id"])

    done = await asyncio.to_thread(restore, settings, copy, house.clock)
    assert done.voided >= 2
    assert done.administrator == "alice@acme.com"
    assert done.code is not None

    async with open_house(data, database_url=database_url, upstream=github.base_url) as again:
        sent = len(github.requests)
        assert (await again.gateway(token, "GET", READ)).status == 401
        assert (await Robot(again, agent.id, agent.name, agent.secret).exchange(task["task_token"])).status == 401
        assert (await again.call("GET", "/v1/whoami", headers=_bearer(alice.bearer))).status == 401
        form = {"grant_type": "urn:valetkey:params:oauth:grant-type:user-credential", "credential": alice.credential}
        assert (await again.call("POST", "/oauth/token", form=form)).status in (400, 401)
        service = {"grant_type": "client_credentials", "client_id": account["id"], "client_secret": account["secret"]}
        assert (await again.call("POST", "/oauth/token", form=service)).status == 401
        assert len(github.requests) == sent

        reply = await again.call("POST", "/v1/login", json={"code": done.code.reveal()})
        again.alice = await Person(again, alice.id, alice.email, reply.json()["credential"]).sign_in()
        rotated = await again.alice.does("POST", f"/v1/agents/{agent.id}/rotate")
        fresh = Robot(again, agent.id, agent.name, rotated["secret"])
        refused = await fresh.call("POST", "/v1/tasks", delegation=delegation["id"], evidence=vouched["evidence"])
        assert refused.status in (400, 403)
        new = await again.task(await again.delegate(fresh))
        assert (await again.gateway(await fresh.token(new["task_token"]), "GET", READ)).status == 200
        revoked = [r for r in await again.events("node.revoked") if r["by"] == "restore"]
        assert delegation["id"] in {r["node"] for r in revoked}


async def test_a_database_put_back_behind_our_back_is_not_served(tmp_path: Path) -> None:
    """RB-01, RB-03: the checkpoints outside know of records the database no longer has."""
    data = tmp_path / "data"
    async with open_house(data) as house:
        settings = house.settings
        await asyncio.to_thread(admin.backup, settings, tmp_path / "copy")
        await house.agent("pr-reviewer-v2")
    (data / "valetkey.db").unlink()
    shutil.copy(tmp_path / "copy", data / "valetkey.db")
    app = build(settings, house.clock)
    with pytest.raises(Conflict, match="older than its checkpoints"):
        await app.start()
    await app.journal.close()
    await app.database.close()
    await asyncio.to_thread(restore, settings, tmp_path / "copy")
    async with open_house(data):
        pass


async def test_a_database_in_use_is_not_replaced(tmp_path: Path, database_url: str | None) -> None:
    async with open_house(tmp_path / "data", database_url=database_url) as house:
        await asyncio.to_thread(admin.backup, house.settings, tmp_path / "copy")
        with pytest.raises(Conflict):
            await asyncio.to_thread(restore, house.settings, tmp_path / "copy")
        assert (await house.alice.call("GET", "/v1/whoami")).status == 200


@pytest.mark.parametrize("content", [b"", b"not a database", b"SQLite format 3\x00" + bytes(4096)])
def test_what_is_no_backup_replaces_nothing(tmp_path: Path, content: bytes) -> None:
    settings = Settings(data=tmp_path / "data")
    admin.migrate(settings)
    before = (settings.data / "valetkey.db").read_bytes()
    (tmp_path / "copy").write_bytes(content)
    with pytest.raises(Conflict):
        restore(settings, tmp_path / "copy")
    with pytest.raises(NotFound):
        restore(settings, tmp_path / "missing")
    assert (settings.data / "valetkey.db").read_bytes() == before


def test_a_backup_of_a_newer_version_replaces_nothing(tmp_path: Path) -> None:
    """OP-05"""
    settings = Settings(data=tmp_path / "data")
    admin.migrate(settings)
    shutil.copy(settings.data / "valetkey.db", tmp_path / "copy")
    newer = sqlite3.connect(tmp_path / "copy")
    newer.execute("UPDATE alembic_version SET version_num = '9999'")
    newer.commit()
    newer.close()
    with pytest.raises(Conflict, match="newer"):
        restore(settings, tmp_path / "copy")


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data")
    assert "no database" in admin.check(settings)[0]
    assert admin.migrate(settings)
    assert admin.check(settings) == []
    (settings.data / "valetkey.db").chmod(0o644)
    assert "read by others" in admin.check(settings)[0]


async def test_check_finds_a_newest_record_that_was_edited(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        settings = replace(house.settings)
    assert await asyncio.to_thread(admin.check, settings) == []
    edited = sqlite3.connect(settings.data / "valetkey.db")
    edited.execute(
        "UPDATE audit_records SET body = CAST(body || ' ' AS BLOB) WHERE seq = (SELECT max(seq) FROM audit_records)"
    )
    edited.commit()
    edited.close()
    assert "not what was written" in (await asyncio.to_thread(admin.check, settings))[0]


async def test_the_password_of_the_database_is_in_no_argument(
    tmp_path: Path, postgres: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.database()  # type: ignore[attr-defined]
    spy = tmp_path / "bin" / "pg_dump"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho "$PGPASSWORD" > {tmp_path}/password\n')
    spy.chmod(0o700)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    rest = url.partition("@")[2]
    settings = Settings(data=tmp_path / "data", database_url=Secret(f"postgresql://somebody:Canary-pass@{rest}"))
    admin.backup(settings, tmp_path / "copy")
    assert "Canary-pass" not in (tmp_path / "arguments").read_text()
    assert (tmp_path / "password").read_text() == "Canary-pass\n"


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
