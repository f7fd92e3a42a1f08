"""Discovery: a stranger with one address finds the issuer, its keys and what each door asks for; all of it true."""

from typing import Any

import pytest

from tests.support.billing import register
from tests.support.house import EXCHANGE, USER_CREDENTIAL, House
from tests.support.http import Reply
from tests.support.oauth import a_client
from tests.support.tokens import unverified_claims, unverified_header
from valetkey.server.oauth.metadata import ENDPOINTS, assembled
from valetkey.server.tokens.doors import well_known

DOCUMENTS = ("oauth-authorization-server", "openid-configuration")


async def document(house: House, name: str = DOCUMENTS[0]) -> Any:
    reply = await house.call("GET", f"/.well-known/{name}")
    assert reply.status == 200, reply.body
    return reply.json()


async def test_md_1_md_4_both_documents_say_the_same_and_may_be_kept(house: House) -> None:
    server, openid = [await document(house, name) for name in DOCUMENTS]
    assert server == openid
    for name in (*DOCUMENTS, "jwks.json", "oauth-protected-resource", "oauth-protected-resource/p/github"):
        reply = await house.call("GET", f"/.well-known/{name}", headers={"origin": "https://app.example"})
        assert (reply.header("content-type") or "").startswith("application/j"), name
        assert "max-age" in (reply.header("cache-control") or ""), name
        assert reply.header("access-control-allow-origin") == "*", name


async def test_only_the_documents_are_open_to_other_origins(house: House) -> None:
    asked = {"origin": "https://evil.example"}
    for method, path in (("GET", "/v1/whoami"), ("GET", "/login"), ("GET", "/p/github/user"), ("POST", "/oauth/token")):
        reply = await house.call(method, path, headers=asked)
        assert reply.header("access-control-allow-origin") is None, path


async def test_md_2_the_issuer_is_the_one_tokens_name(house: House) -> None:
    _, _, task, token = await house.ready()
    issuer = (await document(house))["issuer"]
    assert issuer == house.settings.issuer
    assert {unverified_claims(t)["iss"] for t in (token, task["task_token"])} == {issuer}


async def works(house: House, endpoint: str, form: dict[str, Any], headers: dict[str, str] | None = None) -> Reply:
    assert endpoint.startswith(house.settings.issuer)
    path = endpoint.removeprefix(house.settings.issuer)
    return await house.call("POST", path, headers=headers or {}, form=form)


async def test_md_3_every_advertised_value_is_served(house: House) -> None:
    """Grants answer as what they are, endpoints exist, authentication methods are taken, keys are published."""
    said = await document(house)
    agent, _, task, token = await house.ready()
    endpoints = {name: url for name, url in said.items() if name.endswith("_endpoint")}
    assert endpoints.keys() >= {"token_endpoint", "introspection_endpoint", "revocation_endpoint"}
    assert set(endpoints) <= set(ENDPOINTS.values())
    for name, url in endpoints.items():
        reply = await house.call("POST", url.removeprefix(said["issuer"]), form={"x": "y"})
        assert reply.status not in (404, 405, 500), name
    for grant in said["grant_types_supported"]:
        reply = await works(house, said["token_endpoint"], {"grant_type": grant}, agent.basic)
        assert reply.json().get("error") != "unsupported_grant_type", grant
    assert {EXCHANGE, USER_CREDENTIAL, "client_credentials"} <= set(said["grant_types_supported"])
    basic = await works(house, said["introspection_endpoint"], {"token": token}, agent.basic)
    posted = await works(
        house, said["introspection_endpoint"], {"token": token, "client_id": agent.id, "client_secret": agent.secret}
    )
    assert basic.json()["active"] is posted.json()["active"] is True
    for name in ("token_endpoint", "introspection_endpoint", "revocation_endpoint"):
        usual = {"client_secret_basic", "client_secret_post", "private_key_jwt"}
        more = {"token_endpoint": {"none", "spiffe_jwt"}, "revocation_endpoint": {"none"}}.get(name, set())
        assert set(said[f"{name}_auth_methods_supported"]) == usual | more
    public = await a_client(house, "public", connect=False, token_endpoint_auth_method="none")
    nothing = {"token": "x", "client_id": public.robot.id}
    assert (await works(house, said["revocation_endpoint"], nothing)).status == 200
    assert (await works(house, said["introspection_endpoint"], nothing)).status == 401
    keys = (await house.call("GET", said["jwks_uri"].removeprefix(said["issuer"]))).json()["keys"]
    assert unverified_header(token)["kid"] in {key["kid"] for key in keys}
    signed = await house.call(
        "POST",
        "/oauth/introspect",
        headers=agent.basic | {"accept": "application/token-introspection+jwt"},
        form={"token": token},
    )
    assert said["introspection_signing_alg_values_supported"] == [unverified_header(signed.body.decode())["alg"]]
    for kind in said["authorization_details_types_supported"]:
        details = f'[{{"type":"{kind}","actions":["x"],"resources":["*"]}}]'
        reply = await agent.exchange(task["task_token"], authorization_details=details)
        assert reply.json()["error"] != "invalid_authorization_details", kind


