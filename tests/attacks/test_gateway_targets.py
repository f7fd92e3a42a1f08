"""What a request line and headers can claim, through the whole server: GW-01..04, -11, -12, -13, -15, -16, SS-06."""

import ast
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.behind import ALLOWED, DENIED, STREAMED, Behind, open_behind
from valetkey.server.gateway import http as door
from valetkey.server.gateway.canonical import Profile, canonical

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "request_targets.json").read_text("utf-8"))
GITHUB = Profile(encoded_slash=True)
SOURCE = Path(door.__file__).parent

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    grants = ("github:repo:read,issues:write,pulls:write@acme/pub", "github:account:read@*")
    async with open_behind(tmp_path_factory.mktemp("targets"), grants=grants) as opened:
        yield opened


@pytest.fixture
def behind(shared: Behind) -> Behind:
    shared.forget()
    return shared


def named(vector: Any) -> str:
    return f"{vector['threat']} {vector.get('method', '')} {vector['raw']!a}"


def as_sent(vector: Any, token: str) -> bytes:
    method: str = vector.get("method", "GET")
    raw: bytes = vector["raw"].encode("latin-1", "replace")
    credential = f"authorization: Bearer {token}\r\nconnection: close\r\n\r\n".encode()
    below = b"/p/github" if raw[:1] == b"/" else b""  # what is no path stands for itself
    return method.encode() + b" " + below + raw + b" HTTP/1.1\r\nhost: x\r\n" + credential


def unread(vector: Any) -> bool:
    """Whether this API's profile refuses the spelling too; the corpus is written for several profiles."""
    path, _, query = vector["raw"].encode("latin-1", "replace").partition(b"?")
    if vector.get("method") == "GET ":
        return False  # on a socket it is the method GET and a second space, and what is sent on has one
    try:
        canonical(vector.get("method", "GET"), path, query, GITHUB)
    except Exception:
        return True
    return False


REFUSED = [vector for vector in VECTORS if unread(vector)]
READ = [vector for vector in VECTORS if not unread(vector)]


async def test_most_of_the_corpus_is_refused_by_this_profile_too() -> None:
    assert len(REFUSED) >= 130
    assert len(READ) >= 15


@pytest.mark.parametrize("vector", REFUSED, ids=named)
async def test_gw_01_an_ambiguous_target_is_400_and_never_reaches_the_upstream(behind: Behind, vector: Any) -> None:
    """Also GW-04, GW-12, GW-13, GW-15, GW-16: whatever the corpus calls refused; no look-up is made for it either."""
    answer = await behind.say(as_sent(vector, behind.token))
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert behind.up.seen == []


@pytest.mark.parametrize("vector", READ, ids=named)
async def test_gw_01_a_clear_target_gets_the_decision_of_its_canonical_form(behind: Behind, vector: Any) -> None:
    """GW-02: what arrives is byte for byte what policy judged; GW-12: the query changes no decision."""
    answer = await behind.say(as_sent(vector, behind.token))
    path, _, query = vector["raw"].encode("latin-1").partition(b"?")
    target = canonical(vector.get("method", "GET").strip(), path, query, GITHUB)
    if answer.status == 200:
        assert [seen.target for seen in behind.calls] == [target.target_bytes]
        assert vector["verdict"] == "refused" or target.target_bytes.decode() == vector["sent"]
        assert target.segments[:1] not in [("repos",)] or target.segments[1:3] == ("acme", "pub")
    else:
        assert answer.status == 403
        assert behind.calls == []


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (ALLOWED, ALLOWED),
        ("/repos/acme/pub/contents/a%20b.md", "/repos/acme/pub/contents/a%20b.md"),
        ("/repos/acme/pub/contents/docs%2Freadme.md", "/repos/acme/pub/contents/docs/readme.md"),
        ("/repos/acme/pub/labels/it%27s%20%21", "/repos/acme/pub/labels/it's%20!"),
        ("/repos/acme/pub/compare/acme%3Amain...bob%3Adev", None),
        ("/repos/acme/pub/issues?labels[]=x&q=a+b", "/repos/acme/pub/issues?labels%5B%5D=x&q=a%20b"),
        ("/REPOS/acme/pub/issues", None),
        ("/repos/acme/sec/issues?x=/repos/acme/pub/issues", None),
        ("/repos/acme/SEC/issues", None),
        (DENIED, None),
    ],
)
async def test_gw_02_the_bytes_on_the_wire_are_the_canonical_ones(behind: Behind, path: str, sent: str | None) -> None:
    answer = await behind.call(path=path)
    assert [seen.target.decode() for seen in behind.calls] == ([] if sent is None else [sent])
    assert answer.status == (403 if sent is None else 200)
    assert all(not seen.oddities for seen in behind.up.seen)


