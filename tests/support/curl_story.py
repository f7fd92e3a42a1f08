"""What a shell script with curl does with a base URL and a token, step by step.

Each outcome is `{"ok", "status", "type", "value"}`; `value` is the JSON that came, whatever the status.
"""

import json
import re
import subprocess
from typing import Any

Outcome = dict[str, Any]


def curl_story(
    base_url: str, token: str, *, name: str = "acme-corp/backend", forbidden: str = "acme-corp/payroll"
) -> dict[str, Outcome]:
    """The same walk as the other stories, with the token in each place GitHub takes it."""
    bearer = ["-H", f"Authorization: Bearer {token}"]
    home = f"{base_url}/repos/{name}"
    first = _curl(*bearer, f"{home}/issues")
    second = re.search(r'<([^>]*)>; rel="next"', first["link"] or "")
    new_issue = ["-X", "POST", "-H", "Content-Type: application/json", "-d", '{"title": "From curl"}']
    return {
        "repository": _curl(*bearer, home),
        "by_the_word_token": _curl("-H", f"Authorization: token {token}", home),
        "by_basic_password": _curl("-u", f"x-access-token:{token}", home),
        "first_page": first,
        "second_page": _curl(*bearer, second[1]) if second else {"ok": False, "status": 0, "value": "no next page"},
        "write": _curl(*bearer, *new_issue, f"{home}/issues"),
        "other_repository": _curl(*bearer, f"{base_url}/repos/{forbidden}"),
        "stranger": _curl("-H", "Authorization: Bearer ghp_nobody000000000000000000000000000000", home),
        "no_token": _curl(home),
    }


def _curl(*arguments: str) -> Outcome:
    # -q first: nobody's ~/.curlrc; --noproxy: loopback is not for a proxy.
    command = ["curl", "-q", "-s", "-S", "--noproxy", "*", "--max-time", "10", "-D", "/dev/stderr", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise RuntimeError(f"curl {arguments[-1]}: {done.stderr}")
    heads = [head for head in done.stderr.replace("\r", "").split("\n\n") if head]
    status_line, *lines = heads[-1].splitlines()
    headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines if ": " in line)}
    status = int(status_line.split()[1])
    value = json.loads(done.stdout) if "json" in headers.get("content-type", "") else done.stdout
    shown = {"type": headers.get("content-type"), "link": headers.get("link"), "value": value}
    return {"ok": status < 400, "status": status, **shown}
