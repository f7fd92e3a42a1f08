"""Clients that register themselves (RFC 7591, RFC 7592): who may, what they get, and what they can never become."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_outside_clients import allow, user_of
from tests.support.house import House, open_house
from tests.support.http import Reply
from tests.support.outside import is_known
from tests.support.tokens import ASSERTION_TYPE, OwnKey
from valetkey.server.oauth.clients.register import PER_ADDRESS

SAID: dict[str, Any] = {"client_name": "Reviewer", "redirect_uris": ["https://app.example.com/back"]}


@pytest.fixture
async def by_token(tmp_path: Path, database_url: str | None) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data", database_url=database_url, dynamic_registration="token") as house:
        yield house


@pytest.fixture
async def for_all(tmp_path: Path, database_url: str | None) -> AsyncIterator[House]:
    async with open_house(tmp_path / "data", database_url=database_url, dynamic_registration="open") as house:
        yield house


async def initial(house: House, **more: Any) -> str:
    return str((await house.alice.does("POST", "/v1/initial-access-tokens", **more))["initial_access_token"])


async def registers(house: House, token: str | None = None, **changed: Any) -> Reply:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    said = {name: value for name, value in {**SAID, **changed}.items() if value is not None}
    return await house.call("POST", "/oauth/register", headers=headers, json=said)


async def manages(house: House, method: str, client: dict[str, Any], token: str | None = None, **said: Any) -> Reply:
    headers = {"authorization": f"Bearer {token or client['registration_access_token']}"}
    path = f"/oauth/register/{client['client_id']}"
    return await house.call(method, path, headers=headers, json=said or None)


async def by_secret(house: House, client_id: str, secret: str) -> Reply:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
    return await house.call("POST", "/oauth/token", form=form)


async def test_dc_1_registration_is_off_unless_it_was_turned_on(house: House) -> None:
    assert (await registers(house)).status == 404
    reply = await house.alice.call("POST", "/v1/initial-access-tokens", uses=1)
    assert (reply.status, reply.code) == (409, "conflict")


async def test_dc_1_a_client_registers_with_a_token_an_administrator_made(by_token: House) -> None:
    house = by_token
    token = await initial(house, uses=2)
    reply = await registers(house, token)
    client = reply.json()
    assert reply.status == 201
    assert reply.header("cache-control") == "no-store"
    assert client["client_id"].startswith("cli_")
    assert client["client_id_issued_at"] == int(house.clock.now())
    assert client["client_secret_expires_at"] == 0
    assert client["token_endpoint_auth_method"] == "client_secret_basic"
    assert client["registration_client_uri"].endswith(f"/oauth/register/{client['client_id']}")
    assert is_known(await by_secret(house, client["client_id"], client["client_secret"]))
    assert not is_known(await by_secret(house, client["client_id"], token))
    (record,) = await house.events("client.registered")
    assert (record["client"], record["redirects"]) == (client["client_id"], SAID["redirect_uris"])
    assert client["client_secret"] not in str(record)


async def test_dc_1_an_initial_token_is_used_up_expires_and_is_nobody_elses(by_token: House) -> None:
    house = by_token
    bob = await house.person("bob@acme.com")
    assert (await bob.call("POST", "/v1/initial-access-tokens", uses=1)).status == 403
    token = await initial(house, uses=2)
    replies = await asyncio.gather(*(registers(house, token) for _ in range(4)))
    assert sorted(reply.status for reply in replies) == [201, 201, 401, 401]
    late = await initial(house, uses=2, seconds=60)
    house.clock.advance(60)
    for wrong in (None, late, "x", token, house.alice.bearer, house.alice.credential):
        reply = await registers(house, wrong)
        assert (reply.status, reply.json()["error"]) == (401, "invalid_token"), wrong
        assert reply.header("www-authenticate") == 'Bearer realm="valetkey", error="invalid_token"'
    for wrong_size in ({"uses": 0}, {"uses": 10_000}, {"seconds": 0}, {"seconds": 10**8}):
        assert (await house.alice.call("POST", "/v1/initial-access-tokens", **wrong_size)).status == 400


async def test_dc_1_one_address_registers_so_many_an_hour(for_all: House) -> None:
    house = for_all
    for _ in range(PER_ADDRESS):
        assert (await registers(house)).status == 201
    reply = await registers(house)
    assert (reply.status, reply.header("retry-after")) == (429, "3600")
    house.clock.advance(3_600)
    assert (await registers(house)).status == 201


async def test_dc_1_a_client_nobody_uses_is_forgotten(for_all: House) -> None:
    house = for_all
    used, unused = [(await registers(house)).json() for _ in range(2)]
    days = house.settings.unused_client_days
    house.clock.advance((days - 1) * 86_400)
    assert is_known(await by_secret(house, used["client_id"], used["client_secret"]))
    house.clock.advance(2 * 86_400)
    assert is_known(await by_secret(house, used["client_id"], used["client_secret"]))
    assert not is_known(await by_secret(house, unused["client_id"], unused["client_secret"]))
    # OA-19: its management token does not bring it back.
    assert (await manages(house, "GET", unused)).status == 401
    assert (await manages(house, "PUT", unused, client_id=unused["client_id"], **SAID)).status == 401


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "exchange": ({"grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"]}, "invalid_client_metadata"),
    "itself": ({"grant_types": ["authorization_code", "client_credentials"]}, "invalid_client_metadata"),
    "a password": ({"grant_types": ["password"]}, "invalid_client_metadata"),
    "our own grant": (
        {"grant_types": ["urn:valetkey:params:oauth:grant-type:user-credential"]},
        "invalid_client_metadata",
    ),
    "an implicit token": ({"response_types": ["token"]}, "invalid_client_metadata"),
    "another method": ({"token_endpoint_auth_method": "tls_client_auth"}, "invalid_client_metadata"),
    "its own secret": ({"client_secret": "s3cret"}, "invalid_client_metadata"),
    "a statement": ({"software_statement": "e30.e30."}, "invalid_software_statement"),
    "keys in the clear": ({"jwks_uri": "http://app.example.com/k"}, "invalid_client_metadata"),
    "no redirect": ({"redirect_uris": None}, "invalid_redirect_uri"),
    "a redirect in the clear": ({"redirect_uris": ["http://app.example.com/b"]}, "invalid_redirect_uri"),
    "a redirect with a user": ({"redirect_uris": ["https://x@app.example.com/b"]}, "invalid_redirect_uri"),
    "a redirect to anywhere": ({"redirect_uris": ["https://*.example.com/b"]}, "invalid_redirect_uri"),
    "a redirect to a script": ({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri"),
    "a private scheme on the web": ({"redirect_uris": ["com.example.app:/b"]}, "invalid_redirect_uri"),
}


async def test_dc_2_dc_4_what_a_client_cannot_give_itself(for_all: House) -> None:
    house = for_all
    for what, (changed, error) in REFUSED.items():
        house.clock.advance(3_600)
        reply = await registers(house, **changed)
        assert (reply.status, reply.json()["error"]) == (400, error), what
    house.clock.advance(3_600)
    native = {"redirect_uris": ["com.example.app:/b", "http://127.0.0.1/b"], "application_type": "native"}
    assert (await registers(house, **native)).status == 201
    await house.alice.sign_in()
    assert len(await house.events("client.registered")) == 1


async def test_dc_4_no_scope_it_names_opens_our_api(for_all: House) -> None:
    house = for_all
    client = (await registers(house, scope="agents:write users:write audit:read")).json()
    form = {
        "grant_type": "client_credentials",
        "client_id": client["client_id"],
        "client_secret": client["client_secret"],
        "scope": "audit:read",
    }
    reply = await house.call("POST", "/oauth/token", form=form)
    assert (reply.status, reply.json()["error"]) == (400, "unauthorized_client")


async def test_dc_3_the_management_token_is_good_for_one_use_and_gives_the_next(for_all: House) -> None:
    house = for_all
    client = (await registers(house)).json()
    first = client["registration_access_token"]
    read = (await manages(house, "GET", client)).json()
    assert read["redirect_uris"] == SAID["redirect_uris"]
    assert "client_secret" not in read
    assert read["registration_access_token"] != first
    assert (await manages(house, "GET", client, first)).status == 401
    other = (await registers(house)).json()
    assert (await manages(house, "GET", client, other["registration_access_token"])).status == 401
    replies = await asyncio.gather(*(manages(house, "GET", read) for _ in range(4)))
    assert sorted(reply.status for reply in replies) == [200, 401, 401, 401]


async def test_dc_3_put_replaces_the_whole_record(for_all: House) -> None:
    house = for_all
    client = (await registers(house, client_uri="https://app.example.com/")).json()
    said = {"client_id": client["client_id"], "client_name": "Other", "redirect_uris": ["https://app.example.com/2"]}
    reply = await manages(house, "PUT", client, client_secret=client["client_secret"], **said)
    changed = reply.json()
    assert reply.status == 200
    assert (changed["client_name"], changed["redirect_uris"]) == ("Other", ["https://app.example.com/2"])
    assert "client_uri" not in changed
    assert is_known(await by_secret(house, client["client_id"], client["client_secret"]))
    assert (await house.events("client.changed"))[-1]["client"] == client["client_id"]


async def test_oa_19_a_registration_is_not_widened_swapped_or_revived(for_all: House) -> None:
    house = for_all
    client = (await registers(house, scope="repo:read", dpop_bound_access_tokens=True)).json()
    right = {"client_id": client["client_id"], "scope": "repo:read", "dpop_bound_access_tokens": True, **SAID}
    for what, changed in {
        "another scope": {"scope": "repo:read repo:write"},
        "any scope": {"scope": ""},
        "another grant": {"grant_types": ["authorization_code", "urn:openid:params:grant-type:ciba"]},
        "no secret any more": {"token_endpoint_auth_method": "none"},
        "another method": {"token_endpoint_auth_method": "client_secret_post"},
        "keys of its own": {"token_endpoint_auth_method": "private_key_jwt", "jwks": OwnKey().jwks},
        "another type": {"application_type": "native"},
        "no proof of possession": {"dpop_bound_access_tokens": False},
        "another client": {"client_id": "cli_00000000000000000000000000"},
        "another secret": {"client_secret": "x"},
        "a secret for ever": {"client_secret_expires_at": 0},
        "a token of its choice": {"registration_access_token": "x"},
        "a redirect in the clear": {"redirect_uris": ["http://app.example.com/"]},
    }.items():
        reply = await manages(house, "PUT", client, **(right | changed))
        assert reply.status == 400, what
        assert reply.json()["error"] in ("invalid_client_metadata", "invalid_redirect_uri"), what
    assert (await manages(house, "PUT", client, **right)).status == 200
    assert await house.events("client.changed") != []


async def test_oa_19_a_changed_registration_is_agreed_to_again(for_all: House) -> None:
    house = for_all
    await allow(house)
    said = (await registers(house)).json()
    services = house.app.services
    client = await services.clients.known(said["client_id"])
    agent = await services.outside.agent_for(await user_of(house, house.alice.id), client)
    assert agent.name.startswith("reviewer-")
    new = {"client_id": client.id, **SAID, "redirect_uris": ["https://evil.example/back"]}
    fresh = (await manages(house, "PUT", said, **new)).json()
    client = await services.clients.known(client.id)
    assert not await services.outside.agreed(house.alice.id, client)
    assert await services.outside.agent_of(house.alice.id, client) is None
    # And when the client is removed, so is what it was for everybody.
    assert (await manages(house, "DELETE", fresh)).status == 204
    assert not is_known(await by_secret(house, client.id, said["client_secret"]))
    (removed,) = await house.events("client.removed")
    assert removed["agents"] == [agent.id]
    delegation = await house.alice.call(
        "POST", "/v1/delegations", agent=agent.name, grants=["github:repo:read@acme-corp/backend"], purpose="x"
    )
    assert delegation.status in (400, 403, 404, 409, 410)


async def test_a_client_with_a_key_or_with_nothing_registers_too(for_all: House) -> None:
    house = for_all
    key = OwnKey()
    keyed = (await registers(house, token_endpoint_auth_method="private_key_jwt", jwks=key.jwks)).json()
    assert "client_secret" not in keyed
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": key.assertion(keyed["client_id"], house.settings.issuer, house.clock.now()),
    }
    assert is_known(await house.call("POST", "/oauth/token", form=form))
    assert not is_known(await house.call("POST", "/oauth/token", form=form))  # used before
    public = (await registers(house, token_endpoint_auth_method="none")).json()
    assert "client_secret" not in public
    named = {"grant_type": "client_credentials", "client_id": public["client_id"]}
    assert is_known(await house.call("POST", "/oauth/token", form=named))
    assert not is_known(await house.call("POST", "/oauth/token", form=named | {"client_id": keyed["client_id"]}))


async def test_the_door_of_registration_is_bounded(for_all: House) -> None:
    house = for_all
    for body, kind in (
        (b"{" + b'"x": 1, ' * 10_000 + b'"y": 1}', "application/json"),
        (b'{"redirect_uris": ["https://a.example/b"], "redirect_uris": []}', "application/json"),
        (b"[]", "application/json"),
        (b"[" * 5_000, "application/json"),
        (b'{"redirect_uris": ["https://a.example/b"]}', "text/plain"),
        (b"", "application/json"),
    ):
        reply = await house.call("POST", "/oauth/register", headers={"content-type": kind}, body=body)
        assert (reply.status, reply.json()["error"]) == (400, "invalid_client_metadata"), body[:40]
    assert (await house.call("GET", "/oauth/register")).status in (404, 405)


async def test_what_is_kept_of_a_registration_opens_nothing(for_all: House, tmp_path: Path) -> None:
    house = for_all
    client = (await registers(house)).json()
    if not house.app.database.is_sqlite:
        pytest.skip("the file is SQLite's")
    for file in (tmp_path / "data").rglob("*.db*"):
        kept = file.read_bytes()
        assert client["client_secret"].encode() not in kept
        assert client["registration_access_token"].encode() not in kept
