"""A package index on loopback that pip and npm take things from, over TLS or without; knows one package of each."""

import base64
import contextlib
import hashlib
import io
import json
import ssl
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WHEEL = "valet_practice-1.0-py3-none-any.whl"
ADDRESS = "127.0.0.2"  # not the one that NO_PROXY of a run excepts


def _wheel() -> bytes:
    info = "valet_practice-1.0.dist-info"
    files = {
        "valet_practice.py": "answer = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: valet-practice\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: here\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return packed.getvalue()


def _tarball() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        content = json.dumps({"name": "valet-practice", "version": "1.0.0"}).encode()
        about = tarfile.TarInfo("package/package.json")
        about.size = len(content)
        archive.addfile(about, io.BytesIO(content))
    return packed.getvalue()


class Index(ThreadingHTTPServer):
    """What is asked is in `asked`."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        super().__init__((ADDRESS, 0), _Request)
        self.asked: list[str] = []
        self.url = f"{'https' if tls else 'http'}://{ADDRESS}:{self.server_address[1]}"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.wheel, self.tarball = _wheel(), _tarball()

    def document(self) -> bytes:
        """What npm asks of a package."""
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(self.tarball).digest()).decode()
        dist = {"tarball": f"{self.url}/valet-practice.tgz", "integrity": integrity}
        version = {"name": "valet-practice", "version": "1.0.0", "dist": dist}
        tags = {"latest": "1.0.0"}
        return json.dumps({"name": "valet-practice", "dist-tags": tags, "versions": {"1.0.0": version}}).encode()

    def handle_error(self, *_: object) -> None:
        """A client that leaves is its own affair."""


class _Request(BaseHTTPRequestHandler):
    server: Index

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        page = f'<!DOCTYPE html><a href="/{WHEEL}">{WHEEL}</a>'.encode()
        known = {
            "/simple/valet-practice/": ("text/html", page),
            f"/{WHEEL}": ("application/octet-stream", self.server.wheel),
            "/valet-practice": ("application/json", self.server.document()),
            "/valet-practice.tgz": ("application/octet-stream", self.server.tarball),
        }
        kind, body = known.get(self.path.partition("?")[0], ("text/plain", b""))
        self.send_response_only(200 if body else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def index(tls: ssl.SSLContext | None = None) -> Iterator[Index]:
    """An index until the block ends."""
    serving = Index(tls)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    try:
        yield serving
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()
