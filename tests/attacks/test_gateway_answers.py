"""What an upstream's answer may not do, and whose connection a call may use: GW-17, -18, -19, -22, -23, CA-01."""

import base64
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.support import scripts
from tests.support.behind import ALLOWED, BOBS, DENIED, PUB, SEC, Behind, open_behind, repository
from tests.support.house import REAL
from tests.support.upstream import Upstream, reply

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    async with open_behind(tmp_path_factory.mktemp("answers")) as opened:
        yield opened


@pytest.fixture
def behind(shared: Behind) -> Behind:
    shared.forget()
    return shared


@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\r\nX-Injected: 1", "\x7f", "é", "​"])
async def test_gw_17_a_credential_that_could_write_headers_is_never_stored_nor_sent(behind: Behind, bad: str) -> None:
    alice = behind.house.alice
    body = {"integration": "github", "name": "bad", "credential": f"ghp_secret{bad}tail"}
    refused = await alice.call("POST", "/v1/connections", **body)
    assert refused.status in (400, 403)
    assert b"ghp_secret" not in refused.body
    assert behind.up.seen == []
    whole = {"integration": "github", "name": f"good-{ord(bad[0])}-{len(bad)}", "credential": "ghp_secrettail"}
    assert (await alice.call("POST", "/v1/connections", **whole)).status == 201
    made = [c for c in (await alice.does("GET", "/v1/connections"))["data"] if c["name"] == whole["name"]]
    await alice.does("POST", "/v1/revocations", node=made[0]["id"])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_gw_18_a_redirect_is_handed_on_and_never_followed(behind: Behind, status: int) -> None:
    async with Upstream() as foreign:
        places = {
            f"{behind.up.url}/repositories/{PUB}/issues?page=2": f"/p/github/repositories/{PUB}/issues?page=2",
            f"/repositories/{PUB}/issues": f"/p/github/repositories/{PUB}/issues",
            "issues/1": "/p/github/repos/acme/pub/issues/1",
            f"{foreign.url}/x": None,
            "http://evil.example/x": None,
            f"https://127.0.0.1:{behind.up.port}/x": None,  # another scheme is another place
            f"http://user@127.0.0.1:{behind.up.port}/x": None,
            f"//127.0.0.1:{foreign.port}/x": None,
            "http://127.0.0.1/x": None,  # another port
            "javascript:alert(1)": None,
            "\\\\evil.example\\x": None,
        }
        for place, expected in places.items():
            behind.up.seen.clear()
            behind.up.answers("GET", ALLOWED, script=scripts.redirect(place, status))
            answer = await behind.call()
            assert answer.status == status
            location = answer.header("location")
            assert location == (None if expected is None else behind.house.settings.gateway + expected), place
            assert [seen.target.decode() for seen in behind.calls] == [ALLOWED]
        assert foreign.seen == []


async def test_gw_18_a_redirected_lookup_names_nothing(behind: Behind) -> None:
    """The gateway's own question is not led elsewhere either: what moved is not the thing that was delegated."""
    behind.house.clock.advance(61)
    async with Upstream() as foreign:
        behind.up.answers("GET", "/repos/acme/pub", script=scripts.redirect(f"{foreign.url}/repos/acme/pub"))
        answer = await behind.call()
        assert (answer.status, answer.code) == (403, "denied")
        assert foreign.seen == behind.calls == []
    behind.house.clock.advance(61)


FORMS = {
    "plain": REAL,
    "base64": base64.b64encode(REAL.encode()).decode(),
    "inside Basic": base64.b64encode(f"x-access-token:{REAL}".encode()).decode(),
    "urlsafe base64": base64.urlsafe_b64encode(b"?>" + REAL.encode()).decode(),
    "hexadecimal": REAL.encode().hex(),
    "percent-encoded": quote(REAL, safe=""),
    "percent-encoded to the last letter": "".join(f"%{byte:02X}" for byte in REAL.encode()),
    "JSON-escaped": "".join(f"\\u{byte:04x}" for byte in REAL.encode()),
}


