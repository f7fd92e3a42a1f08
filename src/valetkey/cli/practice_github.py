"""A small GitHub to practise on: one ASGI application, in memory, with GitHub's manners where they matter to a gateway.

Responsible for the parts of GitHub's REST API the demo walks through: who a token belongs to, repositories whose ids
never change while names do, issues in pages whose `Link` addresses name the repository by id, pull requests, contents,
GitHub's error bodies, and consent by OAuth (`practice_oauth`). Records every request as it came, for whoever wants to
know what was really sent. Knows nothing of Valetkey and keeps nothing on disk. Facts follow GitHub's REST
documentation, version 2022-11-28.
"""

import itertools
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode

from valetkey.cli.practice_documents import (
    Repository,
    contents_document,
    issue_document,
    pull_document,
    repository_document,
    user_document,
)
from valetkey.cli.practice_oauth import Answer, Content, PracticeConsent

Message = MutableMapping[str, Any]

_DOCUMENTATION: Final = "https://docs.github.com/rest"
_BODY_LIMIT: Final = 1 << 20  # bytes
_PAGE: Final = 30


class Refused(Exception):
    """GitHub's way of saying no: a status and one message."""

    def __init__(self, status: int, message: str, **members: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "documentation_url": _DOCUMENTATION, "status": str(status), **members}


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        wanted = name.lower().encode()
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), None)


