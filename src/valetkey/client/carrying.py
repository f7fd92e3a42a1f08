"""One connection of a child: its requests read strictly, carried to the gateway, and the answers carried back.

Bodies stream both ways. Addresses of the gateway in `Link`, `Location` and JSON bodies become those the child used, so
that page two stays inside. What a request means and whether it may go on is said by the forwarder it belongs to.
Specs: RFC 9112 (framing).
"""

import contextlib
import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final

from valetkey.client.addressed import Addressing, Onward
from valetkey.client.errors import InvalidRequest, Unreachable, ValetkeyError
from valetkey.client.http import dial, is_stale
from valetkey.client.rebase import Rebase
from valetkey.client.websocket import ahead, asks_for_websocket, check_handshake, join

if TYPE_CHECKING:
    from valetkey.client.loopback import Forwarder

HOP_BY_HOP: Final = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade")
)  # fmt: skip
_HEADER: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*\r?\n")
_MOST_HEADERS: Final = 100
_CHUNK: Final = 64 * 1024  # bytes
_LONGEST_LINE: Final = 64 * 1024
_SILENCE_SECONDS: Final = 300.0
_REBASED: Final = frozenset({"link", "location", "content-location"})

Headers = list[tuple[str, str]]


class Server(ThreadingMixIn, HTTPServer):
    """Listens on a free port of 127.0.0.1 alone."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, forwarder: "Forwarder", serves: "type[Connection]") -> None:
        self.forwarder = forwarder
        super().__init__(("127.0.0.1", 0), serves)

    def server_bind(self) -> None:
        # NOTE: HTTPServer would look up a name for the address, which can take seconds.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is its own affair; a traceback among the child's output helps nobody."""


