"""From a client's link to a credential: she sees what is asked, allows it, and the client gets exactly that."""

from tests.support.house import House
from tests.support.oauth import a_client

PATH = "/repos/acme-corp/backend"


async def test_a_code_becomes_a_credential_that_works(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    told = await client.allowed(tab)
    assert told["state"] == client.state
    assert told["iss"] == house.settings.issuer
    reply = await client.redeem(told["code"])
    assert reply.status == 200, reply.body
    tokens = reply.json()
    assert reply.header("cache-control") == "no-store"
    assert tokens["token_type"] == "Bearer"
    assert tokens["scope"] == "repo:read"
    assert tokens["authorization_details"][0]["resources"] == ["acme-corp/backend"]
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    assert (await house.gateway(tokens["access_token"], "GET", "/repos/acme-corp/payroll")).status == 403
    refreshed = await client.refresh(tokens["refresh_token"])
    assert refreshed.status == 200, refreshed.body
    assert (await house.gateway(refreshed.json()["access_token"], "GET", PATH)).status == 200
