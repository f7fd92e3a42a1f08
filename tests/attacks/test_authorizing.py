"""Attacks between a link and a credential: redirects, PKCE, codes in the wrong hands, pages and forms replayed."""

import asyncio
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import text

from tests.support.house import House
from tests.support.http import in_one_breath
from tests.support.nodes import second_node
from tests.support.oauth import CALLBACK, Client, a_client, s256
from tests.support.strangers import other_organization

PATH = "/repos/acme-corp/backend"
SCRIPTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}{% raw %}",
    "</title><svg onload=alert(1)>",
)

REDIRECTS = (
    "https://agent.example/Callback",
    "https://AGENT.example/callback",
    "https://agent.example/callback/",
    "https://agent.example/callback?x=1",
    "https://agent.example/callback#x",
    "https://agent.example/callback%2f",
    "https://agent.example/%63allback",
    "https://agent.example/./callback",
    "https://agent.example/a/../callback",
    "https://agent.example:443/callback",
    "https://agent.example:8443/callback",
    "https://user@agent.example/callback",
    "https://agent.example@evil.example/callback",
    "https://agent.example.evil.example/callback",
    "https://evil.example/callback",
    "https:/agent.example/callback",
    "https:\\\\agent.example/callback",
    "//agent.example/callback",
    "http://agent.example/callback",
    " https://agent.example/callback",
    "https://agent.example/callback ",
    "https://agent.example/callback\t",
    "https://agent.example/callback\r\nset-cookie: a=b",
    "javascript:alert(1)",
    "JavaScript:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,x",
    "https://agent.ex\u0430mple/callback",
    "http://127.0.0.1:1/callback/",
    "http://127.0.0.1:0/callback",
    "http://127.0.0.1:99999/callback",
    "http://127.0.0.1:01/callback",
    "http://127.0.0.1:1@evil.example/callback",
    "http://127.0.0.1.evil.example/callback",
    "http://127.0.0.2:1/callback",
    "http://127.1:1/callback",
    "http://2130706433/callback",
    "http://[::1]:1/callback",
    "http://localhost:1/callback",
    "http://127.0.0.1:1/callback#x",
    "https://127.0.0.1:1/callback",
    "com.acme.app:/callback",
)


@pytest.mark.parametrize("asked", REDIRECTS)
async def test_oa_02_another_redirect_uri_is_refused_on_a_page_and_sent_nowhere(house: House, asked: str) -> None:
    client = await _client(house)
    tab = await house.signed_in()
    reply = await client.authorize(tab, redirect_uri=asked)
    assert reply.status == 400
    assert reply.header("location") is None
    assert "did not register" in tab.text


async def _client(house: House) -> Client:
    return await a_client(
        house, redirect_uris=[CALLBACK, "http://127.0.0.1/callback", "http://localhost:7777/callback"]
    )


async def test_oa_02_only_the_port_of_a_loopback_address_is_free(house: House) -> None:
    client = await _client(house)
    tab = await house.signed_in()
    for port in ("", ":1", ":49152", ":65535"):
        client.redirect_uri = f"http://127.0.0.1{port}/callback"
        told = await client.allowed(tab)
        assert (await client.redeem(told["code"])).status == 200
    client.redirect_uri = "http://localhost:7777/callback"
    assert "code" in await client.allowed(tab)


async def test_oa_04_an_unknown_client_is_an_error_page(house: House) -> None:
    client = await _client(house)
    tab = await house.signed_in()
    for client_id in ("agt_00000000000000000000000000", "nobody", "https://evil.example/", "a" * 3_000, None):
        reply = await client.authorize(tab, client_id=client_id)
        assert (reply.status, reply.header("location")) == (400, None)
    reply = await client.authorize(tab, client_id="https://evil.example/client")  # a host that nobody can ask
    assert (reply.status, reply.header("location")) == (502, None)
    twice = client.address() + "&client_id=" + client.robot.id
    reply = await tab.get(twice)
    assert (reply.status, reply.header("location")) == (400, None)


