"""Token exchange (RFC 8693) at /oauth/token, row by row, and its JSON twin, which gives the same answers."""

import json
from typing import Any
from urllib.parse import urlencode

from tests.support.house import EXCHANGE, GITHUB, JWT, House, Reply, Robot
from tests.support.tokens import OwnKey, signed, unverified_claims, unverified_header

READ = "github:repo:read@acme-corp/backend"


def error(reply: Reply) -> tuple[int, str]:
    return reply.status, str(reply.json().get("error"))


async def story(house: House, *grants: str, **more: Any) -> tuple[Robot, Any]:
    agent, _, task, _ = await house.ready(*grants, **more)
    return agent, task


async def send(house: House, agent: Robot, body: str, **headers: str) -> Reply:
    """A token request whose body goes out exactly as written."""
    sent = {**agent.basic, "content-type": "application/x-www-form-urlencoded", **headers}
    return await house.call("POST", "/oauth/token", headers=sent, body=body.encode())


async def test_tx_3_the_answer_says_what_was_issued(house: House) -> None:
    agent, task = await story(house)
    reply = await agent.exchange(task["task_token"])
    answer = reply.json()
    assert reply.status == 200
    assert answer["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 300
    assert answer["scope"] == "repo:read"
    (detail,) = answer["authorization_details"]
    assert (detail["type"], detail["actions"], detail["resources"]) == ("github", ["repo:read"], ["acme-corp/backend"])
    assert "refresh_token" not in answer  # TX-13
    assert reply.header("cache-control") == "no-store"  # OA-6
    claims = unverified_claims(answer["access_token"])
    assert claims["aud"] == GITHUB
    assert claims["exp"] - claims["iat"] == 300
    assert claims["authorization_details"] == answer["authorization_details"]
    assert claims["scope"] == answer["scope"]
    assert unverified_header(answer["access_token"])["typ"] == "delegation+jwt"


async def test_the_gateways_address_means_the_same_audience(house: House) -> None:
    """RI-5: one trailing slash is dropped, and that is the only rule."""
    agent, task = await story(house)
    gateway = f"{house.settings.gateway}/p/github"
    for resource in (GITHUB, f"{GITHUB}/", gateway, f"{gateway}/"):
        token = await agent.token(task["task_token"], resource=resource)
        assert unverified_claims(token)["aud"] == GITHUB
    reply = await agent.exchange(task["task_token"], resource="", audience=GITHUB)
    assert reply.status == 200
    both = await agent.exchange(task["task_token"], resource=GITHUB, audience=GITHUB)
    assert both.status == 200


async def test_tx_1_tx_4_oa_08_a_subject_token_that_is_missing_or_wrong_is_never_passed_over(house: House) -> None:
    """Never a silent fall-back to what the agent may do by itself; always invalid_request."""
    agent, task = await story(house)
    other = await house.agent("other")
    good = task["task_token"]
    delegated = await agent.token(good)
    await agent.sign_in()
    head, payload, signature = good.split(".")
    wrong = {
        "missing": "",
        "malformed": "nonsense",
        "two dots": "a.b.c",
        "another kind: delegated": delegated,
        "another kind: api": agent.bearer,
        "another kind: the user's": house.alice.bearer,
        "a handle": agent.secret,
        "changed signature": f"{head}.{payload}.{'A' * len(signature)}",
        "no signature": f"{head}.{payload}.",
        "twice": good + good,
        "trailing": good + "\n",
    }
    for what, token in wrong.items():
        assert error(await agent.exchange(token)) == (400, "invalid_request"), what
    for kind in ("", "urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:saml2", "jwt"):
        assert error(await agent.exchange(good, subject_token_type=kind)) == (400, "invalid_request"), kind
    assert error(await other.exchange(good)) == (400, "invalid_request")
    house.clock.advance(600)
    assert error(await agent.exchange(good)) == (400, "invalid_request")
    house.clock.advance(-600)
    await house.alice.does("POST", "/v1/revocations", node=task["id"])
    assert error(await agent.exchange(good)) == (400, "invalid_request")


async def test_oa_08_a_task_token_of_another_deployment_is_refused(house: House) -> None:
    """OA-15: the same names, another issuer and other keys."""
    agent, task = await story(house)
    claims = unverified_claims(task["task_token"])
    header = unverified_header(task["task_token"])
    forged = signed(OwnKey().private, header["kid"], {"typ": header["typ"]}, claims)
    assert error(await agent.exchange(forged)) == (400, "invalid_request")


async def test_tx_5_targets_that_are_not_served_are_invalid_target(house: House) -> None:
    """RI-1, RI-4, TX-17, OA-15: absolute, known, exact, one."""
    agent, task = await story(house)
    for resource in (
        "https://api.slack.com",
        "https://API.github.com",
        "https://api.github.com.evil.example",
        "https://api.github.co",
        "https://api.github.com#x",
        "https://api.github.com//",
        "api.github.com",
        "/p/github",
        f"{house.settings.gateway}/p/slack",
        house.settings.issuer,
        "x" * 5000,
    ):
        assert error(await agent.exchange(task["task_token"], resource=resource)) == (400, "invalid_target"), resource
    two = [GITHUB, "https://api.slack.com"]
    assert error(await agent.exchange(task["task_token"], resource=two)) == (400, "invalid_target")
    assert error(await agent.exchange(task["task_token"], resource="")) == (400, "invalid_target")


async def test_tx_5_scopes_not_covered_are_invalid_scope(house: House) -> None:
    """OA-22, TX-12: unknown, wider, malformed or half a million characters; never a narrower answer in silence."""
    agent, task = await story(house)
    for scope in (
        "repo:write",
        "repo:read repo:write",
        "admin",
        "nonsense",
        "repo:read repo:read",
        "repo:read  issues:read",
        " repo:read",
        "repo:read ",
        "REPO:READ",
        "*",
        "repo:read,issues:read",
        "a" * 5000,
        "account:read",
    ):
        assert error(await agent.exchange(task["task_token"], scope=scope)) == (400, "invalid_scope"), scope[:40]
    assert error(await agent.exchange(task["task_token"], scope="x " * 20_000))[0] == 400
    narrower = await agent.exchange(task["task_token"], scope="issues:read")
    assert narrower.json()["scope"] == "issues:read"
    token = narrower.json()["access_token"]
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend/issues")).status == 200
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend/contents/README.md")).status == 403


async def test_a_scope_left_out_or_empty_is_what_the_task_has_and_no_more(house: House) -> None:
    """OA-22, OA-7."""
    agent, task = await story(house)
    for more in ({}, {"scope": ""}):
        assert (await agent.exchange(task["task_token"], **more)).json()["scope"] == "repo:read"


async def test_authorization_details_are_honoured_exactly_or_refused(house: House) -> None:
    agent, task = await story(house, READ, "github:issues:write@acme-corp/payroll")
    detail = {"type": "github", "actions": ["issues:read"], "resources": ["acme-corp/backend"]}

    async def asked(*details: Any) -> Reply:
        return await agent.exchange(task["task_token"], authorization_details=json.dumps(list(details)))

    answer = (await asked(detail)).json()
    assert [d["actions"] for d in answer["authorization_details"]] == [["issues:read"]]
    # What is not allowed on every resource is in no `scope`.
    two = await asked(detail, detail | {"resources": ["acme-corp/payroll"], "actions": ["issues:write"]})
    assert two.status == 200
    assert "scope" not in two.json()
    assert "scope" not in unverified_claims(two.json()["access_token"])
    wrong: list[Any] = [
        detail | {"actions": []},
        detail | {"resources": []},
        detail | {"locations": ["x"]},
        {"type": "github"},
        detail | {"actions": "issues:read"},
        detail | {"resources": ["acme-corp/../payroll"]},
        [],
        "x",
        None,
    ]
    for each in wrong:
        assert error(await asked(each)) == (400, "invalid_authorization_details"), each
    assert error(await asked()) == (400, "invalid_authorization_details")
    for text in ("{}", "null", "[", "[" * 20_000, '"x"', "[NaN]", " " * 17_000 + "[]"):
        reply = await agent.exchange(task["task_token"], authorization_details=text)
        assert reply.status == 400, text[:20]
        assert error(reply)[1] in ("invalid_authorization_details", "invalid_request")
    assert error(await asked(detail | {"actions": ["repo:write"]})) == (400, "invalid_scope")
    assert error(await asked(detail | {"resources": ["acme-corp/*"]})) == (400, "invalid_scope")
    assert error(await asked(detail | {"resources": ["*"]})) == (400, "invalid_scope")
    assert error(await asked(detail | {"connection": "con_other"})) == (400, "invalid_scope")
    assert error(await asked(detail | {"type": "slack"})) == (400, "invalid_target")
    both = await agent.exchange(task["task_token"], scope="repo:write", authorization_details=json.dumps([detail]))
    assert error(both) == (400, "invalid_scope")


async def test_the_lifetime_asked_for_is_given_within_what_the_house_allows(house: House) -> None:
    agent, task = await story(house, seconds=3600)
    for seconds in (1, 60, 600):
        answer = (await agent.exchange(task["task_token"], requested_expires_in=seconds)).json()
        assert answer["expires_in"] == seconds
    for value in (0, -1, 901, 10**9, "1.5", "1e2", "٣", "", " 60"):
        reply = await agent.exchange(task["task_token"], requested_expires_in=value)
        assert (reply.status == 200) == (value == ""), value
        if value != "":
            assert error(reply) == (400, "invalid_request")
    house.clock.advance(590)
    assert (await agent.exchange(task["task_token"])).json()["expires_in"] == 10  # REV-06: the task's end


async def test_tx_6_tx_7_the_actor_is_the_authenticated_agent_and_nobody_presented(house: House) -> None:
    agent, task = await story(house)
    other = await house.agent("other")
    for more in (
        {"actor_token": task["task_token"], "actor_token_type": JWT},
        {"actor_token": other.secret},
        {"actor_token_type": JWT},
    ):
        assert error(await agent.exchange(task["task_token"], **more)) == (400, "invalid_request"), more
    claims = unverified_claims(await agent.token(task["task_token"]))
    assert claims["sub"] == "agent:pr-reviewer-v2"
    assert claims["act"] == {"sub": "user:alice@acme.com", "uid": house.alice.id}


async def test_tx_2_token_types_that_are_not_issued_are_refused(house: House) -> None:
    agent, task = await story(house)
    for kind in ("refresh_token", "id_token", "saml1", "saml2", "id-jag", "txn_token"):
        wanted = f"urn:ietf:params:oauth:token-type:{kind}"
        assert error(await agent.exchange(task["task_token"], requested_token_type=wanted)) == (400, "invalid_request")
    for kind in ("access_token", "jwt"):
        wanted = f"urn:ietf:params:oauth:token-type:{kind}"
        assert (await agent.exchange(task["task_token"], requested_token_type=wanted)).status == 200


async def test_oa_5_a_parameter_sent_twice_is_refused(house: House) -> None:
    agent, task = await story(house)
    pairs = [
        ("grant_type", EXCHANGE),
        ("subject_token", task["task_token"]),
        ("subject_token_type", JWT),
        ("resource", GITHUB),
        ("scope", "repo:read"),
    ]
    assert (await send(house, agent, urlencode(pairs))).status == 200
    for pair in pairs:
        if pair[0] == "resource":
            continue  # RFC 8693 section 2.1 lets it be repeated; the same target twice is one target
        assert error(await send(house, agent, urlencode([*pairs, pair]))) == (400, "invalid_request"), pair[0]
        assert error(await send(house, agent, urlencode([*pairs, (pair[0], "")]))) == (400, "invalid_request"), pair[0]
    assert (await send(house, agent, urlencode([*pairs, ("resource", GITHUB)]))).status == 200


async def test_oa_10_only_a_posted_form_is_read(house: House) -> None:
    agent, task = await story(house)
    form = {
        "grant_type": EXCHANGE,
        "subject_token": task["task_token"],
        "subject_token_type": JWT,
        "resource": GITHUB,
    }
    body = urlencode(form)
    for kind in ("application/json", "text/plain", "multipart/form-data", ""):
        reply = await send(house, agent, body, **{"content-type": kind})
        assert error(reply) == (400, "invalid_request"), kind
    in_query = await house.call("POST", f"/oauth/token?{body}", headers=agent.basic, form={})
    assert error(in_query) == (400, "invalid_request")  # OA-8: nothing is read from the query
    for method in ("GET", "PUT", "DELETE"):
        assert (await house.call(method, f"/oauth/token?{body}", headers=agent.basic)).status in (404, 405)
    for broken in (body + "&%zz", body + "&scope=%00", body + "&scope=%ff", "&".join(f"a{n}=1" for n in range(70))):
        assert error(await send(house, agent, broken)) == (400, "invalid_request"), broken[-12:]
    large = body + "&x=" + "y" * 70_000
    assert error(await send(house, agent, large)) == (400, "invalid_request")  # DO-01
    assert (await send(house, agent, body)).status == 200


async def test_tx_14_oa_11_who_does_not_prove_to_be_the_agent_gets_401(house: House) -> None:
    agent, task = await story(house)
    other = await house.agent("other")
    form = {"grant_type": EXCHANGE, "subject_token": task["task_token"], "subject_token_type": JWT, "resource": GITHUB}

    async def asked(headers: Any = None, **more: Any) -> Reply:
        return await house.call("POST", "/oauth/token", headers=headers or {}, form=form | more)

    assert error(await asked()) == (401, "invalid_client")
    assert error(await asked(client_id=agent.id)) == (401, "invalid_client")
    wrong = Robot(house, agent.id, agent.name, other.secret)
    basic = await asked(wrong.basic)
    assert error(basic) == (401, "invalid_client")
    assert (basic.header("www-authenticate") or "").startswith("Basic ")
    posted = await asked(client_id=agent.id, client_secret=other.secret)
    assert error(posted) == (401, "invalid_client")
    assert posted.header("www-authenticate") is None
    bearer = await asked({"authorization": f"Bearer {house.alice.bearer}"})
    assert error(bearer) == (401, "invalid_client")
    twice = await asked(agent.basic, client_id=agent.id, client_secret=agent.secret)
    assert error(twice) == (400, "invalid_request")
    assert (await asked(client_id=agent.id, client_secret=agent.secret)).status == 200
    assert (await asked(client_id=agent.name, client_secret=agent.secret)).status == 200


async def test_unknown_grant_types_are_named_as_such(house: House) -> None:
    agent, _ = await story(house)
    for grant in ("password", "implicit", "urn:ietf:params:oauth:grant-type:saml2-bearer", EXCHANGE.upper()):
        reply = await house.call("POST", "/oauth/token", headers=agent.basic, form={"grant_type": grant})
        assert error(reply) == (400, "unsupported_grant_type"), grant
    assert error(await house.call("POST", "/oauth/token", headers=agent.basic, form={})) == (400, "invalid_request")


async def test_the_json_twin_gives_the_same_answers(house: House) -> None:
    """OA-09: one function behind both doors: what one refuses, the other refuses for the same reason."""
    agent, task = await story(house)
    await agent.sign_in()
    good = task["task_token"]
    asked: list[tuple[dict[str, Any], dict[str, Any], str | None]] = [
        ({}, {}, None),
        ({"scope": "issues:read"}, {"scope": "issues:read"}, None),
        ({"scope": ""}, {"scope": ""}, None),
        ({"requested_expires_in": 60}, {"seconds": 60}, None),
        ({"resource": f"{house.settings.gateway}/p/github"}, {"target": f"{house.settings.gateway}/p/github"}, None),
        ({"scope": "repo:write"}, {"scope": "repo:write"}, "not_delegated"),
        ({"scope": "repo:read repo:read"}, {"scope": "repo:read repo:read"}, "scope"),
        ({"scope": "nonsense"}, {"scope": "nonsense"}, "not_delegated"),
        ({"requested_expires_in": 0}, {"seconds": 0}, "lifetime"),
        ({"requested_expires_in": 901}, {"seconds": 901}, "lifetime"),
        ({"resource": "https://api.slack.com"}, {"target": "https://api.slack.com"}, "unknown_target"),
        ({"subject_token": "nonsense"}, {"task_token": "nonsense"}, "subject_token"),
    ]
    for form, body, reason in asked:
        first = await agent.exchange(form.pop("subject_token", good), **form)
        second = await agent.call("POST", "/v1/tokens", **{"task_token": good, "target": GITHUB, **body})
        if reason is None:
            one, two = first.json(), second.json()
            assert (first.status, second.status) == (200, 201), body
            for member in ("scope", "authorization_details", "expires_in"):
                assert one.get(member) == two.get(member), (body, member)
            left, right = unverified_claims(one["access_token"]), unverified_claims(two["token"])
            assert left | {"jti": ""} == right | {"jti": ""}
            assert two["id"] == right["jti"]
            assert second.header("cache-control") == "no-store"
        else:
            assert (first.status, second.status // 100) == (400, 4), body
            assert second.json()["reason"] == reason


async def test_every_issue_and_every_refusal_is_in_the_trail_and_no_token_is(house: House) -> None:
    agent, task = await story(house)
    token = await agent.token(task["task_token"])
    await agent.exchange(task["task_token"], scope="repo:write")
    issued, refused = await house.events("token.issued"), await house.events("token.refused")
    assert unverified_claims(token)["jti"] in [r["token"] for r in issued]
    assert refused[-1]["reason"] == "not_delegated"
    trail = (await house.alice.call("GET", "/v1/audit/export")).body.decode()
    for secret in (token, task["task_token"], agent.secret, token.split(".")[2]):
        assert secret not in trail
