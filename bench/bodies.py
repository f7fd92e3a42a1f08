"""Bodies of a gigabyte through the gateway, down and up: how fast against the bare proxy, and what they do to memory.

VALETKEY_BENCH_MIB makes them smaller. The load is a plain blocking socket of this program; it and the upstream share
the core that is not measured, so both figures of a pair carry the same cost of handing bytes over. Memory is measured
after a first small body, so that it is the body's and not the first use's.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.cores import measured
from bench.deployment import Deployment
from bench.processes import program
from bench.rows import Row, most_row, ratio_row
from valetkey.client.protocol import post

MIB: Final = int(os.environ.get("VALETKEY_BENCH_MIB", "1024"))
ROUNDS: Final = 3
_SIZE: Final = MIB << 20
_FILES: Final = "/repos/acme-corp/backend/contents/"
_UP: Final = "/repos/acme-corp/backend/issues/1/labels"
_PIECE: Final = bytes(1 << 18)
Carry = Callable[[str, str, str, int], None]


def rows(house: Deployment, upstream: str) -> list[Row]:
    """Megabytes a second both ways, and the growth of the server's memory while they passed."""
    task = _task(house)
    found = []
    with contextlib.ExitStack() as opened:
        with measured():
            _, bare = opened.enter_context(program("bench.bare_proxy", upstream))
        for way, carry in (("down", _down), ("up", _up)):
            ours, theirs, grown = [], [], []
            for base, prefix in ((bare, ""), (house.url, "/p/github")):
                carry(base, prefix, house.token(task), 1 << 20)
            for _ in range(ROUNDS):
                theirs.append(_rate(carry, bare, "", ""))
                token = house.token(task)
                _forget_peak(house.pid)
                before = _megabytes(house.pid, "VmRSS")
                ours.append(_rate(carry, house.url, "/p/github", token))
                grown.append(_megabytes(house.pid, "VmHWM") - before)
            note = f"MB/s, one body of {MIB} MiB {way}, against the bare proxy"
            found += [
                ratio_row(f"body-{way}", ours, theirs, goal=0.8, bar=0.5, note=note),
                most_row(
                    f"body-{way}-memory",
                    max(grown),
                    goal=20,
                    note=f"MB, most growth of resident memory while {MIB} MiB pass {way}; rounds "
                    + ", ".join(f"{one:.1f}" for one in grown),
                ),
            ]
    return found


def _task(house: Deployment) -> str:
    """A task that may write issues, besides reading."""
    delegation = house.alice.call(
        post(
            "/v1/delegations",
            agent="pr-reviewer-v2",
            grants=["github:repo:read@acme-corp/backend", "github:issues:write@acme-corp/backend"],
            seconds=3600,
            purpose="measure bodies",
        )
    )["id"]
    return str(house.alice.call(post("/v1/tasks", delegation=delegation, seconds=3600))["task_token"])


def _rate(carry: Carry, base: str, prefix: str, token: str) -> float:
    began = time.perf_counter()
    carry(base, prefix, token, _SIZE)
    return _SIZE / 1e6 / (time.perf_counter() - began)


def _down(base: str, prefix: str, token: str, size: int) -> None:
    with _opened(base) as link:
        link.sendall(_head("GET", f"{prefix}{_FILES}{size}", token))
        buffer = bytearray(1 << 18)
        read = link.recv_into(buffer)
        head, _, rest = bytes(buffer[:read]).partition(b"\r\n\r\n")
        _must_be(b"200", head)
        left = size - len(rest)
        if b"chunked" in head.lower():
            left = -1  # what frames the chunks is not counted: the end is
        while left and (read := link.recv_into(buffer)):
            left -= read if left > 0 else 0
            if left < 0 and buffer[:read].endswith(b"0\r\n\r\n"):
                return
        if left:
            raise RuntimeError(f"{base} broke the body off")


def _up(base: str, prefix: str, token: str, size: int) -> None:
    with _opened(base) as link:
        about = f"content-type: application/octet-stream\r\ncontent-length: {size}\r\n"
        link.sendall(_head("POST", prefix + _UP, token, about))
        for _ in range(size // len(_PIECE)):
            link.sendall(_PIECE)
        _must_be(b"201", link.recv(1 << 16))


def _opened(base: str) -> socket.socket:
    host, port = base.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def _head(method: str, path: str, token: str, about: str = "") -> bytes:
    bearer = f"authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{bearer}{about}\r\n".encode()


def _must_be(status: bytes, head: bytes) -> None:
    if head.split(b" ", 2)[1:2] != [status]:
        raise RuntimeError(f"a body did not pass: {head[:400]!r}")


def _megabytes(pid: int, what: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith(f"{what}:")]
    return int(kilobytes) / 1024


def _forget_peak(pid: int) -> None:
    """The highest resident size counts from now on (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
