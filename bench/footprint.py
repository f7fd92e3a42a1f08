"""What a worker costs when nothing happens, and how long anyone waits for it to start."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from tests.support.house import GITHUB

from bench.cores import measured
from bench.deployment import Deployment, deployment
from bench.rows import Row, most_row

ROUNDS = 7


def rows(upstream: str) -> list[Row]:
    """Memory of a fresh worker a few seconds after its start, seconds to ready, milliseconds of a helper verb."""
    starts, sizes = [], []
    for _ in range(3):
        with deployment("footprint", upstream) as house:
            time.sleep(1.5)
            starts.append(house.ready_seconds)
            sizes.append(_resident_mb(house.pid))
            verb = _helper_verb_ms(house)
    return [
        most_row("footprint-memory", median(sizes), goal=150, note="MB resident, idle worker after its first requests"),
        most_row("footprint-ready", median(starts), goal=1.5, note="seconds from start to ready, fresh database"),
        most_row("footprint-verb", verb, goal=80, note="ms for `valetkey token` with its answer from the server"),
    ]


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(kilobytes) / 1024


def _helper_verb_ms(house: Deployment) -> float:
    command = [str(Path(sys.executable).parent / "valetkey"), "token", "--for", GITHUB]
    name, _, secret = house.agent.partition(":")
    environment = {
        "VALETKEY_URL": house.url,
        "VALETKEY_AGENT": name,
        "VALETKEY_AGENT_SECRET": secret,
        "VALETKEY_TASK_TOKEN": str(house.task["task_token"]),
        "HOME": str(house.data),
    }
    took = []
    with measured():
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            subprocess.run(command, env=environment, check=True, capture_output=True)
            took.append((time.perf_counter() - began) * 1000)
    return median(took[1:])  # the first one compiles