class PracticeGitHub:
    """The application. Give it people and repositories, serve it, then ask what it `received`."""

    def __init__(self, *, base_url: str = "https://api.github.com") -> None:
        self.base_url = base_url  # what its own addresses begin with; set it once the port is known
        self.requests: list[Received] = []
        self.consent = PracticeConsent()
        self.at_the_browser = ""  # who its pages are shown to: the first person, until set otherwise
        self._logins: dict[str, str] = {}
        self._user_ids: dict[str, int] = {}
        self._repositories: dict[int, Repository] = {}
        self._moved: dict[str, int] = {}
        self._ids = itertools.count(501_001)

    def add_user(self, login: str, *, token: str) -> None:
        """Let a person in by a bearer token."""
        self._logins[token] = login
        self.at_the_browser = self.at_the_browser or login
        self._user_ids.setdefault(login, next(self._ids))

    def add_repository(
        self, full_name: str, *, readers: set[str] | None = None, writers: set[str] | None = None, issues: int = 0
    ) -> Repository:
        """Create a private repository with a README, one pull request and so many issues."""
        if self._named(full_name):
            raise ValueError(f"{full_name} exists")
        repository = Repository(
            id=next(self._ids),
            full_name=full_name,
            readers=frozenset(readers or ()),
            writers=frozenset(writers or ()),
            files={"README.md": f"# {full_name}\n".encode(), "src/main.py": b"print('hello')\n"},
        )
        self._repositories[repository.id] = repository
        author = min(repository.writers | repository.readers, default="ghost")
        for number in range(1, issues + 1):
            self._open_issue(repository, author, {"title": f"Issue {number} of {full_name}"})
        head = {"label": f"{author}:feature", "ref": "feature", "sha": "c0ffee" + "0" * 34}
        pull = {"number": issues + 1, "title": "A feature", "state": "open", "author": author, "head": head}
        repository.pulls.append(pull)
        return repository

    def rename(self, old: str, new: str) -> None:
        """Give a repository another name. The old name leads to it until another repository takes that name."""
        repository = self._named(old)
        if repository is None:
            raise ValueError(f"{old} does not exist")
        if self._named(new) not in (None, repository):
            raise ValueError(f"{new} is taken: rename that repository away first")
        repository.full_name = new
        self._moved.pop(new.lower(), None)
        self._moved[old.lower()] = repository.id

    def repository(self, full_name: str) -> Repository:
        """Return the repository that now has this name. Raises `KeyError`."""
        if repository := self._named(full_name):
            return repository
        raise KeyError(full_name)

    def received(self, method: str, path: str) -> int:
        """How many such requests arrived. A path without `?` counts any query."""
        return sum(1 for seen in self.requests if seen.method == method and path in (seen.target, _path(seen.target)))

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            return await _live(receive, send)
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body") or len(body) > _BODY_LIMIT:
                break
        path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
        query = scope.get("query_string", b"").decode("latin-1")
        request = Received(
            method=scope["method"],
            target=f"{path}?{query}" if query else path,
            headers=[(bytes(name), bytes(value)) for name, value in scope["headers"]],
            body=body,
        )
        self.requests.append(request)
        try:
            status, headers, document = self._answer(request, path, query)
        except Refused as refused:
            status, headers, document = refused.status, [], refused.body
        kind, content = "application/json; charset=utf-8", b""
        if isinstance(document, Content):
            kind, content = document.type, document.text.encode()
        else:
            content = json.dumps(document).encode()
        headers += ([("content-type", kind)] if kind else []) + [("content-length", str(len(content)))]
        headers += [("x-github-media-type", "github.v3; format=json"), ("x-github-request-id", f"{id(request):X}")]
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else content})
        return None

    def _answer(self, request: Received, path: str, query: str) -> Answer:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if (answer := self._about_consent(request, parts, query)) is not None:
            return answer
        login, scopes = self._bearer(request)
        read = request.method in ("GET", "HEAD")
        match parts:
            case ["user"] if read:
                shown = [("x-oauth-scopes", ", ".join(scopes))]
                return 200, shown, user_document(self.base_url, login, self._user_ids[login])
            case ["repos" | "repositories", *_] if "repo" not in scopes:
                raise Refused(404, "Not Found")  # every repository here is private
            case ["search", "issues"] if read:
                return 200, [], {"total_count": 0, "incomplete_results": False, "items": []}
            case ["users", name] if read and name in self._user_ids:
                return 200, [], user_document(self.base_url, name, self._user_ids[name])
            case ["repositories", number, *rest] if number.isdecimal():
                found = self._repositories.get(int(number))
            case ["repos", owner, name, *rest]:
                found = self._named(f"{owner}/{name}")
                moved_to = self._repositories.get(self._moved.get(f"{owner}/{name}".lower(), 0))
                if found is None and moved_to is not None and login in moved_to.readers | moved_to.writers:
                    place = "/".join([f"{self.base_url}/repositories/{moved_to.id}", *rest])
                    place += f"?{query}" if query else ""
                    gone = {"message": "Moved Permanently", "url": place, "documentation_url": _DOCUMENTATION}
                    return 301 if read else 307, [("location", place)], gone
            case _:
                raise Refused(404, "Not Found")
        # As GitHub does: what one may not read does not exist.
        if found is None or login not in found.readers | found.writers:
            raise Refused(404, "Not Found")
        return self._within(found, login, request, rest, dict(parse_qsl(query)))

    def _within(
        self, repository: Repository, login: str, request: Received, rest: list[str], query: dict[str, str]
    ) -> Answer:
        base = self.base_url
        match request.method, rest:
            case "GET" | "HEAD", []:
                return 200, [], repository_document(self.base_url, repository, login)
            case "GET" | "HEAD", ["issues"]:
                return self._page(
                    repository,
                    "issues",
                    [issue_document(base, repository, issue) for issue in repository.issues],
                    query,
                )
            case "GET" | "HEAD", ["pulls"]:
                return self._page(
                    repository, "pulls", [pull_document(base, repository, pull) for pull in repository.pulls], query
                )
            case "GET" | "HEAD", ["issues", number]:
                return 200, [], issue_document(base, repository, _numbered(repository.issues, number))
            case "GET" | "HEAD", ["pulls", number]:
                return 200, [], pull_document(base, repository, _numbered(repository.pulls, number), whole=True)
            case "GET" | "HEAD", ["contents", *names]:
                document = contents_document(base, repository, "/".join(names))
                if document is None:
                    raise Refused(404, "Not Found")
                return 200, [], document
            case "POST", ["issues", number, "comments"]:
                _numbered(repository.issues, number)
                comment = {"id": next(self._ids), "user": user_document(base, login), "body": _comment(request.body)}
                return 201, [], comment
            case "PUT", ["contents", *names] if login in repository.writers:
                return 201, [], {"content": {"path": "/".join(names)}}
            case "POST", ["issues"]:
                if login not in repository.writers:
                    raise Refused(403, "Resource not accessible by personal access token")
                issue = issue_document(
                    base, repository, self._open_issue(repository, login, _issue_fields(request.body))
                )
                return 201, [("location", issue["url"])], issue
        raise Refused(404, "Not Found")

    def _about_consent(self, request: Received, parts: list[str], query: str) -> Answer | None:
        authorization, accept = request.header("authorization") or "", request.header("accept") or ""
        match request.method, parts:
            case "GET", ["login", "oauth", "authorize"]:
                return self.consent.page(query, self.at_the_browser)
            case "POST", ["login", "oauth", "authorize"]:
                return self.consent.decided(request.body)
            case "POST", ["login", "oauth", "access_token"]:
                return self.consent.redeemed(request.body, accept)
            case "DELETE", ["applications", client_id, "token" | "grant" as what]:
                return self.consent.ended(client_id, authorization, request.body, whole_grant=what == "grant")
        return None

    def _bearer(self, request: Received) -> tuple[str, tuple[str, ...]]:
        """Who asks, and what for. A token made by hand here can do all."""
        scheme, _, given = (request.header("authorization") or "").partition(" ")
        if not given:
            raise Refused(401, "Requires authentication")
        given = given.strip() if scheme.lower() in ("bearer", "token") else ""
        if given in self._logins:
            return self._logins[given], ("repo",)
        if (by_consent := self.consent.tokens.get(given)) is not None:
            return by_consent.login, by_consent.scopes
        raise Refused(401, "Bad credentials")

    def _named(self, full_name: str) -> Repository | None:
        wanted = full_name.lower()  # GitHub ignores ASCII case in names
        return next((found for found in self._repositories.values() if found.full_name.lower() == wanted), None)

    def _open_issue(self, repository: Repository, author: str, fields: dict[str, Any]) -> dict[str, Any]:
        number = len(repository.issues) + len(repository.pulls) + 1
        issue = {"id": next(self._ids), "number": number, "state": "open", "author": author, "body": None, **fields}
        repository.issues.insert(0, issue)  # newest first
        return issue

    def _page(self, repository: Repository, kind: str, items: list[dict[str, Any]], query: dict[str, str]) -> Answer:
        state = query.get("state", "open")
        items = [item for item in items if state in ("all", item["state"])]
        size = min(100, _positive(query.get("per_page"), _PAGE))
        page, last = _positive(query.get("page"), 1), max(1, -(-len(items) // size))
        around = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
        shown = {"prev": page > 1, "next": page < last, "last": page < last, "first": page > 1}
        place = f"{self.base_url}/repositories/{repository.id}/{kind}"
        links = [
            f'<{place}?{urlencode({**query, "page": number})}>; rel="{relation}"'
            for relation, number in around.items()
            if shown[relation]
        ]
        return 200, [("link", ", ".join(links))] if links else [], items[(page - 1) * size : page * size]


def _numbered(items: list[dict[str, Any]], number: str) -> dict[str, Any]:
    for item in items:
        if str(item["number"]) == number:
            return item
    raise Refused(404, "Not Found")


def _issue_fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except ValueError:
        raise Refused(400, "Problems parsing JSON") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("title"), str) or not fields["title"]:
        missing = {"resource": "Issue", "field": "title", "code": "missing_field"}
        raise Refused(422, "Validation Failed", errors=[missing])
    return {name: fields[name] for name in ("title", "body") if isinstance(fields.get(name), str)}


def _comment(body: bytes) -> str:
    try:
        said = json.loads(body)["body"]
    except (ValueError, KeyError, TypeError):
        raise Refused(422, "Validation Failed") from None
    return str(said)


def _positive(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isdecimal() and 0 < int(text) < 1_000_000 else otherwise


def _path(target: str) -> str:
    return target.partition("?")[0]


async def _live(receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
