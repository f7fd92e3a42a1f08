"""An API behind npm oidc-provider that gives codes for another device, and an administrator's own file of it."""

import contextlib
import json
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support import node

NAME: Final = "acme-reports"
CLIENT, SECRET = "client-of-acme", "secret-of-acme"
_START_SECONDS = 30
_EXAMPLES: Final = Path(__file__).parents[2] / "examples" / "integrations"
_FILE = """\
name = "acme-reports"
title = "Acme Reports"
audience = "https://reports.acme.example"
base_url = "{url}"
hosts = ["{place}"]
operations = "oidc.operations.tsv"

[injection]
header = "authorization"
value = "Bearer {{token}}"

[[token_positions]]
header = "authorization"
scheme = "Bearer"

[identify]
path = "/me"
name = "sub"
id = "sub"

[oauth]
authorize_url = "{url}/auth"
token_url = "{url}/token"
device_url = "{url}/device/auth"
client_authentication = "basic"
always = ["openid"]
refresh = "none"

[oauth.scopes.openid]
sentence = "see who you are"
tier = "read"

[oauth.scopes.reports]
sentence = "read all reports you can see"
tier = "read"
covers = ["reports:read"]

[scopes."reports:read"]
sentence = "list and read all reports you can see"
tier = "read"
resource_kind = "account"
"""


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run it; yields its address, and ends it with the block."""
    node.link("device_provider.mjs")
    command = [str(node.NODE), "--preserve-symlinks-main", str(node.FOLDER / "device_provider.mjs")]
    env = {"PATH": os.defpath, "CLIENT_ID": CLIENT, "CLIENT_SECRET": SECRET}
    with subprocess.Popen(node.leashed(command), env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
            line = process.stdout.readline() if ready else b""
            assert line, "oidc-provider did not start"
            yield json.loads(line)["url"]
        finally:
            process.kill()


def own_file(folder: Path, url: str) -> Path:
    """Put the file and its operations into the folder; returns the folder."""
    folder.mkdir()
    (folder / f"{NAME}.toml").write_text(_FILE.format(url=url, place=url.removeprefix("http://")))
    (folder / "oidc.operations.tsv").write_text((_EXAMPLES / "oidc.operations.tsv").read_text())
    return folder
