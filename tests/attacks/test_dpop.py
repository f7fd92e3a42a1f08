"""Stolen tokens and forged proofs, over real sockets: at the gateway, at the API, and at the token endpoint.

The list is the one a conformance suite walks at a resource: each part of a proof missing or wrong, replays, downgrades,
and the spellings that have to pass.
"""

import asyncio
import base64
import contextlib
import json
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.flows.test_dpop import ISSUES, bound, claims_of, exchange
from tests.support.holder import ABSENT, Holder, Prover, b64
from tests.support.house import House, open_house
from tests.support.http import Reply
from tests.support.nodes import second_node
from valetkey.server.oauth.clients import store as clients
from valetkey.server.oauth.clients.model import ClientMetadata


def refused_as(reply: Reply, error: str) -> None:
    """A 401 that says which rule of RFC 9449, in the scheme of the token, and which algorithms there are."""
    assert reply.status == 401, reply.body
    challenge = str(reply.header("www-authenticate"))
    assert challenge.startswith("DPoP "), challenge
    assert f'error="{error}"' in challenge
    assert 'algs="ES256 Ed25519 RS256"' in challenge


ONE_CALL = """
[[rule]]
id = "reads"
effect = "allow"
integration = "github"
actions = ["read"]

[[rule]]
id = "once"
effect = "deny"
when = { counts = { calls = 1, within = "task" } }
"""


async def shown(house: House, token: str, *proofs: str, scheme: str = "DPoP", name: str = "dpop") -> Reply:
    headers = [("authorization", f"{scheme} {token}"), *[(name, proof) for proof in proofs]]
    return await house.call("GET", ISSUES, headers=headers)


PRIVATE = {"kty": "EC", "crv": "P-256", "d": b64(bytes(31) + b"\1")}

WRONG: dict[str, dict[str, Any]] = {
    "no typ": {"header": {"typ": ABSENT}},
    "another typ": {"header": {"typ": "JWT"}},
    "typ in capitals": {"header": {"typ": "DPOP+JWT"}},
    "no alg": {"header": {"alg": ABSENT}},
    "an algorithm that is not offered": {"header": {"alg": "ES512"}},
    "the old name of Ed25519": {"header": {"alg": "EdDSA"}},
    "a symmetric algorithm": {"header": {"alg": "HS256"}},
    "alg none": {"header": {"alg": "none"}},
    "no jwk": {"header": {"jwk": ABSENT}},
    "a jwk that is text": {"header": {"jwk": "key"}},
    "a kid beside the jwk": {"header": {"kid": "mine"}},
    "a critical extension": {"header": {"crit": ["exp"]}},
    "no jti": {"jti": ABSENT},
    "a jti that is a number": {"jti": 7},
    "an empty jti": {"jti": ""},
    "a jti that is too long": {"jti": "j" * 129},
    "no htm": {"htm": ABSENT},
    "another htm": {"htm": "POST"},
    "htm in small letters": {"htm": "get"},
    "no htu": {"htu": ABSENT},
    "another path": {"htu": "http://localhost/p/github/repos/acme-corp/payroll/issues"},
    "another host": {"htu": f"https://evil.example{ISSUES}"},
    "an htu that is a list": {"htu": [ISSUES]},
    "no iat": {"iat": ABSENT},
    "an iat that is text": {"iat": "1800000000"},
    "an iat that is true": {"iat": True},
    "no ath": {"ath": ABSENT},
    "another ath": {"ath": b64(bytes(32))},
    "an exp that is text": {"exp": "soon"},
    "an nbf that is text": {"nbf": "now"},
    "a nonce that is a number": {"nonce": 7},
}


