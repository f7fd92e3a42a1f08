"""boto3, and moto's server as an AWS nobody here wrote, in an environment of their own under build/aws.

Their pins and ours need not agree; the lock beside the stories has their hashes. moto makes sessions and keeps objects;
it neither proves signatures nor enforces session policies unless told, so it shows that stock programs can use what was
leased, never that it is narrow.
"""

import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.support import node
from tests.support.environment import Environment
from tests.support.ports import free_port

STORIES: Final = Path(__file__).parent / "aws"
PROGRAMS: Final = Environment("aws", lock=STORIES / "requirements.lock")
_START_SECONDS: Final = 60


def run(story: str, *, env: dict[str, str], given: Any = None) -> Any:
    """Run one of the stories in tests/support/aws with this environment and nothing else; what it printed, as JSON.

    Raises `RuntimeError` with its complaints when it fails.
    """
    done = subprocess.run(
        [str(PROGRAMS.python), str(STORIES / story)],
        input=json.dumps(given),
        env={"HOME": str(PROGRAMS.folder), **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout)


@contextlib.contextmanager
def moto() -> Iterator[str]:
    """moto's server on loopback; yields its address."""
    port = free_port()
    command = node.leashed([str(PROGRAMS.python), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)])
    env = {"HOME": str(PROGRAMS.folder), "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.05)
        else:
            raise RuntimeError("moto did not start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)
