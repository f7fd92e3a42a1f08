"""Tokens at the wrong door, forged, late, malformed; forged cursors; caches that must not mix: over real sockets.

The strict verifier has its own tests (test_jwt.py); here its rules are seen at each door of the running server.
"""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.house import GITHUB, House, Robot
from tests.support.http import Reply
from tests.support.tokens import ABSENT, OwnKey, signed, unverified_claims, unverified_header
from valetkey.server.credentials.issue import Ask
from valetkey.server.delegations.grants import parse_grant
from valetkey.verify import base64url, jws

PATH = "/repos/acme-corp/backend"
READ = "github:repo:read@acme-corp/backend"


async def at_gateway(house: House, token: str) -> Reply:
    return await house.gateway(token, "GET", PATH)


async def at_api(house: House, token: str) -> Reply:
    return await house.call("GET", "/v1/whoami", headers={"authorization": f"Bearer {token}"})


async def at_exchange(house: House, agent: Robot, token: str) -> Reply:
    return await agent.exchange(token)


def signed_by_us(house: House, typ: str, claims: dict[str, Any]) -> str:
    """What we would have signed ourselves, had we been wrong: by the server's own key, any claims, any typ."""
    key = house.app.keys.signer("ES256")
    text = json.dumps({name: value for name, value in claims.items() if value is not ABSENT}).encode()
    signing_input = jws.signing_input(key.alg, key.kid, typ, text)
    return jws.compact(signing_input, key.sign(signing_input))


async def test_oa_01_oa_16_every_kind_of_token_opens_its_own_door_only(house: House) -> None:
    agent, _, task, delegated = await house.ready()
    await agent.sign_in()
    tokens = {"delegated": delegated, "task": task["task_token"], "api": agent.bearer}
    for kind, token in tokens.items():
        assert ((await at_gateway(house, token)).status == 200) == (kind == "delegated"), kind
        assert ((await at_api(house, token)).status == 200) == (kind == "api"), kind
        assert ((await at_exchange(house, agent, token)).status == 200) == (kind == "task"), kind


async def test_oa_16_jw_06_right_claims_under_another_typ_are_refused_everywhere(house: House) -> None:
    """Even signed by our own key: a DPoP proof, an ID token, a refresh token is not what it is taken for."""
    agent, _, task, delegated = await house.ready()
    await agent.sign_in()
    for typ in (
        "dpop+jwt",
        "JWT",
        "at+jwt",
        "api+jwt",
        "task+jwt",
        "delegation+jwt",
        "DELEGATION+JWT",
        "",
        "logout+jwt",
    ):
        first = await at_gateway(house, signed_by_us(house, typ, unverified_claims(delegated)))
        assert (first.status == 200) == (typ == "delegation+jwt"), typ
        second = await at_api(house, signed_by_us(house, typ, unverified_claims(agent.bearer)))
        assert (second.status == 200) == (typ == "api+jwt"), typ
        third = await at_exchange(house, agent, signed_by_us(house, typ, unverified_claims(task["task_token"])))
        assert (third.status == 200) == (typ == "task+jwt"), typ


async def test_oa_15_one_exact_audience(house: House) -> None:
    agent, _, task, delegated = await house.ready()
    await agent.sign_in()
    issuer = house.settings.issuer
    doors = (
        ("delegation+jwt", unverified_claims(delegated), GITHUB),
        ("task+jwt", unverified_claims(task["task_token"]), issuer),
        ("api+jwt", unverified_claims(agent.bearer), f"{issuer}/v1"),
    )
    for typ, claims, right in doors:
        for audience in (
            right,
            [right],
            [right, "https://evil.example"],
            right.upper(),
            right + "/",
            right[:-1],
            right + ".evil.example",
            "",
            None,
            True,
            {},
            ABSENT,
            "https://slack.com/api",
        ):
            token = signed_by_us(house, typ, claims | {"aud": audience})
            match typ:
                case "delegation+jwt":
                    reply = await at_gateway(house, token)
                case "task+jwt":
                    reply = await at_exchange(house, agent, token)
                case _:
                    reply = await at_api(house, token)
            assert (reply.status == 200) == (audience == right), (typ, audience)
    other_door = await house.call("GET", "/p/slack/users.list", headers={"authorization": f"Bearer {delegated}"})
    assert (other_door.told, other_door.code) == (401, "not_authenticated")
    none = await house.call("GET", "/p/nowhere/x", headers={"authorization": f"Bearer {delegated}"})
    assert none.status == 404


