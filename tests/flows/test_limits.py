"""429 in the shape of OAuth, with how long to wait; who is let through all the same."""

from pathlib import Path

from tests.support.decoupled import elsewhere
from tests.support.house import House, open_house
from tests.support.oauth import Client, a_client
from tests.support.tab import Tab


async def test_do_too_many_failures_in_a_clients_name_wait_and_another_client_does_not(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data", oauth_failures_per_minute=5) as house:
        noisy, quiet = await elsewhere(house), await elsewhere(house, "quiet", connect=False)
        wrong = {"grant_type": "client_credentials", "client_id": noisy.client.robot.id, "client_secret": "x"}
        statuses = [(await house.call("POST", "/oauth/token", form=wrong)).status for _ in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        refused = await house.call("POST", "/oauth/token", form=wrong)
        assert refused.json()["error"] == "temporarily_unavailable"
        assert refused.header("retry-after") == "12"
        claimed = {"x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9"}
        assert (await house.call("POST", "/oauth/token", form=wrong, headers=claimed)).status == 429
        right = {"grant_type": "client_credentials"}
        assert (await house.call("POST", "/oauth/token", headers=quiet.client.robot.basic, form=right)).status == 200
        house.clock.advance(12)
        assert (await house.call("POST", "/oauth/token", headers=noisy.client.robot.basic, form=right)).status == 200


async def test_do_what_leaves_something_behind_is_limited_for_each_client_and_address(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data", oauth_begun_per_minute=6) as house:
        one, other = await elsewhere(house), await elsewhere(house, "other", connect=False)
        statuses = [(await one.begin()).status for _ in range(7)]
        assert statuses == [200] * 6 + [429]
        assert (await other.begin()).status == 429  # the same address
        house.clock.advance(10)
        assert (await other.begin()).status == 200
        assert "valetkey_oauth_requests_limited" in house.app._numbers()


async def test_asking_again_as_told_is_no_failure(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data", oauth_failures_per_minute=3) as house:
        device = await elsewhere(house)
        await device.begin()
        for _ in range(20):
            assert await device.polls() == "authorization_pending"


async def arrivals(client: Client, tab: Tab, times: int, **more: str) -> list[int]:
    """A client sends a browser off so often; what its first answers are."""
    return [(await tab.get(client.address(**more), follow=False)).status for _ in range(times)]


async def test_do_what_arrives_at_the_authorization_endpoint_is_counted_for_its_address(
    tmp_path: Path, database_url: str | None
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url, oauth_begun_per_minute=6) as house:
        client, tab = await a_client(house), house.tab()
        assert await arrivals(client, tab, 7) == [303] * 6 + [429]
        assert tab.reply is not None
        assert (tab.reply.header("retry-after"), tab.reply.header("location")) == ("10", None)
        assert "Too many requests" in tab.text
        posted = await house.call("POST", "/oauth/authorize", form=client.parameters())
        assert (posted.status, posted.header("retry-after")) == (429, "10")
        assert (await client.post("/oauth/par", client.parameters())).status == 429
        house.clock.advance(10)
        assert await arrivals(client, tab, 1) == [303]


async def test_do_refused_arrivals_in_a_clients_name_wait_and_another_client_does_not(
    tmp_path: Path, database_url: str | None
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url, oauth_failures_per_minute=5) as house:
        noisy, quiet = await a_client(house), await a_client(house, "quiet", connect=False)
        assert await arrivals(noisy, house.tab(), 3, redirect_uri="https://evil.example/") == [400] * 3
        assert await arrivals(noisy, house.tab(), 3, response_type="token") == [303] * 2 + [429]
        assert (await noisy.redeem("vkco_x")).json()["error"] == "temporarily_unavailable"  # one count for all doors
        assert await arrivals(noisy, house.tab(), 1) == [429]
        assert await arrivals(quiet, house.tab(), 1) == [303]
        house.clock.advance(12)
        assert await arrivals(noisy, house.tab(), 1) == [303]


async def test_do_whoever_is_signed_in_is_counted_by_herself(tmp_path: Path, database_url: str | None) -> None:
    async with open_house(tmp_path / "data", database_url=database_url, oauth_begun_per_minute=6) as house:
        client = await a_client(house)
        await house.person("bob@acme.com")
        hers, his = await house.signed_in(), await house.signed_in("bob@acme.com")
        assert (await client.authorize(hers)).status == 200
        where, seen = hers.at, [(await hers.get(hers.at)).status for _ in range(5)]
        assert seen == [200] * 4 + [429]  # she came twice to be shown it
        assert (await _elsewhere(house, hers).get(where)).status == 429  # whichever browser of hers
        assert (await client.authorize(his)).status == 200
        house.clock.advance(10)
        assert (await hers.get(where)).status == 200


def _elsewhere(house: House, tab: Tab) -> Tab:
    other = house.tab()
    other.cookies = dict(tab.cookies)
    return other
