"""Somebody at the gateway's address who answers by a script, for tests of what stands before it."""

import socket
import ssl
import threading
from collections.abc import Callable
from typing import BinaryIO

Answering = Callable[[list[bytes], BinaryIO, BinaryIO], None]


class Gateway:
    """Somebody who answers at the gateway's address: one scripted answer per connection, and what was received."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        port = self.listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
        if tls is not None:
            self.listening = tls.wrap_socket(self.listening, server_side=True)
        self.heads: list[list[bytes]] = []
        self.answer: Answering = plain(b"{}")
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listening.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as reading, connection.makefile("wb", buffering=0) as writing:
                while head := list(iter(reading.readline, b"\r\n")) if (first := reading.peek(1)) and first else []:
                    self.heads.append([line.strip() for line in head])
                    self.answer(self.heads[-1], reading, writing)  # type: ignore[arg-type]
                    if self.answer is not KEEPS_ALIVE:
                        break

    def close(self) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(10)

    def header(self, name: bytes) -> list[bytes]:
        """The values of a header of the newest request."""
        lines = [line.partition(b":") for line in self.heads[-1][1:]]
        return [value.strip() for key, _, value in lines if key.lower() == name]


def plain(body: bytes, *headers: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json") -> Answering:
    def answer(_head: list[bytes], _reading: BinaryIO, writing: BinaryIO) -> None:
        lines = [b"HTTP/1.1 " + status, b"Content-Type: " + kind, b"Content-Length: %d" % len(body), *headers]
        writing.write(b"\r\n".join([*lines, b"", b""]) + body)

    return answer


KEEPS_ALIVE = plain(b'"again"')
