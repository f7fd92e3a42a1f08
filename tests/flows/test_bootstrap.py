"""The first administrator: one code, once, for ten minutes; and no address that changes anything without proof."""

import asyncio
import re
from pathlib import Path
from typing import Any

from sqlalchemy import event

from tests.support.command_line import CommandLine
from tests.support.house import EXCHANGE, USER_CREDENTIAL, House
from tests.support.http import Reply, call
from tests.support.ports import free_port
from valetkey.server.app import App, build
from valetkey.server.clock import DrivenClock
from valetkey.server.listen import Listener
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings

WHO = {"email": "alice@acme.com", "organization": "acme"}


async def empty(folder: Path, database_url: str | None, clock: DrivenClock) -> tuple[App, Settings]:
    """A deployment nobody has logged in to."""
    settings = Settings(
        port=free_port(), data=folder, database_url=None if database_url is None else Secret(database_url)
    )
    app = build(settings, clock)
    await app.start()
    return app, settings


class Fresh:
    """`async with Fresh(…) as fresh`: an empty deployment and its one-time code."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self._folder = folder
        self._database_url = database_url
        self.clock = DrivenClock()

    async def __aenter__(self) -> "Fresh":
        self.app, settings = await empty(self._folder, self._database_url, self.clock)
        self._listener = Listener(self.app.asgi, host="127.0.0.1", port=settings.port)
        await self._listener.__aenter__()
        self.base = f"http://127.0.0.1:{settings.port}"
        assert self.app.bootstrap is not None
        self.code = self.app.bootstrap.reveal()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._listener.__aexit__(*raised)
        await self.app.close()

    async def log_in(self, code: str, **who: str) -> Reply:
        return await call(self.base, "POST", "/v1/login", json={"code": code, **(WHO | who)})


async def test_op_02_the_code_makes_one_administrator_and_is_spent(tmp_path: Path, database_url: str | None) -> None:
    async with Fresh(tmp_path, database_url) as fresh:
        first = await fresh.log_in(fresh.code)
        assert first.status == 201
        assert first.json()["user"]["role"] == "administrator"
        second = await fresh.log_in(fresh.code, email="mallory@evil.example")
        assert (second.status, second.code) == (401, "not_authenticated")


async def test_op_02_of_many_who_try_at_once_one_gets_in(tmp_path: Path, database_url: str | None) -> None:
    async with Fresh(tmp_path, database_url) as fresh:
        tries = (fresh.log_in(fresh.code, email=f"m{n}@evil.example") for n in range(10))
        replies = await asyncio.gather(*tries)
        assert sorted(r.status for r in replies) == [201] + [401] * 9


async def test_op_02_the_code_lives_ten_minutes(tmp_path: Path, database_url: str | None) -> None:
    async with Fresh(tmp_path, database_url) as fresh:
        fresh.clock.advance(600)
        late = await fresh.log_in(fresh.code)
        assert (late.status, late.code) == (401, "not_authenticated")
        fresh.clock.advance(-1)
        assert (await fresh.log_in(fresh.code)).status == 201


async def test_a_start_that_was_not_used_is_replaced_and_one_that_was_offers_none(
    tmp_path: Path, database_url: str | None
) -> None:
    async with Fresh(tmp_path, database_url) as fresh:
        old = fresh.code
    async with Fresh(tmp_path, database_url) as fresh:
        assert fresh.code != old
        assert (await fresh.log_in(old)).status == 401
        assert (await fresh.log_in(fresh.code)).status == 201
    app, _ = await empty(tmp_path, database_url, DrivenClock())
    assert app.bootstrap is None
    await app.close()


async def test_a_try_that_fails_for_another_reason_does_not_spend_the_code(
    tmp_path: Path, database_url: str | None
) -> None:
    async with Fresh(tmp_path, database_url) as fresh:
        for email in ("", "not-an-address", "a@x@y", "ünïcode@acme.com"):
            assert (await fresh.log_in(fresh.code, email=email)).status == 400, email
        assert (await fresh.log_in(fresh.code)).status == 201


async def test_the_code_is_kept_nowhere(tmp_path: Path) -> None:
    async with Fresh(tmp_path, None) as fresh:
        code = fresh.code.encode()
        credential = (await fresh.log_in(fresh.code)).json()["credential"].encode()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            kept = file.read_bytes()
            assert code not in kept, file
            assert credential not in kept, file


async def test_do_07_a_code_that_cannot_be_one_is_refused_without_asking_the_database(house: House) -> None:
    asked: list[str] = []
    engines = {house.app.database._reader, house.app.database._writer}
    for engine in engines:
        event.listen(engine.sync_engine, "before_cursor_execute", lambda *seen: asked.append(seen[2]))

    def secrets_asked_for() -> list[str]:
        return [s for s in asked if any(t in s for t in ("invitations", "user_credentials", "agent_secrets"))]

    mistyped = house.alice.credential[:-1] + ("0" if house.alice.credential[-1] != "0" else "1")
    for credential in (mistyped, "", "x" * 60_000, "vkcl_", "vkag_" + "0" * 49, house.alice.credential + " "):
        form = {"grant_type": USER_CREDENTIAL, "credential": credential}
        assert (await house.call("POST", "/oauth/token", form=form)).status in (400, 401)
        client = {"grant_type": "client_credentials", "client_id": "x", "client_secret": credential}
        assert (await house.call("POST", "/oauth/token", form=client)).status in (400, 401)
        assert (await house.call("POST", "/v1/login", json={"code": credential})).status == 401
    assert secrets_asked_for() == []
    await house.alice.sign_in()
    assert secrets_asked_for() != []


OPEN_PAGES = {
    "/login", "/login/sso/{provider}/callback", "/connect/{app}/callback", "/openapi.json", "/static/{digest}/{name}",
    "/worker.js",  # a script like those below /static, under a name of its own for the browser
    "/manifest.webmanifest",  # what a home screen reads, the same for everybody
}  # fmt: skip


async def test_op_02_op_03_no_address_answers_or_changes_anything_without_proof(house: House) -> None:
    """Every route there is, with nothing, with garbage, and with tokens of other doors."""
    agent, delegation, task, token = await house.ready()
    before = await house.events()
    wrong = {
        "nothing": None,
        "garbage": "Bearer garbage",
        "no scheme": house.alice.bearer,
        "another scheme": f"Basic {house.alice.bearer}",
        "a delegated credential": f"Bearer {token}",
        "a task token": f"Bearer {task['task_token']}",
        "a CLI credential": f"Bearer {house.alice.credential}",
        "an agent secret": f"Bearer {agent.secret}",
        "a changed token": f"Bearer {house.alice.bearer[:-3]}AAA",
        "two": f"Bearer {house.alice.bearer}, Bearer {house.alice.bearer}",
        "an empty one": "Bearer ",
    }
    bodies = {
        "/v1/login": {"code": "vkbs_" + "0" * 49},
        "/v1/login/cli": {"code": "vklc_" + "0" * 49, "code_verifier": "v" * 43, "redirect_uri": "http://127.0.0.1:5"},
    }
    walked = 0
    for route in house.app.mount.routes:
        path = route.path.replace("{verb:status}", "suspend").replace("{id}", delegation["id"])
        if not route.path.startswith("/v1"):
            continue
        for method in sorted((route.methods or set()) - {"HEAD"}):
            for what, value in wrong.items():
                headers = {} if value is None else {"authorization": value}
                body = bodies.get(route.path, {})
                reply = await house.call(method, path, headers=headers, json=body)
                assert (reply.status, reply.code) == (401, "not_authenticated"), (method, path, what, reply.body)
            walked += 1
    assert walked > 30
    for grant in ("client_credentials", EXCHANGE, USER_CREDENTIAL):
        form = {"grant_type": grant, "subject_token": task["task_token"], "credential": "vkcl_" + "0" * 49}
        assert (await house.call("POST", "/oauth/token", form=form)).status == 401
    assert [r for r in await house.events() if r not in before and r["event"] != "login.failed"] == []


async def test_op_02_no_page_shows_or_changes_anything_before_signing_in(house: House) -> None:
    """Pages send to /login and nowhere else; forms, whatever they hold, are refused."""
    _, delegation, _, _ = await house.ready()
    before = await house.events()
    walked = 0
    for route in house.app.mount.routes:
        if route.path.startswith(("/v1", "/.well-known", "/oauth")) or route.path in OPEN_PAGES:
            continue
        path = re.sub(r"\{[^}]*\}", delegation["id"], route.path)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            tab = house.tab()
            for cookie in ("", "x", "vkse_" + "0" * 49, house.alice.credential):
                tab.cookies["__Host-valetkey"] = cookie
                if method == "GET":
                    asked = CommandLine(house).address() if path == "/login/cli" else path
                    reply = await tab.get(asked, follow=False)
                    assert reply.status == 303, (path, cookie)
                    assert (reply.header("location") or "").startswith("/login?next=%2F"), (path, cookie)
                else:
                    reply = await tab.post(path, {"csrf": "0" * 64})
                    assert reply.status in (401, 403), (path, cookie, reply.status)
            walked += 1
    assert walked >= 2
    assert await house.events() == before


async def test_what_does_not_exist_is_404_whoever_asks(house: House) -> None:
    for path in (
        "/docs",
        "/openapi",
        "/openapi.yaml",
        "/debug",
        "/metrics",
        "/v1",
        "/v1/init",
        "/v1/rekey",
        "/admin",
        "/p",
    ):
        for headers in ({}, {"authorization": f"Bearer {house.alice.bearer}"}):
            assert (await house.call("GET", path, headers=headers)).status == 404, path


async def test_an_invitation_is_for_one_person_once_and_for_a_week(house: House) -> None:
    invited = await house.alice.does("POST", "/v1/users", email="bob@acme.com", role="member")
    other = await house.alice.does("POST", "/v1/users", email="carol@acme.com", role="member")
    first = await house.call("POST", "/v1/login", json={"code": invited["code"], "email": "mallory@acme.com"})
    assert first.json()["user"]["email"] == "bob@acme.com"  # the code says who, the request does not
    again = await house.call("POST", "/v1/login", json={"code": invited["code"]})
    assert (again.status, again.code) == (401, "not_authenticated")
    house.clock.advance(7 * 86_400)
    late = await house.call("POST", "/v1/login", json={"code": other["code"]})
    assert (late.status, late.code) == (401, "not_authenticated")


async def test_an_invitation_ends_with_the_user_it_was_for(house: House) -> None:
    """OA-17."""
    for stop in ("suspend", "revoke"):
        invited = await house.alice.does("POST", "/v1/users", email=f"{stop}@acme.com", role="member")
        if stop == "suspend":
            await house.alice.does("POST", f"/v1/users/{invited['id']}/suspend")
        else:
            await house.alice.does("POST", "/v1/revocations", node=invited["id"])
        assert (await house.call("POST", "/v1/login", json={"code": invited["code"]})).status == 401