async def test_jw_05_oa_25_times_are_compared_at_use_and_must_be_times(house: House) -> None:
    _, _, _, delegated = await house.ready()
    claims = unverified_claims(delegated)
    now = int(house.clock.now())
    good = signed_by_us(house, "delegation+jwt", claims)
    assert (await at_gateway(house, good)).status == 200
    for changed in (
        {"exp": str(now + 60)},
        {"exp": True},
        {"exp": -1},
        {"exp": now + 60.5},
        {"exp": ABSENT},
        {"exp": now + 10_000},
        {"exp": 10**30},
        {"exp": now},
        {"exp": now - 1},
        {"iat": now + 60},
        {"iat": str(now)},
        {"nbf": now + 1},
        {"nbf": "x"},
    ):
        reply = await at_gateway(house, signed_by_us(house, "delegation+jwt", claims | changed))
        assert reply.status == 401, changed
    # A token that was accepted a moment ago is compared with the clock again, to the second.
    house.clock.advance(claims["exp"] - now - 1)
    assert (await at_gateway(house, good)).status == 200
    house.clock.advance(1)
    late = await at_gateway(house, good)
    assert (late.status, late.code) == (401, "expired")


async def test_jw_01_to_04_07_09_forged_and_ambiguous_tokens_are_refused_at_every_door(house: House) -> None:
    agent, _, task, delegated = await house.ready()
    await agent.sign_in()
    before = len(house.github.requests)
    mine = OwnKey()
    for token in (delegated, agent.bearer, task["task_token"]):
        header, claims = unverified_header(token), unverified_claims(token)
        head, payload, signature = token.split(".")
        text = base64url.decode(payload.encode())
        public = json.dumps(mine.jwks["keys"][0])
        forged = {
            "none": f"{_b64({**header, 'alg': 'none'})}.{payload}.",
            "None": f"{_b64({**header, 'alg': 'None'})}.{payload}.",
            "no alg": f"{_b64({k: v for k, v in header.items() if k != 'alg'})}.{payload}.{signature}",
            "hmac": f"{_b64({**header, 'alg': 'HS256'})}.{payload}.{signature}",
            "other family": f"{_b64({**header, 'alg': 'RS256'})}.{payload}.{signature}",
            "another key of that kid": signed(mine.private, header["kid"], {"typ": header["typ"]}, claims),
            "own kid": signed(mine.private, mine.kid, {"typ": header["typ"]}, claims),
            "jwk": signed(mine.private, mine.kid, {"typ": header["typ"], "jwk": json.loads(public)}, claims),
            "jku": signed(mine.private, mine.kid, {"typ": header["typ"], "jku": "https://evil.example"}, claims),
            "x5c": signed(mine.private, mine.kid, {"typ": header["typ"], "x5c": ["AAAA"]}, claims),
            "crit": signed(mine.private, header["kid"], {"typ": header["typ"], "crit": ["exp"]}, claims),
            "kid path": signed(mine.private, "../../keys/root", {"typ": header["typ"]}, claims),
            "kid sql": signed(mine.private, "' OR 1=1 --", {"typ": header["typ"]}, claims),
            "changed claims": f"{head}.{_b64({**claims, 'uid': house.alice.id})}.{signature}",
            "duplicate member": f"{head}.{_raw(text[:-1] + b',' + text[1:])}.{signature}",
            "padding": f"{head}.{payload}=.{signature}",
            "standard alphabet": token.replace("_", "/").replace("-", "+") + "=",
            "no signature": f"{head}.{payload}.",
            "cut": token[:-1],
            "longer": token + "A",
            "four parts": f"{token}.x",
            "jwe": f"{head}..{payload}.{signature}.x",
            "dots": "." * 7000,
            "huge": token + "A" * 9000,
        }
        for what, forgery in forged.items():
            if forgery == token:
                continue
            assert (await at_gateway(house, forgery)).status in (400, 401), what
            assert (await at_api(house, forgery)).status == 401, what
            assert (await at_exchange(house, agent, forgery)).status == 400, what
    assert len(house.github.requests) == before


async def test_jw_04_our_own_signature_over_ambiguous_claims_is_not_believed(house: House) -> None:
    _, _, _, delegated = await house.ready()
    text = base64url.decode(delegated.split(".")[1].encode())
    key = house.app.keys.signer("ES256")
    ambiguous = {
        "as it is": text,
        "twice": text[:-1] + b',"exp":1}',
        "NaN": text[:-1] + b',"x":NaN}',
        "Infinity": text[:-1] + b',"x":Infinity}',
        "huge": text[:-1] + b',"x":' + b"9" * 5000 + b"}",
        "deep": text[:-1] + b',"x":' + b"[" * 40 + b"]" * 40 + b"}",
        "surrogate": text[:-1] + b',"x":"\\ud800"}',
        "NUL name": text[:-1] + b',"a\\u0000":1}',
        "disguised": text[:-1] + b',"Exp":1}',
        "not an object": b"[" + text + b"]",
        "trailing": text + b"x",
        "not UTF-8": text[:-1] + b',"x":"\xff"}',
    }
    for what, claims in ambiguous.items():
        signing_input = jws.signing_input(key.alg, key.kid, "delegation+jwt", claims)
        reply = await at_gateway(house, jws.compact(signing_input, key.sign(signing_input)))
        assert (reply.status == 200) == (what == "as it is"), what