async def test_a_proof_that_is_wrong_in_one_part_opens_nothing(house: House) -> None:
    """DP-2, DP-3, DP-4, DP-6: the same token passes with the right proof, before and after."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    assert (await prover.calls(token, "GET", ISSUES)).status == 200
    before = len(house.github.requests)
    for name, changes in WRONG.items():
        reply = await shown(house, token, prover.proof("GET", ISSUES, token=token, **changes))
        refused_as(reply, "invalid_dpop_proof")
        assert len(house.github.requests) == before, name
    assert (await prover.calls(token, "GET", ISSUES)).status == 200


async def test_a_proof_that_is_no_proof_opens_nothing(house: House) -> None:
    """DP-1, DP-2: none, two, malformed, another signature, a private key inside, unsigned."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    before = len(house.github.requests)

    def good() -> str:
        return prover.proof("GET", ISSUES, token=token)

    private = prover.holder.jwk | {"d": PRIVATE["d"]}
    head, claims, _ = good().split(".")
    stranger = Holder()
    for proofs in (
        (),
        (good(), good()),
        (f"{good()}, {good()}",),
        ("",),
        ("proof",),
        (token,),
        (good() + ".",),
        (f"{head}.{claims}.",),
        (f"{head}.{claims}.{b64(bytes(64))}",),
        (f"{head}.{claims}.{b64(stranger.signs(f'{head}.{claims}'.encode()))}",),
        (prover.proof("GET", ISSUES, token=token, padding="x" * 4096),),
        (prover.proof("GET", ISSUES, token=token, header={"jwk": private}),),
        (prover.proof("GET", ISSUES, token=token, header={"jwk": stranger.jwk}),),
    ):
        refused_as(await shown(house, token, *proofs), "invalid_dpop_proof")
    assert len(house.github.requests) == before


async def test_another_key_than_the_tokens_opens_nothing(house: House) -> None:
    """DP-6"""
    prover, thief = Prover(house), Prover(house)
    _, _, token = await bound(house, prover)
    refused_as(await thief.calls(token, "GET", ISSUES), "invalid_token")
    assert (await prover.calls(token, "GET", ISSUES)).status == 200


async def test_a_proof_of_another_hour_is_refused_and_no_nonce_helps(house: House) -> None:
    """DP-4"""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    for off in (-3600, 3600, -301, 301):
        for nonce in (None, prover.holder.nonce):
            now = house.clock.now() + off
            refused_as(await prover.calls(token, "GET", ISSUES, now=now, nonce=nonce), "invalid_dpop_proof")


async def test_dp_8_a_clock_that_differs_by_minutes_is_asked_for_a_nonce(house: House) -> None:
    """DP-8: 401 with the challenge and a nonce; with it the same clock is good enough."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    for off in (-61, -300, 11, 300):
        now = house.clock.now() + off
        challenged = await prover.calls(token, "GET", ISSUES, now=now)
        refused_as(challenged, "use_dpop_nonce")
        nonce = str(challenged.header("dpop-nonce"))
        assert (await prover.calls(token, "GET", ISSUES, now=now, nonce=nonce)).status == 200
        for other in ("A" + nonce[1:] if nonce[0] != "A" else "B" + nonce[1:], "", "nonce"):
            refused_as(await prover.calls(token, "GET", ISSUES, now=now, nonce=other), "use_dpop_nonce")


async def test_clocks_that_differ_a_little_need_no_nonce(house: House) -> None:
    """DP-4: the neighbours of what is refused."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    for off in (-60, 10):
        assert (await prover.calls(token, "GET", ISSUES, now=house.clock.now() + off)).status == 200


async def test_dp_8_a_nonce_is_good_for_its_time_and_one_more_and_a_new_one_is_offered_in_time(house: House) -> None:
    """DP-8"""
    prover = Prover(house)
    agent = await house.agent("pr-reviewer-v2")
    house.clock.advance(120 - house.clock.now() % 120)
    own = {"grant_type": "client_credentials"}

    async def asks(nonce: str | None) -> Reply:
        proof = prover.proof("POST", "/oauth/token", nonce=nonce)
        return await house.call("POST", "/oauth/token", headers={**agent.basic, "dpop": proof}, form=own)

    first = await asks(None)
    assert (first.status, first.json()["error"]) == (400, "use_dpop_nonce")
    nonce = first.header("dpop-nonce")
    assert (await asks(nonce)).status == 200
    house.clock.advance(239)
    late = await asks(nonce)
    assert late.status == 200
    assert late.header("dpop-nonce") not in (None, nonce)
    house.clock.advance(1)
    too_late = await asks(nonce)
    assert (too_late.status, too_late.json()["error"]) == (400, "use_dpop_nonce")
    assert (await asks(too_late.header("dpop-nonce"))).status == 200


