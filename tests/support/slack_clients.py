"""Slack's own SDK for Python, in a virtual environment of its own under build/slack: it knows us by the wire alone."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.support import node
from tests.support.environment import Environment

PYTHON_SDK: Final = Environment("slack", ("slack-sdk==3.48.0",))
_STORY: Final = Path(__file__).parent / "slack_story.py"


def missing() -> str | None:
    """Why its story cannot run here, as a reason to skip, or None."""
    return PYTHON_SDK.missing() or node.missing()


def python_story(base_url: str, token: str) -> dict[str, Any]:
    """What an ordinary program with slack_sdk gets, step by step."""
    env = {"SLACK_API_URL": base_url, "SLACK_TOKEN": token, "PATH": os.defpath}
    done = subprocess.run(
        [str(PYTHON_SDK.python), "-P", str(_STORY)], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def node_story(base_url: str, token: str) -> dict[str, Any]:
    """The same with @slack/web-api."""
    done = node.run("slack_story.mjs", env={"SLACK_API_URL": base_url, "SLACK_TOKEN": token})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
