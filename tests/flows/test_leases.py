"""A real credential, narrowed by GitHub itself, given to an agent for the length of its task, and taken back."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.github_app import APP, BOT, INSTALLATION, GitHubWithApps, new_key
from tests.support.house import GITHUB, House, Robot, open_house, practice
from tests.support.http import Reply, call
from valetkey.server.clock import DrivenClock
from valetkey.server.listen import Listener

READ = "github:repo:read@acme-corp/backend"
ISSUES = "/repos/acme-corp/backend/issues"
PEM, PUBLIC = new_key()


@dataclass
class Installed:
    """A house whose GitHub has the organization's app installed, and an agent with a task over it."""

    house: House
    apps: GitHubWithApps
    url: str
    connection: Any
    agent: Robot
    delegation: Any
    task: Any

    async def lease(self, **more: Any) -> Reply:
        """Ask for a credential under the task."""
        return await self.agent.call("POST", "/v1/leases", task_token=self.task["task_token"], target=GITHUB, **more)

    async def lent(self, **more: Any) -> Any:
        """The same, which must succeed."""
        reply = await self.lease(**more)
        assert reply.status == 201, reply.body
        return reply.json()

    async def at_github(self, credential: str, method: str, path: str, **more: Any) -> int:
        """Use a credential at GitHub, past us: the status."""
        reply = await call(self.url, method, path, headers={"authorization": f"Bearer {credential}"}, **more)
        return reply.status


@contextlib.asynccontextmanager
async def installed(
    folder: Path, database_url: str | None, *grants: str, entitled: str = "github:repo:read@*", **more: Any
) -> AsyncIterator[Installed]:
    """Everything up to the task."""
    clock = DrivenClock()
    github = practice()
    for name in ("acme-corp/backend", "acme-corp/payroll"):
        repository = github.repository(name)
        repository.readers = repository.readers | {BOT}
        repository.writers = repository.writers | {BOT}
    apps = GitHubWithApps(github, clock, PUBLIC)
    async with Listener(apps, host="127.0.0.1", port=0) as behind:
        url = github.base_url = f"http://127.0.0.1:{behind.port}"
        async with open_house(folder, database_url=database_url, clock=clock, upstream=url) as house:
            connection = await connect_app(house)
            await house.alice.does(
                "POST", f"/v1/connections/{connection['id']}/entitlements", user="alice@acme.com", grants=[entitled]
            )
            agent = await house.agent("pr-reviewer-v2")
            delegation = await house.delegate(agent, *(grants or (READ,)), **more)
            task = await house.task(delegation)
            yield Installed(house, apps, url, connection, agent, delegation, task)


async def connect_app(house: House) -> Any:
    return await house.alice.does(
        "POST", "/v1/connections", integration="github", credential=PEM, app_id=APP, installation_id=INSTALLATION
    )


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Installed]:
    async with installed(tmp_path / "data", database_url) as found:
        yield found


async def test_an_installed_app_is_a_shared_account_and_its_key_is_never_shown(at: Installed) -> None:
    assert at.connection["account"] == "acme-corp"
    assert at.connection["shared"] is True
    listed = await at.house.alice.call("GET", "/v1/connections")
    assert "PRIVATE KEY" not in listed.body.decode()


async def test_only_an_administrator_connects_an_app(at: Installed) -> None:
    bob = await at.house.person("bob@acme.com")
    body = {"integration": "github", "credential": PEM, "app_id": APP, "installation_id": INSTALLATION}
    assert (await bob.call("POST", "/v1/connections", **body)).status == 403


@pytest.mark.parametrize(
    "changed",
    [
        {"app_id": "4712"},
        {"installation_id": "816"},
        {"installation_id": "815/../815"},
        {"app_id": ""},
        {"credential": new_key()[0]},
        {"credential": "ghp_aTokenAndNoKey0123456789abcdefghijkl"},
    ],
)
async def test_an_app_that_github_does_not_know_is_not_connected(at: Installed, changed: dict[str, str]) -> None:
    body = {"integration": "github", "credential": PEM, "app_id": APP, "installation_id": INSTALLATION} | changed
    refused = await at.house.alice.call("POST", "/v1/connections", **body)
    assert refused.status == 400
    assert len((await at.house.alice.does("GET", "/v1/connections"))["data"]) == 1


async def test_the_gateway_reads_through_the_installation(at: Installed) -> None:
    token = await at.agent.token(at.task["task_token"])
    assert (await at.house.gateway(token, "GET", ISSUES)).status == 200
    assert (await at.house.gateway(token, "GET", "/repos/acme-corp/payroll/issues")).status == 403
    made = len(at.apps.tokens)
    assert (await at.house.gateway(token, "GET", ISSUES)).status == 200
    assert len(at.apps.tokens) == made  # remembered


async def test_a_leased_credential_does_what_was_delegated_and_nothing_else(at: Installed) -> None:
    lent = await at.lent()
    credential = lent["credential"]
    token = at.apps.tokens[credential]
    assert token.repositories == {at.apps.github.repository("acme-corp/backend").id}
    assert set(token.permissions.values()) == {"read"}
    assert await at.at_github(credential, "GET", ISSUES) == 200
    assert await at.at_github(credential, "POST", ISSUES, json={"title": "x"}) == 403
    assert await at.at_github(credential, "GET", "/repos/acme-corp/payroll/issues") == 404
    (opened,) = await at.house.events("lease.opened")
    assert opened["grants"] == ["github/" + at.connection["id"] + ":repo:read@acme-corp/backend"]
    assert opened["permissions"] == ["contents:read", "issues:read", "pull_requests:read"]
    assert credential not in str(await at.house.events())