def _b64(value: dict[str, Any]) -> str:
    return _raw(json.dumps(value).encode())


def _raw(text: bytes) -> str:
    return base64url.encode(text).decode()


async def test_oa_08_claims_signed_by_us_that_contradict_the_task_are_refused(house: House) -> None:
    """A token is believed only as far as its task, agent and organization agree with it."""
    agent, _, task, delegated = await house.ready()
    other = await house.agent("other")
    claims = unverified_claims(delegated)
    for changed in (
        {"uid": other.id},
        {"uid": house.alice.id},
        {"org": "org_" + "0" * 26},
        {"task": "tsk_" + "0" * 26},
        {"task": ABSENT},
        {"org": ABSENT},
        {"authorization_details": ABSENT},
        {"authorization_details": []},
        {"authorization_details": [{"type": "github"}]},
        {"authorization_details": "everything"},
        {"iss": "https://evil.example"},
        {"iss": house.settings.issuer + "/"},
        {"iss": ABSENT},
    ):
        reply = await at_gateway(house, signed_by_us(house, "delegation+jwt", claims | changed))
        assert reply.status in (401, 403), changed
        assert reply.code != "internal"
    wider = [{**claims["authorization_details"][0], "actions": ["repo:write"]}]
    reply = await at_gateway(house, signed_by_us(house, "delegation+jwt", claims | {"authorization_details": wider}))
    assert (reply.status, reply.code) == (403, "denied")
    of_task = unverified_claims(task["task_token"])
    for changed in (
        {"uid": other.id},
        {"org": "org_" + "0" * 26},
        {"task": "tsk_" + "0" * 26},
        {"iss": "https://evil"},
    ):
        reply = await at_exchange(house, agent, signed_by_us(house, "task+jwt", of_task | changed))
        assert (reply.status, reply.json()["error"]) == (400, "invalid_request"), changed


async def test_oa_23_a_forged_or_made_up_cursor_is_refused(house: House) -> None:
    await house.ready()
    first = await house.alice.does("GET", "/v1/audit?limit=3")
    assert first["has_more"] is True
    second = await house.alice.does("GET", f"/v1/audit?limit=3&cursor={first['next_cursor']}")
    seen = [r["id"] for r in first["data"] + second["data"]]
    assert seen == sorted(set(seen), reverse=True)
    for cursor in (
        "x",
        "aud_",
        "aud_%25",
        "%27%20OR%201=1%20--",
        first["next_cursor"] + "'",
        first["next_cursor"].upper(),
        first["next_cursor"][:-1],
        "usr_" + "0" * 26,
        "aud_" + "z" * 26,
        first["data"][0]["id"],
        "0",
        "-1",
        "x" * 3000,
    ):
        reply = await house.alice.call("GET", f"/v1/audit?cursor={cursor}")
        assert (reply.status, reply.code) == (400, "invalid_request"), cursor
    for limit in ("0", "-1", "501", "1e2", "x", "", "99999999999999999999", "%D9%A3"):
        reply = await house.alice.call("GET", f"/v1/audit?limit={limit}")
        assert (reply.status, reply.code) == (400, "invalid_request"), limit


async def test_do_01_bodies_that_are_too_much_are_400_and_the_server_goes_on(house: House) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    bodies = {
        "deep": b'{"name":' + deep + b"}",
        "deep jwks": b'{"name":"x","jwks":{"keys":' + b"[" * 5000 + b"]" * 5000 + b"}}",
        "digits": b'{"delegation":"x","seconds":' + b"9" * 5000 + b"}",
        "members": b"{" + b",".join(b'"a%d":1' % n for n in range(20_000)) + b"}",
        "large": b'{"name":"' + b"x" * 300_000 + b'"}',
        "not UTF-8": b'{"name":"\xff"}',
        "surrogate": b'{"name":"\\ud800"}',
        "NUL": b'{"name":"a\\u0000b"}',
        "unknown member": b'{"name":"x","owner":"usr_x"}',
        "wrong type": b'{"name":5}',
        "array": b"[]",
        "null": b"null",
        "empty": b"",
        "NaN": b'{"name":"x","ceiling":NaN}',
        "trailing": b'{"name":"x"}{}',
    }
    headers = [("authorization", f"Bearer {house.alice.bearer}"), ("content-type", "application/json")]
    for what, body in bodies.items():
        for path in ("/v1/agents", "/v1/tasks", "/v1/delegations", "/v1/tokens/explain", "/v1/users"):
            reply = await house.call("POST", path, headers=headers, body=body)
            assert (reply.status, reply.code) == (400, "invalid_request"), (what, path, reply.status, reply.body[:300])
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json5", ""):
        typed = [headers[0], ("content-type", kind)]
        assert (await house.call("POST", "/v1/agents", headers=typed, body=b'{"name":"x"}')).status == 400
    assert (await house.alice.call("POST", "/v1/agents", name="x")).status == 201