def traces(body: bytes) -> list[str]:
    """In which forms the credential is still there, whole or nearly."""
    text = body.decode("latin-1")
    return [form for form, spelling in FORMS.items() if spelling in text or spelling[4:-4] in text]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
async def test_gw_19_the_injected_credential_is_scrubbed_in_every_form(behind: Behind, form: str, kind: str) -> None:
    body = b'{"debug": "before ' + FORMS[form].encode() + b' after"}'
    headers = {"Content-Type": kind, "X-Debug": FORMS[form]}
    behind.up.answers("GET", ALLOWED, script=reply(200, headers, body))
    whole = await behind.call()
    pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
    behind.up.answers("GET", ALLOWED, script=scripts.chunked(*pieces, headers=headers))
    pieced = await behind.call()
    for answer in (whole, pieced):
        assert traces(answer.body) == []
        assert traces(str(answer.headers).encode()) == []
        assert answer.body.startswith(b'{"debug": "before ')
        assert answer.body.endswith(b' after"}')
    assert whole.body == pieced.body


async def test_gw_19_an_upstream_that_echoes_the_whole_request_gives_nothing_away(
    behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    behind.up.answers("GET", ALLOWED, script=scripts.echo())
    answer = await behind.call()
    assert answer.status == 200
    assert REAL.encode() in behind.calls[-1].raw
    assert b"[valetkey:redacted]" in answer.body
    assert traces(answer.body) == traces(str(answer.headers).encode()) == traces(caplog.text.encode()) == []


@pytest.mark.parametrize("status", [400, 403, 404, 422, 500, 503])
async def test_gw_19_error_pages_are_scrubbed_too(behind: Behind, status: int) -> None:
    behind.up.answers("GET", ALLOWED, status, json={"message": f"Bad credentials: {REAL}"})
    answer = await behind.call()
    assert (answer.status, traces(answer.body)) == (status, [])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"), ("GET", "/user"), ("GET", "/user/repos"), ("GET", "/search/issues?q=x"), ("GET", "/nothing"),
        ("POST", "/graphql/x"), ("GET", "/graphql/x"), ("DELETE", "/repos/acme/pub"), ("PATCH", "/repos/acme/pub"),
        ("PUT", "/repos/acme/pub/contents/x"), ("POST", "/repos/acme/pub/hooks"), ("GET", DENIED),
        ("GET", f"/repositories/{SEC}/issues"), ("POST", "/repos/acme/sec/issues"), ("POST", "/repos/acme/pub/keys"),
        ("POST", "/repos/acme/pub/transfer"), ("POST", "/user/keys"), ("GET", "/repos/acme/pub/nothing/there"),
        ("PUT", "/repos/acme/pub/collaborators/mallory"), ("POST", "/repos/acme/pub/forks"),
    ],
)  # fmt: skip
async def test_gw_22_what_no_rule_allows_is_denied_and_nothing_of_it_leaves(
    behind: Behind, method: str, path: str
) -> None:
    answer = await behind.call(method, path, **({"json": {}} if method != "GET" else {}))
    assert (answer.status, answer.code) == (403, "denied")
    assert answer.json()["decision"].startswith("aud_")
    assert behind.calls == []
    assert [r["id"] for r in await behind.house.events("call.denied")][-1] == answer.json()["decision"]


@pytest.mark.parametrize("name", ["gitlab", "GITHUB", "github.com", "..", "api.github.com", "slack", ""])
async def test_gw_22_another_integration_gets_neither_the_credential_nor_a_call(behind: Behind, name: str) -> None:
    headers = {"authorization": f"Bearer {behind.token}"}
    answer = await behind.house.call("GET", f"/p/{name}{ALLOWED}", headers=headers)
    assert answer.told in (401, 404)
    assert behind.up.seen == []