async def test_dp_8_at_a_resource_an_old_nonce_is_replaced_in_time(house: House) -> None:
    """DP-8: a current one is left alone; an old one in a proof of this minute passes and a new one is offered."""
    prover = Prover(house)
    house.clock.advance(120 - house.clock.now() % 120)
    agent, _, token = await bound(house, prover)
    nonce = prover.holder.nonce
    current = await prover.calls(token, "GET", ISSUES, nonce=nonce)
    assert (current.status, current.header("dpop-nonce")) == (200, None)
    house.clock.advance(120)
    older = await prover.calls(token, "GET", ISSUES, nonce=nonce)
    assert older.status == 200
    assert older.header("dpop-nonce") not in (None, nonce)
    api = (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).json()["access_token"]
    asked = await prover.calls(api, "GET", "/v1/whoami", nonce=nonce)
    assert (asked.status, asked.header("dpop-nonce")) == (200, prover.holder.nonce)


async def test_dp_5_a_proof_counts_once_over_all_nodes(house: House, tmp_path: Path) -> None:
    """DP-5: at the same node and at another one; the replay reaches no API and stands in the audit."""
    prover = Prover(house)
    agent, _, token = await bound(house, prover)
    proof = prover.proof("GET", ISSUES, token=token)
    assert (await shown(house, token, proof)).status == 200
    before = len(house.github.requests)
    refused_as(await shown(house, token, proof), "invalid_dpop_proof")
    api = (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).json()["access_token"]
    asking = prover.proof("GET", "/v1/whoami", token=api)
    headers = {"authorization": f"DPoP {api}", "dpop": asking}
    assert (await house.call("GET", "/v1/whoami", headers=headers)).status == 200
    refused_as(await house.call("GET", "/v1/whoami", headers=headers), "invalid_dpop_proof")
    if house.settings.database_url is not None:
        async with second_node(house, tmp_path / "b") as other:
            refused_as(await shown(other, token, proof), "invalid_dpop_proof")
            refused_as(await other.call("GET", "/v1/whoami", headers=headers), "invalid_dpop_proof")
    # A node that sees the repository for the first time looks it up; the call itself goes nowhere.
    assert not [r for r in house.github.requests[before:] if "issues" in r.target]
    denied = await house.events("call.denied")
    assert {record["reason"] for record in denied} == {"proof_used"}


async def test_dp_5_of_many_at_once_one_passes(house: House, tmp_path: Path) -> None:
    """DP-5: the same proof at the same moment, spread over the nodes there are; one call reaches the API."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    assert (await prover.calls(token, "GET", ISSUES)).status == 200
    before = len(house.github.requests)
    proof = prover.proof("GET", ISSUES, token=token)
    async with contextlib.AsyncExitStack() as opened:
        nodes = [house]
        if house.settings.database_url is not None:
            nodes.append(await opened.enter_async_context(second_node(house, tmp_path / "b")))
        replies = await asyncio.gather(*(shown(node, token, proof) for node in nodes for _ in range(6)))
    assert sorted(reply.status for reply in replies) == [200, *[401] * (6 * len(nodes) - 1)]
    assert len([r for r in house.github.requests[before:] if "issues" in r.target]) == 1


async def test_dp_5_a_replay_spends_no_call_of_what_was_delegated(house: House) -> None:
    """A thief who repeats a proof uses up neither the call counter nor, after it is used up, anything else."""
    prover = Prover(house)
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    task = await house.task(await house.delegate(agent, max_calls=2))
    token = (await prover.asks(agent.basic, exchange(task["task_token"]))).json()["access_token"]
    first = prover.proof("GET", ISSUES, token=token)
    assert (await shown(house, token, first)).status == 200
    for _ in range(3):
        refused_as(await shown(house, token, first), "invalid_dpop_proof")
    assert (await prover.calls(token, "GET", ISSUES)).status == 200
    assert (await prover.calls(token, "GET", ISSUES)).status == 429


async def test_no_proof_travels_on_with_an_unbound_credential_either(house: House) -> None:
    """Proofs are ours: one, two or nonsense, none of it reaches the API."""
    prover = Prover(house)
    agent, task, _ = await bound(house, prover)
    unbound = await agent.token(task["task_token"])
    proofs = [("dpop", prover.proof("GET", ISSUES, token=unbound)), ("DPoP", "nonsense")]
    reply = await house.gateway(unbound, "GET", "/repos/acme-corp/backend/issues", headers=proofs)
    assert reply.status == 200
    assert house.github.requests[-1].header("dpop") is None


async def test_dp_5_a_proof_counts_once_for_a_call_that_is_decided_twice(house: House) -> None:
    """DP-5: a rule allows one call a task; of ten at once nine are decided again, with the proof each spent already."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    await house.alice.does("POST", "/v1/policies", text=ONE_CALL, after=0)
    replies = await asyncio.gather(*(prover.calls(token, "GET", ISSUES) for _ in range(10)))
    assert sorted(reply.status for reply in replies) == [200] + [403] * 9
    assert {reply.json()["reason"] for reply in replies if reply.status == 403} == {"denied_by_policy"}
    assert len([r for r in house.github.requests if "issues" in r.target]) == 1


