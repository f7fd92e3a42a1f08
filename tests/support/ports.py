"""Ports for programs that have to be told one.

They lie below those the system gives away by itself (from 32,768 on Linux), so nothing takes one between being found
free and being listened on; each worker of the tests looks in a part of its own.
"""

import contextlib
import itertools
import os
import random
import socket
from typing import Final

_EACH: Final = 1_500
_WORKER: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_FIRST: Final = 20_000 + _EACH * _WORKER
_BEGIN: Final = random.randrange(_EACH)  # several runs of the tests on one machine do not begin at the same one
_PORTS: Final = itertools.cycle([_FIRST + (_BEGIN + n) % _EACH for n in range(_EACH)])


def free_port() -> int:
    """A port nobody listens on now."""
    return next(port for port in _PORTS if _is_free(port))


def free_pair() -> int:
    """A port that is free, and so is the next one."""
    return next(port for port in _PORTS if _is_free(port) and _is_free(port + 1) and next(_PORTS))


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
