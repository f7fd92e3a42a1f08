"""Checks the models of docs/models with Quint: `python -m tests.support.models`, run by `make model`.

What must hold is tried on many random runs; the twins, each with one rule taken away, must be caught. Random runs are
no proof: they say that no counterexample was found in so many.
"""

import subprocess
from pathlib import Path
from typing import Final

from tests.support import node

_ROOT: Final = Path(__file__).parents[3]
_MODELS: Final = _ROOT / "docs" / "models"
_FOLDER: Final = _ROOT / "build" / "models"
_RUNS: Final = 10_000
_STEPS: Final = 30
CHECKED: Final = (
    ("fence.qnt", "nothingAfterTheAnswer", "holds", True),
    ("fence.qnt", "nothingAfterTheAnswer", "broken", False),
    ("refresh.qnt", "holds", "holds", True),
    ("refresh.qnt", "holds", "short", False),
    ("refresh.qnt", "holds", "hasty", False),
)
"""File, invariant, module, and whether the module must keep it."""


def main() -> int:
    """Check all; 0 when each did as it must."""
    node.prepare()
    node.install_packages(Path(__file__).parent / "package.json", _FOLDER)
    failed = [one for one in CHECKED if not _as_it_must(*one)]
    print(f"{len(CHECKED) - len(failed)} of {len(CHECKED)} as they must", flush=True)
    return 1 if failed else 0


def _as_it_must(file: str, invariant: str, module: str, keeps: bool) -> bool:
    quint = _FOLDER / "node_modules" / "@informalsystems" / "quint" / "dist" / "src" / "cli.js"
    command = [str(node.NODE), str(quint), "run", str(_MODELS / file), "--main", module, "--invariant", invariant]
    command += ["--backend", "typescript", "--max-samples", str(_RUNS), "--max-steps", str(_STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=_FOLDER)
    said = done.stdout + done.stderr
    kept, caught = "[ok] No violation found" in said, "[violation] Found an issue" in said
    word = f"no counterexample in {_RUNS:,} runs of {_STEPS} steps" if kept else "a counterexample" if caught else said
    print(f"{file} {module}: {word}", flush=True)
    return kept if keeps else caught