@pytest.mark.parametrize("name", ["path", "url"])
async def test_gw_03_nothing_in_the_gateway_reads_the_decoded_path(name: str) -> None:
    """No `scope["path"]`, no `request.url`: an escape decoded before policy would be judged as something else."""
    for file in SOURCE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                assert not (node.slice.value == name and ast.unparse(node.value).endswith("scope")), file
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("scope.get"):
                assert ast.unparse(node.args[0]) != repr(name), file
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("request", name), file
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("starlette"), file


async def test_gw_03_an_escaped_way_out_of_a_granted_repository_is_refused(behind: Behind) -> None:
    for path in ("/repos/acme/pub%2f..%2fsec/issues", "/repos/acme/pub%2F..%2Fsec/issues", "/repos/acme%2Fsec/issues"):
        answer = await behind.call(path=path)
        assert answer.status in (400, 403), path
    assert behind.calls == []


@pytest.mark.parametrize(
    "target", ["http://evil/x", "http://127.0.0.1/p/github" + ALLOWED, "https://api.github.com" + ALLOWED, "//evil/x"]
)
async def test_gw_04_a_target_with_a_host_in_it_leads_nowhere(behind: Behind, target: str) -> None:
    line = f"GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {behind.token}\r\n\r\n"
    answer = await behind.say(line.encode())
    assert answer.status == (404 if target.startswith("//") else 400)
    assert behind.up.seen == []


@pytest.mark.parametrize(
    ("header", "value"),
    [("x-http-method-override", "GET"), ("x-method-override", "GET"), ("x-http-method", "GET")],
)
async def test_gw_13_no_header_turns_a_write_into_a_read(behind: Behind, header: str, value: str) -> None:
    answer = await behind.call("DELETE", "/repos/acme/pub", headers=[(header, value)])
    assert answer.status in (400, 403)
    assert (await behind.call(headers=[(header, "DELETE")])).status == 400
    assert behind.calls == []


@pytest.mark.parametrize("agent", ["kube-probe/1.30", "ELB-HealthChecker/2.0", "GoogleHC/1.0"])
async def test_gw_13_calling_oneself_a_probe_opens_nothing(behind: Behind, agent: str) -> None:
    assert (await behind.call(path=DENIED, headers=[("user-agent", agent)])).status == 403
    bare = await behind.house.call("GET", f"/p/github{ALLOWED}", headers=[("user-agent", agent)])
    assert bare.status == 401
    assert behind.calls == []


async def test_gw_13_a_method_in_the_form_is_only_text_to_the_decision(behind: Behind) -> None:
    """`_method=DELETE` in a body is the upstream's to ignore; the request stays the POST that was judged."""
    answer = await behind.call("POST", STREAMED, form={"_method": "DELETE", "title": "x"})
    assert answer.status == 200
    assert [seen.method for seen in behind.calls] == ["POST"]
    assert (await behind.call("POST", f"{STREAMED}?_method=DELETE", form={"title": "x"})).status == 400


@pytest.mark.parametrize("path", ["/repos/acme/pub;x=1/issues", "/repos;/acme/pub/issues", "/repos/acme/pub/issues;a"])
async def test_gw_15_a_matrix_parameter_is_refused_where_the_api_has_none(behind: Behind, path: str) -> None:
    assert (await behind.call(path=path)).status == 400
    assert behind.up.seen == []


