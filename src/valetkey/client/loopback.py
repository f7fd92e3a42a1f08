"""The forwarder of `valetkey run`: on 127.0.0.1, inside the run process, between a child and the gateway.

A request that holds this run's placeholder gets a fresh delegated credential in its place and goes to `/p/…` of the
gateway; any other is refused with 401, whoever sent it. Bodies stream both ways. Addresses of the gateway in `Link`,
`Location` and JSON bodies become the forwarder's own, so that page two stays inside. It decides nothing: the gateway
does. Specs: RFC 9112 (framing), RFC 9110 section 7.6.1 (hop-by-hop fields).
"""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any, Final

from valetkey.client.errors import InvalidRequest, NotAuthenticated, NotFound, Unreachable, ValetkeyError
from valetkey.client.fresh import Fresh
from valetkey.client.http import base_of, dial, is_stale
from valetkey.client.placeholder import NotHeld, new_placeholder, put, without
from valetkey.client.proving import ProofKey
from valetkey.client.rebase import Rebase
from valetkey.client.unverified import unverified_claims

_CHUNK: Final = 64 * 1024  # bytes
_LONGEST_LINE: Final = 64 * 1024
_SILENCE_SECONDS: Final = 300.0
_HOP_BY_HOP: Final = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade")
)  # fmt: skip
_OURS: Final = frozenset({"host", "content-length", "accept-encoding", "expect"})
_REBASED: Final = frozenset({"link", "location", "content-location"})

Headers = list[tuple[str, str]]


