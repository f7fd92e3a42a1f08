"""/delegations and /agents in a browser: what was given, given less, longer, and taken back."""

import pytest

from tests.support.house import House
from valetkey.server.delegations import store as delegations
from valetkey.server.delegations.model import Kept
from valetkey.server.errors import Conflict
from valetkey.server.principals import store as principals

READ_WRITE = "github:repo:read,issues:write@acme-corp/backend,acme-corp/payroll"


async def test_she_sees_what_she_gave_in_words_and_when_it_was_used(house: House) -> None:
    agent, _, task, _ = await house.ready(READ_WRITE)
    tab = await house.signed_in()
    await house.app.last_used.write()
    await tab.get("/delegations")
    for words in ("pr-reviewer-v2", "review the pull request", "acme-corp/backend, acme-corp/payroll", "as alice"):
        assert words in tab.text, words
    assert "Last used just now" in tab.text
    house.clock.advance(120)
    await tab.get("/delegations")
    assert "Last used 2 minutes ago" in tab.text
    assert (await agent.exchange(task["task_token"])).status == 200


async def test_unticking_ends_that_part_at_once_for_what_is_running_too(house: House) -> None:
    _, delegation, _, token = await house.ready(READ_WRITE)
    assert (await house.gateway(token, "GET", "/repos/acme-corp/payroll/issues")).status == 200
    tab = await house.signed_in()
    await tab.get(f"/delegations/{delegation['id']}")
    await tab.submit(
        f"/delegations/{delegation['id']}/narrow",
        {"scope": ["0 repo:read"], "resource": ["0 acme-corp/backend"]},
    )
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend/issues")).status == 200
    assert (await house.gateway(token, "GET", "/repos/acme-corp/payroll/issues")).status == 403
    assert (await house.gateway(token, "POST", "/repos/acme-corp/backend/issues", json={"title": "x"})).status == 403
    [record] = await house.events("delegation.narrowed")
    assert [text.partition(":")[2] for text in record["grants"]] == ["repo:read@acme-corp/backend"]


async def test_an_older_page_gives_back_nothing_that_was_taken_meanwhile(house: House) -> None:
    """What two requests read at the same moment is written by the first alone."""
    _, made, _, token = await house.ready(READ_WRITE)
    confirm = house.app.services.confirm
    async with house.app.database.read() as db:
        seen = await delegations.delegation(db, made["id"])
        alice = await principals.user(db, house.alice.id)
    assert seen is not None
    assert alice is not None
    less = [Kept(frozenset({"repo:read"}), frozenset({"acme-corp/backend"}))]
    narrowed = await confirm.narrow(seen, less, expires_at=seen.expires_at, by=alice)
    as_it_was = [Kept(g.scopes, frozenset(r.name for r in g.resources)) for g in seen.grants]
    with pytest.raises(Conflict):
        await confirm.narrow(seen, as_it_was, expires_at=seen.expires_at, by=alice)
    with pytest.raises(Conflict):
        await confirm.extend(seen, 7_200, by=alice)
    async with house.app.database.read() as db:
        assert await delegations.delegation(db, made["id"]) == narrowed
    assert (await house.gateway(token, "GET", "/repos/acme-corp/payroll/issues")).status == 403


@pytest.mark.parametrize(
    ("scopes", "resources"),
    [
        (["0 repo:write"], ["0 acme-corp/backend"]),
        (["0 repo:read"], ["0 acme-corp/secrets"]),
        (["0 repo:read"], ["0 *"]),
        ([], []),
        (["1 repo:read"], ["1 acme-corp/backend"]),
    ],
)
async def test_a_changed_form_never_widens_and_never_leaves_an_empty_shell(
    house: House, scopes: list[str], resources: list[str]
) -> None:
    _, delegation, _, token = await house.ready("github:repo:read@acme-corp/backend")
    tab = await house.signed_in()
    await tab.get(f"/delegations/{delegation['id']}")
    form = {"csrf": tab.csrf, "scope": scopes, "resource": resources}
    assert (await tab.post(f"/delegations/{delegation['id']}/narrow", form)).status in (400, 403)
    shown = await house.alice.does("GET", f"/v1/delegations/{delegation['id']}")
    assert shown["grants"] == delegation["grants"]
    assert (await house.gateway(token, "POST", "/repos/acme-corp/backend/issues", json={"title": "x"})).status == 403


async def test_ending_on_the_page_stops_the_next_call_and_reports_every_hop(house: House) -> None:
    _, _, _, token = await house.ready()
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 200
    tab = await house.signed_in()
    await tab.get("/delegations")
    await tab.submit("/delegations/stop")
    assert "open calls" in tab.text
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 403
    await tab.get("/delegations")
    assert "No agent may do anything for you right now" in tab.text