ASKS = st.builds(
    Ask,
    target=st.sampled_from(["github", "slack"]),
    scopes=st.frozensets(
        st.sampled_from(["repo:read", "issues:read", "repo:read issues:read", "repo:read,issues:read"])
    ),
    grants=st.lists(
        st.sampled_from([READ, "github:issues:read@acme-corp/backend", "github:issues:read@acme-corp/*"]).map(
            parse_grant
        ),
        max_size=2,
    ).map(tuple),
    seconds=st.one_of(st.none(), st.integers(1, 900)),
)


@given(ASKS, ASKS)
@settings(deadline=None)
def test_ca_01_two_asks_share_a_key_only_when_they_are_the_same_ask(one: Ask, other: Ask) -> None:
    """The key is the whole frozen value, never a joined text, so no delimiter can be smuggled in."""
    same = (one.target, one.scopes, one.grants, one.seconds) == (
        other.target,
        other.scopes,
        other.grants,
        other.seconds,
    )
    assert (one == other) == same
    assert (len({one, other}) == 1) == same


async def test_ca_01_what_was_asked_before_never_changes_what_is_answered_now(house: House) -> None:
    """Every ask in every order, warm and cold, by two agents with tasks of the same shape."""
    agent, _, task, _ = await house.ready()
    other = await house.agent("other")
    narrow = await house.task(await house.delegate(other, "github:issues:read@acme-corp/backend"))
    asks: list[dict[str, Any]] = [
        {},
        {"scope": "repo:read"},
        {"scope": "issues:read"},
        {"scope": "repo:read issues:read"},
        {"scope": "issues:read repo:read"},
        {"scope": "repo:read,issues:read"},
        {"requested_expires_in": 60},
        {"scope": "issues:read", "requested_expires_in": 60},
        {"authorization_details": '[{"type":"github","actions":["issues:read"],"resources":["acme-corp/backend"]}]'},
    ]

    async def answered(robot: Robot, token: str, ask: dict[str, Any]) -> Any:
        body = (await robot.exchange(token, **ask)).json()
        body.pop("access_token", None)
        return body

    pairs = [(agent, task["task_token"]), (other, narrow["task_token"])]
    cold = [[await answered(robot, token, ask) for ask in asks] for robot, token in pairs]
    assert "error" in cold[1][1]
    assert cold[0][3]["scope"] == cold[0][4]["scope"] == "issues:read repo:read"
    assert cold[0][5]["error"] == "invalid_scope"
    for number in reversed(range(len(asks))):
        for index, (robot, token) in enumerate(pairs):
            assert await answered(robot, token, asks[number]) == cold[index][number]


async def test_ca_02_a_refusal_is_not_remembered_as_an_answer_nor_an_answer_past_a_change(house: House) -> None:
    agent, _, task, token = await house.ready()
    assert (await house.gateway(token, "GET", PATH)).status == 200
    await house.alice.does("POST", f"/v1/agents/{agent.id}/suspend")
    for _ in range(3):
        assert (await house.gateway(token, "GET", PATH)).status == 403
    await house.alice.does("POST", f"/v1/agents/{agent.id}/resume")
    assert (await house.gateway(token, "GET", PATH)).status == 200
    # The upstream does not know the name: denied, and once it does, allowed after the answer has aged.
    house.github.rename("acme-corp/backend", "acme-corp/away")
    house.clock.advance(house.settings.resource_cache_seconds)
    fresh = await agent.token(task["task_token"])
    house.github.add_repository("acme-corp/backend", readers={"alice"})
    changed = await house.gateway(fresh, "GET", PATH)
    assert (changed.status, changed.json()["reason"]) == (403, "resource_changed")
    assert (await house.gateway(fresh, "GET", "/repos/acme-corp/away")).status == 200
