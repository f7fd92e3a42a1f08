"""Calls through the gateway: where the token goes, what comes back, and what it says when it says no."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import scripts
from tests.support.behind import ALLOWED, DENIED, PUB, Behind, open_behind
from tests.support.house import REAL
from tests.support.upstream import reply


@pytest.fixture
async def behind(tmp_path: Path, database_url: str | None) -> AsyncIterator[Behind]:
    async with open_behind(tmp_path / "data", database_url=database_url, upstream_timeout_seconds=2) as opened:
        yield opened


async def test_the_token_is_taken_where_github_clients_put_it(behind: Behind) -> None:
    basic = base64.b64encode(f"x-access-token:{behind.token}".encode()).decode()
    for value in (f"Bearer {behind.token}", f"bearer {behind.token}", f"token {behind.token}", f"Basic {basic}"):
        answer = await behind.house.call("GET", f"/p/github{ALLOWED}", headers={"authorization": value})
        assert answer.status == 200, value
    assert {seen.header("authorization") for seen in behind.calls} == {f"Bearer {REAL}".encode()}
    user_name = base64.b64encode(f"{behind.token}:x".encode()).decode()
    for value in (behind.token, f"Digest {behind.token}", f"Basic {user_name}", "Bearer x", "Bearer"):
        answer = await behind.house.call("GET", f"/p/github{ALLOWED}", headers={"authorization": value})
        assert answer.status in (400, 401), value
    assert len(behind.calls) == 4


async def test_two_filled_positions_are_refused(behind: Behind) -> None:
    basic = base64.b64encode(f"x:{behind.token}".encode()).decode()
    for second in (f"Bearer {behind.token}", f"token {behind.token}", f"Basic {basic}"):
        answer = await behind.call(headers=[("authorization", second)])
        assert (answer.status, answer.code) == (400, "invalid_request")
    assert behind.up.seen == []


async def test_page_two_by_link_names_the_repository_by_id_and_stays_inside(behind: Behind) -> None:
    page_two = f"{behind.up.url}/repositories/{PUB}/issues?page=2"
    links = f'<{page_two}>; rel="next", <https://docs.github.com/x>; rel="help"'
    behind.up.answers("GET", ALLOWED, json=[1], headers={"Link": links})
    behind.up.answers("GET", f"/repositories/{PUB}/issues?page=2", json=[2])
    first = await behind.call()
    inside = f"{behind.house.settings.gateway}/p/github/repositories/{PUB}/issues?page=2"
    assert first.header("link") == f'<{inside}>; rel="next", <https://docs.github.com/x>; rel="help"'
    second = await behind.call(path=inside.partition("/p/github")[2])
    assert (second.status, second.json()) == (200, [2])
    other = await behind.call(path="/repositories/102/issues?page=2")
    assert (other.status, other.code) == (403, "denied")


async def test_addresses_in_json_lead_to_the_gateway_and_other_text_is_left_alone(behind: Behind) -> None:
    up, ours = behind.up.url, f"{behind.house.settings.gateway}/p/github"
    document = {"url": f"{up}/a", "issues_url": f"{up}/b{{/number}}", "body": f"see {up}/c", "html_url": "https://x/y"}
    for script in (
        reply(200, {"Content-Type": "application/json"}, json.dumps([document]).encode()),
        scripts.chunked(
            *[json.dumps([document]).encode()[n : n + 5] for n in range(0, 200, 5)],
            headers={"Content-Type": "application/vnd.github.v3+json"},
        ),
    ):
        behind.up.answers("GET", ALLOWED, script=script)
        expected = {**document, "url": f"{ours}/a", "issues_url": f"{ours}/b{{/number}}"}
        assert (await behind.call()).json() == [expected]
    behind.up.answers("GET", ALLOWED, body=json.dumps(document), headers={"Content-Type": "text/plain"})
    assert (await behind.call()).json() == document


async def test_a_short_answer_in_one_piece_is_handed_on_in_one_piece_with_its_new_length(behind: Behind) -> None:
    body = json.dumps({"url": f"{behind.up.url}/a", "echo": REAL}).encode()
    behind.up.answers("GET", ALLOWED, script=reply(200, {"Content-Type": "application/json"}, body))
    answer = await behind.call()
    assert answer.json() == {"url": f"{behind.house.settings.gateway}/p/github/a", "echo": "[valetkey:redacted]"}
    assert answer.header("content-length") == str(len(answer.body))
    outcome = await behind.outcome(answer.header("x-decision-id") or "")
    assert (outcome["ended"], outcome["bytes"]) == ("complete", len(answer.body))


async def test_head_has_no_body_and_the_headers_of_get(behind: Behind) -> None:
    behind.up.answers("HEAD", ALLOWED, script=reply(200, {"ETag": '"1"', "Content-Length": "5"}, framed=False))
    async with behind.opened() as (reader, writer):
        writer.write(behind.head("HEAD") + behind.head("GET", ALLOWED, "connection: close"))
        answers = await reader.read()
    head, _, rest = answers.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b'etag: "1"' in head
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert [seen.method for seen in behind.calls] == ["HEAD", "GET"]


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_stays_without_one(behind: Behind, status: int) -> None:
    behind.up.answers("GET", ALLOWED, status, headers={"ETag": '"2"'})
    async with behind.opened() as (reader, writer):
        writer.write(
            behind.head("GET", ALLOWED, 'if-none-match: "2"') + behind.head("GET", ALLOWED, "connection: close")
        )
        answers = await reader.read()
    head, _, rest = answers.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b'etag: "2"' in head
    assert b"transfer-encoding" not in head
    assert rest.startswith(b"HTTP/1.1 %d " % status)
    assert behind.calls[0].header("if-none-match") == b'"2"'


async def test_the_upstream_sees_who_acts(behind: Behind) -> None:
    await behind.call(headers=[("user-agent", "octokit/5")])
    expected = f"octokit/5 valetkey (agent pr-reviewer-v2; task {behind.task['id']})"
    assert behind.calls[-1].header("user-agent") == expected.encode()


ACTS_ON_ORIGIN = {
    "Set-Cookie": "a=b", "Clear-Site-Data": '"*"', "Service-Worker-Allowed": "/", "Refresh": "0; url=/login",
    "Strict-Transport-Security": "max-age=1", "Alt-Svc": 'h3=":1"', "Access-Control-Allow-Origin": "*",
    "WWW-Authenticate": "Basic", "Content-Security-Policy": "default-src *", "Cache-Control": "public, max-age=99",
    "Set-Cookie2": "a=b", "Report-To": "x", "NEL": "x", "X-Accel-Redirect": "/etc/passwd",
}  # fmt: skip


async def test_an_answer_cannot_act_on_our_origin(behind: Behind) -> None:
    """GW-19's neighbour: pages and gateway share a host until they are given two."""
    page = b"<script>alert(1)</script>"
    headers = {**ACTS_ON_ORIGIN, "Content-Type": "text/html", "X-RateLimit-Remaining": "9"}
    behind.up.answers("GET", ALLOWED, script=reply(200, headers, page))
    answer = await behind.call()
    assert answer.header("x-ratelimit-remaining") == "9"
    assert answer.header("content-security-policy") == "sandbox; default-src 'none'"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("cache-control") == "private, no-cache"
    sent = [name for name, _ in answer.headers]
    kept = {"content-security-policy", "cache-control"}
    assert not [name for name in ACTS_ON_ORIGIN if name.lower() in sent and name.lower() not in kept]
    assert sent.count("content-security-policy") == 1


