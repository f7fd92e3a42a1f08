"""A Python environment of its own for programs nobody here wrote: their pins and ours need not agree, and they know us
by the wire alone.

Filled by our own pip, so that none has to be put into it, and without compiling ahead: most of what is installed is
never imported.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.node import run_or_say

_BUILD = Path(__file__).parents[2] / "build"


@dataclass(frozen=True)
class Environment:
    """Lies under build/`name`; filled from exact `packages`, or from the `lock` with hashes that names them all."""

    name: str
    packages: tuple[str, ...] = ()
    lock: Path | None = None
    with_dependencies: bool = False

    @property
    def folder(self) -> Path:
        return _BUILD / self.name

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    def missing(self) -> str | None:
        """Why its programs cannot run here, as a reason to skip, or None."""
        if self.python.exists() and self._mark.exists() and self._mark.read_text() == self._wanted:
            return None
        return f"build/{self.name} is not prepared: python -m tests.support.prepare"

    def prepare(self) -> list[str]:
        """Install what is missing; return one line for what was done. Raises `RuntimeError` with pip's words."""
        if self.missing() is None:
            return []
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        run_or_say([sys.executable, "-m", "venv", "--without-pip", str(self.folder / "venv")])
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(self.python)]
        install = [*pip, "install", "-q", "--no-compile"]
        if self.lock is not None:
            install += ["--require-hashes", "-r", str(self.lock)]
        elif not self.with_dependencies:
            install += ["--no-deps"]
        run_or_say([*install, *self.packages])
        self._mark.write_text(self._wanted)
        return [f"installed {' and '.join(self.packages) or 'what its lock names'} into build/{self.name}/venv"]

    @property
    def _mark(self) -> Path:
        return self.folder / "installed.txt"

    @property
    def _wanted(self) -> str:
        return self.lock.read_text() if self.lock is not None else "\n".join(self.packages)
