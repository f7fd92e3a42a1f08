"""Token exchange as a table (RFC 8693): every rule by its number, with the exact error code of its breach.

TX-1 to TX-17. `A` is the agent the person delegated to, `B` the one it may pass a part on to, `C` nobody's friend.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tests.flows.test_service_accounts import program
from tests.support.billing import AUDIENCE, billed, register
from tests.support.house import EXCHANGE, GITHUB, JWT, House, Robot
from tests.support.http import Reply
from tests.support.tokens import ABSENT, OwnKey, signed, unverified_claims, unverified_header

PATH = "/repos/acme-corp/backend"
TYPE = "urn:ietf:params:oauth:token-type:"
ACCESS = TYPE + "access_token"
READ = "github:repo:read@acme-corp/backend"


@dataclass(frozen=True, slots=True)
class Cast:
    """The people of the table, and what they hold."""

    house: House
    a: Robot
    b: Robot
    c: Robot
    task: Any
    token: str

    async def asks(self, who: Robot, **changed: Any) -> Reply:
        """A right request of B for a part of what A was given, but for what is changed; ABSENT leaves it out."""
        form = {
            "grant_type": EXCHANGE,
            "subject_token": self.token,
            "subject_token_type": ACCESS,
            "resource": GITHUB,
            **changed,
        }
        sent = {name: value for name, value in form.items() if value is not ABSENT}
        return await self.house.call("POST", "/oauth/token", headers=who.basic, form=sent)


async def cast(house: House, *grants: str) -> Cast:
    b, c = await house.agent("b-agent"), await house.agent("c-agent")
    a, _, task, token = await house.ready(*(grants or (READ,)), share_with=["b-agent"])
    return Cast(house, a, b, c, task, token)


def code(reply: Reply) -> tuple[int, str]:
    return reply.status, str(reply.json().get("error"))


async def test_tx_1_tx_2_the_subject_token_and_its_type_are_required_and_known(house: House) -> None:
    on = await cast(house)
    assert (await on.asks(on.b)).status == 200
    table: list[dict[str, Any]] = [
        {"subject_token": ABSENT},
        {"subject_token": ""},
        {"subject_token_type": ABSENT},
        {"subject_token_type": ""},
        {"subject_token_type": "access_token"},
        {"subject_token_type": ACCESS.upper()},
        {"subject_token_type": JWT},  # a delegated credential is not a task token
        {"subject_token": on.task["task_token"]},  # nor the other way round
        *({"subject_token_type": TYPE + known} for known in ("refresh_token", "id_token", "saml1", "saml2", "id-jag")),
        {"subject_token_type": TYPE + "txn_token"},
        {"requested_token_type": TYPE + "refresh_token"},
        {"requested_token_type": TYPE + "id_token"},
    ]
    for changed in table:
        assert code(await on.asks(on.b, **changed)) == (400, "invalid_request"), changed


async def test_tx_3_the_answer_says_what_was_issued_and_for_how_long(house: House) -> None:
    on = await cast(house)
    for wanted in ({}, {"requested_token_type": ACCESS}, {"requested_token_type": JWT}):
        answer = (await on.asks(on.b, **wanted)).json()
        assert answer["issued_token_type"] == ACCESS
        assert answer["token_type"] == "Bearer"
        assert 0 < answer["expires_in"] <= 300
        assert "refresh_token" not in answer  # TX-13


async def test_tx_4_oa_08_a_subject_that_is_not_good_is_invalid_request(house: House) -> None:
    """Never a silent fall-back to what the client may do by itself."""
    on = await cast(house)
    claims, header = unverified_claims(on.token), unverified_header(on.token)
    await on.b.sign_in()
    head, payload, signature = on.token.split(".")
    table = {
        "malformed": "nonsense",
        "forged": signed(OwnKey().private, header["kid"], {"typ": header["typ"]}, claims),
        "changed": f"{head}.{payload}.{'A' * len(signature)}",
        "unsigned": f"{head}.{payload}.",
        "an API token": on.b.bearer,
        "a person's token": house.alice.bearer,
        "a secret": on.a.secret,
        "a person's credential": house.alice.credential,
    }
    for what, token in table.items():
        for kind in (ACCESS, JWT):
            reply = await on.asks(on.b, subject_token=token, subject_token_type=kind)
            assert code(reply) == (400, "invalid_request"), (what, kind)
    await house.alice.does("POST", "/v1/revocations", node=claims["jti"])
    assert code(await on.asks(on.b)) == (400, "invalid_request")
    late = await on.a.token(on.task["task_token"])
    assert (await on.asks(on.b, subject_token=late)).status == 200
    house.clock.advance(300)
    assert code(await on.asks(on.b, subject_token=late)) == (400, "invalid_request")


async def test_tx_4_oa_09_exchange_asks_again_whatever_direct_issue_asks(house: House) -> None:
    """User, agents, delegation, connection, ceiling: one changed fact each, at both kinds of subject."""
    on = await cast(house)
    connection = (await house.alice.does("GET", "/v1/connections"))["data"][0]["id"]
    usual = (await house.alice.does("GET", f"/v1/agents/{on.b.id}"))["ceiling"]

    async def both() -> set[tuple[int, str]]:
        handed = await on.asks(on.b)
        as_task = await on.asks(on.b, subject_token=on.task["task_token"], subject_token_type=JWT)
        return {code(handed), code(as_task)}

    assert await both() == {(200, "None")}
    await house.alice.does("POST", f"/v1/agents/{on.a.id}/suspend")
    assert await both() == {(400, "invalid_request")}
    await house.alice.does("POST", f"/v1/agents/{on.a.id}/resume")
    await house.alice.does("PUT", f"/v1/agents/{on.b.id}/ceiling", ceiling=["github:issues:read@*"])
    assert await both() == {(400, "invalid_scope")}
    await house.alice.does("PUT", f"/v1/agents/{on.b.id}/ceiling", ceiling=usual)
    assert await both() == {(200, "None")}
    await house.alice.does("POST", "/v1/revocations", node=connection)
    assert await both() == {(400, "invalid_request")}


async def test_tx_5_targets_scopes_and_clients_have_their_own_codes(house: House) -> None:
    on = await cast(house)
    await register(house)
    table: list[tuple[dict[str, Any], str]] = [
        ({"resource": "https://unknown.example"}, "invalid_target"),
        ({"resource": "https://api.github.com#x"}, "invalid_target"),
        ({"resource": "api.github.com"}, "invalid_target"),
        ({"resource": ABSENT}, "invalid_target"),
        ({"resource": AUDIENCE}, "invalid_target"),
        ({"scope": "repo:write"}, "invalid_scope"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"authorization_details": "[]"}, "invalid_authorization_details"),
    ]
    for changed, expected in table:
        assert code(await on.asks(on.b, **changed)) == (400, expected), changed
        as_task = await on.asks(on.b, subject_token=on.task["task_token"], subject_token_type=JWT, **changed)
        assert code(as_task) == (400, expected), changed
    service = await program(house, "audit:read", "tokens:introspect")
    assert code(await on.asks(service)) == (400, "unauthorized_client")
    assert "access_token" not in (await on.asks(on.c)).json()


async def test_tx_6_tx_7_the_actor_is_the_client_that_authenticated_and_nobody_else(house: House) -> None:
    on = await cast(house)
    for robot in (on.a, on.b):
        await robot.sign_in()
    own = on.b.bearer
    for kind in (ACCESS, JWT):
        reply = await on.asks(on.b, actor_token=own, actor_token_type=kind)
        assert reply.status == 200
        assert unverified_claims(reply.json()["access_token"])["sub"] == "agent:b-agent"
    table: list[dict[str, Any]] = [
        {"actor_token": own},
        {"actor_token_type": ACCESS},
        {"actor_token": own, "actor_token_type": TYPE + "id_token"},
        {"actor_token": on.a.bearer, "actor_token_type": ACCESS},
        {"actor_token": house.alice.bearer, "actor_token_type": ACCESS},
        {"actor_token": on.token, "actor_token_type": ACCESS},
        {"actor_token": on.task["task_token"], "actor_token_type": JWT},
        {"actor_token": "nonsense", "actor_token_type": JWT},
    ]
    for changed in table:
        assert code(await on.asks(on.b, **changed)) == (400, "invalid_request"), changed
    house.clock.advance(901)
    task = on.task["task_token"]
    late = {"subject_token": task, "subject_token_type": JWT}
    assert code(await on.asks(on.b, **late, actor_token=own, actor_token_type=ACCESS)) == (400, "invalid_request")


async def test_tx_8_only_whom_the_person_named_may_act(house: House) -> None:
    """`may_act` of the task token is enforced; where a token has none, the delegation decides, and it names nobody."""
    on = await cast(house)
    (named,) = unverified_claims(on.task["task_token"])["may_act"]
    assert named == {"iss": house.settings.issuer, "sub": "agent:b-agent", "uid": on.b.id}
    as_task = {"subject_token": on.task["task_token"], "subject_token_type": JWT}
    assert (await on.asks(on.b, **as_task)).status == 200
    for changed in ({}, as_task):
        assert code(await on.asks(on.c, **changed)) == (400, "invalid_request")
    alone = await house.delegate(on.a, READ)
    task = await house.task(alone)
    assert "may_act" not in unverified_claims(task["task_token"])
    token = await on.a.token(task["task_token"])
    for subject, kind in ((token, ACCESS), (task["task_token"], JWT)):
        reply = await on.asks(on.b, subject_token=subject, subject_token_type=kind)
        assert code(reply) == (400, "invalid_request")


async def test_tx_9_tx_10_tx_11_the_new_actor_is_outermost_and_act_says_only_who(house: House) -> None:
    on = await cast(house)
    below = (await on.asks(on.b)).json()["access_token"]
    claims = unverified_claims(below)
    assert (claims["sub"], claims["uid"], claims["client_id"]) == ("agent:b-agent", on.b.id, on.b.id)
    assert claims["act"] == {
        "sub": "agent:pr-reviewer-v2",
        "uid": on.a.id,
        "act": {"sub": "user:alice@acme.com", "uid": house.alice.id},
    }
    assert (await house.gateway(below, "GET", PATH)).status == 200
    # the same actor twice in a row: neither its own credential, nor what it was just given
    assert code(await on.asks(on.a)) == (400, "invalid_request")
    assert code(await on.asks(on.b, subject_token=below)) == (400, "invalid_request")


async def test_tx_9_a_chain_is_as_deep_as_allowed(house: House) -> None:
    names = [f"deep-{n}" for n in range(8)]
    robots = [await house.agent(name) for name in names]
    agent, _, _, token = await house.ready(share_with=names)
    seen = 0
    for robot in robots:
        reply = await robot.exchange(token, subject_token_type=ACCESS)
        if reply.status != 200:
            assert code(reply) == (400, "invalid_request")
            break
        token, seen = reply.json()["access_token"], seen + 1
    assert seen == house.settings.max_depth
    assert agent


async def test_tx_12_the_result_is_within_the_subject_in_everything(house: House) -> None:
    on = await cast(house, "github:repo:read,repo:write@acme-corp/backend,acme-corp/payroll")
    narrow = await on.a.token(on.task["task_token"], scope="repo:read", requested_expires_in=100)
    house.clock.advance(40)
    answer = (await on.asks(on.b, subject_token=narrow)).json()
    claims = unverified_claims(answer["access_token"])
    assert claims["scope"] == "repo:read"
    assert claims["exp"] == unverified_claims(narrow)["exp"]
    assert answer["expires_in"] == 60
    longer = await on.asks(on.b, subject_token=narrow, requested_expires_in=900)
    assert longer.json()["expires_in"] == 60
    # the task has more, the credential it was handed does not
    assert code(await on.asks(on.b, subject_token=narrow, scope="repo:write")) == (400, "invalid_scope")
    (detail,) = claims["authorization_details"]
    one = '[{"type":"github","actions":["repo:read"],"resources":["acme-corp/payroll"]}]'
    less = await on.asks(on.b, subject_token=narrow, authorization_details=one)
    (granted,) = less.json()["authorization_details"]
    assert granted["resources"] == ["acme-corp/payroll"]
    assert granted["connection"] == detail["connection"]
    only = less.json()["access_token"]
    assert (await house.gateway(only, "GET", "/repos/acme-corp/payroll")).status == 200
    assert (await house.gateway(only, "GET", PATH)).status == 403
    more = '[{"type":"github","actions":["repo:read"],"resources":["*"]}]'
    assert code(await on.asks(on.b, subject_token=narrow, authorization_details=more)) == (400, "invalid_scope")


async def test_tx_14_a_client_that_proves_nothing_exchanges_nothing(house: House) -> None:
    on = await cast(house)
    form = {"grant_type": EXCHANGE, "subject_token": on.token, "subject_token_type": ACCESS, "resource": GITHUB}
    for more in ({}, {"client_id": on.b.id}, {"client_id": on.b.id, "client_secret": "x"}):
        reply = await house.call("POST", "/oauth/token", form={**form, **more})
        assert code(reply) == (401, "invalid_client")


async def test_tx_15_a_credential_for_another_server_is_exchanged_by_that_server_alone(house: House) -> None:
    """What is for `billing` was never meant for us: only the agent that `billing` itself is may exchange it."""
    billing = await house.agent("billing-itself")
    passer = await house.agent("passer")
    await register(house, agent=billing.name)
    for robot in (billing, passer):
        await house.alice.does("PUT", f"/v1/agents/{robot.id}/ceiling", ceiling=["billing:invoices:read@*"])
    agent, _, task = await billed(house, share_with=["billing-itself", "passer"])
    token = (await agent.exchange(task["task_token"], resource=AUDIENCE)).json()["access_token"]
    ask = {"resource": AUDIENCE, "subject_token_type": ACCESS}
    assert code(await passer.exchange(token, **ask)) == (400, "invalid_request")
    reply = await billing.exchange(token, **ask)
    assert reply.status == 200, reply.body
    claims = unverified_claims(reply.json()["access_token"])
    assert claims["sub"] == "user:alice@acme.com"  # TX-6: sub from the subject
    assert claims["act"] == {
        "sub": "agent:billing-itself",
        "uid": billing.id,
        "act": {"sub": "agent:bookkeeper", "uid": agent.id},
    }
    assert claims["aud"] == AUDIENCE


async def test_tx_17_one_credential_has_one_audience_however_often_it_is_named(house: House) -> None:
    on = await cast(house)
    await register(house)
    gateway = f"{house.settings.gateway}/p/github"
    form = [
        ("grant_type", EXCHANGE),
        ("subject_token", on.task["task_token"]),
        ("subject_token_type", JWT),
    ]

    async def named(*targets: tuple[str, str]) -> Reply:
        headers = {**on.a.basic, "content-type": "application/x-www-form-urlencoded"}
        return await house.call("POST", "/oauth/token", headers=headers, body=urlencode([*form, *targets]).encode())

    same = await named(("resource", GITHUB), ("resource", gateway), ("audience", GITHUB + "/"))
    assert unverified_claims(same.json()["access_token"])["aud"] == GITHUB
    for other in (AUDIENCE, "https://unknown.example", f"{house.settings.gateway}/p/slack"):
        reply = await named(("resource", GITHUB), ("resource", other))
        assert code(reply) == (400, "invalid_target")
        assert "one audience" in reply.json()["error_description"] or other == "https://unknown.example"
    many = await named(*(("resource", f"https://a{n}.example") for n in range(20)))
    assert code(many) == (400, "invalid_target")
