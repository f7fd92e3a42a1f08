"""One HTTP/1.1 connection to us: strict framing, deadlines on each phase, and a way to cut an answer in the middle.

Builds on uvicorn's httptools protocol and adds what it leaves open: the rules of `framing`, limits on a head, no
trailers, bounded chunk overhead, and a deadline for a slow head, a slow body and a reader that does not read. Refuses
to know applications and listening sockets. A refused request is never answered in the middle of another's answer.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from enum import Enum
from typing import Any, Final, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from valetkey.server.errors import InvalidRequest
from valetkey.server.framing import offers_websocket, refuse, refuse_handshake, refuse_target
from valetkey.server.problems import DOCS
from valetkey.server.room import Room
from valetkey.server.upgraded import Upgraded

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADERS: Final = 100
HEAD_SECONDS: Final = 10.0
BODY_SECONDS: Final = 30.0
BODY_BYTES_PER_PERIOD: Final = 4096  # a body slower than this per `BODY_SECONDS` is held open, not sent
READER_SECONDS: Final = 60.0
LINGER_SECONDS: Final = 2.0
_MOST_GATHERED: Final = 64 * 1024
_LARGEST_READ: Final = 256 * 1024
_OVERHEAD_BYTES: Final = 64 * 1024 + _LARGEST_READ  # chunk sizes and extensions, beyond
_OVERHEAD_FACTOR: Final = 8  # times the body they carry
_RESET: Final = struct.pack("ii", 1, 0)  # linger for no time: what is unsent is dropped, the peer sees a reset
_TOO_LARGE: Final = "its head is too large"


class CutStream(Exception):
    """Raised by an application after its answer began: end the connection so that no client takes it for complete."""


class _Refused(Exception):
    """A request that must not be read; the sentence says why."""


class _Phase(Enum):
    IDLE = "between requests"
    HEAD = "reading a head"
    BODY = "reading a body"


class _Gathered:
    """The pieces of an answer that are made in one turn of the loop, written at its end in one go."""

    __slots__ = ("_loop", "_pieces", "_size", "_transport", "is_closing")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _MOST_GATHERED:  # so that a reader who does not read is noticed
            self.flush()

    def close(self) -> None:
        self.flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            # SECURITY: closing waits for a peer that reads nothing, for ever, and its socket counts until then.
            # Guarded by tests/attacks/test_idle_sockets.py::test_who_reads_nothing_holds_no_socket
            self._loop.call_later(READER_SECONDS, self._transport.abort)

    def flush(self) -> None:
        if not self._pieces:
            return
        pieces, self._pieces, self._size = self._pieces, [], 0
        if not self._transport.is_closing():
            self._transport.write(b"".join(pieces))


class StrictConnection(HttpToolsProtocol):
    """One connection. Timers run only while something is awaited from the peer."""

    def __init__(
        self,
        config: Config,
        room: Room,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, room, app_state, _loop)
        self._room = room
        self._app = self.app
        # SECURITY: off whoever listens to that logger: it would repeat queries, into which people paste credentials.
        # Guarded by tests/attacks/test_leaks.py::test_lk_01_not_even_the_most_talkative_log_says_a_secret
        self.access_log = False
        self._phase = _Phase.IDLE
        self._upgraded: Upgraded | None = None  # from the head of a WebSocket's handshake on
        self._is_over = False  # whatever else arrives is not read
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._unread_head_bytes = 0
        self._body_bytes = 0
        self._period_bytes = 0
        self._overhead_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._gathered = _Gathered(transport, self.loop)
        self._await(HEAD_SECONDS, self._give_up)
        if not self._room.entered(self):
            self._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_over = True
        self._rest()
        if self._write_timer is not None:
            self._write_timer.cancel()
        self._room.left(self)
        super().connection_lost(exc)
        if self._upgraded is not None:
            self._upgraded.lost()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        if self._upgraded is None or not self._upgraded.is_open or self._is_over:
            return None
        self._upgraded.end()  # the close frame of our side is still to be said
        return True

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        if self._upgraded is not None:
            self._upgraded.feed(data)
            return
        body_bytes = self._body_bytes
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
            if self._upgraded is not None:  # the parser reads on as HTTP what the rules say is none
                raise httptools.HttpParserError
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._upgraded is not None and isinstance(error, httptools.HttpParserUpgrade):
                self._upgraded.feed(data[error.args[0] :])
                return
            cause = error.__context__
            self._refuse(str(cause) if isinstance(cause, _Refused) else "the request is not well-formed HTTP/1.1")
            return
        if self._phase is _Phase.BODY:
            if self._timer is None:
                self._await(BODY_SECONDS, self._measure)
            self._overhead_bytes += len(data) - max(0, self._body_bytes - body_bytes)
            if self._overhead_bytes > _OVERHEAD_BYTES + _OVERHEAD_FACTOR * self._body_bytes:
                self._refuse("the chunks carry more framing than body")
        elif not self._is_answering():
            self._unread_head_bytes += len(data)
            if self._phase is _Phase.HEAD and self._unread_head_bytes > MAX_HEAD_BYTES + _LARGEST_READ:
                self._refuse(_TOO_LARGE)
            elif self._timer is None:
                self._await(HEAD_SECONDS, self._give_up)

    def on_message_begin(self) -> None:
        self._phase = _Phase.HEAD
        self._head_bytes = self._unread_head_bytes = self._body_bytes = self._overhead_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is _Phase.BODY:
            raise _Refused("trailers are not read here")
        self._count_head(len(name) + len(value) + 4)
        if len(self.headers) >= MAX_HEADERS:
            raise _Refused(_TOO_LARGE)
        super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = self.parser.get_http_version()
        opens = self._takes_websocket()
        handshake = refuse_handshake(self.scope) if opens else None
        if reason := refuse_target(self.url) or handshake or refuse(self.scope, opens=opens):
            raise _Refused(reason)
        if opens and self._is_answering():
            raise _Refused("a WebSocket is not asked for before the answer to another request")
        self._phase = _Phase.BODY
        self._period_bytes = 0
        self._rest()
        self._room.works(self)
        self.app = service_unavailable if self._room.is_full else self._app
        if opens:
            self._upgraded = Upgraded(self.transport, self.flow, self._begin, self._finish)
            self.scope["extensions"] = {"valetkey.upgraded": self._upgraded}  # type: ignore[dict-item]
        super().on_headers_complete()
        if opens:
            self.cycle.keep_alive = False  # refused, it ends: what follows is no HTTP

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._period_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._phase = _Phase.IDLE
        self._rest()
        super().on_message_complete()

    def shutdown(self) -> None:
        if self._upgraded is not None and self._upgraded.is_open:
            self._upgraded.leaving.set()
        else:
            super().shutdown()

    def _takes_websocket(self) -> bool:
        """Whether it is a WebSocket's handshake to an address of this application that takes them."""
        # SECURITY: asked before anything else: every other upgrade is refused as one that is not even read.
        # Guarded by tests/attacks/test_websocket_framing.py::test_only_an_operation_that_opts_in_upgrades
        may_open = getattr(self._app, "may_open", None)
        if may_open is None or not offers_websocket(self.scope) or refuse_target(self.url):
            return False
        path, _, query = self.url.partition(b"?")
        return may_open(path, query) is True

    def _begin(self) -> None:
        """From here on the connection is the application's: no answer of HTTP is written any more."""
        self.cycle.disconnected = True
        self._rest()

    def _finish(self) -> None:
        """Nothing more is said: half-closed, and what still comes is read and forgotten for a moment."""
        # RFC 9112 section 9.6: closing with bytes unread would reset the connection before the close frame is read.
        self._is_over = True
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()
        self._await(LINGER_SECONDS, self.transport.abort)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not (self._is_over or self._is_answering()):
            self._room.rests(self)

    def make_room(self) -> None:
        """End it, idle as it is: another one is waiting."""
        self._is_over = True
        self._end()

    def timeout_keep_alive_handler(self) -> None:
        self._end()

    def _end(self) -> None:
        """Close; at once where the peer does not read what was sent, for closing would wait for it."""
        self._rest()
        if self.transport.get_write_buffer_size():
            self._break_off()
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(READER_SECONDS, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        async def cuttable(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except (CutStream, asyncio.CancelledError):
                # SECURITY: a reset, not an end: an HTTP/1.0 client takes an end for the end of the body.
                # Guarded by tests/attacks/test_framing.py::test_a_cut_answer_is_never_mistaken_for_a_whole_one
                cycle.disconnected = True
                self._gathered.flush()
                self._reset()

        cycle.transport = cast(asyncio.Transport, self._gathered)
        super()._start_asgi_task(cycle, cast(ASGI3Application, cuttable))

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _Refused(_TOO_LARGE)

    def _refuse(self, reason: str) -> None:
        """Answer with the refusal and close; but never write into an answer that has begun."""
        self._is_over = True
        self._rest()
        if self._is_answering():
            if self.pipeline or self.cycle.response_started or self._phase is not _Phase.BODY:
                self._break_off()
                return
            self.cycle.disconnected = True  # its own body is malformed: the application learns the client is gone
            self.cycle.message_event.set()
        elif self._phase is _Phase.BODY:
            self.transport.close()  # already answered
            return
        status = b"431 Request Header Fields Too Large" if reason == _TOO_LARGE else b"400 Bad Request"
        body = json.dumps(
            {
                "type": DOCS + InvalidRequest.code,
                "title": "The request is malformed.",
                "status": int(status[:3]),
                "code": InvalidRequest.code,
                "detail": f"The request was not read: {reason}.",
                "hint": InvalidRequest.hint,
            }
        ).encode()
        self.transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n"
            b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (status, len(body), body)
        )
        # RFC 9112 section 9.6: closing with bytes unread would reset the connection before the refusal is read.
        self.transport.write_eof()
        self._await(LINGER_SECONDS, self.transport.abort)

    def _break_off(self) -> None:
        """End the connection at once, answered or not; whoever works for it is told the client is gone."""
        if self._is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.pipeline.clear()
        self._reset()

    def _reset(self) -> None:
        self._is_over = True
        if (peer := self.transport.get_extra_info("socket")) is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def _give_up(self) -> None:
        self._rest()
        self._break_off()

    def _measure(self) -> None:
        """Give up on a body that trickles; one the application does not read at the moment is not the peer's fault."""
        if self._period_bytes < BODY_BYTES_PER_PERIOD and not self.flow.read_paused:
            self._give_up()
            return
        self._period_bytes = 0
        self._await(BODY_SECONDS, self._measure)

    def _await(self, seconds: float, otherwise: Callable[[], None]) -> None:
        self._rest()
        self._timer = self.loop.call_later(seconds, otherwise)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
