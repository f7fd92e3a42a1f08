"""429 in the shape of OAuth, with how long to wait; who is let through all the same."""

from pathlib import Path

from tests.support.decoupled import elsewhere
from tests.support.house import open_house


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
