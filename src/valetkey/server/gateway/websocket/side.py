"""One side of a WebSocket: its frames parsed into messages, and messages written anew as frames.

Pings are answered here, each side for itself. A message is whole or it is none: fragments are put together in bounds,
and a text is UTF-8. RFC 6455 sections 5 to 7. Refuses to know what is allowed, and the other side.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol as Frames
from websockets.protocol import State

_MOST_REASON = 123  # bytes: RFC 6455 section 5.5


class Message(NamedTuple):
    """What one side said."""

    is_text: bool
    data: bytes


class Line(Protocol):
    """The bytes below it."""

    async def read(self) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    async def finish(self) -> None: ...


class Side:
    """One side, open. `early` are frames that came with its handshake; `heard` is called whenever something comes."""

    def __init__(self, line: Line, frames: Frames, early: Sequence[Frame] = (), *, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._line = line
        self._frames = frames
        self._early = early

    @property
    def closed_by(self) -> Close | None:
        """What it closed with; None where it did not."""
        return self._frames.close_rcvd

    @property
    def was_failed(self) -> bool:
        """Whether what it said could not be read: it was told so."""
        return self._frames.close_sent is not None and self._frames.close_rcvd is None

    async def messages(self) -> AsyncIterator[Message]:
        """What it says, until it closes, leaves, or says what cannot be read."""
        is_text, parts = False, bytearray()
        frames = list(self._early)
        while True:
            for frame in frames:
                if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                    is_text = frame.opcode is Opcode.TEXT
                elif frame.opcode is not Opcode.CONT:
                    continue
                parts += frame.data
                if not frame.fin:
                    continue
                said, parts = Message(is_text, bytes(parts)), bytearray()
                if is_text and not _is_utf8(said.data):
                    if self._frames.state is State.OPEN:
                        self._frames.fail(1007, "The text is not UTF-8.")
                    self._flush()
                    return
                yield said
            if self._frames.state is not State.OPEN:
                return
            data = await self._line.read()
            if not data:
                self._frames.receive_eof()
                return
            self._heard()
            self._frames.receive_data(data)
            frames = [event for event in self._frames.events_received() if isinstance(event, Frame)]
            self._flush()
            await self._line.drain()  # pongs too: who pings and does not read is not answered without end

    async def say(self, message: Message) -> None:
        """Write one message, and wait while the other end does not read. Nothing, where it is closing."""
        if self._frames.state is not State.OPEN:
            return
        (self._frames.send_text if message.is_text else self._frames.send_binary)(message.data)
        self._flush()
        await self._line.drain()

    def close(self, code: int | None, reason: str) -> None:
        """Say why it ends, unless it is ending already."""
        if self._frames.state is State.OPEN:
            self._frames.send_close(code, reason.encode()[:_MOST_REASON].decode(errors="ignore") if code else "")
            self._flush()

    async def finish(self) -> None:
        """Let go of it without losing what was said last."""
        await self._line.finish()

    def _flush(self) -> None:
        if data := b"".join(self._frames.data_to_send()):
            self._line.write(data)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
