"""Alice's browser in the demo: opens addresses, fills in the forms a page shows, follows where it is sent, and keeps
cookies where they belong. Real HTTP to loopback; it knows no address of ours and holds no secret of any server.

It draws nothing, runs no script and does not read content policies: whole browsers go this way in tests/browser.
"""

import http.client
from collections.abc import Collection
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

_MOST_HOPS: Final = 10
_SILENCE_SECONDS: Final = 20.0


@dataclass(slots=True)
class _Form:
    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    boxes: list[tuple[str, str, bool, bool]] = field(default_factory=list)  # name, value, is ticked, can be changed
    buttons: list[tuple[str, str, str]] = field(default_factory=list)  # name, value, what stands on it


class _Reader(HTMLParser):
    """Forms and words of one page."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self.words: list[str] = []
        self._is_in_form = self._is_on_button = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(_Form(given.get("action", ""), given.get("method", "get").upper()))
            self._is_in_form = True
        if not self._is_in_form:
            return
        form, name, value = self.forms[-1], given.get("name", ""), given.get("value", "")
        match tag:
            case "input" if given.get("type") in ("checkbox", "radio"):
                form.boxes.append((name, value, "checked" in given, "disabled" not in given))
            case "input" if name:
                form.fields.append((name, value))
            case "button":
                form.buttons.append((name, value, ""))
                self._is_on_button = True

    def handle_endtag(self, tag: str) -> None:
        self._is_in_form = self._is_in_form and tag != "form"
        self._is_on_button = self._is_on_button and tag != "button"

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if words:
            self.words.append(words)
        if words and self._is_on_button:
            name, value, text = self.forms[-1].buttons[-1]
            self.forms[-1].buttons[-1] = (name, value, f"{text} {words}".strip())


class DemoBrowser:
    """One browser. `at` is the address it shows, `status` and `text` what came from there."""

    def __init__(self) -> None:
        self.at, self.status, self.text = "", 0, ""
        self._forms: list[_Form] = []
        self._cookies: dict[str, dict[str, str]] = {}

    def open(self, address: str) -> None:
        """Go there, as if it was typed."""
        self._go("GET", address, site="none")

    def press(self, button: str, *, ticks: Collection[str] | None = None, **typed: str) -> None:
        """Fill in the form that has a button with these words, and press it. `ticks` are all boxes to be ticked.

        Raises `LookupError` when the page shows no such button.
        """
        for form in self._forms:
            for name, value, words in form.buttons:
                if words != button:
                    continue
                sent = [(n, typed.get(n, v)) for n, v in form.fields]
                sent += [(n, v) for n, v, on, free in form.boxes if free and (on if ticks is None else v in ticks)]
                sent += [(name, value)] if name else []
                return self._go(form.method, urljoin(self.at, form.action), site="same-origin", sent=sent)
        raise LookupError(f"{self.at} ({self.status}) shows no button {button!r}")

    def _go(self, method: str, address: str, *, site: str, sent: list[tuple[str, str]] | None = None) -> None:
        for _ in range(_MOST_HOPS):
            location = self._fetch(method, address, site=site, sent=sent)
            if location is None:
                return
            next_address = urljoin(address, location)
            site = site if site == "none" or _origin(next_address) == _origin(address) else "cross-site"
            method, address, sent = "GET", next_address, None
        raise LookupError(f"{address} redirects for ever")

    def _fetch(self, method: str, address: str, *, site: str, sent: list[tuple[str, str]] | None) -> str | None:
        place, origin = urlsplit(address), _origin(address)
        cookies = self._cookies.setdefault(origin, {})
        headers = {"user-agent": "valetkey-demo-browser", "sec-fetch-mode": "navigate", "sec-fetch-site": site}
        if cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        if method == "POST":
            headers |= {"origin": "null", "content-type": "application/x-www-form-urlencoded"}
        connection = http.client.HTTPConnection(place.netloc, timeout=_SILENCE_SECONDS)
        try:
            target = (place.path or "/") + (f"?{place.query}" if place.query else "")
            connection.request(method, target, None if sent is None else urlencode(sent), headers)
            response = connection.getresponse()
            body = response.read().decode("utf-8", "replace")
        finally:
            connection.close()
        for line in response.headers.get_all("set-cookie", []):
            pair, *attributes = [part.strip() for part in line.split(";")]
            name, _, value = pair.partition("=")
            cookies[name] = value
            if "max-age=0" in [attribute.lower() for attribute in attributes]:
                del cookies[name]
        if response.status in (302, 303):
            return response.headers["location"]
        reader = _Reader()
        reader.feed(body)
        self.at, self.status, self.text, self._forms = address, response.status, " ".join(reader.words), reader.forms
        return None


def _origin(address: str) -> str:
    place = urlsplit(address)
    return f"{place.scheme}://{place.netloc}"
