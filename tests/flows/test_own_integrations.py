"""An administrator adds an API as one file; and accounts and resources of APIs that are not like GitHub."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.house import House, Robot, open_house
from tests.support.http import Reply
from tests.support.ports import free_port
from tests.support.upstream import Upstream
from valetkey.server.app import build
from valetkey.server.errors import InvalidRequest
from valetkey.server.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples" / "integrations"
KEY = "wk_realCanary0123456789abcdefghijklm"
SLACK = "xoxp-realCanary-0123456789"
GITLAB = "glpat-realCanary0123456789"


def folder_of(folder: Path, upstream: str = "https://weather.acme.example", name: str = "api-key") -> Path:
    folder.mkdir(exist_ok=True)
    text = (EXAMPLES / "api-key.toml").read_text().replace('name = "api-key"', f'name = "{name}"')
    text = text.replace('base_url = "https://weather.acme.example/v2"', f'base_url = "{upstream}"')
    text = text.replace('"weather.acme.example"', f'"weather.acme.example", "{upstream.partition("://")[2]}"')
    (folder / f"{name}.toml").write_text(text)
    (folder / "api-key.operations.tsv").write_text((EXAMPLES / "api-key.operations.tsv").read_text())
    return folder


@contextlib.asynccontextmanager
async def house_with(tmp_path: Path, database_url: str | None, up: Upstream, name: str = "") -> AsyncIterator[House]:
    place = f"127.0.0.1:{up.port}"
    async with open_house(
        tmp_path / "data",
        database_url=database_url,
        local=(place,),
        upstreams={name: up.url} if name else None,
        integrations=None if name else folder_of(tmp_path / "own", up.url),
    ) as house:
        yield house


async def begun(house: House, integration: str, credential: str, grant: str, audience: str) -> tuple[Robot, str]:
    """Agent, connection, delegation, task and a delegated credential for that API."""
    agent = await house.agent("forecaster", ceiling=[grant.partition("@")[0] + "@*"])
    await house.alice.does("POST", "/v1/connections", integration=integration, credential=credential)
    task = await house.task(await house.delegate(agent, grant))
    return agent, await agent.token(task["task_token"], resource=audience)


async def called(house: House, integration: str, token: str, method: str, path: str, **more: str) -> Reply:
    header = more.pop("header", "authorization")
    value = token if header != "authorization" else f"Bearer {token}"
    return await house.call(method, f"/p/{integration}{path}", headers=[(header, value)])


async def test_an_api_that_is_one_file_is_reached_with_its_key_and_only_as_described(
    tmp_path: Path, database_url: str | None
) -> None:
    async with Upstream() as up, house_with(tmp_path, database_url, up) as house:
        up.answers("GET", "/forecasts/berlin", json={"rain": True})
        _, token = await begun(house, "api-key", KEY, "api-key:forecasts:read@*", "https://weather.acme.example")
        reply = await called(house, "api-key", token, "GET", "/forecasts/berlin", header="x-api-key")
        assert (reply.status, reply.json()) == (200, {"rain": True})
        assert up.last.values("x-api-key") == [KEY.encode()]
        assert token.encode() not in up.last.raw
        assert not up.last.oddities
        for method, path in (("DELETE", "/forecasts/berlin"), ("GET", "/keys/current")):
            refused = await called(house, "api-key", token, method, path, header="x-api-key")
            assert (refused.status, refused.code) == (403, "denied")
        assert len(up.seen) == 1
        shown = {i["name"]: i for i in (await house.alice.does("GET", "/v1/integrations"))["data"]}
        assert shown["api-key"]["title"] == "Acme Weather"


async def test_the_examples_own_header_is_the_only_place_a_token_is_taken_from(
    tmp_path: Path, database_url: str | None
) -> None:
    async with Upstream() as up, house_with(tmp_path, database_url, up) as house:
        _, token = await begun(house, "api-key", KEY, "api-key:forecasts:read@*", "https://weather.acme.example")
        refused = await called(house, "api-key", token, "GET", "/forecasts/berlin")
        assert refused.status == 401
        assert not up.seen


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        ('tier = "read"\n', "tier"),
        ('name = "other"\n', "other"),
        ("[unknown]\n", "unknown"),
    ],
)
async def test_one_bad_file_stops_the_start_and_is_named(tmp_path: Path, spoilt: str, why: str) -> None:
    folder = folder_of(tmp_path / "own")
    build(Settings(data=tmp_path / "data", integrations=folder))
    file = folder / "api-key.toml"
    good = file.read_text()
    file.write_text(
        good.replace('name = "api-key"\n', spoilt) if "name" in spoilt
        else good.replace(spoilt, "") if spoilt in good
        else good + spoilt
    )  # fmt: skip
    with pytest.raises(InvalidRequest) as refused:
        build(Settings(data=tmp_path / "data", integrations=folder))
    assert "api-key.toml" in refused.value.public
    assert why in refused.value.public


async def test_a_file_never_takes_what_a_resource_server_was_registered_with(
    tmp_path: Path, database_url: str | None
) -> None:
    async with open_house(tmp_path / "data", database_url=database_url) as house:
        await house.alice.does(
            "POST",
            "/v1/resource-servers",
            name="weather",
            title="Weather",
            audience="https://weather.acme.example",
            scopes=[{"name": "forecasts:read", "sentence": "read forecasts", "tier": "read"}],
        )
        settings = house.settings
    own = {"data": settings.data, "database_url": settings.database_url, "port": free_port()}
    plain = build(Settings(**own))
    await plain.start()
    await plain.close()
    taking = build(Settings(**own, integrations=folder_of(tmp_path / "own")))
    with pytest.raises(InvalidRequest, match="resource server"):
        await taking.start()


async def test_slack_says_who_it_is_by_post_and_a_200_that_is_a_failure_connects_nothing(
    tmp_path: Path, database_url: str | None
) -> None:
    async with Upstream() as up, house_with(tmp_path, database_url, up, "slack") as house:
        up.answers("POST", "/auth.test", json={"ok": False, "error": "invalid_auth"})
        refused = await house.alice.call("POST", "/v1/connections", integration="slack", credential=SLACK)
        assert (refused.status, refused.code) == (400, "invalid_request")
        up.answers("POST", "/auth.test", json={"ok": True, "user": "alice", "user_id": "U1", "team": "Acme"})
        made = await house.alice.does("POST", "/v1/connections", integration="slack", credential=SLACK)
        assert made["account"] == "alice (Acme)"
        assert up.last.header("authorization") == f"Bearer {SLACK}".encode()
        assert up.last.header("content-length") == b"0"
        assert not up.last.oddities


async def test_slack_posts_a_message_and_never_schedules_one_nobody_agreed_to(
    tmp_path: Path, database_url: str | None
) -> None:
    async with Upstream() as up, house_with(tmp_path, database_url, up, "slack") as house:
        up.answers("POST", "/auth.test", json={"ok": True, "user": "alice", "user_id": "U1", "team": "Acme"})
        up.answers("POST", "/chat.postMessage", json={"ok": True})
        up.answers("POST", "/chat.scheduleMessage", json={"ok": True})
        _, token = await begun(house, "slack", SLACK, "slack:chat:write@*", "https://slack.com/api")
        assert (await called(house, "slack", token, "POST", "/chat.postMessage")).status == 200
        refused = await called(house, "slack", token, "POST", "/chat.scheduleMessage")
        assert (refused.told, refused.code) == (403, "denied")
        assert up.received("POST", "/chat.scheduleMessage") == 0


async def test_a_gitlab_project_is_bound_to_its_number_and_another_one_is_not_reached(
    tmp_path: Path, database_url: str | None
) -> None:
    async with Upstream() as up, house_with(tmp_path, database_url, up, "gitlab") as house:
        project = {"id": 7, "path_with_namespace": "acme/team/backend", "namespace": {"id": 3}}
        up.answers("GET", "/user", json={"username": "alice", "id": 1})
        up.answers("GET", "/projects/acme%2Fteam%2Fbackend", json=project)
        up.answers("GET", "/projects/7", json=project)
        up.answers("GET", "/projects/8", json={**project, "id": 8, "path_with_namespace": "acme/payroll"})
        up.answers("GET", "/projects/7/issues", json=[])
        up.answers("GET", "/projects/8/issues", json=[])
        grant = "gitlab:issues:read@acme/team/backend"
        _, token = await begun(house, "gitlab", GITLAB, grant, "https://gitlab.com/api/v4")
        assert (await called(house, "gitlab", token, "GET", "/projects/7/issues")).status == 200
        for path in ("/projects/8/issues", "/projects/acme%2Fteam%2Fbackend/issues"):
            assert (await called(house, "gitlab", token, "GET", path)).status in (400, 403)
        assert up.received("GET", "/projects/8/issues") == 0


async def test_a_gitlab_project_that_was_moved_to_others_is_not_reached_until_it_is_confirmed(
    tmp_path: Path, database_url: str | None
) -> None:
    async with Upstream() as up, house_with(tmp_path, database_url, up, "gitlab") as house:
        project = {"id": 7, "path_with_namespace": "acme/backend", "namespace": {"id": 3}}
        up.answers("GET", "/user", json={"username": "alice", "id": 1})
        up.answers("GET", "/projects/acme%2Fbackend", json=project)
        up.answers("GET", "/projects/7", json=project)
        up.answers("GET", "/projects/7/issues", json=[])
        grant = "gitlab:issues:read@acme/backend"
        _, token = await begun(house, "gitlab", GITLAB, grant, "https://gitlab.com/api/v4")
        assert (await called(house, "gitlab", token, "GET", "/projects/7/issues")).status == 200
        up.answers("GET", "/projects/7", json={**project, "namespace": {"id": 4}})
        house.clock.advance(60)
        refused = await called(house, "gitlab", token, "GET", "/projects/7/issues")
        assert (refused.status, refused.json()["reason"]) == (403, "resource_changed")
        assert up.received("GET", "/projects/7/issues") == 1
