"""Rules of the house that no type checker knows: import contracts, who holds SQL, licences, pinned locks."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "valetkey"
MAY_HOLD_SQL = {"store.py", "fence.py", "find.py", "deployment.py", "admin.py", "migrate.py", "schema.py"}


def test_imports_point_downwards() -> None:
    checked = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_only_stores_hold_sql() -> None:
    holders = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if path.name not in MAY_HOLD_SQL
        and "migrations" not in path.parts
        and re.search(r"from sqlalchemy import .*\b(?:insert|update|delete|select|text)\b", path.read_text())
    }
    assert not holders


def test_only_the_command_groups_that_must_import_the_server() -> None:
    allowed = {
        "serve",
        "db",
        "keys",
        "demo",
        "demo_stage",
        "audit",
        "doctor",
        "integrations",
        "policy",
    }  # integrations, policy: a file is tried by the server's own rules
    importing = {
        path.stem
        for path in (SOURCE / "cli").glob("*.py")
        if re.search(r"^\s*(?:from|import) valetkey\.server", path.read_text(), re.MULTILINE)
    }
    assert importing <= allowed


def test_no_dependency_is_under_the_gpl() -> None:
    named = re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    for name in named:
        try:
            about = metadata.metadata(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform or Python
        licence = " ".join(
            [about.get("License-Expression") or "", (about.get("License") or "")[:200]]
            + [c for c in about.get_all("Classifier") or [] if c.startswith("License")]
        )
        assert not re.search(r"(?<!L)GPL|General Public License(?! \(LGPL\))", licence), f"{name}: {licence}"


def test_locks_pin_every_package_by_hash_and_name_no_host() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text()
        packages = re.findall(r"^[a-z0-9._-]+==[^\s\\;]+", text, re.MULTILINE)
        blocks = re.split(r"^(?=[a-z0-9._-]+==)", text, flags=re.MULTILINE)[1:]
        assert packages
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text
