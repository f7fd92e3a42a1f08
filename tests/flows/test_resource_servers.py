"""A resource server of the organization's own: registered, delegated like any API, and it verifies by itself."""

from typing import Any

import jwt
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet

from tests.support.billing import AUDIENCE, billed, register
from tests.support.house import House
from tests.support.tokens import unverified_claims, unverified_header
from valetkey.verify.keys import parse_jwks
from valetkey.verify.verifier import Verifier


async def keys_of(house: House) -> bytes:
    return (await house.call("GET", "/.well-known/jwks.json")).body


async def verifier(house: House, audience: str = AUDIENCE, **more: Any) -> Verifier:
    keys = parse_jwks(await keys_of(house))
    return Verifier(house.settings.issuer, audience, keys=keys, clock=house.clock, **more)


async def test_at_an_agent_gets_a_credential_a_stock_reader_of_rfc_9068_understands(house: House) -> None:
    """AT-1 to AT-4, OA-01: `sub` is the person, `act` the agent; three other libraries verify it."""
    await register(house)
    agent, delegation, task = await billed(house)
    reply = await agent.exchange(task["task_token"], resource=AUDIENCE)
    answer = reply.json()
    assert reply.status == 200, reply.body
    assert answer["scope"] == "invoices:read"
    assert answer["authorization_details"] == [{"type": "billing", "actions": ["invoices:read"], "resources": ["*"]}]
    token = answer["access_token"]
    assert unverified_header(token)["typ"] == "at+jwt"
    claims = unverified_claims(token)
    assert claims["sub"] == "user:alice@acme.com"
    assert claims["act"] == {"sub": "agent:bookkeeper", "uid": agent.id}
    assert claims["client_id"] == agent.id
    assert (claims["aud"], claims["scope"], claims["iss"]) == (AUDIENCE, "invoices:read", house.settings.issuer)
    assert {"exp", "iat", "jti", "task", "delegation", "org"} <= claims.keys()
    published = await keys_of(house)
    found = jwt.PyJWKSet.from_json(published.decode())[unverified_header(token)["kid"]]
    by_pyjwt = jwt.decode(
        token,
        found.key,
        algorithms=["ES256"],
        audience=AUDIENCE,
        issuer=claims["iss"],
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )
    by_joserfc = joserfc_jwt.decode(token, KeySet.import_key_set(jwt_set(published)), algorithms=["ES256"])
    assert by_pyjwt == by_joserfc.claims == claims
    seen = (await verifier(house)).verify(token)
    assert (seen.user.name, seen.agent.name) == ("user:alice@acme.com", "agent:bookkeeper")
    assert seen.scopes == {"invoices:read"}
    assert delegation["sentence"].startswith(
        "agent:bookkeeper, on behalf of user:alice@acme.com, may invoices:read on everything at billing.acme.com"
    )


def jwt_set(text: bytes) -> Any:
    import json

    return json.loads(text)