async def test_less_than_the_task_may_be_asked_for(at: Installed) -> None:
    lent = await at.lent(scope="issues:read")
    assert at.apps.tokens[lent["credential"]].permissions == {"issues": "read", "metadata": "read"}
    assert (await at.lease(scope="issues:write")).status == 403


async def test_revoking_ends_the_credential_at_github_before_it_answers(at: Installed) -> None:
    lent = await at.lent()
    report = await at.house.alice.does("POST", "/v1/revocations", node=at.delegation["id"])
    assert {h["hop"]: h["outcome"] for h in report["hops"]}["leased credentials"] == "done"
    assert at.apps.ended == [lent["credential"]]
    assert await at.at_github(lent["credential"], "GET", ISSUES) == 401
    (ended,) = await at.house.events("lease.ended")
    assert ended["lease"] == lent["id"]


async def test_a_lease_can_be_ended_by_itself_and_by_its_agent(at: Installed) -> None:
    first, second = await at.lent(), await at.lent()
    assert (await at.agent.call("POST", "/v1/revocations", node=first["id"])).status == 201
    assert at.apps.ended == [first["credential"]]
    assert await at.at_github(second["credential"], "GET", ISSUES) == 200
    stranger = await at.house.agent("stranger")
    assert (await stranger.call("POST", "/v1/revocations", node=second["id"])).status == 404


async def test_a_lease_ends_with_its_task(at: Installed) -> None:
    lent = await at.lent()
    assert lent["ends_at"] == at.task["expires_at"]
    at.house.clock.advance(at.task["expires_at"] - at.house.clock.now() - 1)
    assert await at.house.app.take_back.sweep() == 0
    at.house.clock.advance(1)
    await at.house.app.take_back.sweep()
    assert at.apps.ended == [lent["credential"]]
    (shown,) = (await at.house.alice.does("GET", "/v1/leases"))["data"]
    assert (shown["status"], shown["id"]) == ("ended", lent["id"])


async def test_narrowing_the_delegation_ends_what_is_wider_and_nothing_else(tmp_path: Path) -> None:
    both = "github:repo:read,issues:read@acme-corp/backend"
    async with installed(tmp_path / "data", None, both) as at:
        wide, narrow = await at.lent(scope="repo:read"), await at.lent(scope="issues:read")
        lines = [{"scopes": ["issues:read"], "resources": ["acme-corp/backend"]}]
        await at.house.alice.does("POST", f"/v1/delegations/{at.delegation['id']}/narrow", lines=lines)
        await at.house.app.authorities.refresh()
        await at.house.app.take_back.sweep()
        assert at.apps.ended == [wide["credential"]]
        assert await at.at_github(narrow["credential"], "GET", ISSUES) == 200


async def test_suspending_the_agent_ends_its_credentials(at: Installed) -> None:
    lent = await at.lent()
    await at.house.alice.does("POST", f"/v1/agents/{at.agent.id}/suspend")
    await at.house.app.authorities.refresh()
    await at.house.app.take_back.sweep()
    assert at.apps.ended == [lent["credential"]]


async def test_what_cannot_be_ended_yet_is_pending_and_tried_again(at: Installed) -> None:
    lent = await at.lent()
    at.apps.fails_with = 503
    report = await at.house.alice.does("POST", "/v1/revocations", node=at.task["id"])
    assert {h["hop"]: h["outcome"] for h in report["hops"]}["leased credentials"] == "pending"
    (shown,) = (await at.house.alice.does("GET", "/v1/leases"))["data"]
    assert (shown["status"], shown["problem"]) == ("ending", "upstream_failed")
    at.apps.fails_with = 0
    at.house.clock.advance(2)
    await at.house.app.take_back.sweep()
    assert at.apps.ended == [lent["credential"]]


@pytest.mark.parametrize(
    "grants",
    [
        ("github:repo:read@*",),
        ("github:repo:read@alice/*",),
        ("github:repo:write@acme-corp/backend",),
        ("github:pulls:read@acme-corp/backend",),
        ("github:repo:read@acme-corp/backend", "github:issues:read@acme-corp/payroll"),
    ],
)
async def test_what_github_cannot_narrow_goes_through_the_gateway(tmp_path: Path, grants: tuple[str, ...]) -> None:
    async with installed(tmp_path / "data", None, *grants, entitled="github:repo:write@*") as at:
        refused = await at.lease()
        assert (refused.status, refused.json()["reason"]) == (403, "use_gateway")
        assert "gateway" in refused.json()["hint"]
        assert [r["reason"] for r in await at.house.events("lease.refused")] == ["use_gateway"]
        assert len(at.apps.tokens) <= 1  # at most the gateway's own, for looking names up


async def test_bob_without_the_entitlement_is_denied_the_same_sentence(at: Installed) -> None:
    bob = await at.house.person("bob@acme.com")
    agent = await at.house.agent("bobs-agent", owner=bob)
    body = {"agent": agent.name, "grants": [READ], "purpose": "the same"}
    refused = await bob.call("POST", "/v1/delegations", **body)
    assert (refused.status, refused.code) == (403, "denied")
    await at.house.alice.does(
        "POST", f"/v1/connections/{at.connection['id']}/entitlements", user="bob@acme.com", grants=[READ]
    )
    assert (await bob.call("POST", "/v1/delegations", **body)).status == 201
