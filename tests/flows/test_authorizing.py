"""From a client's link to a credential: she sees what is asked, allows it, and the client gets exactly that."""

import json

from tests.support.house import GITHUB, House
from tests.support.oauth import a_client

PATH = "/repos/acme-corp/backend"
NATIVE = "http://127.0.0.1/callback"
TWO = [{"type": "github", "actions": ["repo:read"], "resources": ["acme-corp/backend", "acme-corp/payroll"]}]


async def test_a_code_becomes_a_credential_that_works(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    told = await client.allowed(tab)
    assert (told["state"], told["iss"]) == (client.state, house.settings.issuer)
    reply = await client.redeem(told["code"])
    assert reply.status == 200, reply.body
    tokens = reply.json()
    assert (reply.header("cache-control"), tokens["token_type"], tokens["scope"]) == ("no-store", "Bearer", "repo:read")
    assert tokens["authorization_details"][0]["resources"] == ["acme-corp/backend"]
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    assert (await house.gateway(tokens["access_token"], "GET", "/repos/acme-corp/payroll")).status == 403
    events = await house.events("delegation.recorded", "code.issued", "task.opened", "code.redeemed", "token.issued")
    assert [e["event"] for e in events] == [
        "delegation.recorded",
        "code.issued",
        "task.opened",
        "code.redeemed",
        "token.issued",
    ]
    assert (events[0]["basis"], events[2]["evidence"]) == ("consent", "code")
    assert told["code"] not in json.dumps(await house.events())


async def test_the_page_says_who_asks_for_what_on_what_for_how_long_and_why(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    reply = await client.authorize(tab, requested_seconds="3600")
    for words in (
        "pr-reviewer-v2 wants to act for you",
        "review the pull request",
        "owned by alice@acme.com",
        "agent.example",
        "As your account alice",
        "read code, issues and pull requests",
        "It cannot do anything else",
        "It may act for",
        "1 hour",
    ):
        assert words in tab.text, words
    assert ("resources-0", "acme-corp/backend") in tab.forms()[-1].fields
    policy = reply.header("content-security-policy") or ""
    assert "form-action 'self' https://agent.example" in policy
    assert "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert [text for *_, text in tab.forms()[-1].buttons] == ["Cancel", "Allow"]


async def test_who_is_not_signed_in_does_that_first_and_comes_back_to_the_same_request(house: House) -> None:
    client = await a_client(house)
    tab = house.tab()
    await client.authorize(tab)
    assert tab.at.startswith("/login?next=%2Foauth%2Fauthorize%3Frequest%3Dvkrq_")
    assert "review" not in tab.at  # the browser carries a handle, not the request
    handle = tab.at.rpartition("%3D")[2]
    there = await house.signed_in()
    await there.get(f"/oauth/authorize?request={handle}")
    assert "wants to act for you" in there.text
    reply = await there.submit("/consent", button="Allow")
    assert (await client.redeem(client.told(reply)["code"])).status == 200


async def test_cancelling_tells_the_client_and_records_nothing_but_that(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    await client.authorize(tab)
    reply = await tab.submit("/consent", button="Cancel")
    told = client.told(reply)
    assert (told["error"], told["state"], told["iss"]) == ("access_denied", client.state, house.settings.issuer)
    assert not await house.events("delegation.recorded")
    assert [e["client"] for e in await house.events("consent.declined")] == [client.robot.id]
    again = await tab.get(tab.at)
    assert again.status in (404, 401)


async def test_what_she_unticks_or_narrows_is_not_given(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    asked = [
        {
            "type": "github",
            "actions": ["repo:read", "issues:write"],
            "resources": ["acme-corp/backend", "acme-corp/payroll"],
        }
    ]
    changes = {"scope": ["0:repo:read"], "resources-0": "acme-corp/payroll"}
    tokens = await client.tokens(tab, changes, authorization_details=asked)
    assert tokens["authorization_details"][0]["actions"] == ["repo:read"]
    assert tokens["authorization_details"][0]["resources"] == ["acme-corp/payroll"]
    assert (await house.gateway(tokens["access_token"], "GET", "/repos/acme-corp/payroll")).status == 200
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 403
    # Having answered, she is not asked the same again.
    reply = await client.authorize(tab, authorization_details=asked)
    assert "code" in client.told(reply)


async def test_nobody_can_tick_more_than_was_asked(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    for changes in (
        {"scope": ["0:repo:read", "0:issues:write"]},
        {"scope": ["0:repo:write"]},
        {"resources-0": "acme-corp/payroll"},
        {"resources-0": "*"},
        {"resources-0": ""},
        {"seconds": "86400"},
        {"line": []},
        {"scope": []},
        {"standing": "1"},
        {"share": "somebody"},
        {"scope": ["1:repo:read"]},
        {"connection-0": "con_00000000000000000000000000"},
    ):
        await client.authorize(tab)
        reply = await tab.submit("/consent", changes, button="Allow")
        assert reply.status == 400, changes
        assert 'role="alert"' in reply.body.decode()
    assert not await house.events("delegation.recorded")


async def test_dangerous_scopes_are_off_until_ticked_and_grouped(house: House) -> None:
    danger = next(s.name for s in house.app.catalogue["github"].scopes.values() if s.tier == "danger")
    client = await a_client(house)
    await house.alice.does("PUT", f"/v1/agents/{client.robot.id}/ceiling", ceiling=[f"github:repo:read,{danger}@*"])
    asked = [{"type": "github", "actions": ["repo:read", danger], "resources": ["acme-corp/backend"]}]
    tab = await house.signed_in()
    await client.authorize(tab, authorization_details=asked)
    assert ("danger", f"0:{danger}", False) in tab.forms()[-1].boxes
    reply = await tab.submit("/consent", button="Allow")
    tokens = (await client.redeem(client.told(reply)["code"])).json()
    assert tokens["authorization_details"][0]["actions"] == ["repo:read"]
    await client.authorize(tab, authorization_details=asked, prompt="consent")
    reply = await tab.submit("/consent", {"danger": f"0:{danger}"}, button="Allow")
    tokens = (await client.redeem(client.told(reply)["code"])).json()
    assert tokens["authorization_details"][0]["actions"] == sorted(["repo:read", danger])


async def test_without_scope_nothing_is_ticked_and_she_names_the_things_herself(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    await client.authorize(tab, authorization_details=None)
    boxes = tab.forms()[-1].boxes
    assert all(not ticked for name, _, ticked in boxes if name == "scope")
    assert ("scope", "0:repo:read", False) in boxes
    assert not any("write" in value for name, value, _ in boxes if name in ("scope", "danger"))
    assert (await tab.submit("/consent", button="Allow")).status == 400
    changes = {"line": "0", "scope": "0:repo:read", "resources-0": "acme-corp/backend"}
    reply = await tab.submit("/consent", changes, button="Allow")
    tokens = (await client.redeem(client.told(reply)["code"])).json()
    assert tokens["scope"] == "repo:read"


async def test_a_scope_is_of_the_api_the_resource_names(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    changes = {"resources-0": "acme-corp/backend"}
    tokens = await client.tokens(tab, changes, authorization_details=None, scope="repo:read")
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    there = f"{house.settings.gateway}/p/github"
    tokens = await client.tokens(tab, changes, authorization_details=None, scope="repo:read", resource=there)
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    tokens = await client.tokens(tab, changes, authorization_details=None, scope="github:repo:read", resource=None)
    assert tokens["token_type"] == "N_A"


async def test_ra_several_apis_give_a_task_token_that_is_exchanged(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    tokens = await client.tokens(tab, resource=None)
    assert (tokens["token_type"], tokens["issued_token_type"]) == ("N_A", "urn:ietf:params:oauth:token-type:jwt")
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 401
    credential = await client.robot.token(tokens["access_token"])
    assert (await house.gateway(credential, "GET", PATH)).status == 200
    other = await house.agent("another")
    assert (await other.exchange(tokens["access_token"])).json()["error"] == "invalid_request"


async def test_ri_2_the_token_request_picks_one_of_what_was_agreed_and_no_other(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    told = await client.allowed(tab, resource=None)
    reply = await client.redeem(told["code"], resource="https://slack.com/api")
    assert reply.json()["error"] == "invalid_target"
    reply = await client.redeem(told["code"], resource=GITHUB)
    assert reply.json()["token_type"] == "Bearer"


async def test_a_public_client_redeems_with_its_verifier_alone_and_is_asked_every_time(house: House) -> None:
    client = await a_client(house, redirect_uris=[NATIVE], token_endpoint_auth_method="none", application_type="native")
    client.redirect_uri = "http://127.0.0.1:49152/callback"
    tab = await house.signed_in()
    for _ in range(2):
        await client.authorize(tab)
        assert "a program on this device" in tab.text
        reply = await tab.submit("/consent", button="Allow")
        tokens = (await client.redeem(client.told(reply)["code"])).json()
        assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    told = await client.allowed(tab, resource=None)
    assert (await client.redeem(told["code"])).json()["token_type"] == "Bearer"  # it cannot exchange: the one API's


async def test_what_she_agreed_to_with_a_client_that_proves_itself_needs_no_second_page(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    await client.tokens(tab)
    assert "code" in client.told(await client.authorize(tab))
    assert "code" in client.told(await client.authorize(tab, prompt="none"))
    assert len(await house.events("delegation.recorded")) == 1
    for changed in (
        {"prompt": "consent"},
        {"purpose": "something else"},
        {"authorization_details": TWO},
        {"requested_seconds": "700"},
        {"scope": "offline_access"},
    ):
        reply = await client.authorize(tab, **changed)
        assert reply.header("location") is None, changed
        assert "You agreed with this agent before" in tab.text
    house.clock.advance(601)
    assert (await client.authorize(tab)).header("location") is None


async def test_ci_7_changed_keys_names_or_addresses_are_agreed_to_anew(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    await client.tokens(tab)
    more = [client.redirect_uri, "https://agent.example/other"]
    await house.alice.does("PUT", f"/v1/agents/{client.robot.id}/client", redirect_uris=more)
    reply = await client.authorize(tab)
    assert reply.header("location") is None
    assert "not those you agreed to before" in tab.text
    told = client.told(await client.authorize(tab, prompt="none"))
    assert told["error"] == "consent_required"


async def test_prompt_none_never_shows_a_page(house: House) -> None:
    client = await a_client(house)
    nobody = house.tab()
    assert client.told(await client.authorize(nobody, prompt="none"))["error"] == "login_required"
    tab = await house.signed_in()
    assert client.told(await client.authorize(tab, prompt="none"))["error"] == "consent_required"
    assert client.told(await client.authorize(tab, prompt="none login"))["error"] == "invalid_request"


async def test_su_2_max_age_prompt_login_and_acr_values_ask_for_a_fresh_proof(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    house.clock.advance(120)
    for asked in ({"max_age": "60"}, {"max_age": "0"}, {"prompt": "login"}):
        await client.authorize(tab, **asked)
        assert tab.at.startswith("/login?next=%2Foauth%2Fauthorize%3Frequest%3D"), asked
        assert tab.at.endswith("&again=1")
        handle = tab.at.partition("%3Drequest")[0].partition("vkrq_")[2].partition("&")[0]
        fresh = await house.signed_in()
        await fresh.get(f"/oauth/authorize?request=vkrq_{handle}")
        assert "wants to act for you" in fresh.text, asked
    await client.authorize(tab, max_age="600", acr_values="urn:valetkey:acr:two")
    assert "wants to act for you" in tab.text
    told = client.told(await client.authorize(tab, max_age="60", prompt="none"))
    assert told["error"] == "login_required"
    told = client.told(await client.authorize(tab, acr_values="urn:unheard:of"))
    assert told["error"] == "unmet_authentication_requirements"


async def test_two_tabs_do_not_disturb_one_another(house: House) -> None:
    client = await a_client(house)
    first, second = await house.signed_in(), house.tab()
    second.cookies = first.cookies
    await client.authorize(first)
    await client.authorize(second, purpose="a second errand")
    one = client.told(await first.submit("/consent", button="Allow"))
    two = client.told(await second.submit("/consent", button="Allow"))
    assert (await client.redeem(one["code"])).status == 200
    assert (await client.redeem(two["code"])).status == 200
    purposes = [t["purpose"] for t in (await house.alice.does("GET", "/v1/tasks"))["data"]]
    assert sorted(purposes) == ["a second errand", "review the pull request"]


async def test_a_missing_connection_is_linked_made_and_returned_from(house: House) -> None:
    client = await a_client(house, connect=False)
    tab = await house.signed_in()
    await client.authorize(tab)
    assert "No GitHub account is connected" in tab.text
    link = next(link for link in tab.links() if link.startswith("/connections?next="))
    await tab.get(link)
    refused = await tab.submit("/connections/paste", {"integration": "github", "credential": "ghp_notOne"})
    assert refused.status == 400
    assert "ghp_notOne" not in refused.body.decode()
    await tab.get(link)
    await tab.submit(
        "/connections/paste", {"integration": "github", "credential": "ghp_realCanary0123456789abcdefghijklmnop"}
    )
    assert tab.at.startswith("/consent?request=vkrq_")
    reply = await tab.submit("/consent", button="Allow")
    assert (await client.redeem(client.told(reply)["code"])).status == 200


async def test_of_several_accounts_she_chooses_one(house: House) -> None:
    client = await a_client(house)
    other = await house.connect(credential="ghp_bobsCredential0123456789abcdefghijkl")
    tab = await house.signed_in()
    await client.authorize(tab)
    assert (await tab.submit("/consent", button="Allow")).status == 400
    reply = await tab.submit("/consent", {"connection-0": other["id"]}, button="Allow")
    tokens = (await client.redeem(client.told(reply)["code"])).json()
    assert tokens["authorization_details"][0]["connection"] == other["id"]


async def test_standing_is_a_sentence_of_its_own_and_off(house: House) -> None:
    client = await a_client(house)
    tab = await house.signed_in()
    await client.authorize(tab, scope="offline_access")
    assert ("standing", "1", False) in tab.forms()[-1].boxes
    reply = await tab.submit("/consent", button="Allow")
    tokens = (await client.redeem(client.told(reply)["code"])).json()
    assert "offline_access" not in tokens["scope"]
    changes = {"standing": "1", "standing_seconds": "86400", "tasks_per_day": "5"}
    tokens = await client.tokens(tab, changes, scope="offline_access", prompt="consent")
    assert tokens["scope"] == "repo:read offline_access"
    recorded = (await house.events("delegation.recorded"))[-1]
    assert (recorded["mode"], recorded["expires_at"]) == ("standing", int(house.clock.now()) + 86400)


async def test_sub_agents_are_shown_and_left_out_unless_ticked(house: House) -> None:
    client = await a_client(house)
    helper = await house.agent("linter")
    tab = await house.signed_in()
    told = client.told(await client.authorize(tab, share_with="nobody-here"))
    assert told["error"] == "invalid_request"
    await client.authorize(tab, share_with="linter")
    assert "linter may receive part of it" in tab.text
    await tab.submit("/consent", button="Allow")
    assert (await house.events("delegation.recorded"))[-1]["share_with"] == []
    await client.authorize(tab, share_with="linter", prompt="consent")
    await tab.submit("/consent", {"share": "linter"}, button="Allow")
    assert (await house.events("delegation.recorded"))[-1]["share_with"] == [helper.id]


async def test_oa_12_post_works_at_the_authorization_endpoint_and_needs_no_cookie(house: House) -> None:
    client = await a_client(house)
    reply = await house.call(
        "POST", "/oauth/authorize", form=client.parameters(), headers={"origin": "https://agent.example"}
    )
    assert reply.status == 303
    assert reply.header("set-cookie") is None
    assert reply.header("access-control-allow-origin") is None
    tab = await house.signed_in()
    await tab.get(reply.header("location") or "")
    assert "wants to act for you" in tab.text


async def test_nobody_outside_the_organization_gets_this_agent(house: House) -> None:
    client = await a_client(house)
    bob = await house.person("bob@acme.com")
    await house.connect(bob, credential="ghp_bobsCredential0123456789abcdefghijkl")
    tab = await house.signed_in("bob@acme.com")
    tokens = await client.tokens(tab)  # a colleague may, with what is hers
    assert (await house.gateway(tokens["access_token"], "GET", PATH)).status == 200
    recorded = (await house.events("delegation.recorded"))[-1]
    assert (recorded["user"], recorded["agent"]) == (bob.id, client.robot.id)


async def test_the_metadata_says_what_is_served(house: House) -> None:
    said = (await house.call("GET", "/.well-known/oauth-authorization-server")).json()
    assert said["code_challenge_methods_supported"] == ["S256"]
    assert said["authorization_response_iss_parameter_supported"] is True
    assert said["response_types_supported"] == ["code"]
    assert {"authorization_code", "refresh_token"} <= set(said["grant_types_supported"])
    assert said["authorization_endpoint"] == f"{house.settings.issuer}/oauth/authorize"


async def test_the_level_that_is_asked_for_is_the_one_the_sign_in_page_offers(house: House) -> None:
    client = await a_client(house)
    tab = house.tab()
    await client.authorize(tab, acr_values="urn:valetkey:acr:passkey")
    assert tab.at.endswith("acr=urn%3Avaletkey%3Aacr%3Apasskey")
    assert 'action="/login/password"' not in tab.text
    await client.authorize(tab)
    assert "acr=" not in tab.at
