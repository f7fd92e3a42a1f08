"""Programs of the bench: started, asked for the first line they print, killed with the block."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support import node

ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def program(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Run a module of ours; yield it and its first line. Raises `RuntimeError` when it ends without one."""
    command = node.leashed([sys.executable, "-m", module, *arguments])
    given = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "HOME": str(ROOT / "build"), **(environment or {})}
    with contextlib.ExitStack() as opened:
        errors = opened.enter_context((log or Path(os.devnull)).open("w"))
        process = opened.enter_context(
            subprocess.Popen(command, env=given, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{module} did not start; see {log}" if log else f"{module} did not start")
            yield process, line.strip()
        finally:
            process.kill()
