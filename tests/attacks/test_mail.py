"""Mail goes to who confirmed it, by a server that proves its name; nobody writes a header or fills a stranger's box."""

from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_notices_mail import code_in, mailing, names, settings
from tests.support.certificates import Authority, self_signed
from tests.support.house import open_house
from tests.support.mail_server import MailServer
from tests.support.tab import Tab
from valetkey.server.approvals.notices.mail import mailbox
from valetkey.server.errors import InvalidRequest
from valetkey.server.settings import load_settings

LINES = (
    "a@acme.com\r\nBcc: b@evil.example",
    "a@acme.com\nBcc: b@evil.example",
    "a@acme.com, b@evil.example",
    "a@acme.com b@evil.example",
    '"a b"@acme.com',
    "Alice <a@acme.com>",
    "a@acme.com>",
    "@evil.example:a@acme.com",
    "a@acme..com",
    "a@localhost",
    "a@127.0.0.1",
    "a@[127.0.0.1]",
    ".a@acme.com",
    "-oQ/tmp@acme.com",
    "ä@acme.com",
    "a" * 65 + "@acme.com",
    "acme.com",
)


@pytest.mark.parametrize("text", LINES)
def test_an_address_cannot_write_a_header(text: str) -> None:
    assert mailbox("a.b+c@acme.com") == "a.b+c@acme.com"
    with pytest.raises(InvalidRequest):
        mailbox(text)


async def test_a_refused_address_is_not_kept_and_nothing_is_sent(tmp_path: Path) -> None:
    async with mailing(tmp_path, None) as (house, server):
        tab = await names(house, "a@acme.com\r\nBcc: b@evil.example")
        assert "This is not an e-mail address." in tab.text
        assert server.lines == []
        assert await house.events("notice-address.added") == []


def wanted(tab: Tab) -> str:
    [notice] = {v for f in tab.forms() if f.action == "/account/notices/confirm" for n, v in f.fields if n == "notice"}
    return notice


async def test_a_code_is_good_for_its_person_a_quarter_of_an_hour_and_five_guesses(
    tmp_path: Path, database_url: str | None
) -> None:
    async with mailing(tmp_path, database_url) as (house, server):
        tab = await names(house)
        code, notice = code_in(server), wanted(tab)
        await house.person("bob@acme.com")
        bob = await house.signed_in("bob@acme.com")
        await bob.get("/account")
        form = {"csrf": bob.csrf, "notice": notice, "code": code}
        assert (await bob.post("/account/notices/confirm", form)).status == 404
        for _ in range(5):
            wrong = await tab.submit("/account/notices/confirm", {"code": "00000000"})
            assert wrong.status == 400
        assert (await tab.submit("/account/notices/confirm", {"code": code})).status == 400  # the sixth, and right
        await tab.submit("/account/notices/remove")
        tab = await names(house)
        assert (await tab.submit("/account/notices/confirm", {"code": code})).status == 400  # that of before
        late = code_in(server)
        house.clock.advance(900)
        tab = await house.signed_in()
        await tab.get("/account")
        assert (await tab.submit("/account/notices/confirm", {"code": late})).status == 400
        await house.alice.sign_in()
        assert await house.events("notice-address.confirmed") == []


async def test_nobody_fills_anothers_mailbox_with_codes(tmp_path: Path, database_url: str | None) -> None:
    async with mailing(tmp_path, database_url) as (house, server):
        for _ in range(5):
            tab = await names(house, "victim@example.com")
            await tab.submit("/account/notices/remove")
        refused = await names(house, "victim@example.com")
        assert "5 codes were mailed for you in the last hour." in refused.text
        assert len(server.mails) == 5
        house.clock.advance(3601)
        await names(house, "victim@example.com")
        assert len(server.mails) == 6


async def not_trusted(tmp_path: Path, server: MailServer, **more: Any) -> str:
    """What she reads when the mail server is not to be trusted."""
    async with open_house(tmp_path / "data", **settings(tmp_path, server, Authority(), **more)) as house:
        return (await names(house)).text


async def test_a_server_that_does_not_prove_its_name_hears_nothing(tmp_path: Path) -> None:
    async with MailServer(self_signed(tmp_path, "localhost")) as server:
        assert "The mail server does not prove its name." in await not_trusted(tmp_path, server)
    assert (server.raw, server.logins) == ([], [])
    assert not any(b"@" in line for line in server.lines)


async def test_a_certificate_of_another_name_is_none(tmp_path: Path) -> None:
    authority = Authority()
    async with MailServer(authority.serves(tmp_path, "mail.example")) as server:
        chosen = settings(tmp_path, server, authority)
        async with open_house(tmp_path / "data", **chosen) as house:
            assert "The mail server does not prove its name." in (await names(house)).text
    assert (server.raw, server.logins) == ([], [])


async def test_a_server_whose_starttls_was_taken_away_hears_no_password(tmp_path: Path) -> None:
    authority = Authority()
    async with MailServer(authority.serves(tmp_path, "localhost"), starttls=False) as server:
        chosen = settings(tmp_path, server, authority)
        async with open_house(tmp_path / "data", **chosen) as house:
            assert "The mail server offers no STARTTLS, or no login." in (await names(house)).text
    assert (server.raw, server.logins) == ([], [])


async def test_a_mail_server_is_only_where_the_settings_say(tmp_path: Path) -> None:
    authority = Authority()
    async with MailServer(authority.serves(tmp_path, "localhost")) as server:
        for network in ("public", "private"):
            folder = tmp_path / network
            folder.mkdir()
            chosen = settings(folder, server, authority, smtp_network=network)
            async with open_house(folder / "data", **chosen) as house:
                assert "the code was not sent" in (await names(house)).text
        assert server.lines == []


async def test_the_mail_server_is_no_address_for_a_webhook(tmp_path: Path) -> None:
    async with mailing(tmp_path, None) as (house, server):
        tab = await house.signed_in()
        await tab.get("/account")
        address = f"https://localhost:{server.port}/x"
        assert (await tab.submit("/account/notices", {"kind": "webhook", "address": address})).status == 400
        assert server.lines == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SMTP", "mail.acme.com"),
        ("SMTP", "mail.acme.com:0"),
        ("SMTP", "smtp://mail.acme.com:587"),
        ("SMTP", "Mail.acme.com:587"),
        ("SMTP_FROM", "valetkey@acme.com\r\nBcc: x@evil.example"),
        ("SMTP_FROM", "Valetkey"),
        ("SMTP_TLS", "none"),
        ("SMTP_NETWORK", "any"),
        ("SMTP_PASSWORD", "alone"),
        ("SMTP_CA", "/there/is/none.pem"),
    ],
)
def test_half_a_mail_server_stops_the_start(tmp_path: Path, name: str, value: str) -> None:
    good = {"VALETKEY_SMTP": "mail.acme.com:587", "VALETKEY_SMTP_FROM": "valetkey@acme.com"}
    assert load_settings(good, tmp_path / "none").smtp_tls == "starttls"
    with pytest.raises(InvalidRequest):
        load_settings(good | {f"VALETKEY_{name}": value}, tmp_path / "none")


def test_the_password_is_printed_nowhere() -> None:
    settings = load_settings(
        {
            "VALETKEY_SMTP": "mail.acme.com:587",
            "VALETKEY_SMTP_FROM": "valetkey@acme.com",
            "VALETKEY_SMTP_LOGIN": "valetkey",
            "VALETKEY_SMTP_PASSWORD": "a canary of a password",
        }
    )
    assert "canary" not in repr(settings)
