"""Who runs where: what is measured has a core to itself, everything else (load, upstream, database) the others."""

import contextlib
import os
from collections.abc import Iterator

_ALL = sorted(os.sched_getaffinity(0))
MEASURED = frozenset(_ALL[:1])
REST = frozenset(_ALL[1:] or _ALL)


def stay_away() -> None:
    """Move this process, and whatever it starts from now on, off the measured core."""
    os.sched_setaffinity(0, REST)


@contextlib.contextmanager
def measured() -> Iterator[None]:
    """What is started within the block runs on the measured core; children inherit it at their start."""
    os.sched_setaffinity(0, MEASURED)
    try:
        yield
    finally:
        os.sched_setaffinity(0, REST)