class Forwarder:
    """Serves from `start` to `close`. `apis` are the integrations it leads to; `fresh` has the credentials.

    `key` is what they are bound to: then every call goes on with a fresh proof of it.
    """

    def __init__(self, gateway: str, apis: frozenset[str], fresh: Fresh, key: ProofKey | None = None) -> None:
        self.key = key
        self.gateway = base_of(gateway)
        self.apis = apis
        self.fresh = fresh
        self.placeholder = new_placeholder()
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.theirs = f"{self.gateway.geturl()}/p/"
        self.own = f"{self.url}/p/"
        self.hosts = frozenset({f"127.0.0.1:{self.port}", f"localhost:{self.port}"})
        self._thread = threading.Thread(target=self._server.serve_forever, name="forwarder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Take no more requests. Those under way end with the process."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def base(self, api: str) -> str:
        """Where a child reaches one API."""
        return f"{self.own}{api}"

    def admitted(self, method: str, target: str, headers: Headers) -> Headers:
        """The headers to send on, with a fresh credential. Raises the refusal of a request that may not pass."""
        # SECURITY: a page in a browser on this machine can reach any port, but not under our name and not with the
        # placeholder. Guarded by tests/flows/test_forwarder.py::test_a_request_under_another_host_name_is_refused
        if [value for name, value in headers if name.lower() == "host"] not in [[host] for host in self.hosts]:
            raise InvalidRequest("This address is not served under that name.", status=421)
        try:
            put(headers, placeholder=self.placeholder, credential="")  # before anything is minted for a stranger
        except NotHeld:
            raise NotAuthenticated(
                "The request does not hold this run's placeholder, in exactly one place.",
                hint="Send it where the API's token goes; `valetkey run` sets it in the environment of its command.",
                status=401,
            ) from None
        api = target.removeprefix("/p/").partition("?")[0].partition("/")[0]
        if not target.startswith("/p/") or api not in self.apis or not target.isascii():
            raise NotFound("This run leads to no API of that name.", hint=f"It has {sorted(self.apis)}.", status=404)
        named = {n.strip().lower() for name, value in headers if name.lower() == "connection" for n in value.split(",")}
        dropped = _HOP_BY_HOP | _OURS | named - {"authorization"}
        kept = [(name, value) for name, value in headers if name.lower() not in dropped]
        credential = self.fresh.credential(api)
        if self.key is None or "cnf" not in unverified_claims(credential):
            return put(kept, placeholder=self.placeholder, credential=credential)
        proof = self.key.proof(method, self.gateway.geturl() + target, token=credential)
        rest = [(n, v) for n, v in without(kept, placeholder=self.placeholder) if n.lower() != "dpop"]
        return [*rest, ("Authorization", f"DPoP {credential}"), ("DPoP", proof)]

    def learn(self, answer: HTTPResponse) -> bool:
        """Take the nonce the gateway offers for the next proof; whether this very call was refused for want of it."""
        if self.key is None or not self.key.learn(self.gateway.geturl(), answer.getheader("DPoP-Nonce")):
            return False
        return answer.status == 401 and "use_dpop_nonce" in answer.getheader("WWW-Authenticate", "")

    def led_back(self, value: str) -> str:
        """A header value with the gateway's addresses as the forwarder's."""
        return value.replace(self.theirs, self.own)


class _Server(ThreadingMixIn, HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, forwarder: Forwarder) -> None:
        self.forwarder = forwarder
        super().__init__(("127.0.0.1", 0), _Connection)

    def server_bind(self) -> None:
        # NOTE: HTTPServer would look up a name for the address, which can take seconds.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is its own affair; a traceback among the child's output helps nobody."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream: HTTPConnection | None = None

    def finish(self) -> None:
        self._drop()
        super().finish()

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(_LONGEST_LINE + 1)
        if not self.raw_requestline or len(self.raw_requestline) > _LONGEST_LINE or not self.parse_request():
            self.close_connection = True
            return
        try:
            self._forward(list(self.headers.items()))
        except ValetkeyError as refusal:
            self._refuse(refusal)
        except (OSError, HTTPException):  # one of the two sides went away in mid-answer: so does the other
            self.close_connection = True
            self._drop()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing is logged: targets and headers are the child's business."""

    def _forward(self, headers: Headers) -> None:
        forwarder = self.server.forwarder
        length, is_chunked = self._framing()
        onward = forwarder.admitted(self.command, self.path, headers)
        upstream = self._opened()
        try:
            self._send(upstream, onward, length, is_chunked)
            answer = upstream.getresponse()
            # Once more with the nonce it wants; a body that went by cannot be sent again, and its client is told.
            if forwarder.learn(answer) and not length and not is_chunked:
                answer.read()
                self._send(upstream, forwarder.admitted(self.command, self.path, headers), 0, is_chunked=False)
                answer = upstream.getresponse()
        except (OSError, HTTPException) as error:
            raise Unreachable(f"No answer from the gateway at {forwarder.gateway.geturl()}: {error}") from error
        self._answer(answer)
        answer.close()  # http.client does not notice the end of a counted body that was read piece by piece
        if answer.will_close:
            self._drop()

    def _framing(self) -> tuple[int, bool]:
        lengths = self.headers.get_all("Content-Length", [])
        codings = self.headers.get_all("Transfer-Encoding", [])
        if codings:
            if lengths or [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise InvalidRequest("The request says in two ways how long it is.", status=400)
            return 0, True
        if len(lengths) > 1 or not all(text.isascii() and text.isdigit() for text in lengths):
            raise InvalidRequest("The request does not say how long it is.", status=400)
        return int(lengths[0]) if lengths else 0, False

    def _send(self, upstream: HTTPConnection, headers: Headers, length: int, is_chunked: bool) -> None:
        path = self.server.forwarder.gateway.path + self.path
        upstream.putrequest(self.command, path, skip_accept_encoding=True)
        for name, value in headers:
            upstream.putheader(name, value.encode("latin-1"))
        upstream.putheader("Accept-Encoding", "identity")  # a compressed body could not be led back
        if is_chunked:
            upstream.putheader("Transfer-Encoding", "chunked")
        elif length or self.headers.get("Content-Length"):
            upstream.putheader("Content-Length", str(length))
        upstream.endheaders()
        body = self._chunks() if is_chunked else self._octets(length)
        try:
            for piece in body:
                upstream.send(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
            if is_chunked:
                upstream.send(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            # The gateway has answered before it read everything, as it does when it refuses; its answer is waiting.
            self.close_connection = True

    def _octets(self, length: int) -> Iterator[bytes]:
        while length:
            piece = self.rfile.read1(min(length, _CHUNK))
            if not piece:
                raise ConnectionAbortedError("the request ended too early")
            length -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            yield from self._octets(size)
            if self.rfile.readline(_LONGEST_LINE) not in (b"\r\n", b"\n"):
                raise ConnectionAbortedError("a chunk is longer than it says")
        while self.rfile.readline(_LONGEST_LINE) not in (b"\r\n", b"\n", b""):
            pass  # trailers go no further

    def _chunk_size(self) -> int:
        digits = self.rfile.readline(_LONGEST_LINE).split(b";")[0].strip()
        if not digits or digits.strip(b"0123456789abcdefABCDEF"):
            raise ConnectionAbortedError("a chunk does not say how long it is")
        return int(digits, 16)

    def _answer(self, answer: HTTPResponse) -> None:
        forwarder = self.server.forwarder
        has_body = self.command != "HEAD" and answer.status not in (204, 304) and answer.status >= 200
        is_json = "json" in answer.getheader("Content-Type", "").partition(";")[0].lower()
        length = answer.getheader("Content-Length")
        is_counted = length is not None and not (has_body and is_json)
        is_chunked = has_body and not is_counted and self.request_version == "HTTP/1.1"
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            lower = name.lower()
            if lower not in _HOP_BY_HOP and (lower != "content-length" or is_counted):
                self.send_header(name, forwarder.led_back(value) if lower in _REBASED else value)
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif has_body and not is_counted:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if has_body:
            self._body(answer, forwarder if is_json else None, is_chunked)
        else:
            answer.read()

    def _body(self, answer: HTTPResponse, leading: Forwarder | None, is_chunked: bool) -> None:
        rebase = Rebase(leading.theirs.encode(), leading.own.encode()) if leading is not None else None
        while piece := answer.read1(_CHUNK):
            self._write(rebase.feed(piece) if rebase is not None else piece, is_chunked)
        if answer.length:
            # NOTE: http.client ends quietly here; the child must see a body that was cut, not one that ended.
            raise ConnectionAbortedError("the gateway cut the answer")
        if rebase is not None:
            self._write(rebase.finish(), is_chunked)
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _write(self, piece: bytes, is_chunked: bool) -> None:
        if piece:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)

    def _refuse(self, refusal: ValetkeyError) -> None:
        self.close_connection = True
        self._drop()
        status = refusal.status or 503
        body = json.dumps({**refusal.document(), "status": status}).encode()
        with contextlib.suppress(OSError):
            self.send_response_only(status)
            self.send_header("Content-Type", "application/problem+json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            if status == 401:
                self.send_header("WWW-Authenticate", 'Bearer realm="valetkey run"')
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def _opened(self) -> HTTPConnection:
        if self._upstream is not None and is_stale(self._upstream):
            self._drop()
        if self._upstream is None:
            self._upstream = dial(self.server.forwarder.gateway, timeout=_SILENCE_SECONDS)
        return self._upstream

    def _drop(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
            self._upstream = None
