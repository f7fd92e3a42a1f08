"""schemathesis against a running server: the client that believes /openapi.json and tries everything it says."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
)


@dataclass(frozen=True, slots=True)
class Run:
    """How it ended: the exit code, what it printed, and its report."""

    code: int
    said: str
    report: Any


async def schemathesis(
    base: str, folder: Path, *options: str, bearer: str | None = None, phases: str = "coverage,fuzzing"
) -> Run:
    """Run it in a process of its own, bounded and the same each time."""
    report = folder / "report.json"
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        f"{base}/openapi.json",
        f"--url={base}",
        f"--phases={phases}",
        f"--checks={','.join(CHECKS)}",
        "--seed=1",
        "--generation-database=none",
        "--no-color",
        "--no-shrink",
        "--continue-on-failure",
        "--suppress-health-check=all",
        "--warnings=off",
        "--report=json",
        f"--report-json-path={report}",
        *options,
    ]
    if bearer is not None:
        command.append(f"--header=Authorization: Bearer {bearer}")
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "", "HOME": str(folder)},
    )
    said, _ = await process.communicate()
    return Run(process.returncode or 0, said.decode(), json.loads(report.read_text()) if report.exists() else None)
