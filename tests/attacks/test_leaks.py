"""No secret where it does not belong, after a whole story with a real server process: LK-01, LK-02.

Every kind of secret in the story is a canary. What is searched: the database as it lies there, checkpoints, the
exported trail, the server's log, every answer, and the command line and environment of its processes; for each secret
raw, in base64 at any alignment, percent-encoded and in hexadecimal.
"""

import asyncio
import base64
import logging
import sqlite3
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from sqlalchemy import text

from tests.support import scripts
from tests.support.behind import ALLOWED, DENIED, GRANTS, furnish, open_behind
from tests.support.house import House, Person, Robot
from tests.support.http import Reply
from tests.support.serve_process import ServeProcess
from tests.support.upstream import Upstream

UPSTREAM = "ghp_upstreamCanary9f2Kq7Zx81LmVtRbYw3E5"
BODY, HEADER, QUERY, PATH = ("bodyCanary7Hq2LmZt", "headerCanary4Vx9KpRw", "queryCanary8Jn3BdYs", "pathCanary6Tc1FgWu")


def spellings(secret: str) -> dict[str, bytes]:
    """How a secret could lie somewhere, each long enough to be nothing else."""
    raw = secret.encode()
    found = {"raw": raw, "percent-encoded": quote(secret, safe="").encode(), "hex": raw.hex().encode()}
    found["all percent-encoded"] = "".join(f"%{byte:02X}" for byte in raw).encode()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        core = encoded[(0, 2, 3)[before] : (before + len(raw)) * 8 // 6]
        found[f"base64, {before} bytes in"] = core
        found[f"url-safe base64, {before} bytes in"] = core.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def hits(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> list[str]:
    """Where which secret was found, without repeating it."""
    return [
        f"{kind} in {place}, {form}"
        for kind, secret in secrets.items()
        for form, spelling in spellings(secret).items()
        for place, content in places.items()
        if spelling in content or spelling.lower() in content
    ]


def test_the_search_finds_what_it_should() -> None:
    for form, spelling in spellings(UPSTREAM).items():
        assert hits({"x": UPSTREAM}, {"here": b"..." + spelling + b"..."}), form
    basic = base64.b64encode(b"user:" + UPSTREAM.encode())
    assert hits({"x": UPSTREAM}, {"here": basic})
    assert hits({"x": UPSTREAM}, {"here": b"ghp_something else"}) == []


@dataclass
class Story:
    """What was said and planted."""

    server: ServeProcess
    up: Upstream
    secrets: dict[str, str] = field(default_factory=dict)
    replies: list[Reply] = field(default_factory=list)

    def places(self) -> dict[str, bytes]:
        """Everything the server left behind on disk."""
        files = [path for path in self.server.data.rglob("*") if path.is_file() and "root" not in path.name]
        log = self.server.data.parent / f"{self.server.data.name}.log"
        return {path.name: path.read_bytes() for path in [*files, log]}


@pytest.fixture
async def story(tmp_path: Path, database_url: str | None) -> AsyncIterator[Story]:
    async with Upstream() as up:
        furnish(up)
        server = ServeProcess(data=tmp_path / "data", upstream=up.url, database_url=database_url)
        await server.start()
        try:
            yield Story(server, up)
        finally:
            server.kill()
            await server.gone()


async def lived(story: Story) -> tuple[House, Robot, Any]:
    """Sign in, connect, delegate; calls that are allowed, denied, refused and that fail."""
    house, secrets, up = story.server.house, story.secrets, story.up
    secrets["bootstrap code"] = story.server.announced["bootstrap"]
    login = {"code": secrets["bootstrap code"], "email": "alice@acme.com", "organization": "acme"}
    made = (await house.call("POST", "/v1/login", json=login)).json()
    house.alice = await Person(house, made["user"]["id"], "alice@acme.com", made["credential"]).sign_in()
    secrets |= {"user credential": made["credential"], "api token": house.alice.bearer}
    agent = await house.agent("pr-reviewer-v2")
    service = await house.alice.does("POST", "/v1/service-accounts", name="ci", scopes=["audit:read"])
    invited = await house.alice.does("POST", "/v1/users", email="bob@acme.com", role="member")
    secrets |= {"agent secret": agent.secret, "service secret": service["secret"], "invitation": invited["code"]}
    await house.connect(credential=UPSTREAM)
    delegation = await house.delegate(agent, *GRANTS)
    evidence = await house.alice.does("POST", f"/v1/delegations/{delegation['id']}/evidence")
    task = await house.task(delegation)
    token = await agent.token(task["task_token"])
    secrets |= {"evidence": evidence["evidence"], "task token": task["task_token"], "delegated credential": token}
    secrets |= {"upstream credential": UPSTREAM, "body": BODY, "header": HEADER, "query": QUERY, "path": PATH}

    async def call(method: str, path: str, **more: Any) -> None:
        headers = [("x-note", HEADER), ("cookie", f"a={HEADER}"), *more.pop("headers", [])]
        story.replies.append(await house.gateway(token, method, path, headers=headers, **more))

    up.answers("GET", "/repos/acme/pub/pulls", script=scripts.echo())
    up.answers("GET", "/repos/acme/pub/labels", script=scripts.reset())
    up.answers("GET", "/repos/acme/pub/branches", 401, json={"message": f"bad {UPSTREAM}"})
    up.answers("GET", "/repos/acme/pub/tags", script=scripts.truncated(UPSTREAM.encode()[:30], promised=99))
    await call("POST", ALLOWED, json={"title": BODY})
    await call("GET", f"{ALLOWED}?q={QUERY}")
    await call("GET", f"{ALLOWED}?access_token={QUERY}")
    await call("GET", f"/repos/acme/pub/contents/{PATH}/..")
    await call("GET", f"/nowhere/{PATH}")
    await call("DELETE", "/repos/acme/pub", json={"x": BODY})
    for path in (DENIED, "pulls", "labels", "branches", "tags"):
        await call("GET", path if path == DENIED else f"/repos/acme/pub/{path}")
    await call("GET", ALLOWED, headers=[("authorization", f"Bearer {UPSTREAM}")])
    story.replies.append(await house.gateway(UPSTREAM, "GET", ALLOWED))
    story.replies.append(await house.gateway(token + "x", "GET", ALLOWED))
    for path in ("/v1/connections", "/v1/delegations", "/v1/agents", "/v1/audit?limit=500", "/v1/keys", "/v1/whoami"):
        story.replies.append(await house.alice.call("GET", path))
    return house, agent, task


async def broken(story: Story, statement: str) -> None:
    """Change the database behind the server's back, so that what it does next is a failure nobody planned."""
    if story.server.database_url is None:
        with sqlite3.connect(story.server.data / "valetkey.db", timeout=10) as connection:
            connection.execute(statement)
        connection.close()
        return
    other = await asyncpg.connect(story.server.database_url)
    try:
        await other.execute(statement)
    finally:
        await other.close()


async def test_lk_01_no_secret_is_left_where_it_does_not_belong(story: Story) -> None:
    house, agent, task = await lived(story)
    for table in ("service_accounts", "connections"):
        await broken(story, f"ALTER TABLE {table} RENAME TO elsewhere_{table}")
    failed = [
        await house.alice.call("POST", "/v1/connections", integration="github", name="b", credential=UPSTREAM),
        await house.alice.call("POST", "/v1/service-accounts", name="other", scopes=["audit:read"]),
        await agent.exchange(task["task_token"]),
        await house.alice.call("GET", "/v1/connections"),
    ]
    assert any(reply.status in (500, 503) for reply in failed), [reply.status for reply in failed]
    for table in ("service_accounts", "connections"):
        await broken(story, f"ALTER TABLE elsewhere_{table} RENAME TO {table}")
    exported = await house.alice.call("GET", "/v1/audit/export")
    assert exported.body.count(b"call.") >= 8
    places = {"the export": exported.body, **story.places()}
    if story.server.database_url is not None:
        tables = await story.server.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in tables:
            rows = await story.server.rows(f"SELECT * FROM {table}")
            cells = [cell if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row]
            places[f"table {table}"] = b"\0".join(cells)
    assert hits(story.secrets, places) == []
    # What somebody says may come back to them; what is ours or the upstream's may not.
    answered = {f"answer {n}": str(r.headers).encode() + r.body for n, r in enumerate([*story.replies, *failed])}
    ours = {kind: secret for kind, secret in story.secrets.items() if kind not in ("body", "header", "query", "path")}
    assert hits(ours, answered) == []
    assert any(UPSTREAM.encode() in seen.raw for seen in story.up.seen), "the story did use it"


async def test_lk_02_no_process_carries_a_secret_in_its_arguments_or_environment(story: Story) -> None:
    await lived(story)
    process = story.server._process
    assert process is not None
    family, found = [process.pid], {}
    while family:
        pid = family.pop()
        children = Path(f"/proc/{pid}/task/{pid}/children")
        family += [int(child) for child in (children.read_text().split() if children.exists() else [])]
        for name in ("cmdline", "environ"):
            found[f"{name} of {pid}"] = Path(f"/proc/{pid}/{name}").read_bytes()
    assert b"serve" in found[f"cmdline of {process.pid}"]
    assert hits(story.secrets, found) == []


async def test_lk_01_not_even_the_most_talkative_log_says_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own logger at its lowest level; the drivers' debug logs are off unless somebody turns them on."""
    caplog.set_level(logging.DEBUG, logger="valetkey")
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    caplog.set_level(logging.DEBUG, logger="uvicorn.access")
    async with open_behind(tmp_path / "data") as behind:
        monkeypatch.setattr(logging.getLogger("uvicorn.access"), "handlers", [caplog.handler])
        behind.up.answers("GET", ALLOWED, script=scripts.echo())
        await behind.call(headers=[("x-note", HEADER)])
        await behind.call(path=DENIED)
        await behind.call("POST", ALLOWED, json={"title": BODY})
        behind.house.app.calls._borrow = None  # type: ignore[assignment] # a bug, as one would be
        bug = await behind.call(path=f"/repos/acme/pub/pulls?q={QUERY}", headers=[("x-note", HEADER)])
        await asyncio.sleep(0)
        assert (bug.status, bug.code) == (500, "internal")
        assert bug.json()["request_id"] in caplog.text, "a bug can be found again by the id its caller was given"
        secrets = {
            "token": behind.token,
            "agent": behind.agent.secret,
            "real": "ghp_realCanary0123456789abcdefghijklmnop",
        }
        assert hits({**secrets, "query": QUERY, "header": HEADER, "body": BODY}, {"log": caplog.text.encode()}) == []
        assert b"AttributeError" not in bug.body
        assert "uvicorn.access" not in {record.name for record in caplog.records}


async def test_lk_01_the_text_of_a_database_error_does_not_repeat_what_was_to_be_stored(
    tmp_path: Path, database_url: str | None
) -> None:
    """It becomes the detail of a refusal, and details may be logged."""
    async with open_behind(tmp_path / "data", database_url=database_url) as behind:
        database = behind.house.app.database
        with pytest.raises(Exception, match="nowhere") as caught:
            async with database.write() as tx:
                await tx.execute(text("INSERT INTO nowhere VALUES (:secret)"), {"secret": UPSTREAM})
        assert UPSTREAM not in str(caught.value) + str(getattr(caught.value, "detail", ""))