async def test_gw_23_another_users_connection_answers_as_one_that_does_not_exist(behind: Behind) -> None:
    house = behind.house
    bob = await house.person("bob@acme.com")
    await house.connect(bob, credential=BOBS)
    agent = await house.agent("bobs-agent", owner=bob)
    [theirs, *_] = (await house.alice.does("GET", "/v1/connections"))["data"]
    unknown = theirs["id"][:-6] + "zzzzzz"
    answers = []
    for connection in (theirs["id"], unknown):
        grant = f"github/{connection}:repo:read@acme/pub"
        body = {"agent": agent.name, "grants": [grant], "purpose": "x"}
        delegated = await bob.call("POST", "/v1/delegations", **body)
        revoked = await bob.call("POST", "/v1/revocations", node=connection)
        entitled = await bob.call("POST", f"/v1/connections/{connection}/entitlements", user="x@y.z", grants=[grant])
        answers.append([_without_ids(reply.body, connection) for reply in (delegated, revoked, entitled)])
        assert {delegated.status, revoked.status} <= {400, 403, 404}
    assert answers[0] == answers[1]
    own = {"agent": agent.name, "grants": ["github:repo:read@acme/pub"], "purpose": "x"}
    assert (await bob.call("POST", "/v1/delegations", **own)).status == 201


async def test_gw_23_another_agent_cannot_use_a_task_that_is_not_its_own(behind: Behind) -> None:
    other = await behind.house.agent("another-agent")
    refused = await other.exchange(behind.task["task_token"])
    assert refused.status == 400
    assert "error" in refused.json()
    assert (await behind.agent.exchange(behind.task["task_token"])).status == 200


async def test_ca_01_what_one_connection_was_told_never_answers_for_another(behind: Behind) -> None:
    """Bob's account cannot see the repository; that Alice's account can was looked up a moment ago and remembered."""
    house = behind.house
    carol = await house.person("carol@acme.com")
    await house.connect(carol, credential=BOBS)
    carols = await behind.another("carols-agent", carol)
    assert (await behind.call()).status == 200
    hidden = reply(404, {"Content-Type": "application/json"}, b'{"message": "Not Found"}')

    async def to_bob(seen, wire):  # type: ignore[no-untyped-def]
        known = json.dumps({"id": PUB, "full_name": "acme/pub", "owner": {"id": 7}}).encode()
        shown = reply(200, {"Content-Type": "application/json"}, known)
        await wire.say(hidden if BOBS.encode() in seen.header("authorization") else shown)

    house.clock.advance(61)
    behind.up.answers("GET", "/repos/acme/pub", script=to_bob)
    assert (await behind.call()).status == 200
    behind.up.seen.clear()
    assert (await house.gateway(carols, "GET", ALLOWED)).status == 403
    assert (await behind.call()).status == 200
    assert [seen.header("authorization") for seen in behind.calls] == [f"Bearer {REAL}".encode()]


async def test_ca_01_two_credentials_of_one_task_are_judged_each_by_its_own_lines(behind: Behind) -> None:
    narrow = await behind.agent.token(behind.task["task_token"], scope="repo:read")
    wide = behind.token
    for token, expected in ((wide, 200), (narrow, 403), (wide, 200), (narrow, 403)):
        assert (await behind.house.gateway(token, "POST", ALLOWED, json={"title": "x"})).status == expected
    assert (await behind.house.gateway(narrow, "GET", ALLOWED)).status == 200


async def test_ca_01_the_same_id_behind_another_owner_is_another_thing(behind: Behind) -> None:
    assert (await behind.call()).status == 200
    repository(behind.up, "acme/pub", PUB, owner=8)
    behind.house.clock.advance(61)
    changed = await behind.call()
    assert (changed.status, changed.json()["reason"]) == (403, "resource_changed")


def _without_ids(body: bytes, connection: str) -> str:
    document = json.loads(body)
    document.pop("request_id", None)
    return json.dumps(document).replace(connection, "con_")
