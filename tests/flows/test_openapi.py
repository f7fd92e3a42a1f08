"""/openapi.json: valid, complete, open to all, and free of secrets; and what its types promise holds at the doors."""

import json
from importlib.metadata import version
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.house import House
from valetkey.server import errors
from valetkey.server.api.described import ApiRoute
from valetkey.server.api.openapi import DISCOVERY, ENDPOINTS, paths_of
from valetkey.server.oauth import register
from valetkey.server.oauth.errors import _BY_REASON

EVERY_CODE = {kind.code for kind in (errors.ValetkeyError, *errors.ValetkeyError.__subclasses__())}
EVERY_OAUTH_CODE = {
    *_BY_REASON.values(),
    "invalid_client",
    "invalid_dpop_proof",
    "invalid_request",
    "invalid_token",
    "server_error",
    "temporarily_unavailable",
    "use_dpop_nonce",
}


async def read(house: House) -> Any:
    reply = await house.call("GET", "/openapi.json")
    assert reply.status == 200
    return reply.json()


async def test_anyone_reads_the_document_and_may_keep_it(house: House) -> None:
    await house.ready()
    reply = await house.call("GET", "/openapi.json")
    assert reply.header("content-type") == "application/json"
    assert reply.header("cache-control") == "public, max-age=300"
    assert reply.json()["info"]["version"] == version("valetkey")
    assert reply.json()["servers"] == [{"url": house.settings.issuer}]
    text = reply.body.decode()
    for secret in (house.alice.credential, house.alice.bearer, "alice@acme.com", "acme-corp/payroll", "pr-reviewer"):
        assert secret not in text


async def test_it_is_valid_openapi_3_1(house: House) -> None:
    document = await read(house)
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()
    ids = [said["operationId"] for methods in document["paths"].values() for said in methods.values()]
    assert len(ids) == len(set(ids))


async def test_every_route_of_v1_is_in_it_and_nothing_else(house: House) -> None:
    document = await read(house)
    served = set()
    for route in house.app.mount.routes:
        if not route.path.startswith("/v1"):
            continue
        assert isinstance(route, ApiRoute), f"{route.path} does not describe itself"
        served |= {(path, route.described.method.lower()) for path in paths_of(route.described)}
    if any(route.path == register.DESCRIBED.path for route in house.app.mount.routes):
        served.add((register.DESCRIBED.path, "post"))
    outside = {(e.path, "post") for e in ENDPOINTS} | {(path, "get") for path, *_ in DISCOVERY}
    assert {(path, method) for path, said in document["paths"].items() for method in said} == served | outside
    assert {e.path for e in ENDPOINTS} == house.app.mount.form_paths


async def test_every_route_says_what_it_is_for_and_what_it_gives(house: House) -> None:
    for route in house.app.mount.routes:
        if isinstance(route, ApiRoute):
            said = route.described
            assert said.summary, said.path
            assert said.answer is not None or said.media == "application/x-ndjson", said.path
            assert said.method == "GET" or said.query is None, said.path


async def test_every_code_it_names_exists(house: House) -> None:
    document = await read(house)
    named: dict[str, set[str]] = {"code": set(), "error": set()}
    for response in document["components"]["responses"].values():
        (media,) = response["content"].values()
        for member, schema in media["schema"]["allOf"][1]["properties"].items():
            named[member] |= set(schema["enum"])
    assert named["code"] <= EVERY_CODE
    assert {"not_authenticated", "denied", "invalid_request", "not_found"} <= named["code"]
    assert named["error"] <= EVERY_OAUTH_CODE


