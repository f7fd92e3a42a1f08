"""The upstream behind every proxy here: GitHub-like answers, made once, sent as fast as a loop can. A program.

Prints its address once it listens. Speaks just enough HTTP/1.1 for GET with keep-alive; looks at nothing but the path.
A file is as many bytes as its name says; a POST is swallowed, however long it is said to be.
"""

import asyncio
import json
from typing import Any

import uvloop

from valetkey.cli.practice_documents import Repository, issue_document, repository_document, user_document

ISSUES = 4
FILES = b"/repos/acme-corp/backend/contents/"
_PIECE = bytes(1 << 18)
_HEAD = b"HTTP/1.1 %s\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n"


class Answers(asyncio.Protocol):
    """One connection."""

    def __init__(self, answers: dict[bytes, bytes]) -> None:
        self._answers = answers
        self._unread = b""
        self._to_swallow = 0
        self._to_send = 0
        self._is_full = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._to_swallow:
            self._swallow(data)
            return
        if data.startswith(b"POST "):
            head, _, body = data.partition(b"\r\n\r\n")
            self._to_swallow = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self._swallow(body)
            return
        *requests, self._unread = (self._unread + data).split(b"\r\n\r\n")
        for request in requests:
            path = request.split(b" ", 2)[1].partition(b"?")[0]
            if path.startswith(FILES):
                self._to_send = int(path.removeprefix(FILES))
                self._transport.write(_HEAD % (b"200 OK", self._to_send))
                self._send()
            else:
                self._transport.write(self._answers[path])

    def _swallow(self, data: bytes) -> None:
        self._to_swallow -= len(data)
        if not self._to_swallow:
            self._transport.write(_HEAD % (b"201 Created", 0))

    def _send(self) -> None:
        while self._to_send and not self._is_full:
            piece = _PIECE[: self._to_send]
            self._to_send -= len(piece)
            self._transport.write(piece)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._send()


def answers(base: str) -> dict[bytes, bytes]:
    """Who I am, one repository, and a page of its issues (about 4 KB)."""
    repository = Repository(
        id=41, full_name="acme-corp/backend", readers=frozenset({"alice"}), writers=frozenset({"alice"})
    )
    issues = [
        {
            "id": 9000 + n,
            "number": n,
            "state": "open",
            "title": f"Issue {n}",
            "body": "It happens on Mondays. " * 8,
            "author": "alice",
        }
        for n in range(ISSUES)
    ]
    author = user_document(base, "alice", 7)
    listed = [issue_document(base, repository, issue) | {"user": author, "assignees": [author]} for issue in issues]
    documents: dict[bytes, Any] = {
        b"/user": author,
        b"/repos/acme-corp/backend": repository_document(base, repository, "alice"),
        b"/repos/acme-corp/backend/issues": listed,
    }
    return {path: _answer(json.dumps(document).encode()) for path, document in documents.items()}


def _answer(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncache-control: private, max-age=60\r\n"
    head += 'etag: W/"1"\r\nx-ratelimit-remaining: 4999\r\nx-github-request-id: 1\r\n'
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def main() -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    known: dict[bytes, bytes] = {}
    server = await loop.create_server(lambda: Answers(known), "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    known.update(answers(base))
    print(base, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
