"""Load by wrk: one thread, keep-alive, closed loop. Any answer but success ends the run: refusals are no figure."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers import POST, REFRESH

SECONDS: Final = 2
_RATE: Final = re.compile(r"Requests/sec:\s+([0-9.]+)")
_QUANTILE: Final = re.compile(r"^\s+(50|99)%\s+([0-9.]+)(us|ms|s)\s*$", re.MULTILINE)
_MILLISECONDS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: answers per second, and the latencies in milliseconds."""

    rate: float
    p50: float
    p99: float


def get(url: str, *, headers: Mapping[str, str], connections: int, seconds: float = SECONDS) -> Load:
    """GET one address over and over."""
    return _run([url], headers, {}, connections, seconds)


def post_form(url: str, *, basic: str, body: str, connections: int, seconds: float = SECONDS) -> Load:
    """POST one form over and over, as one client."""
    environment = {"BENCH_BODY": body, "BENCH_AUTHORIZATION": basic}
    return _run(["-s", str(POST), url], {}, environment, connections, seconds)


def refresh(url: str, *, basic: str, tokens: Path, connections: int, seconds: float = SECONDS) -> Load:
    """Refresh over and over, each time with the token the answer before brought."""
    environment = {"BENCH_TOKENS": str(tokens), "BENCH_AUTHORIZATION": basic}
    return _run(["-s", str(REFRESH), url], {}, environment, connections, seconds)


def _run(
    target: list[str], headers: Mapping[str, str], environment: Mapping[str, str], connections: int, seconds: float
) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(
        [*command, *target], env={"PATH": os.defpath, **environment}, capture_output=True, text=True, check=True
    )
    rate, quantiles = _RATE.search(done.stdout), {q: (v, u) for q, v, u in _QUANTILE.findall(done.stdout)}
    if rate is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"wrk {target[-1]}:\n{done.stdout}{done.stderr}")
    p50, p99 = (float(quantiles[q][0]) * _MILLISECONDS[quantiles[q][1]] for q in ("50", "99"))
    return Load(float(rate[1]), p50, p99)
