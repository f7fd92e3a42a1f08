"""An engine carries the bytes, the decision and the credential are ours: by raw requests, and by real engines."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import caddy, envoy, nginx
from tests.support.house import REAL, House, Robot, open_house
from tests.support.http import Reply, call
from tests.support.upstream import Upstream
from valetkey.server.listen import Listener

ISSUES = "/repos/acme-corp/backend/issues"
ADDRESS = "https://github.acme.com"


@dataclass
class Asked:
    """A house with an engine, and an agent's credential for GitHub."""

    house: House
    door: str
    engine: Any
    agent: Robot
    delegation: Any
    task: Any
    token: str

    async def forward(self, method: str, uri: str, *, secret: str | None = None, **headers: str) -> Reply:
        """Ask as Traefik and Caddy do."""
        sent = {
            "authorization": f"Bearer {self.token}",
            "x-valetkey-engine": self.engine["secret"] if secret is None else secret,
            "x-forwarded-method": method,
            "x-forwarded-uri": uri,
            **headers,
        }
        return await call(self.door, "GET", "/forward-auth", headers={k: v for k, v in sent.items() if v})

    async def envoy(self, method: str, path: str) -> Reply:
        """Ask as Envoy does."""
        headers = {"authorization": f"Bearer {self.token}", "x-valetkey-engine": self.engine["secret"]}
        return await call(self.door, method, f"/ext-authz{path}", headers=headers)


@contextlib.asynccontextmanager
async def asked(folder: Path, database_url: str | None = None, **more: Any) -> AsyncIterator[Asked]:
    async with open_house(folder, database_url=database_url, **more) as house:
        agent, delegation, task, token = await house.ready()
        engine = await house.alice.does("POST", "/v1/engines", name="edge", integration="github", address=ADDRESS)
        async with Listener(house.app.decisions, host="127.0.0.1", port=0) as door:
            yield Asked(house, f"http://127.0.0.1:{door.port}", engine, agent, delegation, task, token)


@pytest.fixture
async def at(tmp_path: Path, database_url: str | None) -> AsyncIterator[Asked]:
    async with asked(tmp_path / "data", database_url) as found:
        yield found


def header(reply: Reply, name: str) -> str:
    return next((value for key, value in reply.headers if key == name), "")


async def test_an_allowed_call_is_given_the_credential_and_its_record(at: Asked) -> None:
    for told in (await at.forward("GET", ISSUES), await at.envoy("GET", ISSUES)):
        assert told.status == 200
        assert header(told, "authorization") == f"Bearer {REAL}"
        assert "agent pr-reviewer-v2" in header(told, "user-agent")
        assert header(told, "cache-control") == "no-store"
    allowed = await at.house.events("call.allowed")
    assert header(told, "x-decision-id") in [r["id"] for r in allowed]
    await at.house.app.calls.settle()
    assert {r["ended"] for r in await at.house.events("call.finished")} == {"unobserved"}


@pytest.mark.parametrize(
    ("method", "uri", "status"),
    [
        ("POST", ISSUES, 403),
        ("GET", "/repos/acme-corp/payroll/issues", 403),
        ("GET", "/user/installations", 403),
        ("GET", "/repos/acme-corp/backend/../payroll/issues", 400),
        ("GET", "/repos/acme-corp//backend/issues", 400),
        ("GET", "/repos/acme-corp/%62ackend/issues", 400),
        ("GET", f"{ISSUES}?", 400),
        ("GET", f"{ISSUES}?q=a+b", 400),
        ("GET", f"{ISSUES}#x", 400),
        ("get", ISSUES, 400),
        ("GET", f"http://evil.example{ISSUES}", 400),
    ],
)
async def test_whatever_else_gets_no_credential(at: Asked, method: str, uri: str, status: int) -> None:
    told = await at.forward(method, uri)
    assert told.status == status
    assert REAL not in str(told.headers) + told.body.decode()


async def test_a_canonical_query_passes(at: Asked) -> None:
    assert (await at.forward("GET", f"{ISSUES}?state=open&per_page=5")).status == 200


