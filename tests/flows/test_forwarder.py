"""The forwarder between a child and the gateway, over real sockets: what it lets in, changes, and streams."""

import base64
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from tests.support.scripted_gateway import KEEPS_ALIVE, Gateway, plain
from valetkey.client.errors import Expired
from valetkey.client.fresh import Fresh
from valetkey.client.loopback import Forwarder
from valetkey.client.proving import ProofKey
from valetkey.verify.dpop import verify_proof


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.close()


@pytest.fixture
def forwarder(gateway: Gateway) -> Iterator[Forwarder]:
    forwarder = Forwarder(gateway.url, frozenset({"github"}), Fresh(lambda api: (f"fresh-{api}", 300.0)))
    forwarder.start()
    yield forwarder
    forwarder.close()


class Child:
    """A client of the forwarder, as the command of a run is one."""

    def __init__(self, forwarder: Forwarder) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", forwarder.port, timeout=10)
        self.host = forwarder.url.removeprefix("http://")
        self.token = {"Authorization": f"Bearer {forwarder.placeholder}"}

    def ask(
        self, path: str = "/p/github/x", *, method: str = "GET", headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        self.connection.request(method, path, headers=self.token | (headers or {}))
        return self.connection.getresponse()


@pytest.fixture
def child(forwarder: Forwarder) -> Iterator[Child]:
    child = Child(forwarder)
    yield child
    child.connection.close()


def test_a_fresh_credential_goes_out_in_the_place_of_the_placeholder(
    gateway: Gateway, forwarder: Forwarder, child: Child
) -> None:
    headers = {"X-Thing": "kept", "Connection": "X-Gone", "X-Gone": "1"}
    assert child.ask("/p/github/repos/a%2Fb?q=%27&r=1", headers=headers).status == 200
    assert gateway.heads[-1][0] == b"GET /p/github/repos/a%2Fb?q=%27&r=1 HTTP/1.1"
    assert gateway.header(b"authorization") == [b"Bearer fresh-github"]
    assert gateway.header(b"x-thing") == [b"kept"]
    assert gateway.header(b"x-gone") == []
    assert gateway.header(b"host") == [gateway.url.removeprefix("http://").encode()]
    assert forwarder.placeholder.encode() not in b"".join(gateway.heads[-1])


def test_a_request_under_another_host_name_is_refused(gateway: Gateway, child: Child) -> None:
    assert child.ask(headers={"Host": "evil.example"}).status == 421
    assert gateway.heads == []


def test_without_the_placeholder_nothing_is_minted_or_sent(gateway: Gateway) -> None:
    minted: list[str] = []
    guarded = Forwarder(gateway.url, frozenset({"github"}), Fresh(lambda api: (minted.append(api) or "t", 300.0)))  # type: ignore[func-returns-value]
    guarded.start()
    try:
        stranger = Child(guarded)
        stranger.token = {"Authorization": "Bearer guess"}
        refused = stranger.ask()
        assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, 'Bearer realm="valetkey run"')
        assert json.loads(refused.read())["code"] == "not_authenticated"
        assert (minted, gateway.heads) == ([], [])
        stranger.connection.close()
    finally:
        guarded.close()


@pytest.mark.parametrize(
    "path", ["/", "/p/slack/x", "/p/githubx/y", "/v1/whoami", "/p/../v1/whoami", "http://a/p/github/x"]
)
def test_only_the_apis_of_this_run_are_reached(gateway: Gateway, child: Child, path: str) -> None:
    assert child.ask(path, headers={"Host": child.host}).status == 404
    assert gateway.heads == []


def test_addresses_of_the_gateway_become_the_forwarders_own(
    gateway: Gateway, forwarder: Forwarder, child: Child
) -> None:
    theirs, own = f"{gateway.url}/p/github".encode(), forwarder.base("github").encode()
    gateway.answer = plain(
        b'{"url":"' + theirs + b'/x","n":1}',
        b"Link: <" + theirs + b'/x?page=2>; rel="next"',
        b"Location: " + theirs + b"/y",
    )
    answer = child.ask()
    assert answer.headers["Link"] == f'<{own.decode()}/x?page=2>; rel="next"'
    assert answer.headers["Location"] == f"{own.decode()}/y"
    assert answer.read() == b'{"url":"' + own + b'/x","n":1}'


