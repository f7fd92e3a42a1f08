"""Ports for programs that have to be told one.

They lie below those the system gives away by itself (from 32,768 on Linux), and each process of the tests has a block
of its own, held by the lock of a file as long as it lives: nothing takes a port between being found free and being
listened on.
"""

import contextlib
import fcntl
import functools
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FIRST: Final = 20_000
_EACH: Final = 500
_BLOCKS: Final = 25
# The same for every process of this machine, wherever it keeps what it throws away.
_LOCKS: Final = Path("/tmp")


def free_port() -> int:
    """A port nobody listens on now."""
    return next(port for port in _ports() if _is_free(port))


def free_pair() -> int:
    """A port that is free, and so is the next one."""
    return next(port for port in _ports() if _is_free(port) and _is_free(port + 1) and next(_ports()))


@functools.cache
def _ports() -> Iterator[int]:
    block = _FIRST + _EACH * _held_block()
    return itertools.cycle(range(block, block + _EACH - 1))


def _held_block() -> int:
    """The number of a block that no other process has. Its lock ends with this process."""
    for number in range(_BLOCKS):
        path = _LOCKS / f"valetkey-test-ports-{number}.lock"
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            return number
    raise RuntimeError(f"{_BLOCKS} processes of the tests run on this machine")


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False