async def test_a_text_an_engine_does_not_show_is_refused_only_where_a_rule_looks_at_links(at: Asked) -> None:
    """What it carries past us may lead anywhere: rules about that hold, and without one the call is as any other."""
    grant = ("github:issues:write@acme-corp/backend",)
    task = await at.house.task(await at.house.delegate(at.agent, *grant))
    at.token = await at.agent.token(task["task_token"])
    assert (await at.envoy("POST", ISSUES)).status == 200
    rule = """
[[rule]]
id = "others"
effect = "allow"

[[rule]]
id = "no-links"
effect = "deny"
when = { parameters = { links = ["outside"] } }
"""
    await at.house.alice.does("POST", "/v1/policies", text=rule, after=0)
    refused = await at.envoy("POST", ISSUES)
    assert refused.status == 403
    assert REAL not in str(refused.headers)
    (denied,) = await at.house.events("call.denied")
    assert denied["rules"] == ["no-links"]
    assert (await at.envoy("POST", f"{ISSUES}/7/labels")).status == 200  # writes no text


async def test_a_revoked_task_is_refused_at_the_very_next_question(at: Asked) -> None:
    assert (await at.forward("GET", ISSUES)).status == 200
    await at.house.alice.does("POST", "/v1/revocations", node=at.task["id"])
    assert (await at.forward("GET", ISSUES)).status == 403


async def test_a_revoked_engine_finds_nothing_any_more(at: Asked) -> None:
    assert (await at.forward("GET", ISSUES)).status == 200
    await at.house.alice.does("POST", "/v1/revocations", node=at.engine["id"])
    assert (await at.forward("GET", ISSUES)).status == 404


async def test_only_an_administrator_adds_an_engine(at: Asked) -> None:
    bob = await at.house.person("bob@acme.com")
    body = {"name": "mine", "integration": "github", "address": ADDRESS}
    assert (await bob.call("POST", "/v1/engines", **body)).status == 403
    assert (await bob.call("GET", "/v1/engines")).status == 403
    (shown,) = (await at.house.alice.does("GET", "/v1/engines"))["data"]
    assert "secret" not in shown


@pytest.mark.parametrize("engine", [nginx, envoy, caddy], ids=["nginx", "envoy", "caddy"])
async def test_a_real_engine_asks_and_carries_the_bytes(tmp_path: Path, engine: Any) -> None:
    if (why := engine.missing()) is not None:
        pytest.skip(why)
    async with Upstream() as upstream:
        repository = {"id": 1, "full_name": "acme-corp/backend", "owner": {"id": 2, "login": "acme-corp"}}
        for path in ("/repos/acme-corp/backend", "/repositories/1"):
            upstream.answers("GET", path, json=repository)
        upstream.answers("GET", "/user", json={"login": "alice", "id": 3})
        upstream.answers("GET", ISSUES, json=[{"title": "one"}], headers={"set-cookie": "a=b"})
        async with asked(tmp_path / "data", upstream=upstream.url) as at:
            secret = at.engine["secret"]
            with engine.running(decisions=at.door, upstream=upstream.url, secret=secret) as front:
                bearer = {"authorization": f"Bearer {at.token}", "cookie": "a=b", "x-valetkey-engine": "mine"}
                seen = await call(front, "GET", f"{ISSUES}?state=open", headers=bearer)
                assert (seen.status, seen.json()) == (200, [{"title": "one"}])
                assert header(seen, "set-cookie") == ""
                assert header(seen, "content-security-policy") == "sandbox; default-src 'none'"
                arrived = upstream.seen[-1]
                assert arrived.target == f"{ISSUES}?state=open".encode()
                values = {name.lower(): value for name, value in arrived.headers}
                assert values[b"authorization"] == f"Bearer {REAL}".encode()
                assert b"agent pr-reviewer-v2" in values[b"user-agent"]
                assert not {b"cookie", b"x-forwarded-for", b"x-valetkey-engine"} & values.keys()
                count = len(upstream.seen)
                for method, path in [
                    ("POST", ISSUES),
                    ("GET", "/repos/acme-corp/payroll/issues"),
                    ("GET", "/-/decide"),
                    ("GET", "/repos/acme-corp//backend/issues"),
                    ("GET", "/repos/acme-corp/x/../backend/issues"),
                    ("GET", "/repos/acme-corp/%62ackend/issues"),
                ]:
                    refused = await call(front, method, path, headers=bearer)
                    assert 400 <= refused.status < 500, (path, refused.status)
                    assert REAL not in str(refused.headers) + refused.body.decode()
                assert (await call(front, "GET", ISSUES)).status == 401
                # What arrived since are our own questions about names, none of these calls.
                assert not [s for s in upstream.seen[count:] if s.method != "GET" or s.target.endswith(b"/issues")]
                await at.house.alice.does("POST", "/v1/revocations", node=at.delegation["id"])
                assert (await call(front, "GET", ISSUES, headers=bearer)).status == 403