def test_what_is_not_json_passes_byte_for_byte(gateway: Gateway, child: Child) -> None:
    body = f"see {gateway.url}/p/github/x".encode()
    gateway.answer = plain(body, kind=b"text/plain")
    answer = child.ask()
    assert (answer.read(), answer.headers["Content-Length"]) == (body, str(len(body)))


def test_an_answer_reaches_the_child_while_it_is_still_being_made(gateway: Gateway, child: Child) -> None:
    seen = threading.Event()

    def answer(_head: list[bytes], _reading: BinaryIO, writing: BinaryIO) -> None:
        writing.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writing.write(b"7\r\ndata: 1\r\n")
        assert seen.wait(10)
        writing.write(b"7\r\ndata: 2\r\n0\r\n\r\n")

    gateway.answer = answer
    streaming = child.ask()
    assert streaming.read(7) == b"data: 1"
    seen.set()
    assert streaming.read() == b"data: 2"


def test_a_body_reaches_the_gateway_while_it_is_still_being_sent(gateway: Gateway, child: Child) -> None:
    seen, received = threading.Event(), []

    def answer(head: list[bytes], reading: BinaryIO, writing: BinaryIO) -> None:
        assert reading.read(9) == b"5\r\nfirst\r"
        seen.set()
        while (line := reading.readline()) != b"0\r\n":
            received.append(line)
        plain(b"{}")(head, reading, writing)

    def body() -> Iterator[bytes]:
        yield b"first"
        assert seen.wait(10)
        yield b"second"

    gateway.answer = answer
    child.connection.request("POST", "/p/github/x", body(), child.token, encode_chunked=True)
    assert child.connection.getresponse().status == 200
    assert b"second\r\n" in received
    assert gateway.header(b"transfer-encoding") == [b"chunked"]


@pytest.mark.parametrize("framing", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"])
@pytest.mark.parametrize("kind", [b"application/json", b"text/plain"])
def test_an_answer_that_was_cut_is_seen_to_be_cut(gateway: Gateway, child: Child, framing: bytes, kind: bytes) -> None:
    def answer(_head: list[bytes], _reading: BinaryIO, writing: BinaryIO) -> None:
        writing.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n" + framing + b"only this")

    gateway.answer = answer
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        child.ask().read()


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: 2, 2\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_a_request_that_says_in_two_ways_how_long_it_is_is_refused(
    gateway: Gateway, forwarder: Forwarder, headers: bytes
) -> None:
    """GW-06"""
    host = forwarder.url.removeprefix("http://").encode()
    with socket.create_connection(("127.0.0.1", forwarder.port), timeout=10) as raw, raw.makefile("rb") as reading:
        token = b"Authorization: Bearer " + forwarder.placeholder.encode() + b"\r\n"
        raw.sendall(b"POST /p/github/x HTTP/1.1\r\nHost: " + host + b"\r\n" + token + headers + b"\r\nok")
        assert reading.readline().startswith(b"HTTP/1.1 400 ")
    assert gateway.heads == []


def test_a_connection_to_the_gateway_is_used_again(gateway: Gateway, child: Child) -> None:
    gateway.answer = KEEPS_ALIVE
    assert [child.ask().read() for _ in range(3)] == [b'"again"'] * 3


def test_a_connection_the_gateway_closed_meanwhile_is_opened_anew(gateway: Gateway, child: Child) -> None:
    assert [child.ask().read() for _ in range(3)] == [b"{}"] * 3


def test_head_and_empty_answers_have_no_body(gateway: Gateway, child: Child) -> None:
    def answer(_head: list[bytes], _reading: BinaryIO, writing: BinaryIO) -> None:
        writing.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n")

    gateway.answer = answer
    answered = child.ask(method="HEAD")
    assert (answered.read(), answered.headers["Content-Length"]) == (b"", "11")

    def nothing(_head: list[bytes], _reading: BinaryIO, writing: BinaryIO) -> None:
        writing.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    gateway.answer = nothing
    assert child.ask(method="DELETE").status == 204


def test_a_refusal_to_mint_reaches_the_child_as_it_is(gateway: Gateway) -> None:
    def mint(api: str) -> tuple[str, float]:
        raise Expired("The task has ended.", status=401)

    ended = Forwarder(gateway.url, frozenset({"github"}), Fresh(mint))
    ended.start()
    child = Child(ended)
    answer = child.ask()
    assert (answer.status, json.loads(answer.read())["code"]) == (401, "expired")
    child.connection.close()
    ended.close()
    assert gateway.heads == []


def test_a_gateway_that_is_not_there_is_a_typed_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    alone = Forwarder(f"http://127.0.0.1:{port}", frozenset({"github"}), Fresh(lambda api: ("t", 300.0)))
    alone.start()
    child = Child(alone)
    answer = child.ask()
    assert (answer.status, json.loads(answer.read())["code"]) == (503, "unreachable")
    child.connection.close()
    alone.close()


def bound_token(key: ProofKey) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"cnf": {"jkt": key.jkt}}).encode()).rstrip(b"=").decode()
    return f"e30.{claims}.c2ln"


