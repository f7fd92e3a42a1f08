"""Getting more out of a leased credential than was delegated, or keeping it longer."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.flows.test_leases import ISSUES, READ, Installed, installed
from tests.support.house import GITHUB, REAL, open_house
from valetkey.server.connections.installation import Installations
from valetkey.server.connections.model import AppInstallation
from valetkey.server.credentials import lend
from valetkey.server.credentials.lease import Narrowing
from valetkey.server.egress import parsed
from valetkey.server.secret import Secret


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Installed]:
    async with installed(tmp_path / "data", database_url) as found:
        yield found


async def test_nothing_named_is_never_everything(at: Installed) -> None:
    with pytest.raises(ValueError, match="empty"):
        Narrowing(permissions=frozenset(), resource_ids=("1",))
    with pytest.raises(ValueError, match="empty"):
        Narrowing(permissions=frozenset({"issues:read"}), resource_ids=())
    how = at.house.app.catalogue["github"].installation
    assert how is not None
    asking = Installations(at.house.app.egress, at.house.clock, timeout=5)
    app = AppInstallation(app="1", installation="1")
    with pytest.raises(ValueError, match="empty"):
        await asking.narrow(
            how, parsed(at.url + "/"), app, Secret("-"), resource_ids=(), permissions=frozenset({"issues:read"})
        )


async def test_an_api_that_gives_more_than_was_asked_gets_it_back(at: Installed) -> None:
    at.apps.gives_everything = True
    refused = await at.lease()
    assert (refused.status, refused.code) == (502, "upstream_failed")
    assert len(at.apps.ended) == 1
    assert "ghs_" not in refused.body.decode()


@pytest.mark.parametrize("what", ["delegation", "lease"])
async def test_what_is_revoked_while_it_is_made_is_given_back(at: Installed, what: str) -> None:
    async def revoke() -> None:
        at.apps.on_mint = None
        [opened] = await at.house.events("lease.opened")
        node = at.delegation["id"] if what == "delegation" else opened["lease"]
        await at.house.alice.does("POST", "/v1/revocations", node=node)

    at.apps.on_mint = revoke
    refused = await at.lease()
    assert refused.status in (401, 403)
    assert "ghs_" not in refused.body.decode()
    assert len(at.apps.ended) == 1
    assert [e["event"] for e in await at.house.events("lease.obtained", "lease.ended")] == ["lease.ended"]


async def test_the_credential_of_a_person_is_never_lent(tmp_path: Path) -> None:
    async with open_house(tmp_path / "data") as house:
        agent, _, task, _ = await house.ready()
        refused = await agent.call("POST", "/v1/leases", task_token=task["task_token"], target=GITHUB)
        assert (refused.status, refused.json()["reason"]) == (403, "use_gateway")
        assert REAL not in refused.body.decode()
        assert await house.events("lease.opened") == []


async def test_another_agents_task_token_gets_nothing(at: Installed) -> None:
    other = await at.house.agent("other")
    body = {"task_token": at.task["task_token"], "target": "https://api.github.com"}
    assert (await other.call("POST", "/v1/leases", **body)).status == 400
    assert (await at.house.alice.call("POST", "/v1/leases", **body)).status == 403
    assert await at.house.events("lease.opened") == []


async def test_a_renamed_repository_gets_no_credential(at: Installed) -> None:
    at.apps.github.rename("acme-corp/backend", "acme-corp/old")
    at.apps.github.rename("acme-corp/payroll", "acme-corp/backend")
    lent = await at.lent()  # the id decides: it is still the one that was delegated
    assert await at.at_github(lent["credential"], "GET", "/repos/acme-corp/old/issues") == 200
    assert await at.at_github(lent["credential"], "GET", ISSUES) == 404


async def test_a_key_moved_to_another_installation_does_not_open(at: Installed) -> None:
    async with at.house.app.database.write() as tx:
        await tx.execute(text("UPDATE connections SET powers = REPLACE(powers, '\"815\"', '\"816\"')"))
    refused = await at.lease()
    assert refused.status in (500, 502, 503)
    assert "ghs_" not in refused.body.decode()


async def test_counted_lines_are_never_leased(tmp_path: Path) -> None:
    async with installed(tmp_path / "data", None) as at:
        at.task = await at.house.task(await at.house.delegate(at.agent, READ, max_calls=3))
        refused = await at.lease()
        assert (refused.status, refused.json()["reason"]) == (403, "use_gateway")


async def test_a_lease_of_another_organization_does_not_exist(at: Installed) -> None:
    lent = await at.lent()
    bob = await at.house.person("bob@acme.com")
    assert (await bob.call("POST", "/v1/revocations", node=lent["id"])).status == 404
    assert (await bob.does("GET", "/v1/leases"))["data"] == []


async def test_do_08_an_agent_that_takes_too_many_leaves_the_others_theirs(
    at: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lend, "MOST_OUT_PER_AGENT", 2)
    first = await at.lent()
    await at.lent()
    refused = await at.lease()
    assert (refused.status, refused.json()["code"]) == (429, "too_many")
    other = await at.house.agent("another")
    task = await at.house.task(await at.house.delegate(other, READ))
    ask = {"task_token": task["task_token"], "target": GITHUB}
    assert (await other.call("POST", "/v1/leases", **ask)).status == 201
    await at.house.alice.does("POST", "/v1/revocations", node=first["id"])
    assert (await at.lease()).status == 201
