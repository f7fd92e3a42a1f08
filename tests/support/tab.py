"""A browser without a screen: keeps cookies, follows what a person would, fills in the forms a page shows.

Speaks real HTTP to the server's own origin. What needs a real engine (framing, passkeys) is in tests/browser.
"""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from tests.support.http import Reply, call


@dataclass
class Form:
    """A form as the page shows it: where it goes and what its fields hold."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)  # name, value, text
    boxes: list[tuple[str, str, bool]] = field(default_factory=list)  # name, value, ticked


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self._select = ""
        self._button: tuple[str, str] | None = None
        self._is_writing = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "get").lower()))
        if not self.forms:
            return
        form = self.forms[-1]
        match tag:
            case "input" if given.get("type") in ("checkbox", "radio"):
                form.boxes.append((given.get("name", ""), given.get("value", "on"), "checked" in given))
            case "input" if given.get("name"):
                form.fields.append((given["name"], given.get("value", "")))
            case "textarea":
                self._is_writing = True
                form.fields.append((given.get("name", ""), ""))
            case "select":
                self._select = given.get("name", "")
            case "option" if "selected" in given:
                form.fields.append((self._select, given.get("value", "")))
            case "button":
                self._button = (given.get("name", ""), given.get("value", ""))
                form.buttons.append((*self._button, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "button":
            self._button = None
        self._is_writing = self._is_writing and tag != "textarea"

    def handle_data(self, data: str) -> None:
        if self._is_writing:
            name, value = self.forms[-1].fields[-1]
            self.forms[-1].fields[-1] = (name, value + data)
        if data.strip():
            self.text.append(" ".join(data.split()))
            if self._button is not None and self.forms:
                name, value, text = self.forms[-1].buttons[-1]
                self.forms[-1].buttons[-1] = (name, value, f"{text} {data.strip()}".strip())


@dataclass
class Tab:
    """One browser. `base` is the server's socket; `origin` is how the server names itself.

    `source` is the address of this machine it is at.
    """

    base: str
    origin: str
    cookies: dict[str, str] = field(default_factory=dict)
    at: str = "/"
    reply: Reply | None = None
    source: str | None = None

    async def get(self, target: str, *, follow: bool = True) -> Reply:
        """Look at an address of the server."""
        return await self._go("GET", target, follow=follow)

    async def submit(
        self, action: str, changes: dict[str, Any] | None = None, *, button: str = "", follow: bool = True
    ) -> Reply:
        """Send the form of the present page that goes to `action`, changed as a person would change it.

        A value of None leaves a field out; a list sends it several times (or unticks boxes that are not in it).
        """
        form = next(f for f in self.forms() if f.action.partition("?")[0] == action and f.method == "post")
        changes = dict(changes or {})
        sent = [(n, v) for n, v in form.fields if n not in changes]
        sent += [(n, v) for n, v, ticked in form.boxes if ticked and n not in changes]
        sent += [(n, v) for n, v, text in form.buttons if button and text == button and n]
        for name, value in changes.items():
            sent += [(name, v) for v in (value if isinstance(value, list) else [value]) if v is not None]
        return await self._go("POST", form.action, form=sent, follow=follow)

    async def post(self, target: str, form: dict[str, Any], **more: Any) -> Reply:
        """Send a form no page showed."""
        return await self._go("POST", target, form=form, follow=False, **more)

    def forms(self) -> list[Form]:
        """The forms of the present page."""
        return self._read().forms

    def links(self) -> list[str]:
        """Where the links of the present page lead."""
        return self._read().links

    @property
    def text(self) -> str:
        """What the page says, in one line."""
        return " ".join(self._read().text)

    @property
    def csrf(self) -> str:
        """The token the present page's forms carry."""
        return next(value for form in self.forms() for name, value in form.fields if name == "csrf")

    def _read(self) -> _Reader:
        assert self.reply is not None
        reader = _Reader()
        reader.feed(self.reply.body.decode())
        return reader

    async def _go(
        self, method: str, target: str, *, form: Any = None, follow: bool = True, headers: dict[str, str] | None = None
    ) -> Reply:
        for _ in range(10):
            sent = {"user-agent": "Tab/1", "sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}
            if self.cookies:
                sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            if method == "POST":
                sent["origin"] = "null"
            sent |= headers or {}
            reply = await call(self.base, method, target, headers=sent, form=form, source=self.source)
            self._keep(reply)
            self.reply, self.at = reply, target
            where = reply.header("location")
            if not follow or where is None or reply.status not in (302, 303):
                return reply
            landing = urlsplit(urljoin(self.origin + target, where))
            if f"{landing.scheme}://{landing.netloc}" != self.origin:
                return reply  # another site: the test looks at `location`
            target = landing.path + (f"?{landing.query}" if landing.query else "")
            method, form = "GET", None
        raise AssertionError("redirected for ever")

    def _keep(self, reply: Reply) -> None:
        for name, value in reply.headers:
            if name != "set-cookie":
                continue
            pair, *attributes = [part.strip() for part in value.split(";")]
            key, _, kept = pair.partition("=")
            assert {"secure", "httponly", "path=/"} <= {a.lower() for a in attributes}, value
            if any(a.lower() == "max-age=0" for a in attributes):
                self.cookies.pop(key, None)
            else:
                self.cookies[key] = kept