def test_md_3_what_is_not_served_is_not_said() -> None:
    issuer = "https://keys.acme.com"
    said = assembled(issuer, served=["/oauth/token"], contributed=[{"x": ["a"]}, {"x": ["a", "b"]}])
    assert said["x"] == ["a", "b"]
    assert [name for name in said if name.endswith("_endpoint")] == ["token_endpoint"]
    assert "introspection_endpoint_auth_methods_supported" not in said
    with pytest.raises(ValueError, match="contradict"):
        assembled(issuer, served=[], contributed=[{"y": True}, {"y": False}])


def test_md_1_the_well_known_part_stands_before_the_path() -> None:
    at = well_known("https://keys.acme.com/tenant", "oauth-authorization-server")
    assert at == "https://keys.acme.com/.well-known/oauth-authorization-server/tenant"


async def test_pr_1_pr_2_each_api_behind_the_gateway_has_its_document(house: House) -> None:
    await register(house)
    said = (await house.call("GET", "/.well-known/oauth-protected-resource/p/github")).json()
    assert said["resource"] == f"{house.settings.gateway}/p/github"
    assert said["authorization_servers"] == [house.settings.issuer]
    assert "repo:read" in said["scopes_supported"]
    assert "offline_access" not in said["scopes_supported"]  # PR-4
    agent, _, task, _ = await house.ready()
    assert (await agent.exchange(task["task_token"], resource=said["resource"])).status == 200
    api = (await house.call("GET", "/.well-known/oauth-protected-resource/v1")).json()
    assert api["resource"] == f"{house.settings.issuer}/v1"
    for unknown in ("p/nowhere", "p/billing", "p", "x"):
        reply = await house.call("GET", f"/.well-known/oauth-protected-resource/{unknown}")
        assert reply.status == 404, unknown


async def test_pr_3_a_refusal_says_where_to_learn_more_and_every_scope_needed(house: House) -> None:
    """PR-5: and nothing of it reaches the API."""
    _, _, _, token = await house.ready()
    before = len(house.github.requests)
    where = f'resource_metadata="{house.settings.gateway}/.well-known/oauth-protected-resource/p/github"'
    missing = await house.call("GET", "/p/github/repos/acme-corp/backend/issues")
    wrong = await house.gateway("nonsense", "GET", "/repos/acme-corp/backend/issues")
    for reply in (missing, wrong):
        told = reply.header("www-authenticate") or ""
        assert reply.status == 401
        assert where in told
        assert 'scope="issues:read"' in told
    beyond = await house.gateway(token, "PUT", "/repos/acme-corp/backend/contents/.github/workflows/ci.yml", json={})
    told = beyond.header("www-authenticate") or ""
    assert beyond.status == 403
    assert 'error="insufficient_scope"' in told
    assert where in told
    scopes = told.partition('scope="')[2].partition('"')[0].split()
    assert "workflows:write" in scopes
    assert len(scopes) == 2
    assert len(house.github.requests) == before
    followed = told.partition('resource_metadata="')[2].partition('"')[0]
    document = await house.call("GET", followed.removeprefix(house.settings.gateway))
    assert set(scopes) <= set(document.json()["scopes_supported"])


async def test_a_refusal_no_other_credential_would_mend_asks_for_none(house: House) -> None:
    agent, _, _, token = await house.ready()
    unknown = await house.gateway(token, "GET", "/no/such/operation")
    assert (unknown.status, unknown.header("www-authenticate")) == (403, None)
    await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    suspended = await house.gateway(token, "GET", "/repos/acme-corp/backend")
    assert (suspended.status, suspended.header("www-authenticate")) == (403, None)
