"""People are told by e-mail, at addresses they showed to be theirs, by the operator's own server, over verified TLS."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_approvals import asking, held
from tests.flows.test_notices_push import settled
from tests.support.certificates import Authority
from tests.support.house import House, open_house
from tests.support.mail_server import MailServer
from tests.support.tab import Tab
from valetkey.cli import doctor
from valetkey.server.secret import Secret
from valetkey.server.settings import Settings

CANARY = "a title nobody else is told"


def settings(folder: Path, server: MailServer, authority: Authority, **more: Any) -> Mapping[str, Any]:
    """Those of an operator who runs this mail server."""
    root = folder / "mail-root.pem"
    root.write_bytes(authority.root)
    said = {
        "smtp": f"localhost:{server.port}",
        "smtp_from": "valetkey@acme.com",
        "smtp_login": "valetkey",
        "smtp_password": Secret("right"),
        "smtp_network": "loopback",
        "smtp_ca": root,
    }
    return said | more


@asynccontextmanager
async def mailing(
    folder: Path, database_url: str | None, *, implicit: bool = False, **more: Any
) -> AsyncIterator[tuple[House, MailServer]]:
    authority = Authority()
    tls = authority.serves(folder, "localhost")
    async with MailServer(tls, implicit=implicit) as server:
        chosen = settings(folder, server, authority, **more)
        async with open_house(folder / "data", database_url=database_url, **chosen) as house:
            yield house, server


async def names(house: House, address: str = "", email: str = "alice@acme.com") -> Tab:
    """Somebody names a mail address, and has the page before them."""
    tab = await house.signed_in(email)
    await tab.get("/account")
    await tab.submit("/account/notices", {"kind": "mail", "address": address})
    return tab


def code_in(server: MailServer) -> str:
    found = re.search(r"\b\d{8}\b", server.mails[-1].get_content())
    assert found is not None
    return found[0]


@pytest.mark.parametrize("implicit", [False, True])
async def test_her_mail_says_who_asks_and_nothing_of_the_call(
    tmp_path: Path, database_url: str | None, implicit: bool
) -> None:
    how = {"implicit": implicit, "smtp_tls": "implicit" if implicit else "starttls"}
    async with mailing(tmp_path, database_url, **how) as (house, server):
        tab = await names(house)
        assert "not confirmed yet" in tab.text
        [asked] = server.mails
        assert (asked["To"], asked["Subject"]) == ("alice@acme.com", "Is this your address?")
        await tab.submit("/account/notices/confirm", {"code": code_in(server)})
        assert "nothing sent yet" in tab.text
        _, _, _, token = await asking(house)
        approval = await held(house, token, CANARY)
        await settled(house)
        told = server.mails[-1]
        assert (told["Subject"], told["From"]) == ("A call waits for your answer", "Valetkey <valetkey@acme.com>")
        assert told["Auto-Submitted"] == "auto-generated"
        text = told.get_content()
        assert "pr-reviewer-v2, acting for alice@acme.com, asks before a call." in text
        assert f"{house.settings.issuer}/approvals/{approval}" in text
        assert server.logins == [("valetkey", "right")] * 2
        assert len(server.raw) == 2
        for secret in (CANARY, "acme-corp/backend", token, "review the pull request"):
            assert all(secret.encode() not in line for line in [*server.lines, *server.raw])
        assert all(line.split()[0] in (b"EHLO", b"STARTTLS", b"ehlo") for line in server.clear)
        events = [r["event"] for r in await house.events() if r["event"].startswith("notice-address.")]
        assert events == ["notice-address.added", "notice-address.confirmed"]
        await tab.get("/account")
        assert "last reached" in tab.text


async def test_an_address_that_is_not_confirmed_is_told_nothing(tmp_path: Path, database_url: str | None) -> None:
    async with mailing(tmp_path, database_url) as (house, server):
        tab = await names(house, "somebody.else@example.com")
        assert server.recipients == [b"RCPT TO:<somebody.else@example.com>".replace(b"RCPT TO", b"rcpt TO")]
        _, _, _, token = await asking(house)
        await held(house, token)
        await settled(house)
        assert len(server.mails) == 1
        [notice] = {
            v for f in tab.forms() if f.action == "/account/notices/confirm" for n, v in f.fields if n == "notice"
        }
        refused = await tab.post("/account/notices/try", {"csrf": tab.csrf, "notice": notice})
        assert (refused.status, len(server.mails)) == (400, 1)


async def test_failures_are_told_in_words_of_ours(tmp_path: Path, database_url: str | None) -> None:
    async with mailing(tmp_path, database_url) as (house, server):
        tab = await names(house)
        await tab.submit("/account/notices/confirm", {"code": code_in(server)})
        server.refuses = b"RCPT"
        await tab.submit("/account/notices/try")
        assert "failed once since: not sent: The mail server does not take the message." in tab.text
        assert "a secret of the server" not in tab.text
        server.refuses = b""
        house.clock.advance(20)
        await tab.submit("/account/notices/try")
        assert "failed" not in tab.text
        assert server.mails[-1]["Subject"] == "Notices from Valetkey arrive here"


async def test_a_wrong_password_is_told_and_nothing_is_sent(tmp_path: Path, database_url: str | None) -> None:
    async with mailing(tmp_path, database_url, smtp_password=Secret("wrong")) as (house, server):
        tab = await names(house)
        assert "the code was not sent: The mail server does not take the login." in tab.text
        assert server.raw == []


async def test_without_a_mail_server_there_is_no_such_kind(house: House) -> None:
    tab = await house.signed_in()
    await tab.get("/account")
    assert "E-mail" not in tab.text
    refused = await tab.post("/account/notices", {"csrf": tab.csrf, "kind": "mail", "address": ""})
    assert refused.status == 400
    assert b"This server sends no mail." in refused.body


async def test_the_doctor_signs_in_at_the_mail_server_and_sends_nothing(tmp_path: Path) -> None:
    authority = Authority()
    async with MailServer(authority.serves(tmp_path, "localhost")) as server:
        good = Settings(**settings(tmp_path, server, authority))
        assert (await asyncio.to_thread(doctor.mail, good)).level == "ok"
        wrong = replace(good, smtp_password=Secret("a canary of a password"))
        found = await asyncio.to_thread(doctor.mail, wrong)
        assert (found.level, "does not take the login" in found.seen) == ("failure", True)
        assert "canary" not in f"{found}"
        assert (await asyncio.to_thread(doctor.mail, replace(good, smtp_network="public"))).level == "failure"
        assert server.raw == []


async def test_addresses_are_listed_and_tried_by_the_api(tmp_path: Path, database_url: str | None) -> None:
    async with mailing(tmp_path, database_url) as (house, server):
        tab = await names(house)
        [named] = (await house.alice.does("GET", "/v1/notice-addresses"))["data"]
        assert (named["kind"], named["place"], named["is_confirmed"]) == ("mail", "alice@acme.com", False)
        there = f"/v1/notice-addresses/{named['id']}/test"
        assert (await house.alice.call("POST", there)).status == 400
        await tab.submit("/account/notices/confirm", {"code": code_in(server)})
        bob = await house.person("bob@acme.com")
        assert (await bob.does("GET", "/v1/notice-addresses"))["data"] == []
        assert (await bob.call("POST", there)).status == 404
        agent = await house.agent("pr-reviewer-v2")
        assert (await agent.call("POST", there)).status == 403
        tried = await house.alice.does("POST", there)
        assert (tried["problem"], tried["told_at"]) == ("", int(house.clock.now()))
        assert (await house.alice.call("POST", there)).status == 429
        server.refuses = b"DATA"
        house.clock.advance(20)
        tried = await house.alice.does("POST", there)
        assert (tried["failures"], tried["problem"]) == (1, "not sent: The mail server does not take the message.")
