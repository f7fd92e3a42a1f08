"""A git host on loopback: git's own `http-backend` behind a small server, and in front of the practice GitHub.

What is no git address goes on to the practice GitHub, so that both are at one origin, as at an Enterprise server. Every
byte that arrives is kept. Access is what a token says: read, or push, and nobody else is let in.
"""

import base64
import contextlib
import http.client
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

_CHUNK = 64 * 1024


@dataclass
class Arrived:
    """One request as it came: its head and body byte for byte, chunk sizes and all."""

    raw: bytearray = field(default_factory=bytearray)
    line: str = ""
    authorization: str = ""
    is_chunked: bool = False


class _Kept:
    """A stream that keeps what is read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.arrived = Arrived()

    def readline(self, limit: int = -1) -> bytes:
        return self._keep(self._stream.readline(limit))

    def read(self, size: int) -> bytes:
        return self._keep(self._stream.read(size))

    def close(self) -> None:
        self._stream.close()

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def _keep(self, data: bytes) -> bytes:
        self.arrived.raw += data
        return data


class GitHost(ThreadingHTTPServer):
    """Repositories below `folder`; `token` may read and push."""

    daemon_threads = True

    def __init__(self, folder: Path, api: str, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.folder = folder
        self.api = urlsplit(api)
        self.expected = "Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()
        self.arrived: list[Arrived] = []
        self.first_piece = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, text: str) -> Path:
        """A repository of that name with one commit, that may be pushed to."""
        bare = self.folder / f"{name}.git"
        git("init", "-q", "--bare", "-b", "main", str(bare))
        git("-C", str(bare), "config", "http.receivepack", "true")
        work = self.folder / "work" / name
        git("clone", "-q", str(bare), str(work))
        (work / "README.md").write_text(text)
        git("-C", str(work), "add", "README.md")
        git("-C", str(work), "commit", "-q", "-m", "first")
        git("-C", str(work), "push", "-q", "origin", "HEAD:main")
        return bare

    def at_git(self) -> list[Arrived]:
        """The requests for a git address."""
        return [one for one in self.arrived if ".git/" in one.line or "git-" in one.line]


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GitHost

    def setup(self) -> None:
        super().setup()
        self.rfile = self._kept = _Kept(self.rfile)  # type: ignore[assignment]

    def log_message(self, *_: object) -> None:
        pass

    def handle_one_request(self) -> None:
        self._kept.arrived = Arrived()
        super().handle_one_request()

    def do_GET(self) -> None:
        arrived = self._kept.arrived
        arrived.line, arrived.authorization = self.requestline, self.headers.get("Authorization", "")
        arrived.is_chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        self.server.arrived.append(arrived)
        path = self.path.partition("?")[0]
        if not path.endswith(("/info/refs", "/git-upload-pack", "/git-receive-pack")):
            self._api()
        elif arrived.authorization != self.server.expected:
            self._send(401, [("WWW-Authenticate", 'Basic realm="GitHub"')], b"")
        else:
            self._git(path)

    do_POST = do_GET  # noqa: N815

    def _git(self, path: str) -> None:
        owner, name, rest = path.lstrip("/").split("/", 2)
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{owner}/{name.removesuffix('.git')}.git/{rest}",
            "QUERY_STRING": self.path.partition("?")[2],
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": "alice",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        backend = subprocess.Popen(
            ["git", "http-backend"], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert backend.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            for piece in self._body():
                self.server.first_piece.set()
                backend.stdin.write(piece)
        out, _ = backend.communicate()
        head, _, body = out.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._send(int(fields.pop("Status", "200").split()[0]), list(fields.items()), body)

    def _body(self) -> Iterator[bytes]:
        if self._kept.arrived.is_chunked:
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        length = int(self.headers.get("Content-Length", "0"))
        while length:
            piece = self.rfile.read(min(length, _CHUNK))
            length -= len(piece)
            yield piece

    def _api(self) -> None:
        body = b"".join(self._body())
        onward = http.client.HTTPConnection(str(self.server.api.hostname), self.server.api.port, timeout=30)
        dropped = {"connection", "transfer-encoding", "content-length", "host"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        onward.request(self.command, self.path, body or None, headers)
        answer = onward.getresponse()
        content = answer.read()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in dropped]
        onward.close()
        self._send(answer.status, kept, content)

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def git_host(folder: Path, api: str, token: str) -> Iterator[GitHost]:
    """A git host before the practice GitHub at `api`, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    host = GitHost(folder, api, token)
    thread = threading.Thread(target=host.serve_forever)
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        thread.join()
        host.server_close()


def git(*arguments: str) -> str:
    """Run git as somebody without settings of their own."""
    environ = {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "LANG": "C.UTF-8",
        "GIT_AUTHOR_NAME": "Alice", "GIT_AUTHOR_EMAIL": "alice@acme.com",
        "GIT_COMMITTER_NAME": "Alice", "GIT_COMMITTER_EMAIL": "alice@acme.com",
    }  # fmt: skip
    return subprocess.run(["git", *arguments], env=environ, check=True, capture_output=True, text=True).stdout