class Connection(BaseHTTPRequestHandler):
    """Serves one connection, request after request."""

    protocol_version = "HTTP/1.1"
    server: Server

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
            self.serve(self._read())
        except ValetkeyError as refusal:
            self._refuse(refusal)
        except (OSError, HTTPException):  # one of the two sides went away in mid-answer: so does the other
            self.close_connection = True
            self._drop()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Nothing is logged: targets and headers are the child's business."""

    def serve(self, headers: Headers) -> None:
        """Carry one request to the gateway, and its answer back."""
        self.forward(headers, self.server.forwarder.addressing)

    def forward(self, headers: Headers, at: Addressing) -> None:
        """Carry one request to the gateway, as this addressing understands it. Raises its refusal."""
        forwarder = self.server.forwarder
        length, is_chunked = self.framing()
        opens = asks_for_websocket(headers)
        if opens:
            check_handshake(self.command, self.request_version, headers)
            self.close_connection = True  # refused, it ends: what may follow is no HTTP
        onward, kept = forwarder.admitted(self.command, self.path, headers, at)
        upstream = self._opened()
        target = forwarder.gateway.path + onward.target
        try:
            self.send(upstream, target, kept, length, is_chunked)
            answer = upstream.getresponse()
            # Once more with the nonce it wants; a body that went by cannot be sent again, and its client is told.
            if forwarder.learn(answer) and not length and not is_chunked:
                answer.read()
                _, kept = forwarder.admitted(self.command, self.path, headers, at)
                self.send(upstream, target, kept, 0, is_chunked=False)
                answer = upstream.getresponse()
        except (OSError, HTTPException) as error:
            raise Unreachable(f"No answer from the gateway at {forwarder.gateway.geturl()}: {error}") from error
        if answer.status == 101:
            self._opened_there(answer, upstream, is_asked=opens)
        else:
            self.answer(answer, onward)
        answer.close()  # http.client does not notice the end of a counted body that was read piece by piece
        if answer.will_close:
            self._drop()

    def parse_request(self) -> bool:
        """Read the head of a request; what is no header stays to be refused, and the parser never sees it."""
        lines: list[bytes] = []
        while len(lines) <= _MOST_HEADERS and (line := self.rfile.readline(_LONGEST_LINE + 1)).strip(b"\r\n"):
            lines.append(line)
        # SECURITY: the parser ends the headers at a line that is none, joins folded ones and splits at a bare CR;
        # whoever reads on might not.
        # Guarded by tests/flows/test_forwarder.py::test_headers_with_two_readings_are_refused
        self._is_clear = len(lines) <= _MOST_HEADERS and all(_HEADER.fullmatch(line) for line in lines)
        body, self.rfile = self.rfile, BytesIO(b"".join(lines) + b"\r\n" if self._is_clear else b"\r\n")
        try:
            return super().parse_request()
        finally:
            self.rfile = body

    def _read(self) -> Headers:
        if not self._is_clear or self.request_version == "HTTP/0.9":
            raise InvalidRequest("The headers of the request can be read in two ways.", status=400)
        return list(self.headers.items())

    def framing(self) -> tuple[int, bool]:
        """How long the body is, or that it comes in chunks. Raises `InvalidRequest` where that has two readings."""
        lengths = self.headers.get_all("Content-Length", [])
        codings = self.headers.get_all("Transfer-Encoding", [])
        if codings:
            if lengths or [coding.strip().lower() for coding in codings] != ["chunked"]:
                raise InvalidRequest("The request says in two ways how long it is.", status=400)
            return 0, True
        if len(lengths) > 1 or not all(text.isascii() and text.isdigit() for text in lengths):
            raise InvalidRequest("The request does not say how long it is.", status=400)
        return int(lengths[0]) if lengths else 0, False

    def send(self, upstream: HTTPConnection, target: str, headers: Headers, length: int, is_chunked: bool) -> None:
        """Send the request with these headers, its body as it comes."""
        upstream.putrequest(self.command, target, skip_accept_encoding=True)
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

    def answer(self, answer: HTTPResponse, onward: Onward | None = None) -> None:
        """Pass on an answer; that of the gateway with its addresses as the child's."""
        if onward is not None and onward.is_for_git and "problem+json" in answer.getheader("Content-Type", ""):
            self._told_to_git(answer)
            return
        has_body = self.command != "HEAD" and answer.status not in (204, 304) and answer.status >= 200
        is_json = "json" in answer.getheader("Content-Type", "").partition(";")[0].lower()
        length = answer.getheader("Content-Length")
        leading = onward if is_json else None
        is_counted = length is not None and not (has_body and leading is not None)
        is_chunked = has_body and not is_counted and self.request_version == "HTTP/1.1"
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            lower = name.lower()
            if lower not in HOP_BY_HOP and (lower != "content-length" or is_counted):
                is_led = onward is not None and lower in _REBASED
                self.send_header(name, value.replace(onward.theirs, onward.own) if is_led and onward else value)
        if is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif has_body and not is_counted:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if has_body:
            self._body(answer, leading, is_chunked)
        else:
            answer.read()

    def _opened_there(self, answer: HTTPResponse, upstream: HTTPConnection, *, is_asked: bool) -> None:
        """The gateway opened a WebSocket: hand on its 101, and from then on the bytes of both sides."""
        there = upstream.sock
        if not is_asked or there is None:
            raise ConnectionAbortedError("the gateway left HTTP, and nobody asked it to")
        self.send_response_only(101)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.end_headers()
        join(self.connection, there, early=(ahead(self.connection, self.rfile), ahead(there, answer.fp)))

    def _told_to_git(self, answer: HTTPResponse) -> None:
        """A refusal as plain text, the only kind that git shows its user."""
        document = json.loads(answer.read())
        text = f"{document.get('detail', '')}\n{document.get('hint', '')}\n".encode()
        self.send_response_only(answer.status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self, answer: HTTPResponse, leading: Onward | None, is_chunked: bool) -> None:
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
        self.refuse(refusal, *(('WWW-Authenticate: Bearer realm="valetkey run"',) if refusal.status == 401 else ()))

    def refuse(self, refusal: ValetkeyError, *more: str, reason: str | None = None) -> None:
        """Answer with a refusal and go no further on this connection."""
        self.close_connection = True
        self._drop()
        status = refusal.status or 503
        body = json.dumps({**refusal.document(), "status": status}).encode()
        with contextlib.suppress(OSError):
            self.send_response_only(status, reason)
            self.send_header("Content-Type", "application/problem+json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            for name, _, value in (line.partition(": ") for line in more):
                self.send_header(name, value)
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