@pytest.mark.parametrize("mode", ["navigate", "NAVIGATE", "nested-navigate"])
async def test_a_browser_cannot_open_an_answer_as_a_page(behind: Behind, mode: str) -> None:
    answer = await behind.call(headers=[("sec-fetch-mode", mode)])
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert answer.header("content-security-policy") == "sandbox; default-src 'none'"
    assert behind.up.seen == []
    assert (await behind.call(headers=[("sec-fetch-mode", "cors")])).status == 200


async def test_an_upstream_that_takes_the_credential_no_longer_asks_for_a_connection(behind: Behind) -> None:
    behind.up.answers("GET", ALLOWED, 401, json={"message": "Bad credentials"})
    answer = await behind.call()
    assert (answer.status, answer.code) == (403, "connection_required")
    outcome = await behind.outcome(answer.json()["decision"])
    assert (outcome["status"], outcome["ended"]) == (401, "connection_required")


async def test_a_dead_credential_is_told_apart_from_a_missing_repository(behind: Behind) -> None:
    behind.house.clock.advance(61)
    behind.up.answers("GET", "/repos/acme/pub", 401, json={"message": "Bad credentials"})
    dead = await behind.call()
    assert (dead.status, dead.code) == (403, "connection_required")
    [record] = await behind.house.events("call.denied")
    assert (record["id"], record["reason"]) == (dead.json()["decision"], "evaluation_failed")
    behind.up.answers("GET", "/repos/acme/pub", 404, json={"message": "Not Found"})
    missing = await behind.call()
    assert (missing.status, missing.code) == (403, "denied")
    assert behind.calls == []


