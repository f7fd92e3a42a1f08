"""Google at npm `emulate`: an administrator's own files of Gmail, Drive and Calendar, as that place has them.

The stand-in takes codes at another address (`/oauth2/token`), says who it is at another (`/oauth2/v2/userinfo`), names
no issuer in its answer, and knows no single calendar by id. The built-in files stay as Google is.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

_CATALOGUE: Final = files("valetkey.server.integrations") / "catalogue"


@dataclass(frozen=True)
class Api:
    """One of the APIs, under a name and an audience of Acme's own."""

    built_in: str
    name: str
    title: str

    @property
    def audience(self) -> str:
        return f"https://{self.name}.example"


MAIL: Final = Api("gmail", "acme-mail", "Acme Mail")
DRIVE: Final = Api("google-drive", "acme-drive", "Acme Drive")
CALENDAR: Final = Api("google-calendar", "acme-calendar", "Acme Calendar")


def own_file(folder: Path, api: Api, url: str) -> Path:
    """Put the file of one API and its operations into the folder, for the stand-in at that address."""
    lines = (_CATALOGUE / f"{api.built_in}.toml").read_text().splitlines()
    instead = {
        "name": f'name = "{api.name}"',
        "title": f'title = "{api.title}"',
        "audience": f'audience = "{api.audience}"',
        "base_url": f'base_url = "{url}"',
        "hosts": f'hosts = ["{url.removeprefix("http://")}"]',
        "authorize_url": f'authorize_url = "{url}/o/oauth2/v2/auth"',
        "token_url": f'token_url = "{url}/oauth2/token"',
        "url": f'url = "{url}/oauth2/revoke"',
        "issuer": "",
    }
    table, kept = "", []
    for line in lines:
        key = line.partition(" = ")[0]
        if line.startswith("["):
            table = line
            if table == "[identify]":
                kept += [table, 'path = "/oauth2/v2/userinfo"', 'name = "email"', 'id = "sub"', ""]
        if table not in ("[identify]", "[lookups.calendar]"):
            kept.append(instead[key] if key in instead and table in ("", "[oauth]", "[oauth.revocation]") else line)
    folder.mkdir(exist_ok=True)
    (folder / f"{api.name}.toml").write_text("\n".join(kept) + "\n")
    operations = f"{api.built_in}.operations.tsv"
    (folder / operations).write_text((_CATALOGUE / operations).read_text())
    return folder


def seed(client_id: str, client_secret: str, *redirect_uris: str) -> dict[str, Any]:
    """Alice, an app, and what is hers. A token it does not know is the first one's: nobody's."""
    app = {
        "client_id": client_id,
        "client_secret": client_secret,
        "name": "Valetkey at Acme",
        "redirect_uris": list(redirect_uris),
    }
    times = {"start_date_time": "2026-12-01T10:00:00Z", "end_date_time": "2026-12-01T11:00:00Z"}
    return {
        "google": {
            "users": [
                {"email": "mallory-canary@example.com", "name": "Nobody At All"},
                {"email": "alice@acme.com", "name": "Alice"},
            ],
            "oauth_clients": [app],
            "calendars": [
                {"id": "primary", "user_email": "alice@acme.com", "summary": "Alice's own", "primary": True},
            ],
            "messages": [
                {
                    "id": "msg-lunch",
                    "user_email": "alice@acme.com",
                    "from": "bob@acme.com",
                    "to": "alice@acme.com",
                    "subject": "Lunch",
                    "snippet": "At noon?",
                    "body_text": "At noon?",
                }
            ],
            "drive_items": [
                {"id": f"file-{name}", "user_email": "alice@acme.com", "name": name, "mime_type": "text/plain"}
                for name in ("plan", "payroll")
            ],
            "calendar_events": [
                {
                    "id": "evt-planning",
                    "user_email": "alice@acme.com",
                    "calendar_id": "primary",
                    "summary": "Planning",
                    **times,
                }
            ],
        }
    }
