"""A credential that is out passes nobody who looks: where a rule has to see every call, none is given or left out."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_leases import ISSUES, Installed, installed

READS = '[[rule]]\nid = "reads"\neffect = "allow"\nactions = ["read"]\n'
ASKS = '[[rule]]\nid = "looked-at"\neffect = "ask"\nintegration = "github"\nactions = ["issues/list-for-repo"]\n'
AT_NIGHT = '[[rule]]\nid = "night"\neffect = "deny"\nwhen = { hours = { from = "22:00", to = "07:00" } }\n'
OF_OTHERS = ASKS.replace("issues/list-for-repo", "issues/create")
WATCHED = f"{ASKS}observe = true\n"


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Installed]:
    async with installed(tmp_path / "data", database_url) as found:
        yield found


async def applied(at: Installed, text: str, after: int = 0) -> Any:
    return await at.house.alice.does("POST", "/v1/policies", text=text, after=after)


async def swept(at: Installed) -> None:
    await at.house.app.authorities.refresh()
    await at.house.app.take_back.sweep()


@pytest.mark.parametrize(("rules", "named"), [(READS + ASKS, "looked-at"), (READS + AT_NIGHT, "night")])
async def test_a_lease_is_refused_where_a_rule_judges_single_calls(at: Installed, rules: str, named: str) -> None:
    await applied(at, rules)
    made = len(at.apps.tokens)
    refused = await at.lease()
    assert (refused.status, refused.json()["reason"]) == (403, "use_gateway")
    assert f"Rule {named} judges single calls" in refused.json()["detail"]
    assert len(at.apps.tokens) == made


@pytest.mark.parametrize("rules", [READS, READS + OF_OTHERS, READS + WATCHED])
async def test_a_lease_is_given_where_every_call_under_it_would_be_allowed(at: Installed, rules: str) -> None:
    """The same with the rule about writes, or only observed."""
    await applied(at, rules)
    lent = await at.lent()
    assert await at.at_github(lent["credential"], "GET", ISSUES) == 200


async def test_a_lease_is_taken_back_when_such_a_rule_is_applied(at: Installed) -> None:
    lent = await at.lent()
    await applied(at, READS + OF_OTHERS)
    await swept(at)
    assert not at.apps.ended
    assert await at.at_github(lent["credential"], "GET", ISSUES) == 200
    await applied(at, READS + ASKS, after=1)
    await swept(at)
    assert at.apps.ended == [lent["credential"]]
    assert await at.at_github(lent["credential"], "GET", ISSUES) == 401
    assert (await at.lease()).json()["reason"] == "use_gateway"


async def test_the_ready_rules_refuse_no_lease_that_only_reads(at: Installed) -> None:
    lent = await at.lent()
    await at.house.alice.does("POST", "/v1/policies/ready", mode="enforce")
    await swept(at)
    assert not at.apps.ended
    assert await at.at_github(lent["credential"], "GET", ISSUES) == 200
    await at.lent()