async def test_a_resource_that_cannot_be_looked_up_is_not_guessed(behind: Behind) -> None:
    behind.house.clock.advance(61)
    for script in (reply(500), scripts.reset(), reply(200, (), b"not json"), scripts.gzip(b'{"id": 101}')):
        behind.up.answers("GET", "/repos/acme/pub", script=script)
        answer = await behind.call()
        assert (answer.status, answer.code) == (502, "upstream_failed")
        assert answer.json()["detail"] == "The API behind the gateway did not answer properly."
        assert answer.json()["title"] == "Another server that this depends on did not answer properly."
    assert behind.calls == []
    reasons = [record["reason"] for record in await behind.house.events("call.denied")]
    assert reasons == ["evaluation_failed"] * 4
    assert await behind.house.events("call.allowed") == []


REFUSALS: list[tuple[str, dict[str, Any], int, str]] = [
    (ALLOWED + "/..", {}, 400, "invalid_request"),
    (DENIED, {}, 403, "denied"),
    (ALLOWED, {"method": "DELETE"}, 403, "denied"),
    ("/nothing", {"method": "POST"}, 403, "denied"),
    ("/graphql", {"method": "POST"}, 400, "invalid_request"),
    (ALLOWED, {"headers": [("authorization", "x")]}, 400, "invalid_request"),
]


ACCEPTS = {
    None: "application/problem+json",
    "*/*": "application/problem+json",
    "application/vnd.github+json": "application/json",
    "application/vnd.github.v3+json": "application/json",
    "text/html, Application/JSON;q=0.9": "application/json",
    "application/json, application/problem+json": "application/problem+json",
    "application/vnd.githubber": "application/problem+json",
}


@pytest.mark.parametrize(("path", "more", "status", "code"), REFUSALS)
async def test_every_refusal_is_one_document_under_the_name_the_client_can_read(
    behind: Behind, path: str, more: dict[str, Any], status: int, code: str
) -> None:
    for accept, kind in ACCEPTS.items():
        asked = dict(more)
        headers = [*asked.pop("headers", []), *([("accept", accept)] if accept else [])]
        answer = await behind.call(asked.pop("method", "GET"), path, headers=headers, **asked)
        assert (answer.status, answer.code) == (status, code)
        assert answer.header("content-type") == f"{kind}; charset=utf-8", accept
        document = answer.json()
        assert {"type", "title", "status", "detail", "hint", "request_id", "documentation_url"} <= document.keys()
        assert document["status"] == status
        assert document["detail"] in document["message"]
        assert answer.header("cache-control") == "no-store"
        assert answer.header("x-decision-id") == document.get("decision")


async def test_expiry_and_revocation_say_what_to_do_next(behind: Behind) -> None:
    missing = await behind.house.call("GET", f"/p/github{ALLOWED}")
    assert (missing.status, missing.code) == (401, "not_authenticated")
    assert missing.header("www-authenticate") is not None
    behind.house.clock.advance(901)
    expired = await behind.call()
    assert (expired.status, expired.code) == (401, "expired")
    fresh = await behind.agent.token(behind.task["task_token"])
    await behind.house.alice.sign_in()
    await behind.house.alice.does("POST", "/v1/revocations", node=behind.agent.id)
    revoked = await behind.house.gateway(fresh, "GET", ALLOWED)
    assert (revoked.status, revoked.code) == (403, "revoked")
    assert behind.calls == []
