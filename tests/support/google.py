"""Google at npm `emulate`: an administrator's own file of the calendar, for a place that is not quite like Google.

The stand-in takes codes at another address (`/oauth2/token`), says who it is at another (`/oauth2/v2/userinfo`), names
no issuer in its answer, and knows no single calendar by id. The built-in file stays as Google is.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any, Final

NAME: Final = "acme-calendar"
AUDIENCE: Final = "https://calendar.acme.example/v3"
_CATALOGUE: Final = files("valetkey.server.integrations") / "catalogue"


def own_file(folder: Path, url: str) -> Path:
    """Put the file and its operations into the folder, for the stand-in at that address; returns the folder."""
    text = (_CATALOGUE / "google-calendar.toml").read_text()
    head, _, rest = text.partition("[lookups.calendar]")
    text = head + "[oauth]" + rest.partition("[oauth]")[2]
    for said, instead in (
        ('name = "google-calendar"', f'name = "{NAME}"'),
        ('title = "Google Calendar"', 'title = "Acme Calendar"'),
        ('audience = "https://www.googleapis.com/calendar/v3"', f'audience = "{AUDIENCE}"'),
        ('base_url = "https://www.googleapis.com"', f'base_url = "{url}"'),
        ('hosts = ["www.googleapis.com"]', f'hosts = ["{url.removeprefix("http://")}"]'),
        ("/oauth2/v3/userinfo", "/oauth2/v2/userinfo"),
        ("https://accounts.google.com/o/oauth2/v2/auth", f"{url}/o/oauth2/v2/auth"),
        ("https://oauth2.googleapis.com/token", f"{url}/oauth2/token"),
        ("https://oauth2.googleapis.com/revoke", f"{url}/oauth2/revoke"),
        ('issuer = "https://accounts.google.com"\n', ""),
    ):
        assert text.count(said) == 1, said
        text = text.replace(said, instead)
    folder.mkdir()
    (folder / f"{NAME}.toml").write_text(text)
    operations = "google-calendar.operations.tsv"
    (folder / operations).write_text((_CATALOGUE / operations).read_text())
    return folder


def seed(client_id: str, client_secret: str, redirect_uri: str) -> dict[str, Any]:
    """Alice, an app, and an event of hers. A token it does not know is the first one's: nobody's."""
    app = {
        "client_id": client_id,
        "client_secret": client_secret,
        "name": "Valetkey at Acme",
        "redirect_uris": [redirect_uri],
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