@pytest.mark.parametrize(
    "query",
    ["access_token=x", "token=x", "api_key=x", "API-Key=x", "%61ccess_token=x", "a=1&client_secret=x", "auth[token]=x"],
)
async def test_gw_16_a_credential_in_the_query_is_refused(behind: Behind, query: str) -> None:
    assert (await behind.call(path=f"{ALLOWED}?{query}")).status == 400
    assert (await behind.call(path=f"{ALLOWED}?note=x")).status == 200
    assert len(behind.calls) == 1


CREDENTIALS = [
    ("cookie", "user_session=mine"), ("proxy-authorization", "Basic bWluZTptaW5l"), ("x-api-key", "mine"),
    ("x_api_key", "mine"), ("private-token", "mine"), ("x-github-otp", "mine"), ("x-auth-token", "mine"),
    ("connection", "close, authorization"), ("dpop", "mine"), ("x-amz-security-token", "mine"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "value"), CREDENTIALS, ids=[name for name, _ in CREDENTIALS])
async def test_gw_16_exactly_one_credential_leaves_and_it_is_the_connections(
    behind: Behind, header: str, value: str
) -> None:
    answer = await behind.call(headers=[(header, value)])
    assert answer.status == 200
    [seen] = behind.calls
    assert seen.values("authorization") == [b"Bearer ghp_realCanary0123456789abcdefghijklmnop"]
    assert b"mine" not in seen.raw
    assert behind.token.encode() not in seen.raw


async def test_gw_16_two_credentials_of_ours_are_refused(behind: Behind) -> None:
    answer = await behind.call(headers=[("authorization", f"token {behind.token}")])
    assert answer.status == 400
    assert behind.up.seen == []


FORWARDED = [
    ("x-forwarded-for", "127.0.0.1"), ("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "https"),
    ("forwarded", "for=127.0.0.1;host=evil.example;proto=https"), ("x-original-url", ALLOWED),
    ("x-rewrite-url", ALLOWED), ("x-forwarded-uri", ALLOWED), ("x-forwarded-prefix", "/p/github"),
    ("x-forwarded-user", "alice"), ("x-remote-user", "alice"), ("x-forwarded-method", "GET"), ("host", "evil.example"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "value"), FORWARDED, ids=[name for name, _ in FORWARDED])
async def test_gw_11_a_claim_of_origin_changes_no_decision_and_no_address(
    behind: Behind, header: str, value: str
) -> None:
    """SS-06: nor does it name an upstream. `Host` stands for itself, in place of the usual one."""
    behind.up.answers("GET", ALLOWED, json=[{"url": f"{behind.up.url}/repos/acme/pub/issues/1"}])
    more = {"host": value} if header == "host" else {"headers": [(header, value)]}
    allowed, denied = await behind.call(**more), await behind.call(path=DENIED, **more)
    assert (allowed.status, denied.status) == (200, 403)
    assert allowed.json() == [{"url": f"{behind.house.settings.gateway}/p/github/repos/acme/pub/issues/1"}]
    [seen] = behind.calls
    assert seen.header("host") == f"127.0.0.1:{behind.up.port}".encode()
    assert b"evil.example" not in seen.raw
    assert header == "host" or seen.values(header) == []
    metadata = await behind.house.call("GET", "/.well-known/oauth-authorization-server", **more)
    assert metadata.json()["issuer"] == behind.house.settings.issuer
    assert b"evil.example" not in metadata.body


async def test_ss_06_a_body_that_names_an_upstream_is_only_a_body(behind: Behind) -> None:
    more = {"headers": [("x-upstream", "http://evil.example"), ("x-target-host", "evil.example")]}
    answer = await behind.call("POST", ALLOWED, json={"base_url": "http://evil.example", "host": "evil"}, **more)
    assert answer.status == 200
    assert [seen.target.decode() for seen in behind.calls] == [ALLOWED]