async def test_oa_04_pkce_is_required_at_authorize_and_at_the_token_endpoint(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    good = s256(client.verifier)
    for changed in (
        {"code_challenge": None},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain", "code_challenge": client.verifier},
        {"code_challenge_method": "s256"},
        {"code_challenge": good + "="},
        {"code_challenge": good[:-1]},
        {"code_challenge": ""},
        {"code_challenge": "é" * 43},
    ):
        told = client.told(await client.authorize(tab, **changed))
        assert (told["error"], told["iss"]) == ("invalid_request", house.settings.issuer), changed
    told = await client.allowed(tab)
    for verifier in (None, "", "a" * 42, "a" * 129, "a" * 43, client.verifier + "a", client.verifier[:-1] + "é", good):
        reply = await client.redeem(told["code"], code_verifier=verifier)
        assert reply.status == 400, verifier
        assert reply.json()["error"] in ("invalid_grant", "invalid_request"), verifier
    assert (await client.redeem(told["code"])).status == 200


async def test_a_code_is_bound_to_its_redirect_uri_and_its_minute(house: House) -> None:
    client = await _client(house)
    tab = await house.signed_in()
    told = await client.allowed(tab)
    for redirect in (None, "https://agent.example/other", "http://127.0.0.1/callback"):
        assert (await client.redeem(told["code"], redirect_uri=redirect)).json()["error"] == "invalid_grant"
    house.clock.advance(60)
    assert (await client.redeem(told["code"])).json()["error"] == "invalid_grant"


async def test_oa_05_a_code_in_another_clients_hands_is_refused_and_dead(house: House) -> None:
    client = await a_client(house)
    thief = Client(house, await house.agent("thief"), verifier=client.verifier)
    tab = await house.signed_in()
    told = await client.allowed(tab)
    assert (await thief.redeem(told["code"])).json()["error"] == "invalid_grant"
    assert (await client.redeem(told["code"])).json()["error"] == "invalid_grant"
    assert not await house.events("task.opened")
    told = await client.allowed(tab)
    tokens = (await client.redeem(told["code"])).json()
    assert (await thief.redeem(told["code"])).json()["error"] == "invalid_grant"
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status in (401, 403)
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert [e["client"] for e in await house.events("code.reused")] == [thief.robot.id] * 2


async def test_oa_05_who_may_not_refresh_does_not_and_a_thief_who_may_not_is_noticed(house: House) -> None:
    client = await a_client(house)
    thief = await a_client(house, "thief", connect=False, grant_types=["authorization_code"])
    tokens = await client.tokens(await house.signed_in())
    at = f"/v1/agents/{client.robot.id}/client"
    await house.alice.does("PUT", at, redirect_uris=[CALLBACK], grant_types=["authorization_code"])
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "unauthorized_client"
    await house.alice.does("PUT", at, redirect_uris=[CALLBACK])
    tokens = (await client.refresh(tokens["refresh_token"])).json()
    assert (await thief.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_oa_05_a_refresh_token_in_another_clients_hands_ends_its_family(house: House) -> None:
    client = await a_client(house)
    thief = Client(house, await house.agent("thief"))
    tab = await house.signed_in()
    tokens = await client.tokens(tab)
    assert (await thief.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status in (401, 403)


async def test_oa_06_a_second_use_of_a_code_ends_what_the_first_opened(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    told = await client.allowed(tab)
    tokens = (await client.redeem(told["code"])).json()
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    assert (await client.redeem(told["code"])).json()["error"] == "invalid_grant"
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status in (401, 403)
    assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    reused = (await house.events("code.reused"))[0]
    assert (reused["client"], reused["user"]) == (client.robot.id, house.alice.id)


async def test_oa_06_a_second_use_at_another_node_ends_it_at_once(house: House, tmp_path: Path) -> None:
    if house.app.database.is_sqlite:
        pytest.skip("SQLite serves one process")
    async with second_node(house, tmp_path / "b") as other:
        client = await a_client(house)
        there = Client(other, client.robot, verifier=client.verifier)
        told = await client.allowed(await house.signed_in())
        tokens = (await client.redeem(told["code"])).json()
        assert (await other.gateway(tokens["access_token"], "GET", PATH)).status == 200
        assert (await there.redeem(told["code"])).json()["error"] == "invalid_grant"
        for node in (house, other):
            assert (await node.gateway(tokens["access_token"], "GET", PATH)).status in (401, 403)
        assert (await client.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_oa_06_only_who_proves_it_all_while_the_first_is_being_answered_lost_a_race(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    for proves, seconds, is_race in ((True, 9, True), (False, 9, False), (True, 10, False)):
        told = await client.allowed(tab)
        tokens = (await client.redeem(told["code"])).json()
        async with house.app.database.write() as tx:  # as if the first answer had not been made yet
            await tx.execute(text("UPDATE authorization_codes SET answered_at = NULL"))
        house.clock.advance(seconds)
        wrong = {} if proves else {"code_verifier": "a" * 43}
        assert (await client.redeem(told["code"], **wrong)).json()["error"] == "invalid_grant"
        reply = await house.gateway(tokens["access_token"], "GET", PATH)
        assert (reply.status == 200) is is_race, (proves, seconds)


async def test_oa_06_whoever_goes_on_using_it_fills_no_audit(house: House) -> None:
    client = await a_client(house)
    told = await client.allowed(await house.signed_in())
    await client.redeem(told["code"])
    for _ in range(5):
        assert (await client.redeem(told["code"])).json()["error"] == "invalid_grant"
        house.clock.advance(20)
    assert len(await house.events("code.reused")) == 1


async def test_oa_06_what_was_opened_since_by_refreshing_ends_too(house: House) -> None:
    client = await a_client(house)
    standing = {"standing": "1", "standing_seconds": "86400", "tasks_per_day": "5"}
    told = await client.allowed(await house.signed_in(), standing, scope="offline_access")
    tokens = (await client.redeem(told["code"])).json()
    house.clock.advance(3_700)
    await house.alice.sign_in()
    later = (await client.refresh(tokens["refresh_token"])).json()
    assert (await house.gateway(later["access_token"], "GET", PATH)).status == 200
    assert len(await house.events("task.opened")) == 2
    assert (await client.redeem(told["code"])).json()["error"] == "invalid_grant"
    assert (await house.gateway(later["access_token"], "GET", PATH)).status in (401, 403)


async def test_oa_06_a_hundred_redemptions_of_one_code_are_one(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    told = await client.allowed(tab)
    with in_one_breath(100):
        replies = await asyncio.gather(*(client.redeem(told["code"]) for _ in range(100)))
    assert Counter(reply.status for reply in replies) == {200: 1, 400: 99}
    won = next(reply for reply in replies if reply.status == 200).json()
    assert len(await house.events("task.opened")) == 1
    house.clock.advance(3)
    assert (await house.gateway(won["access_token"], "GET", PATH)).status == 200
    assert (await client.redeem(told["code"])).status == 400
    assert (await house.gateway(won["access_token"], "GET", PATH)).status in (401, 403)


async def test_oa_06_a_hundred_redemptions_at_two_nodes_are_one(house: House, tmp_path: Path) -> None:
    if house.app.database.is_sqlite:
        pytest.skip("SQLite serves one process")
    async with second_node(house, tmp_path / "b") as other:
        client = await a_client(house)
        there = Client(other, client.robot, verifier=client.verifier)
        told = await client.allowed(await house.signed_in())
        with in_one_breath(100):
            replies = await asyncio.gather(*((client, there)[n % 2].redeem(told["code"]) for n in range(100)))
        assert Counter(reply.status for reply in replies) == {200: 1, 400: 99}
        won = next(reply for reply in replies if reply.status == 200).json()
        house.clock.advance(3)
        assert (await client.redeem(told["code"])).status == 400
        for node in (house, other):
            assert (await node.gateway(won["access_token"], "GET", PATH)).status in (401, 403)


async def test_a_session_that_ended_takes_its_codes_with_it(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    told = await client.allowed(tab)
    await tab.get("/")
    await tab.submit("/logout")
    assert (await client.redeem(told["code"])).json()["error"] == "invalid_grant"


async def test_oa_09_redemption_and_refresh_judge_all_that_a_direct_issue_judges(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    for spoil, mend in (
        (("POST", f"/v1/agents/{client.robot.id}/suspend"), ("POST", f"/v1/agents/{client.robot.id}/resume")),
        (("PUT", f"/v1/agents/{client.robot.id}/ceiling", []), ("PUT", f"/v1/agents/{client.robot.id}/ceiling", None)),
    ):
        told = await client.allowed(tab)
        tokens = (await client.redeem(told["code"])).json()
        told = await client.allowed(tab)
        await _change(house, *spoil)
        assert (await client.redeem(told["code"])).status in (400, 401)
        assert (await client.refresh(tokens["refresh_token"])).status in (400, 401)
        await _change(house, *mend)
    tokens = await client.tokens(tab)
    told = await client.allowed(tab)
    connection = (await house.alice.does("GET", "/v1/connections"))["data"][0]
    await house.alice.does("POST", "/v1/revocations", node=connection["id"])
    assert (await client.redeem(told["code"])).status == 400
    assert (await client.refresh(tokens["refresh_token"])).status == 400


async def _change(house: House, method: str, path: str, *ceiling: object) -> None:
    if not ceiling:
        await house.alice.does(method, path)
    else:
        await house.alice.does(method, path, ceiling=ceiling[0] if ceiling[0] is not None else ["github:repo:read@*"])


async def test_oa_13_another_clients_consent_is_never_used(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    await client.tokens(tab)
    other = await a_client(house, "another", connect=False)
    reply = await other.authorize(tab)
    assert reply.header("location") is None
    assert "another wants to act for you" in tab.text
    assert other.told(await other.authorize(tab, prompt="none"))["error"] == "consent_required"


async def test_unasked_a_stranger_is_as_good_as_nobody(house: House) -> None:
    client = await a_client(house)
    mallory = await other_organization(house)
    for tab in (house.tab(), await house.signed_in(mallory.email)):
        assert client.told(await client.authorize(tab, prompt="none"))["error"] == "login_required"
    hers = await house.signed_in()
    assert client.told(await client.authorize(hers, prompt="none"))["error"] == "consent_required"


async def test_oa_13_who_she_is_is_part_of_what_she_agreed_to(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    assert "id_token" not in await client.tokens(tab)
    assert "told who you are" not in tab.text
    assert "code" in client.told(await client.authorize(tab))  # the same is not asked again
    silent = await client.authorize(tab, scope="openid", prompt="none")
    assert client.told(silent)["error"] == "consent_required"
    await client.authorize(tab, scope="openid")
    assert "told who you are" in tab.text
    told = client.told(await tab.submit("/consent", button="Allow"))
    assert "id_token" in (await client.redeem(told["code"])).json()
    told = client.told(await client.authorize(tab, scope="openid", prompt="none"))
    assert "id_token" in (await client.redeem(told["code"])).json()


async def test_oa_16_codes_handles_and_refresh_tokens_are_no_bearer_tokens(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    told = await client.allowed(tab)
    tokens = (await client.redeem(told["code"])).json()
    for stolen in (told["code"], tokens["refresh_token"]):
        assert (await house.gateway(stolen, "GET", PATH)).status == 401
        headers = {"authorization": f"Bearer {stolen}"}
        assert (await house.call("GET", "/v1/whoami", headers=headers)).status == 401
    assert (await client.refresh(told["code"])).json()["error"] == "invalid_grant"
    assert (await client.redeem(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await client.redeem(tokens["access_token"])).json()["error"] == "invalid_grant"


async def test_oa_20_what_is_judged_is_the_servers_copy(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    await client.authorize(tab)
    changed = {
        "redirect_uri": "https://evil.example/",
        "client_id": "x",
        "authorization_details": "[]",
        "state": "other",
    }
    reply = await tab.submit("/consent", changed, button="Allow")
    told = client.told(reply)
    assert told["state"] == client.state
    assert (await client.redeem(told["code"])).json()["authorization_details"][0]["actions"] == ["repo:read"]


async def test_a_request_belongs_to_the_browser_that_opened_it(house: House) -> None:
    client = await a_client(house)
    await house.person("bob@acme.com")
    tab = await house.signed_in()
    await client.authorize(tab)
    where = tab.at
    form = dict(tab.forms()[-1].fields)
    for other in (await house.signed_in("bob@acme.com"), await house.signed_in()):
        reply = await other.get(where)
        assert reply.status == 401
        assert "wants to act for you" not in other.text
        await other.get("/")
        sent = form | {"csrf": other.csrf, "decision": "allow", "line": "0", "scope": "0:repo:read"}
        assert (await other.post("/consent", sent)).status == 401
        assert (await other.post("/consent", sent | {"decision": "cancel"})).status == 401
    assert not await house.events("delegation.recorded", "consent.declined")
    assert (await tab.post("/consent", form | {"csrf": "0" * 64, "decision": "allow"})).status == 403
    await tab.get(where)
    assert "code" in client.told(await tab.submit("/consent", button="Allow"))


async def test_ui_01_an_answer_is_good_once_and_looking_approves_nothing(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    await client.authorize(tab)
    where = tab.at
    for _ in range(3):
        await tab.get(where)
    assert not await house.events("delegation.recorded", "code.issued")
    replies = await asyncio.gather(*(_copy(house, tab).submit("/consent", button="Allow") for _ in range(5)))
    codes = [reply for reply in replies if "code=" in (reply.header("location") or "")]
    assert len(codes) == 1
    assert len(await house.events("delegation.recorded")) == 1
    assert (await tab.get(where)).status == 401


def _copy(house: House, tab: object) -> object:
    other = house.tab()
    other.cookies, other.reply, other.at = dict(tab.cookies), tab.reply, tab.at  # type: ignore[attr-defined]
    return other


async def test_ui_03_scripts_in_anything_a_client_says_are_inert(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    for script in SCRIPTS:
        reply = await client.authorize(tab, purpose=script, login_hint=script, nonce=script, state=script)
        page = reply.body.decode()
        assert "<" not in script or script not in page, script
        assert 'role="alert"' not in page
        assert "{{7*7}}" not in script or "{{7*7}}{% raw %}" in tab.text  # words, not a template
        told = client.told(await tab.submit("/consent", button="Cancel"))
        assert told["state"] == script
        for name in ("scope", "authorization_details", "acr_values", "client_id", "redirect_uri", "resource"):
            reply = await client.authorize(tab, **{name: script})
            assert "<" not in script or script not in reply.body.decode(), name
            location = reply.header("location") or ""
            assert "<" not in location
            assert '"' not in location
        await tab.get("/oauth/authorize?request=" + quote(script))
        assert tab.reply is not None
        assert "<" not in script or script not in tab.reply.body.decode()


async def test_oa_22_parameters_are_bounded_and_nothing_widens(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    long = "a" * 5_000
    for changed, error in (
        ({"scope": "repo:read repo:read"}, "invalid_scope"),
        ({"scope": "repo:read  issues:read"}, "invalid_scope"),
        ({"scope": "*"}, "invalid_scope"),
        ({"scope": "nothing:known"}, "invalid_scope"),
        ({"scope": long}, "invalid_scope"),
        ({"state": "a" * 2_049}, "invalid_request"),
        ({"nonce": "a" * 513}, "invalid_request"),
        ({"purpose": "a" * 501}, "invalid_request"),
        ({"purpose": "a\u202eb"}, "invalid_request"),
        ({"authorization_details": "[" + " " * 16_384 + "]"}, "invalid_authorization_details"),
        ({"authorization_details": "[]"}, "invalid_authorization_details"),
        (
            {"authorization_details": [{"type": "nobody", "actions": ["a"], "resources": ["b"]}]},
            "invalid_authorization_details",
        ),
        (
            {"authorization_details": [{"type": "github", "actions": ["no:such"], "resources": ["b"]}]},
            "invalid_authorization_details",
        ),
        (
            {"authorization_details": [{"type": "github", "actions": ["repo:read"], "resources": ["b"], "more": 1}]},
            "invalid_authorization_details",
        ),
        (
            {"authorization_details": [{"type": "github", "actions": [], "resources": ["b"]}]},
            "invalid_authorization_details",
        ),
        ({"resource": "https://nobody.example"}, "invalid_target"),
        ({"resource": "https://api.github.com#x"}, "invalid_target"),
        ({"resource": "/p/github"}, "invalid_target"),
        ({"resource": ["https://api.github.com", "https://nobody.example"]}, "invalid_target"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "1e9"}, "invalid_request"),
        ({"requested_seconds": "0"}, "invalid_request"),
        ({"dpop_jkt": "short"}, "invalid_request"),
        ({"prompt": "none consent"}, "invalid_request"),
        ({"share_with": "A!"}, "invalid_request"),
        ({"request_uri": "https://evil.example/request"}, None),
        ({"resource": None, "authorization_details": None}, "invalid_scope"),
        ({"resource": None, "authorization_details": None, "scope": "repo:read"}, "invalid_scope"),
    ):
        reply = await client.authorize(tab, **changed)
        if error is None:
            assert (reply.status, reply.header("location")) == (400, None)
        else:
            assert client.told(reply)["error"] == error, changed
    reply = await tab.get(client.address() + "&scope=repo%3Aread&scope=issues%3Aread")
    assert (reply.status, reply.header("location")) == (400, None)
    assert not await house.events("delegation.recorded")