async def test_dp_5_a_proof_counts_once_at_the_token_endpoint(house: House) -> None:
    """DP-5"""
    prover = Prover(house)
    agent, task, _ = await bound(house, prover)
    proof = prover.proof("POST", "/oauth/token", nonce=prover.holder.nonce)
    for expected in (200, 400):
        reply = await house.call(
            "POST", "/oauth/token", headers={**agent.basic, "dpop": proof}, form=exchange(task["task_token"])
        )
        assert reply.status == expected
    assert reply.json()["error"] == "invalid_dpop_proof"


async def test_dp_01_the_same_jti_under_another_key_is_another_proof(house: House) -> None:
    """DP-01: nobody uses up another client's jti."""
    prover, other = Prover(house), Prover(house)
    agent, task, token = await bound(house, prover)
    theirs = (await other.asks(agent.basic, exchange(task["task_token"]))).json()["access_token"]
    for each, held in ((prover, token), (other, theirs)):
        assert (await each.calls(held, "GET", ISSUES, jti="the-very-same")).status == 200
        refused_as(await each.calls(held, "GET", ISSUES, jti="the-very-same"), "invalid_dpop_proof")


async def test_dp_04_without_the_memory_of_proofs_nothing_passes(house: House) -> None:
    """DP-04: no answer from the store is no."""
    prover = Prover(house)
    agent, task, token = await bound(house, prover)
    unbound = await agent.token(task["task_token"])
    api = (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).json()["access_token"]
    async with house.app.database.write() as tx:
        await tx.execute(text("ALTER TABLE dpop_proofs RENAME TO elsewhere"))
    before = len(house.github.requests)
    assert (await prover.calls(token, "GET", ISSUES)).status == 503
    assert (await prover.calls(api, "GET", "/v1/whoami")).status in (500, 503)
    assert (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).status in (500, 503)
    assert len(house.github.requests) == before
    assert (await house.gateway(unbound, "GET", "/repos/acme-corp/backend/issues")).status == 200


async def test_dp_05_the_token_hash_is_compared_before_the_jti_is_spent(house: House) -> None:
    """DP-05: a proof for another token, or by another key, uses nothing up."""
    prover, thief = Prover(house), Prover(house)
    _, _, token = await bound(house, prover)
    refused_as(await prover.calls(token, "GET", ISSUES, jti="kept", ath=b64(bytes(32))), "invalid_dpop_proof")
    refused_as(await thief.calls(token, "GET", ISSUES, jti="kept"), "invalid_token")
    assert (await prover.calls(token, "GET", ISSUES, jti="kept")).status == 200


async def test_a_denied_call_spends_its_proof_too(house: House) -> None:
    """DP-5: what is denied today must not pass tomorrow with yesterday's proof."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    elsewhere = "/p/github/repos/acme-corp/payroll/issues"
    assert (await prover.calls(token, "GET", elsewhere, jti="once")).status == 403
    refused_as(await prover.calls(token, "GET", elsewhere, jti="once"), "invalid_dpop_proof")


async def test_a_bound_token_opens_nothing_as_bearer(house: House) -> None:
    """DP-7: no scheme of the API takes it, proof or not."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    before = len(house.github.requests)
    basic = base64.b64encode(f"x:{token}".encode()).decode()
    for scheme, shown_token in (("Bearer", token), ("token", token), ("Basic", basic)):
        refused_as(await shown(house, shown_token, scheme=scheme), "invalid_token")
        proof = prover.proof("GET", ISSUES, token=token)
        refused_as(await shown(house, shown_token, proof, scheme=scheme), "invalid_token")
    assert len(house.github.requests) == before


