"""The part of the demo where Alice connects her account by consent: she says no, she says yes, and she ends it."""

import http.client
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from valetkey.cli.demo_browser import DemoBrowser
from valetkey.cli.demo_stage import Stage
from valetkey.cli.practice_oauth import PracticeApp

Check = Callable[[str, str, str, bool], None]
"""Records a step: its id, what should happen, what was seen, and whether that is the same."""

STEPS = ("declined-there", "connected-there", "ended-there")


def connected(check: Check, stage: Stage) -> Any:
    """Register the organization's app, decline once, agree once; return the connection."""
    client_id, client_secret = f"Ov23li{secrets.token_hex(7)}", secrets.token_hex(20)
    app = stage.alice.apps.add("github", client_id=client_id, client_secret=client_secret)
    stage.github.consent.register(
        PracticeApp(client_id=client_id, client_secret=client_secret, redirect_uri=app["redirect_uri"])
    )
    browser, tokens = stage.browser, stage.github.consent.tokens

    _asked(browser, stage)
    browser.press("Cancel")
    kept = stage.alice.connections.list()
    ok = browser.status == 403 and "You declined at GitHub." in browser.text and not kept and not tokens
    seen = f"{len(kept)} accounts connected, {len(tokens)} tokens given out; {_words(browser, 'You declined')}"
    check("declined-there", "Alice presses Cancel at GitHub: nothing is stored", seen, ok)

    _asked(browser, stage)
    browser.press("Authorize")
    kept, given = stage.alice.connections.list(), list(tokens.values())
    ok = "GitHub is connected" in browser.text and len(kept) == len(given) == 1 and kept[0]["account"] == "alice"
    seen = _words(browser, "GitHub is connected")
    if ok:
        why = stage.alice.connections.why(kept[0]["id"])
        asked, granted = ([p["name"] for p in why[which]] for which in ("asked", "granted"))
        ok = asked == granted == ["repo"] and given[0].scopes == ("repo",) and given[0].login == "alice"
        seen = f"account {kept[0]['account']}; asked for {', '.join(asked)}, GitHub gave {', '.join(granted)}"
    check("connected-there", "Alice presses Authorize: her account, with what she ticked", seen, ok)
    return kept[0] if kept else {"integration": "github", "account": "nobody"}


def ended(check: Check, stage: Stage) -> None:
    """Disconnect on our page; the token that was sealed here has to be dead at the API."""
    browser, token = stage.browser, next(iter(stage.github.consent.tokens), "")
    before = _status_there(stage, token)
    browser.open(f"{stage.url}/connections")
    browser.press("Disconnect")
    after = _status_there(stage, token)
    ok = (before, after) == (200, 401) and "GitHub ended it." in browser.text and not stage.github.consent.tokens
    check(
        "ended-there",
        "Alice disconnects: GitHub takes the token no more",
        f"{before} before, {after} after; {_words(browser, 'at the API')}",
        ok,
    )


def _asked(browser: DemoBrowser, stage: Stage) -> None:
    """From our page to GitHub's, with one permission ticked."""
    browser.open(f"{stage.url}/connections/new?integration=github")
    browser.press(f"Go to {urlsplit(stage.github.base_url).netloc}", ticks={"repo"})


def _status_there(stage: Stage, token: str) -> int:
    """What the practice GitHub itself says to who holds this token."""
    connection = http.client.HTTPConnection(urlsplit(stage.github.base_url).netloc, timeout=20)
    try:
        connection.request("GET", "/user", headers={"authorization": f"Bearer {token}"})
        response = connection.getresponse()
        response.read()
    finally:
        connection.close()
    return response.status


def _words(browser: DemoBrowser, start: str) -> str:
    _, found, rest = browser.text.partition(start)
    return f"the page says {(found + rest)[:60]!r}" if found else f"{browser.status} {browser.text[:120]!r}"