@pytest.fixture
def proving(gateway: Gateway) -> Iterator[tuple[Forwarder, str]]:
    key = ProofKey()
    token = bound_token(key)
    forwarder = Forwarder(gateway.url, frozenset({"github"}), Fresh(lambda api: (token, 300.0)), key)
    forwarder.start()
    yield forwarder, token
    forwarder.close()


def test_a_bound_credential_goes_out_with_a_fresh_proof_wherever_the_child_put_the_placeholder(
    gateway: Gateway, proving: tuple[Forwarder, str]
) -> None:
    forwarder, token = proving
    basic = base64.b64encode(f"me:{forwarder.placeholder}".encode()).decode()
    for value in (f"Bearer {forwarder.placeholder}", f"token {forwarder.placeholder}", f"Basic {basic}"):
        child = Child(forwarder)
        headers = {"Authorization": value, "DPoP": "a proof of the child's own"}
        assert child.ask("/p/github/repos/a%2Fb?q=1", headers=headers).status == 200
        child.connection.close()
        assert gateway.header(b"authorization") == [b"DPoP " + token.encode()]
        (shown,) = gateway.header(b"dpop")
        url = f"{gateway.url}/p/github/repos/a%2Fb"
        proof = verify_proof(shown.decode(), method="GET", url=url, token=token)
        assert proof.jkt == forwarder.key.jkt  # type: ignore[union-attr]
        assert forwarder.placeholder.encode() not in b"".join(gateway.heads[-1])


def test_a_nonce_the_gateway_wants_is_put_into_the_proof_and_the_call_is_sent_again(
    gateway: Gateway, proving: tuple[Forwarder, str]
) -> None:
    forwarder, token = proving
    challenge = b'WWW-Authenticate: DPoP error="use_dpop_nonce"'

    def wants_a_nonce(head: list[bytes], reading: BinaryIO, writing: BinaryIO) -> None:
        (shown,) = gateway.header(b"dpop")
        url = gateway.url + head[0].split(b" ")[1].decode()
        method = head[0].split(b" ")[0].decode()
        nonce = verify_proof(shown.decode(), method=method, url=url, token=token).nonce
        refusal = plain(b"{}", challenge, b"DPoP-Nonce: fresh", b"Connection: close", status=b"401 Unauthorized")
        (plain(b"[]") if nonce == "fresh" else refusal)(head, reading, writing)

    gateway.answer = wants_a_nonce
    child = Child(forwarder)
    answer = child.ask(headers={"Authorization": f"Bearer {forwarder.placeholder}"})
    assert (answer.status, answer.read()) == (200, b"[]")
    assert len(gateway.heads) == 2
    child.connection.close()


@pytest.mark.parametrize(
    "line",
    [b"X-One: a\r\n b", b"X-One : a", b"no header at all", b" X-One: a", b"X-One: a\rX-Two: b"],
)
def test_headers_with_two_readings_are_refused(gateway: Gateway, forwarder: Forwarder, line: bytes) -> None:
    for written, status in ((line, b"400"), (b"X-One: a", b"200")):
        head = b"GET /p/github/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % forwarder.port
        placeholder = b"Authorization: Bearer " + forwarder.placeholder.encode()
        with socket.create_connection(("127.0.0.1", forwarder.port), timeout=20) as connection:
            connection.sendall(head + placeholder + b"\r\n" + written + b"\r\n\r\n")
            assert connection.recv(64 * 1024).split(b" ")[1] == status
    assert len(gateway.heads) == 1