async def test_an_unbound_token_is_refused_under_the_scheme_of_bound_ones(house: House) -> None:
    """DP-7"""
    prover = Prover(house)
    agent, task, _ = await bound(house, prover)
    unbound = await agent.token(task["task_token"])
    refused_as(await prover.calls(unbound, "GET", ISSUES), "invalid_token")
    assert (await house.gateway(unbound, "GET", "/repos/acme-corp/backend/issues")).status == 200
    refused_as(await prover.calls(house.alice.bearer, "GET", "/v1/whoami"), "invalid_token")


async def test_what_has_to_pass_passes(house: House) -> None:
    """DP-3, DP-12: spellings of the same address, headers and schemes in any letters, claims nobody knows."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    url = house.settings.issuer + ISSUES
    for changes in (
        {"htu": url + "?page=2#top"},
        {"htu": url.replace("http://localhost", "HTTP://LOCALHOST")},
        {"htu": url.replace("issues", "%69ssues")},
        {"extra": {"any": ["thing"]}, "sub": "me"},
        {"exp": int(house.clock.now()) + 60, "nbf": int(house.clock.now())},
        {"iat": house.clock.now() - 0.5},
    ):
        reply = await shown(house, token, prover.proof("GET", ISSUES, token=token, **changes))
        assert reply.status == 200, (changes, reply.body)
    for scheme, name in (("DPoP", "DPOP"), ("dpop", "dpop"), ("DPOP", "DpOp")):
        proof = prover.proof("GET", ISSUES, token=token)
        assert (await shown(house, token, proof, scheme=scheme, name=name)).status == 200


async def test_dp_3_the_host_header_does_not_say_where_we_are(house: House) -> None:
    """DP-3: a proof for the name an attacker serves under is not a proof for us, whatever Host says."""
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    proof = prover.proof("GET", ISSUES, token=token, url=f"http://evil.example{ISSUES}")
    headers = {"authorization": f"DPoP {token}", "dpop": proof}
    refused_as(await house.call("GET", ISSUES, headers=headers, host="evil.example"), "invalid_dpop_proof")


async def test_the_default_port_is_the_same_address(tmp_path: Path) -> None:
    """DP-3"""
    async with open_house(tmp_path / "data", public_url="https://valetkey.acme.com:443") as house:
        prover = Prover(house)
        _, _, token = await bound(house, prover)
        for origin in ("https://valetkey.acme.com", "https://VALETKEY.acme.com:443"):
            assert (await prover.calls(token, "GET", ISSUES, url=origin + ISSUES)).status == 200
        other = await prover.calls(token, "GET", ISSUES, url="https://valetkey.acme.com:444" + ISSUES)
        refused_as(other, "invalid_dpop_proof")


async def test_jw_06_a_proof_is_no_token_and_a_token_no_proof(house: House) -> None:
    """JW-06, AT-5, OA-16: `typ` keeps them apart at every door."""
    prover = Prover(house)
    agent, task, token = await bound(house, prover)
    proof = prover.proof("GET", ISSUES, token=token)
    assert (await house.gateway(proof, "GET", "/repos/acme-corp/backend/issues")).status == 401
    assert (await house.call("GET", "/v1/whoami", headers={"authorization": f"Bearer {proof}"})).status == 401
    as_subject = await agent.exchange(proof)
    assert (as_subject.status, as_subject.json()["error"]) == (400, "invalid_request")
    for other in (token, task["task_token"], house.alice.bearer):
        refused_as(await shown(house, token, other), "invalid_dpop_proof")


TOKEN_REQUEST: dict[str, dict[str, Any]] = {
    "another typ": {"header": {"typ": "JWT"}},
    "no jwk": {"header": {"jwk": ABSENT}},
    "another htm": {"htm": "GET"},
    "another address": {"htu": "https://evil.example/oauth/token"},
    "the address of the API": {"htu": "http://localhost/v1/tokens"},
    "no jti": {"jti": ABSENT},
    "no iat": {"iat": ABSENT},
    "an iat of an hour ago": {"iat": 1_799_996_400},
    "an iat in an hour": {"iat": 1_800_003_600},
}


async def test_a_wrong_proof_gets_no_token(house: House) -> None:
    """DP-2, DP-3, DP-4 at the token endpoint: 400 invalid_dpop_proof."""
    prover = Prover(house)
    agent = await house.agent("pr-reviewer-v2")
    own = {"grant_type": "client_credentials"}
    assert (await prover.asks(agent.basic, own)).status == 200
    for name, changes in TOKEN_REQUEST.items():
        proof = prover.proof("POST", "/oauth/token", nonce=prover.holder.nonce, **changes)
        reply = await house.call("POST", "/oauth/token", headers={**agent.basic, "dpop": proof}, form=own)
        assert (reply.status, reply.json()["error"]) == (400, "invalid_dpop_proof"), name
    assert (await prover.asks(agent.basic, own)).status == 200


async def test_dp_1_two_proofs_are_refused_at_the_token_endpoint(house: House) -> None:
    """DP-1"""
    prover = Prover(house)
    agent = await house.agent("pr-reviewer-v2")
    own = {"grant_type": "client_credentials"}
    assert (await prover.asks(agent.basic, own)).status == 200
    proofs = [("dpop", prover.proof("POST", "/oauth/token", nonce=prover.holder.nonce)) for _ in range(2)]
    reply = await house.call("POST", "/oauth/token", headers=[*agent.basic.items(), *proofs], form=own)
    assert (reply.status, reply.json()["error"]) == (400, "invalid_dpop_proof")


async def test_a_stranger_with_a_proof_writes_nothing(house: House) -> None:
    """A proof is spent once its sender is known, so that nobody else can fill the store."""
    prover = Prover(house)
    stranger = {"authorization": "Basic " + base64.b64encode(b"agt_nobody:vkag_x").decode()}
    reply = await prover.asks(stranger, {"grant_type": "client_credentials"})
    assert reply.status == 401
    unknown = {"grant_type": "urn:valetkey:params:oauth:grant-type:user-credential", "credential": "vkcl_x"}
    assert (await prover.asks({}, unknown)).status == 401
    async with house.app.database.read() as db:
        assert (await db.execute(text("SELECT count(*) FROM dpop_proofs"))).scalar_one() == 0


async def test_dp_11_a_client_that_always_proves_a_key_gets_no_bearer_token(house: House) -> None:
    """DP-11: `dpop_bound_access_tokens`; by whatever grant."""
    prover = Prover(house)
    agent, task, _ = await bound(house, prover)
    assert (await agent.exchange(task["task_token"])).status == 200
    async with house.app.journal.change() as change:
        await clients.put_metadata_of_agent(change.tx, agent.id, ClientMetadata(dpop_bound=True), now=1)
        await change.touches(agent.id)
    await house.app.authorities.refresh()
    for reply in (
        await agent.exchange(task["task_token"]),
        await house.call("POST", "/oauth/token", headers=agent.basic, form={"grant_type": "client_credentials"}),
    ):
        assert (reply.status, reply.json()["error"]) == (400, "invalid_dpop_proof")
    good = await prover.asks(agent.basic, exchange(task["task_token"]))
    assert "cnf" in claims_of(good.json()["access_token"])


async def test_proofs_nobody_takes_any_more_are_removed_in_passing(house: House) -> None:
    """The store of proofs does not grow for ever; what could still be replayed stays."""
    prover = Prover(house)
    agent, _, _ = await bound(house, prover)
    api = (await prover.asks(agent.basic, {"grant_type": "client_credentials"})).json()["access_token"]
    house.clock.advance(400)
    house.app.services.proofs._spent = 127
    assert (await prover.calls(api, "GET", "/v1/whoami", jti="kept")).status == 200
    async with house.app.database.read() as db:
        assert (await db.execute(text("SELECT count(*) FROM dpop_proofs"))).scalar_one() == 1
    refused_as(await prover.calls(api, "GET", "/v1/whoami", jti="kept"), "invalid_dpop_proof")


async def test_a_refusal_says_what_to_do_and_nothing_of_the_token(house: House) -> None:
    prover = Prover(house)
    _, _, token = await bound(house, prover)
    reply = await shown(house, token, prover.proof("GET", ISSUES, token=token, htm="POST"))
    problem = reply.json()
    assert problem["code"] == "not_authenticated"
    assert problem["reason"] == "invalid_dpop_proof"
    assert problem["detail"] == "htm is missing or is not GET."
    assert token not in json.dumps(problem)
