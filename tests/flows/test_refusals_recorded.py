"""Whoever holds something and is refused what it asks for is in the audit trail, whichever way it asked, once."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_id_jag import begun, presents
from tests.flows.test_token_exchange_table import JWT, Cast, cast
from tests.support.billing import AUDIENCE
from tests.support.holder import Prover
from tests.support.house import EXCHANGE, GITHUB, House
from tests.support.oauth import CALLBACK, a_client
from tests.support.outside import Publisher, open_outside


@pytest.fixture
async def outside(tmp_path: Path, database_url: str | None) -> AsyncIterator[tuple[House, Publisher]]:
    async with open_outside(tmp_path / "data", database_url) as opened:
        yield opened


async def refusals(house: House) -> list[Any]:
    return await house.events("token.refused")


async def test_what_was_handed_on_and_is_refused_stands_with_the_run_it_came_from(house: House) -> None:
    on = await cast(house)
    assert (await on.asks(on.b)).status == 200
    assert await refusals(house) == []
    asked: list[tuple[Any, dict[str, Any], str]] = [
        (on.c, {}, "subject_token"),  # nobody named it
        (on.b, {"resource": AUDIENCE}, "unknown_target"),
        (on.b, {"scope": "repo:write"}, "not_delegated"),
    ]
    for number, (who, changed, reason) in enumerate(asked, start=1):
        assert (await on.asks(who, **changed)).status == 400
        found = await refusals(house)
        assert len(found) == number
        assert (found[-1]["reason"], found[-1]["by"]) == (reason, who.id)
        assert (found[-1]["task"], found[-1]["agent"], found[-1]["user"]) == (on.task["id"], on.a.id, house.alice.id)


async def test_a_forged_subject_is_nobodys_and_recorded_nowhere(house: House) -> None:
    on: Cast = await cast(house)
    assert (await on.asks(on.b, subject_token=on.token[:-4] + "AAAA")).status == 400
    assert await refusals(house) == []


async def test_a_task_token_without_its_key_is_refused_and_recorded(house: House) -> None:
    prover, agent = Prover(house), await house.agent("pr-reviewer-v2")
    await house.connect()
    delegation = await house.delegate(agent, mode="standing", tasks_per_day=5)
    api = (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).json()
    opened = await prover.calls(api["access_token"], "POST", "/v1/tasks", json={"delegation": delegation["id"]})
    form = {
        "grant_type": EXCHANGE,
        "subject_token": opened.json()["task_token"],
        "subject_token_type": JWT,
        "resource": GITHUB,
    }
    assert (await prover.asks(agent.basic, form)).status == 200
    assert await refusals(house) == []
    assert (await Prover(house).asks(agent.basic, form)).status == 400
    (refused,) = await refusals(house)
    assert (refused["reason"], refused["agent"]) == ("another_key", agent.id)


async def test_codes_and_refresh_tokens_that_are_refused_are_recorded(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    code = (await client.allowed(tab))["code"]
    elsewhere = {"resource": "https://nobody.example"}
    assert (await client.redeem(code, **elsewhere)).json()["error"] == "invalid_target"
    tokens = (await client.redeem(code)).json()
    assert (await client.refresh(tokens["refresh_token"], **elsewhere)).json()["error"] == "invalid_target"
    assert (await client.refresh(tokens["refresh_token"], scope="repo:write")).json()["error"] == "invalid_scope"
    body = {"redirect_uris": [CALLBACK], "grant_types": ["authorization_code"]}
    await house.alice.does("PUT", f"/v1/agents/{client.robot.id}/client", **body)
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "unauthorized_client"
    found = await refusals(house)
    assert [(e.get("grant_type"), e["reason"]) for e in found] == [
        ("authorization_code", "target"),
        ("refresh_token", "target"),
        (None, "not_delegated"),  # by issue itself: there is a task, and it is named
        ("refresh_token", "unauthorized_client"),
    ]
    assert {(e["user"], e["agent"]) for e in found} == {(house.alice.id, client.robot.id)}


async def test_an_unknown_code_is_nobodys_and_recorded_nowhere(house: House) -> None:
    client = await a_client(house)
    assert (await client.redeem("vkco_" + "0" * 49)).json()["error"] == "invalid_grant"
    assert (await client.refresh("vkrf_" + "0" * 49)).json()["error"] == "invalid_grant"
    assert await refusals(house) == []


async def test_a_providers_word_that_permits_nothing_is_recorded(outside: tuple[House, Publisher]) -> None:
    provider, agent = await begun(outside)
    house = provider.house
    assert (await presents(agent, provider.word(agent.id))).status == 200
    assert await refusals(house) == []
    assert (await presents(agent, provider.word(agent.id, scope="no:such"))).status == 400
    stranger = await house.agent("stranger")
    assert (await presents(stranger, provider.word(stranger.id))).status == 400
    assert (await presents(stranger, provider.word(agent.id))).status == 400  # not proven: nobody's word
    found = await refusals(house)
    assert [(e["reason"], e["client"], e["user"]) for e in found] == [
        ("scope", agent.id, house.alice.id),
        ("grant", stranger.id, house.alice.id),
    ]
