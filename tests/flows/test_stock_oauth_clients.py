"""Clients nobody here wrote, through code, PKCE and refresh: Authlib and requests-oauthlib."""

import asyncio
from urllib.parse import urlsplit

import pytest
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from requests_oauthlib import OAuth2Session as RequestsSession

from tests.support.house import GITHUB, House
from tests.support.oauth import CALLBACK, Client, a_client

PATH = "/repos/acme-corp/backend"


@pytest.fixture(autouse=True)
def _plain_http_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


async def _consents(house: House, url: str, client: Client) -> str:
    """Alice follows the client's link and allows it; where the server sends her."""
    tab = await house.signed_in()
    parts = urlsplit(url)
    await tab.get(f"{parts.path}?{parts.query}")
    reply = await tab.submit("/consent", {"resources-0": "acme-corp/backend"}, button="Allow")
    client.told(reply)
    return reply.header("location") or ""


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
async def test_authlib_gets_and_refreshes_a_credential(house: House, method: str) -> None:
    client = await a_client(house, token_endpoint_auth_method=method)
    secret = None if method == "none" else client.robot.secret
    with AuthlibSession(
        client.robot.id,
        secret,
        redirect_uri=CALLBACK,
        scope="repo:read",
        code_challenge_method="S256",
        token_endpoint_auth_method=method,
    ) as session:
        url, state = session.create_authorization_url(
            f"{house.base}/oauth/authorize", code_verifier=client.verifier, resource=GITHUB
        )
        landed = await _consents(house, url, client)
        token = await asyncio.to_thread(
            session.fetch_token,
            f"{house.base}/oauth/token",
            authorization_response=landed,
            state=state,
            code_verifier=client.verifier,
        )
        assert (token["scope"], token["token_type"]) == ("repo:read", "Bearer")
        assert (await house.gateway(token["access_token"], "GET", PATH)).status == 200
        fresh = await asyncio.to_thread(
            session.refresh_token, f"{house.base}/oauth/token", refresh_token=token["refresh_token"]
        )
        assert fresh["access_token"] != token["access_token"]
        assert (await house.gateway(fresh["access_token"], "GET", PATH)).status == 200


async def test_requests_oauthlib_gets_and_refreshes_a_credential(house: House) -> None:
    client = await a_client(house)
    with RequestsSession(client.robot.id, redirect_uri=CALLBACK, scope=["repo:read"], pkce="S256") as session:
        url, _ = session.authorization_url(f"{house.base}/oauth/authorize", resource=GITHUB)
        landed = await _consents(house, url, client)
        token = await asyncio.to_thread(
            session.fetch_token,
            f"{house.base}/oauth/token",
            authorization_response=landed,
            client_secret=client.robot.secret,
        )
        assert (await house.gateway(token["access_token"], "GET", PATH)).status == 200
        fresh = await asyncio.to_thread(
            session.refresh_token,
            f"{house.base}/oauth/token",
            auth=(client.robot.id, client.robot.secret),
        )
        assert fresh["refresh_token"] != token["refresh_token"]
        assert (await house.gateway(fresh["access_token"], "GET", PATH)).status == 200
