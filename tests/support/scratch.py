"""Where the tests keep what they throw away: in memory where there is room, or where the system keeps such things.

Every story commits durably, many times; on a disk most of a run is spent waiting for that. What is proved by killing a
process is proved in memory too: the kernel keeps what was written, whoever dies.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_ENOUGH_BYTES: Final = 6 * 2**30


def choose() -> None:
    """For this process and those it starts. A TMPDIR that somebody set is left alone."""
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    if shutil.disk_usage(_MEMORY).free >= _ENOUGH_BYTES:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = str(_MEMORY)
