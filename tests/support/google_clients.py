"""Google's own client for Python, in an environment of its own under build/google: it knows us by the wire alone."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.support.environment import Environment

CLIENT: Final = Environment("google", ("google-api-python-client==2.202.0", "PySocks==1.7.1"), with_dependencies=True)
_STORY: Final = Path(__file__).parent / "google_story.py"


def story(name: str, gateway: str, token: str) -> dict[str, Any]:
    """What an ordinary program gets at Gmail, Drive or Calendar (`gmail`, `drive`, `calendar`), step by step."""
    env = {
        "GATEWAY_URL": gateway,
        "GOOGLE_STORY": name,
        f"{name.upper()}_TOKEN": token,
        "PATH": os.defpath,
        "HOME": str(CLIENT.folder),
        "NO_GCE_CHECK": "true",
    }
    done = subprocess.run([str(CLIENT.python), "-P", str(_STORY)], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
