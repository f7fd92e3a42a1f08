"""Send the malformed requests of the framing tests to any server, and print which of them it lets through.

    python -m tools.probe_framing 127.0.0.1:8000

A program for choosing a server, and for looking at another one; ours is held to the same requests by
tests/attacks/test_framing.py. Point it at a server you run yourself. Ends with 1 if anything passed.
"""

import socket
import sys

from tests.support.malformed import BAD_CHUNKS, CHUNKED, GET, REFUSED_HEADS

_SECONDS = 0.5


def answer(host: str, port: int, request: bytes) -> bytes:
    """Return what the server says within half a second."""
    said = b""
    with socket.create_connection((host, port), timeout=_SECONDS) as link:
        try:
            link.sendall(request)
            while piece := link.recv(65536):
                said += piece
        except OSError:
            pass  # it stays open or was reset: what was said is what counts
    return said


def main() -> int:
    """Probe the server named on the command line."""
    host, _, port = sys.argv[1].rpartition(":")
    if b" 200 " not in answer(host, int(port), GET + b"\r\n"):
        print("the plain request is not answered with 200: nothing can be said about this server")
        return 2
    cases = REFUSED_HEADS | {f"chunks, {name}": CHUNKED + rest for name, rest in BAD_CHUNKS.items()}
    passed = [name for name, request in cases.items() if b" 2" in answer(host, int(port), request)[:14]]
    print(f"{len(passed)} of {len(cases)} answered as if they were well framed")
    for name in passed:
        print(" ", name)
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