async def test_stop_everything_stops_everything_of_hers_and_of_nobody_else(house: House) -> None:
    agent, _, _, token = await house.ready()
    second = await house.delegate(agent)
    bob = await house.person("bob@acme.com")
    await house.connect(bob, credential="ghp_bobsCredential0123456789abcdefghijkl")
    bobs_agent = await house.agent("bobs", owner=bob)
    bobs = await house.delegate(bobs_agent, owner=bob)
    bobs_token = await bobs_agent.token((await house.task(bobs, owner=bob))["task_token"])
    tab = await house.signed_in()
    await tab.get("/delegations")
    await tab.submit("/delegations/stop-everything")
    assert second["id"] in tab.text
    assert (await house.gateway(token, "GET", "/repos/acme-corp/backend")).status == 403
    assert (await house.gateway(bobs_token, "GET", "/repos/acme-corp/backend")).status == 200


async def test_only_she_makes_it_last_longer(house: House) -> None:
    _, delegation, _, _ = await house.ready()
    tab = await house.signed_in()
    await tab.get(f"/delegations/{delegation['id']}")
    await tab.submit(f"/delegations/{delegation['id']}/extend", {"seconds": "3600"})
    later = await house.alice.does("GET", f"/v1/delegations/{delegation['id']}")
    assert later["expires_at"] == int(house.clock.now()) + 3600
    admin = await house.person("admin@acme.com", role="administrator")
    assert (await admin.call("POST", f"/v1/delegations/{delegation['id']}/extend", seconds=7200)).status == 403
    assert (await admin.call("POST", f"/v1/delegations/{delegation['id']}/narrow", seconds=60)).status == 200
    house.clock.advance(61)
    assert (await house.alice.call("POST", f"/v1/delegations/{delegation['id']}/extend", seconds=60)).status == 409


async def test_a_developer_registers_an_agent_and_gets_what_to_paste(house: House) -> None:
    tab = await house.signed_in()
    await tab.get("/agents")
    await tab.submit("/agents", {"name": "nightly-triage"})
    assert "shown only now" in tab.text
    secret = tab.text.partition("VALETKEY_AGENT_SECRET=")[2].split(" ")[0]
    [made] = [a for a in (await house.alice.does("GET", "/v1/agents"))["data"] if a["name"] == "nightly-triage"]
    form = {"grant_type": "client_credentials", "client_id": made["id"], "client_secret": secret}
    assert (await house.call("POST", "/oauth/token", form=form)).status == 200
    await tab.get(f"/agents/{made['id']}")
    assert secret not in tab.text
    assert house.settings.issuer in tab.text
    for name in ("", "Nightly", "a b", "nightly-triage", "x" * 65, "<script>"):
        await tab.get("/agents")
        assert (await tab.submit("/agents", {"name": name})).status in (400, 409), name


async def test_where_an_agent_is_answered_is_set_on_its_page(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    tab = await house.signed_in()
    await tab.get(f"/agents/{agent.id}")
    await tab.submit(f"/agents/{agent.id}/client", {"redirect_uris": "http://127.0.0.1/back", "native": "1"})
    shown = await house.alice.does("GET", f"/v1/agents/{agent.id}/client")
    assert (shown["redirect_uris"], shown["application_type"]) == (["http://127.0.0.1/back"], "native")
    assert shown["token_endpoint_auth_method"] == "client_secret_basic"
    for wrong in ("http://evil.example/", "javascript:alert(1)", "https://x.example/#y", "*"):
        await tab.get(f"/agents/{agent.id}")
        assert (await tab.submit(f"/agents/{agent.id}/client", {"redirect_uris": wrong})).status == 400, wrong
    assert (await house.alice.does("GET", f"/v1/agents/{agent.id}/client"))["redirect_uris"] == shown["redirect_uris"]


async def test_ui_03_what_others_wrote_stays_text(house: House) -> None:
    agent = await house.agent("pr-reviewer-v2")
    await house.connect()
    payload = "<script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"
    await house.delegate(agent, purpose=payload)
    tab = await house.signed_in()
    reply = await tab.get("/delegations")
    assert b"<script>alert" not in reply.body
    assert b"<img" not in reply.body
    assert payload in tab.text


async def test_what_is_others_does_not_exist_on_any_page(house: House) -> None:
    agent, delegation, _, _ = await house.ready()
    await house.person("bob@acme.com")
    bob = await house.signed_in("bob@acme.com")
    await bob.get("/agents")
    csrf = bob.csrf
    missing = "0" * 26
    for path in ("/delegations/{}", "/agents/{}"):
        real = delegation["id"] if "delegations" in path else agent.id
        one, other = await bob.get(path.format(real)), await bob.get(path.format(real[:4] + missing))
        assert one.status == other.status == 404
    for path in ("narrow", "extend"):
        assert (
            await bob.post(f"/delegations/{delegation['id']}/{path}", {"csrf": csrf, "seconds": "600"})
        ).status == 404
    for path in ("rotate", "status", "client", "stop"):
        assert (await bob.post(f"/agents/{agent.id}/{path}", {"csrf": csrf})).status == 404
    assert (await bob.post("/delegations/stop", {"csrf": csrf, "node": delegation["id"]})).status == 404
    assert "pr-reviewer-v2" not in (await bob.get("/delegations?of=all")).body.decode()
