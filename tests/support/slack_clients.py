"""Slack's own SDK for Python, in a virtual environment of its own under build/slack: it knows us by the wire alone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.support import node

FOLDER: Final = Path(__file__).parents[2] / "build" / "slack"
PACKAGE: Final = "slack-sdk==3.48.0"
PYTHON: Final = FOLDER / "venv" / "bin" / "python"
_STORY: Final = Path(__file__).parent / "slack_story.py"


def missing() -> str | None:
    """Why its story cannot run here, as a reason to skip, or None."""
    mark = FOLDER / "installed.txt"
    if not PYTHON.exists() or not mark.exists() or mark.read_text() != PACKAGE:
        return "Slack's SDK is not prepared: python -m tests.support.prepare"
    return node.missing()


def prepare() -> list[str]:
    """Install what is missing; return one line for what was done. Raises `RuntimeError` with pip's words."""
    if PYTHON.exists() and (FOLDER / "installed.txt").exists() and (FOLDER / "installed.txt").read_text() == PACKAGE:
        return []
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    node.run_or_say([sys.executable, "-m", "venv", str(FOLDER / "venv")])
    node.run_or_say([str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", PACKAGE])
    (FOLDER / "installed.txt").write_text(PACKAGE)
    return [f"installed {PACKAGE} into build/slack/venv"]


def python_story(base_url: str, token: str) -> dict[str, Any]:
    """What an ordinary program with slack_sdk gets, step by step."""
    env = {"SLACK_API_URL": base_url, "SLACK_TOKEN": token, "PATH": os.defpath}
    done = subprocess.run([str(PYTHON), "-P", str(_STORY)], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def node_story(base_url: str, token: str) -> dict[str, Any]:
    """The same with @slack/web-api."""
    done = node.run("slack_story.mjs", env={"SLACK_API_URL": base_url, "SLACK_TOKEN": token})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
