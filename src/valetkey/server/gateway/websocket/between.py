"""What passes between two open WebSockets: frames are read, judged, and written anew. Pure: bytes in, bytes out.

An agent's side and an API's side. Nothing goes through as it came: masks, lengths and control frames are made here,
pings are answered by the side they came to, and a message that is too large (1009), no UTF-8 (1007) or badly framed
(1002) ends both sides. What comes down is scrubbed within each message, wherever its frames end. Memory is bounded by
one frame a side, as long as the caller reads no more from one peer than the other has taken. RFC 6455 sections 5 to 8.
"""

import codecs
import logging
from typing import Final

from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol

from valetkey.server.gateway.scrub import ScrubbedStream, Scrubber

_LARGEST_REASON: Final = 123  # bytes; what a control frame holds beside its code
_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
_UNSAYABLE: Final = frozenset({CloseCode.NO_STATUS_RCVD, CloseCode.ABNORMAL_CLOSURE, CloseCode.TLS_HANDSHAKE})


def _silent() -> logging.Logger:
    """A logger no configuration reaches."""
    # SECURITY: the library would log every frame, and what is said is nobody's to keep.
    # Guarded by tests/rules/test_websocket_between.py::test_no_logger_hears_what_is_said
    logger = logging.Logger("silent")
    logger.setLevel(logging.CRITICAL + 1)
    logger.disabled = True
    return logger


class _Utf8:
    """Whether the frames of one text message are UTF-8 together."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def is_well_formed(self, data: bytes, *, is_last: bool) -> bool:
        try:
            self._decoder.decode(data, is_last)
        except UnicodeDecodeError:
            return False
        return True


class Between:
    """An agent and an API, from the two handshakes to the last frame.

    `sent` and `received` count the bytes of messages, up and down, without their framing.
    """

    def __init__(self, scrubber: Scrubber, *, largest_message: int) -> None:
        self._agent = Protocol(SERVER, state=OPEN, max_size=largest_message, logger=_silent())
        self._api = Protocol(CLIENT, state=OPEN, max_size=largest_message, logger=_silent())
        self._scrubber = scrubber
        self._scrubbing: ScrubbedStream | None = None  # of the message that is coming down
        self._text: dict[Protocol, _Utf8] = {}  # the text message that each side is in
        self.sent = 0
        self.received = 0

    def from_agent(self, data: bytes) -> None:
        """Bytes arrived from the agent; none is the end of what it sends."""
        self._take(self._agent, self._api, data)

    def from_api(self, data: bytes) -> None:
        """Bytes arrived from the API; none is the end of what it sends."""
        self._take(self._api, self._agent, data)

    def to_agent(self) -> list[bytes]:
        """What to write to the agent now; an empty piece is the end of it: close the sending half."""
        return self._agent.data_to_send()

    def to_api(self) -> list[bytes]:
        """The same, for the API."""
        return self._api.data_to_send()

    def end(self, code: int, reason: str) -> None:
        """Close both sides with one sentence, whatever is in the middle. Closing what is closed changes nothing."""
        self._close(self._agent, code, reason)
        self._close(self._api, code, reason)

    @property
    def is_open(self) -> bool:
        """Whether messages pass, both ways."""
        return self._agent.state is OPEN and self._api.state is OPEN

    def _take(self, side: Protocol, other: Protocol, data: bytes) -> None:
        if side.reader.eof:
            return
        if data:
            side.receive_data(data)
        else:
            side.receive_eof()
        for event in side.events_received():
            assert isinstance(event, Frame)
            if event.opcode in _DATA:
                self._pass_on(side, other, event)
        if side.close_rcvd is not None and side.parser_exc is None:
            self._hand_on_close(side, other, side.close_rcvd)
        elif side.parser_exc is not None:
            broke_off = isinstance(side.parser_exc, EOFError)
            code = CloseCode.GOING_AWAY if broke_off else CloseCode.INTERNAL_ERROR
            self._close(other, code, "The other side broke off." if broke_off else "The other side broke the protocol.")

    def _pass_on(self, side: Protocol, other: Protocol, frame: Frame) -> None:
        """One frame of a message, judged and written anew."""
        if other.state is not OPEN:
            return
        data = bytes(frame.data)
        if frame.opcode is Opcode.TEXT:
            self._text[side] = _Utf8()
        if (text := self._text.get(side)) is not None and not text.is_well_formed(data, is_last=frame.fin):
            side.fail(CloseCode.INVALID_DATA, "This text is not UTF-8.")
            self._close(other, CloseCode.INTERNAL_ERROR, "The other side broke the protocol.")
            return
        if frame.fin:
            self._text.pop(side, None)
        if side is self._api:
            data = self._clean(data, is_last=frame.fin)
            self.received += len(data)
        else:
            self.sent += len(data)
        match frame.opcode:
            case Opcode.TEXT:
                other.send_text(data, frame.fin)
            case Opcode.BINARY:
                other.send_binary(data, frame.fin)
            case _:
                other.send_continuation(data, frame.fin)

    def _clean(self, data: bytes, *, is_last: bool) -> bytes:
        """A piece of the message that comes down; what may be the beginning of a secret waits for the next one."""
        scrubbing = self._scrubbing or self._scrubber.stream()
        clean = scrubbing.feed(data)
        self._scrubbing = None if is_last else scrubbing
        return clean + scrubbing.finish() if is_last else clean

    def _hand_on_close(self, side: Protocol, other: Protocol, close: Close) -> None:
        # SECURITY: a reason is said by the API like any message, and may echo what was injected.
        # Guarded by tests/rules/test_websocket_between.py::test_an_echoed_secret_does_not_come_down_as_a_reason
        said = close.reason.encode()
        reason = (self._scrubber.scrub(said) if side is self._api else said).decode(errors="replace")
        self._close(other, close.code, reason)

    def _close(self, side: Protocol, code: int, reason: str) -> None:
        if side.state is not OPEN:
            return
        # A close may stand in the middle of a message: the peer takes what it had of it for incomplete.
        side.expect_continuation_frame = False
        if code in _UNSAYABLE:
            side.send_close()
        else:
            side.send_close(code, reason.encode()[:_LARGEST_REASON].decode(errors="ignore"))
