"""RFC 9126 and RFC 9101: requests that a client leaves here first, and requests that it signs."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.holder import Prover
from tests.support.house import House
from tests.support.http import Reply
from tests.support.oauth import READ, Client, a_client
from tests.support.tokens import OwnKey, signed

URN = "urn:ietf:params:oauth:request_uri:vkrq_"


async def _push(client: Client, **more: Any) -> Reply:
    return await client.post("/oauth/par", client.parameters(**more))


def _link(client: Client, uri: str) -> str:
    return "/oauth/authorize?" + urlencode({"client_id": client.robot.id, "request_uri": uri})


async def test_pa_1_a_pushed_request_is_named_and_nothing_of_it_is_in_the_link(house: House) -> None:
    client = await a_client(house)
    reply = await _push(client)
    assert (reply.status, reply.header("cache-control")) == (201, "no-store")
    assert reply.json()["request_uri"].startswith(URN)
    assert reply.json()["expires_in"] == 60
    tab = await house.signed_in()
    await tab.get(_link(client, reply.json()["request_uri"]))
    assert "review the pull request" in tab.text
    told = client.told(await tab.submit("/consent", button="Allow"))
    assert (await client.redeem(told["code"])).status == 200


async def test_pa_6_reloading_works_and_using_it_again_does_not(house: House) -> None:
    client = await a_client(house)
    link = _link(client, (await _push(client)).json()["request_uri"])
    tab = house.tab()
    for _ in range(3):
        await tab.get(link)
        assert tab.at.startswith("/login")
    house.clock.advance(120)  # signing in takes longer than the minute
    tab = await house.signed_in()
    await tab.get(link)
    client.told(await tab.submit("/consent", button="Allow"))
    reply = await tab.get(link)
    assert (reply.status, reply.header("location")) == (400, None)


async def test_pa_1_it_is_its_clients_alone_and_for_a_minute(house: House) -> None:
    client = await a_client(house)
    other = await a_client(house, "another", connect=False)
    uri = (await _push(client)).json()["request_uri"]
    tab = await house.signed_in()
    assert (await tab.get(_link(other, uri))).status == 400
    assert (await tab.get("/oauth/authorize?request=" + uri.rpartition(":")[2])).status == 401
    for wrong in (uri + "x", uri[:-1] + "0", "urn:ietf:params:oauth:request_uri:", "https://evil.example/r"):
        assert (await tab.get(_link(client, wrong))).status == 400
    house.clock.advance(60)
    assert (await tab.get(_link(client, uri))).status == 400


async def test_pa_2_pa_3_pa_4_it_is_judged_as_strictly_as_at_the_authorization_endpoint(house: House) -> None:
    client = await a_client(house)
    for changed, error in (
        ({"request_uri": URN + "x"}, "invalid_request"),
        ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "no:such"}, "invalid_scope"),
        ({"resource": "https://nobody.example"}, "invalid_target"),
        ({"authorization_details": "[{}]"}, "invalid_authorization_details"),
        ({"client_id": "agt_00000000000000000000000000"}, "invalid_request"),
    ):
        reply = await _push(client, **changed)
        assert (reply.status, reply.json()["error"]) == (400, error), changed
    assert (await house.call("GET", "/oauth/par")).status in (404, 405)
    anonymous = await house.call("POST", "/oauth/par", form=client.parameters())
    assert (anonymous.status, anonymous.json()["error"]) == (401, "invalid_client")


async def test_pa_5_a_client_can_be_bound_to_pushing(house: House) -> None:
    client = await a_client(house, require_pushed_authorization_requests=True)
    tab = await house.signed_in()
    assert client.told(await client.authorize(tab))["error"] == "invalid_request"
    await tab.get(_link(client, (await _push(client)).json()["request_uri"]))
    assert "wants to act for you" in tab.text


async def _signer(house: House, **registered: Any) -> tuple[Client, OwnKey]:
    key = OwnKey()
    return await a_client(house, jwks=key.jwks, **registered), key


def _signed(client: Client, key: OwnKey, *, typ: str = "oauth-authz-req+jwt", **changed: Any) -> str:
    now = int(client.house.clock.now())
    claims: dict[str, Any] = {
        **client.parameters(),
        "authorization_details": READ,
        "iss": client.robot.id,
        "aud": client.house.settings.issuer,
        "iat": now,
        "exp": now + 300,
    }
    kept = {name: value for name, value in (claims | changed).items() if value is not None}
    return signed(key.private, key.kid, {"typ": typ}, kept)


async def test_jr_01_only_what_is_signed_counts(house: House) -> None:
    client, key = await _signer(house)
    tab = await house.signed_in()
    outside = {
        "client_id": client.robot.id,
        "request": _signed(client, key),
        "state": "added",
        "purpose": "something else",
        "redirect_uri": "https://evil.example/",
    }
    await tab.get("/oauth/authorize?" + urlencode(outside))
    assert "review the pull request" in tab.text
    told = client.told(await tab.submit("/consent", button="Allow"))
    assert told["state"] == client.state
    assert (await client.redeem(told["code"])).status == 200
    reply = await client.post("/oauth/par", {"client_id": client.robot.id, "request": _signed(client, key)})
    assert reply.status == 201


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "https://evil.example"},
        {"aud": None},
        {"iss": "agt_00000000000000000000000000"},
        {"iss": None},
        {"client_id": "agt_00000000000000000000000000"},
        {"client_id": None},
        {"exp": None},
        {"exp": 1},
        {"iat": None, "exp": 2_000_000_000},
        {"nbf": 4_000_000_000},
        {"request": "nested"},
        {"request_uri": "https://evil.example/"},
        {"typ": "at+jwt"},
        {"typ": "delegation+jwt"},
        {"state": ["a"]},
    ],
)
async def test_jr_2_a_signed_request_that_does_not_hold_is_refused(house: House, changed: dict[str, Any]) -> None:
    client, key = await _signer(house)
    tab = await house.signed_in()
    outside = client.parameters() | {"request": _signed(client, key, **changed)}
    told = client.told(await tab.get("/oauth/authorize?" + urlencode(outside)))
    assert (told["error"], told["iss"]) == ("invalid_request_object", house.settings.issuer)


async def test_jr_2_another_key_or_none_is_refused_and_a_client_can_be_bound_to_signing(house: House) -> None:
    client, key = await _signer(house, require_signed_request_object=True)
    tab = await house.signed_in()
    unsigned = _signed(client, key).rpartition(".")[0] + "."
    for bad in (_signed(client, OwnKey()), unsigned, "a.b.c", "x", json.dumps({})):
        reply = await tab.get("/oauth/authorize?" + urlencode(client.parameters() | {"request": bad}))
        assert client.told(reply)["error"] == "invalid_request_object"
    assert client.told(await client.authorize(tab))["error"] == "invalid_request_object"
    outside = {"client_id": client.robot.id, "request": _signed(client, key)}
    await tab.get("/oauth/authorize?" + urlencode(outside))
    assert "wants to act for you" in tab.text


async def test_dp_10_a_key_proven_while_pushing_is_the_one_that_redeems(house: House) -> None:
    """RFC 9449 section 10.1."""
    client, prover, other = await a_client(house), Prover(house), Prover(house)
    form = {name: str(value) for name, value in client.parameters().items()}
    pushed = await prover.asks(client.robot.basic, form, path="/oauth/par")
    assert pushed.status == 201, pushed.body
    tab = await house.signed_in()
    await tab.get(_link(client, pushed.json()["request_uri"]))
    code = client.told(await tab.submit("/consent", button="Allow"))["code"]
    redeeming = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": client.verifier,
    }
    assert (await client.redeem(code)).json()["error"] == "invalid_grant"
    assert (await other.asks(client.robot.basic, redeeming)).json()["error"] == "invalid_grant"
    redeemed = await prover.asks(client.robot.basic, redeeming)
    assert (redeemed.status, redeemed.json()["token_type"]) == (200, "DPoP")


async def test_dp_10_a_pushed_thumbprint_that_is_not_the_proven_keys_is_refused(house: House) -> None:
    client, prover, other = await a_client(house), Prover(house), Prover(house)
    form = {name: str(value) for name, value in client.parameters(dpop_jkt=other.holder.jkt).items()}
    refused = await prover.asks(client.robot.basic, form, path="/oauth/par")
    assert (refused.status, refused.json()["error"]) == (400, "invalid_request")
    same = {**form, "dpop_jkt": prover.holder.jkt}
    assert (await prover.asks(client.robot.basic, same, path="/oauth/par")).status == 201


async def test_dp_5_a_proof_counts_once_where_requests_are_pushed(house: House) -> None:
    client, prover = await a_client(house), Prover(house)
    form = {name: str(value) for name, value in client.parameters().items()}
    assert (await prover.asks(client.robot.basic, form, path="/oauth/par")).status == 201
    proof = {"dpop": prover.proof("POST", "/oauth/par", nonce=prover.holder.nonce)}
    sent = [
        await house.call("POST", "/oauth/par", headers={**client.robot.basic, **proof}, form=form) for _ in range(2)
    ]
    assert [reply.status for reply in sent] == [201, 400]
    assert sent[1].json()["error"] == "invalid_dpop_proof"