async def test_a_service_account_needs_just_the_scope_that_is_written_there(house: House) -> None:
    """With every other scope it is refused; with that one it is let through the door, whatever comes after."""
    document = await read(house)
    agent, delegation, *_ = await house.ready()
    every = {s for methods in document["paths"].values() for said in methods.values() for s in _scopes(said)}
    tokens = {}
    for scope in every:
        tokens[scope, True] = await _service(house, f"with-{scope.replace(':', '-')}", [scope])
        tokens[scope, False] = await _service(house, f"without-{scope.replace(':', '-')}", sorted(every - {scope}))
    tried = 0
    policy = {"text": 'silence = "observe"'}
    records = {"/v1/audit/records/{id}": 404, "/v1/audit/records/{id}/proof": 404}
    queries = {"/v1/audit/consistency": "?from=1"}
    bodies = {
        "/v1/policies": {**policy, "after": 0},
        "/v1/policies/check": policy,
        "/v1/policies/ready": {"mode": "off"},
        "/v1/policies/replay": {**policy, "seconds": 60},
    }
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            for scope in _scopes(said):
                for has in (True, False):
                    reply = await house.call(
                        method.upper(),
                        path.replace("{id}", agent.id if path.startswith("/v1/agents") else delegation["id"])
                        + queries.get(path, ""),
                        headers={"authorization": f"Bearer {tokens[scope, has]}"},
                        json=bodies.get(path, {"node": "usr_" + "0" * 26}) if method == "post" else None,
                    )
                    refused = 404 if path == "/v1/delegations/{id}" else 403  # one that may not be read is not there
                    allowed = {"/v1/revocations": 404, "/v1/policies/{id}": 404, **records}.get(path, 200)  # of nothing
                    allowed = 201 if (method, path) == ("post", "/v1/policies") else allowed
                    assert reply.status == (allowed if has else refused), (method, path, scope, has)
                    tried += 1
    assert tried >= 20


def _scopes(said: Any) -> list[str]:
    return [scope for way in said["security"] for scope in way.get("bearer", [])]


async def _service(house: House, name: str, scopes: list[str]) -> str:
    made = await house.alice.does("POST", "/v1/service-accounts", name=name, scopes=scopes)
    form = {"grant_type": "client_credentials", "client_id": made["id"], "client_secret": made["secret"]}
    return str((await house.call("POST", "/oauth/token", form=form)).json()["access_token"])


NUL = "a\x00b"


async def test_a_nul_in_any_text_is_refused_before_the_database_sees_it(house: House) -> None:
    _, delegation, *_ = await house.ready()
    bodies: dict[str, dict[str, Any]] = {
        "/v1/users": {"email": NUL},
        "/v1/agents": {"name": "x", "jwks": {"keys": [{NUL: 1}]}},
        "/v1/connections": {"integration": NUL, "credential": "x"},
        "/v1/delegations": {"agent": NUL, "grants": ["github:repo:read@x/y"], "purpose": "x"},
        "/v1/tasks": {"delegation": NUL},
        "/v1/tokens/explain": {"token": NUL},
        f"/v1/delegations/{delegation['id']}/narrow": {"lines": [{"scopes": [NUL], "resources": []}]},
    }
    for path, body in bodies.items():
        reply = await house.alice.call("POST", path, **body)
        assert (reply.status, reply.code, reply.json()["detail"]) == (400, "invalid_request", "The body holds a NUL.")
    for path in ("/v1/agents/a%00b", "/v1/delegations/%00"):
        assert (await house.alice.call("GET", path)).status == 404
    written = await house.alice.call("POST", "/v1/agents", name="fine", ceiling=[r"\u0000"])
    assert written.json()["detail"] != "The body holds a NUL."  # six characters, none of which is a NUL


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("tasks_per_day", True),
        ("tasks_per_day", 10**30),
        ("tasks_per_day", -1),
        ("seconds", 10**30),
        ("seconds", 1.5),
        ("seconds", "600"),
        ("max_calls", 0),
        ("max_calls", 10**30),
        ("not_after", 10**30),
        ("mode", "always"),
        ("surprise", 1),
    ],
)
async def test_a_value_outside_its_type_is_400(house: House, member: str, value: object) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    body = {"agent": agent.name, "grants": ["github:repo:read@acme-corp/backend"], "purpose": "x"}
    assert (await house.alice.call("POST", "/v1/delegations", **body)).status == 201
    reply = await house.alice.call("POST", "/v1/delegations", **body, **{member: value})
    assert (reply.status, reply.code) == (400, "invalid_request"), json.dumps(value)


async def test_a_parameter_nobody_declared_or_given_twice_is_400(house: House) -> None:
    for target in ("/v1/whoami?x=1", "/v1/agents?limit=1&limit=2", "/v1/agents?offset=3", "/v1/agents/x?limit=1"):
        reply = await house.alice.call("GET", target)
        assert (reply.status, reply.code) == (400, "invalid_request"), target
    assert (await house.alice.call("GET", "/v1/agents?limit=1")).status == 200
