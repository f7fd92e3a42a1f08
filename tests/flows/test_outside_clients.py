"""From a client nobody registered to an agent of one person: one for each, hers, under the ceiling for unknown ones."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.house import House
from tests.support.outside import Publisher, is_known, open_outside
from tests.support.strangers import other_organization
from valetkey.server.errors import Denied
from valetkey.server.ids import new_id
from valetkey.server.oauth.clients.outside import is_outside
from valetkey.server.principals import store as principals
from valetkey.server.principals.model import Agent, User

CEILING = ["github:repo:read@acme-corp/*"]


@pytest.fixture
async def outside(tmp_path: Path, database_url: str | None) -> AsyncIterator[tuple[House, Publisher]]:
    async with open_outside(tmp_path / "data", database_url) as (house, publisher):
        publisher.publishes()
        yield house, publisher


async def user_of(house: House, user_id: str) -> User:
    async with house.app.database.read() as db:
        found = await principals.user(db, user_id)
    assert found is not None
    return found


async def agreed(house: House, publisher: Publisher, user_id: str | None = None) -> Agent:
    """What consenting does for a client: the agent it becomes."""
    services = house.app.services
    client = await services.clients.known(publisher.client_id)
    return await services.outside.agent_for(await user_of(house, user_id or house.alice.id), client)


async def allow(house: House, ceiling: Any = CEILING) -> None:
    await house.alice.does("PUT", "/v1/organization", unknown_client_ceiling=ceiling)


async def test_an_unknown_client_is_nobody_until_an_administrator_allows_them(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    assert (await house.alice.does("GET", "/v1/organization"))["unknown_client_ceiling"] == []
    with pytest.raises(Denied) as refused:
        await agreed(house, publisher)
    assert refused.value.members["reason"] == "unknown_clients"
    assert "administrator" in refused.value.next_step
    assert (await house.alice.does("GET", "/v1/agents"))["data"] == []
    await allow(house)
    agent = await agreed(house, publisher)
    (shown,) = (await house.alice.does("GET", "/v1/agents"))["data"]
    assert (shown["id"], shown["owner"], shown["ceiling"]) == (agent.id, house.alice.id, CEILING)
    assert shown["name"].startswith("127.0.0.1")
    (made,) = await house.events("agent.created")
    assert (made["client"], made["by"], made["agent"]) == (publisher.client_id, house.alice.id, agent.id)


async def test_only_an_administrator_says_what_unknown_clients_may(outside: tuple[House, Publisher]) -> None:
    house, _ = outside
    bob = await house.person("bob@acme.com")
    robot = await house.agent("robot")
    for caller in (bob, robot):
        assert (await caller.call("PUT", "/v1/organization", unknown_client_ceiling=CEILING)).status == 403
    for ceiling in (["github:nonsense@*"], ["nowhere:read@*"], ["github/con:repo:read@*"], ["github"]):
        assert (await house.alice.call("PUT", "/v1/organization", unknown_client_ceiling=ceiling)).status == 400
    assert (await bob.does("GET", "/v1/organization"))["unknown_client_ceiling"] == []
    await allow(house)
    (changed,) = await house.events("organization.unknown-client-ceiling-changed")
    assert (changed["by"], changed["ceiling"]) == (house.alice.id, CEILING)


async def test_one_agent_for_each_person_and_the_same_one_every_time(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    await allow(house)
    bob = await house.person("bob@acme.com")
    first, second = await asyncio.gather(agreed(house, publisher), agreed(house, publisher))
    assert first == second == await agreed(house, publisher)
    his = await agreed(house, publisher, bob.id)
    assert his.id != first.id
    assert his.name != first.name
    assert len(await house.events("agent.created")) == 2


async def test_raising_the_ceiling_later_raises_no_agent(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    await allow(house)
    await agreed(house, publisher)
    await allow(house, ["github:repo:read,issues:write@*"])
    assert (await agreed(house, publisher)).ceiling == tuple(CEILING)


@pytest.mark.parametrize("verb", ["suspend", "revoke"])
async def test_a_client_that_was_stopped_does_not_come_back_by_another_consent(
    outside: tuple[House, Publisher], verb: str
) -> None:
    house, publisher = outside
    await allow(house)
    agent = await agreed(house, publisher)
    if verb == "suspend":
        await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    else:
        await house.alice.does("POST", "/v1/revocations", node=agent.id)
    with pytest.raises(Denied, match="stopped"):
        await agreed(house, publisher)
    client = await house.app.services.clients.known(publisher.client_id)
    assert await house.app.services.outside.agent_of(house.alice.id, client) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"redirect_uris": ["https://app.example.com/other"]},
        {"client_name": "Reviewer Pro"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": "own"},
        {"client_uri": "https://evil.example/"},
    ],
)
async def test_ci_7_what_consent_relied_on_changed_so_she_is_asked_again(
    outside: tuple[House, Publisher], changed: dict[str, Any]
) -> None:
    house, publisher = outside
    await allow(house)
    agent = await agreed(house, publisher)
    services = house.app.services
    client = await services.clients.known(publisher.client_id)
    assert await services.outside.agreed(house.alice.id, client)
    if changed.get("jwks") == "own":
        changed = changed | {"jwks": publisher.key.jwks}
    publisher.publishes(**changed)
    house.clock.advance(60)
    client = await services.clients.known(publisher.client_id)
    assert not await services.outside.agreed(house.alice.id, client)
    assert await services.outside.agent_of(house.alice.id, client) is None
    assert (await agreed(house, publisher)).id == agent.id  # she agreed to the new one
    assert await services.outside.agreed(house.alice.id, client)
    (record,) = await house.events("client.changed")
    assert record["client_digest"] == client.metadata.digest


async def test_ci_7_what_nobody_relied_on_may_change(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    await allow(house)
    await agreed(house, publisher)
    publisher.publishes(logo_uri="https://app.example.com/logo.png", contacts=["x@example.com"])
    house.clock.advance(60)
    client = await house.app.services.clients.known(publisher.client_id)
    assert await house.app.services.outside.agreed(house.alice.id, client)


async def test_another_organization_allows_its_own_unknown_clients(outside: tuple[House, Publisher]) -> None:
    house, publisher = outside
    await allow(house)
    mallory = await other_organization(house)
    with pytest.raises(Denied):
        await agreed(house, publisher, mallory.id)
    assert (await mallory.does("GET", "/v1/organization"))["unknown_client_ceiling"] == []


async def test_dc_4_an_outside_client_exchanges_nothing_and_gets_no_token_of_its_own(
    outside: tuple[House, Publisher],
) -> None:
    house, publisher = outside
    await allow(house)
    publisher.publishes(token_endpoint_auth_method="private_key_jwt", jwks=publisher.key.jwks)
    await agreed(house, publisher)
    _, _, task, _ = await house.ready()
    assert is_known(await publisher.asserts(house))
    more = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": task["task_token"],
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "resource": "https://api.github.com",
    }
    assert is_known(await publisher.asserts(house, **more))
    assert is_known(await publisher.asserts(house, scope="agents:write"))


async def test_ci_8_no_id_we_give_out_is_an_address() -> None:
    ids = [new_id(kind) for kind in ("cli", "agt", "svc")]
    assert not any(each.startswith("http") for each in ids)
    assert [is_outside(each) for each in ids] == [True, False, False]


async def test_ci_9_dc_1_ij_5_the_metadata_says_what_is_there(tmp_path: Path) -> None:
    for registration, documents in (("off", "on"), ("token", "off"), ("open", "on")):
        settings = {"dynamic_registration": registration, "client_documents": documents}
        async with open_outside(tmp_path / registration, **settings) as (house, _):
            said = (await house.call("GET", "/.well-known/oauth-authorization-server")).json()
            assert said["client_id_metadata_document_supported"] is (documents == "on")
            assert ("registration_endpoint" in said) is (registration != "off")
            assert said["authorization_grant_profiles_supported"] == ["urn:ietf:params:oauth:grant-profile:id-jag"]
            assert "urn:ietf:params:oauth:grant-type:jwt-bearer" in said["grant_types_supported"]
            there = (await house.call("POST", "/oauth/register", json={})).status
            assert there == {"off": 404, "token": 401, "open": 400}[registration]
