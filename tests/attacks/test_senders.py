"""GW-11: who may say where a request came from. Real sockets: this machine has as many addresses as 127/8."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.decoupled import Elsewhere, elsewhere
from tests.support.house import House, open_house
from tests.support.http import call

PROXY, STRANGER = "127.0.0.2", "127.0.0.3"
ALICE, MALLORY = "203.0.113.7", "198.51.100.66"
Said = Sequence[str]


@dataclass
class Behind:
    """A deployment, and a device that asks it from somewhere."""

    house: House
    device: Elsewhere

    async def seen(self, said: Said, *, peer: str = PROXY, **more: Any) -> str:
        """Where the person is told that a request came from that this peer sent, with these X-Forwarded-For."""
        headers = [*self.device.client.robot.basic.items(), *(("x-forwarded-for", line) for line in said)]
        reply = await call(
            self.house.base,
            "POST",
            "/oauth/device_authorization",
            headers=[*headers, *more.items()],
            form=self.device.asks(),
            source=peer,
        )
        assert reply.status == 200, reply.body
        self.device.started = reply.json()
        tab = await self.house.signed_in()
        await self.device.typed(tab)
        return tab.text


@pytest.fixture
async def behind(tmp_path: Path, database_url: str | None) -> AsyncIterator[Behind]:
    """It believes one proxy and two networks of them."""
    trusted = (PROXY, "127.0.1.0/24", "fd00::/64")
    async with open_house(
        tmp_path / "data", database_url=database_url, trusted_proxies=trusted, oauth_failures_per_minute=3
    ) as house:
        yield Behind(house, await elsewhere(house))


async def test_gw_11_a_trusted_proxy_says_where_a_request_came_from(behind: Behind) -> None:
    for said in ([ALICE], [f"{MALLORY}, {ALICE}"], [MALLORY, ALICE], [f"{ALICE}, 127.0.1.9"], [f"{ALICE}\t,fd00::1"]):
        assert ALICE in await behind.seen(said), said
    assert "2001:db8::7" in await behind.seen(["2001:0DB8:0:0::7"])
    assert ALICE in await behind.seen([f"::ffff:{ALICE}"])


async def test_gw_11_nobody_else_does(behind: Behind) -> None:
    for peer in ("127.0.0.1", STRANGER):
        text = await behind.seen([ALICE], peer=peer)
        assert peer in text
        assert ALICE not in text


async def test_gw_11_other_headers_say_nothing(behind: Behind) -> None:
    others = {
        "forwarded": f"for={ALICE};host=evil.example;proto=http",
        "x-real-ip": ALICE,
        "x-forwarded": ALICE,
        "x_forwarded_for": ALICE,
    }
    text = await behind.seen([], **others)
    assert PROXY in text
    assert ALICE not in text


@pytest.mark.parametrize(
    "said",
    [
        ["unknown"],
        [f"{ALICE}:443"],
        [f"[{ALICE}]"],
        ["203.0.113.007"],
        [f"{ALICE}, x"],
        [f"{ALICE},"],
        [ALICE, ""],
        ["fe80::1%eth0"],
        ["1" * 3_000],
        ["127.0.1.1, 127.0.0.2"],
        [", ".join([ALICE, *["127.0.1.1"] * 16])],
    ],
)
async def test_gw_11_what_cannot_be_read_leaves_the_peer(behind: Behind, said: Said) -> None:
    text = await behind.seen(said)
    assert PROXY in text
    assert ALICE not in text


async def test_gw_11_what_a_client_writes_changes_nothing_behind_a_proxy_either(behind: Behind) -> None:
    for written in ("x", "127.0.1.1", MALLORY, ",,,", "9" * 10_000, ", ".join([MALLORY] * 900), "é"):
        text = await behind.seen([f"{written}, {ALICE}"])
        assert ALICE in text
        assert MALLORY not in text


async def test_gw_11_limits_count_who_the_proxy_says_it_is(behind: Behind) -> None:
    wrong = {"grant_type": "client_credentials", "client_id": behind.device.client.robot.id, "client_secret": "x"}

    async def tries(said: str, *, peer: str = PROXY) -> int:
        headers = {"x-forwarded-for": said}
        return (await call(behind.house.base, "POST", "/oauth/token", form=wrong, headers=headers, source=peer)).status

    assert [await tries(f"{n}.{n}.{n}.{n}, {MALLORY}") for n in range(1, 6)] == [401] * 3 + [429] * 2
    assert await tries(ALICE) == 401
    assert [await tries(f"{n}.{n}.{n}.{n}", peer=STRANGER) for n in range(1, 6)] == [401] * 3 + [429] * 2


async def test_gw_11_sign_ins_are_counted_shown_and_recorded_likewise(behind: Behind) -> None:
    for said, peer, address in ((f"{MALLORY}, {ALICE}", PROXY, ALICE), (ALICE, STRANGER, STRANGER)):
        email = f"{peer}@acme.com"
        invited = await behind.house.alice.does("POST", "/v1/users", email=email, role="member")
        tab = behind.house.tab()
        tab.source = peer
        await tab.get("/login")
        form = {"csrf": tab.csrf, "code": invited["code"]}
        assert (await tab.post("/login/code", form, headers={"x-forwarded-for": said})).status == 303
        await tab.get("/sessions")
        assert address in tab.text
        recorded = [e for e in await behind.house.events("login.succeeded") if e.get("amr") == ["otp"]]
        assert recorded[-1]["address"] == address


async def test_gw_11_no_header_says_who_we_are(behind: Behind) -> None:
    evil = {
        "x-forwarded-for": ALICE,
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-forwarded-port": "1",
        "x-original-host": "evil.example",
        "forwarded": "host=evil.example;proto=https",
    }
    told = await call(behind.house.base, "GET", "/.well-known/oauth-authorization-server", headers=evil, source=PROXY)
    plain = await call(behind.house.base, "GET", "/.well-known/oauth-authorization-server")
    assert told.body == plain.body
    assert told.json()["issuer"] == behind.house.settings.issuer
    sent = await call(behind.house.base, "GET", "/account", headers=evil, source=PROXY, host="evil.example")
    assert sent.header("location") == "/login?next=%2Faccount"
    assert b"evil" not in (await call(behind.house.base, "GET", "/login", headers=evil, source=PROXY)).body


async def test_gw_11_without_trusted_proxies_nobody_is_believed(house: House) -> None:
    text = await Behind(house, await elsewhere(house)).seen([ALICE])
    assert PROXY in text
    assert ALICE not in text
