"""What the practice GitHub says about its things: JSON documents in the shape, and with the addresses, GitHub uses.

Pure. `base` is the API's own address: it begins every `url` and `*_url` a client may follow, while `html_url` points
at pages, as it does at GitHub. Lists show less of a pull request than the document of one (`whole`).
"""

import base64
import zlib
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, Final

_WHEN: Final = "2026-01-05T09:00:00Z"
_PAGES: Final = "https://github.com"


@dataclass(slots=True, kw_only=True)
class Repository:
    """What GitHub keeps under an id. `writers` may write; `readers` and writers may read; others are told it is not."""

    id: int
    full_name: str
    readers: frozenset[str]
    writers: frozenset[str]
    is_public: bool = False  # says so; who is let in is the same here
    issues: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


def user_document(base: str, login: str, number: int = 0) -> dict[str, Any]:
    """Describe a person."""
    url = f"{base}/users/{login}"
    document: dict[str, Any] = {"login": login, "url": url, "html_url": f"{_PAGES}/{login}", "type": "User"}
    document |= {"repos_url": f"{url}/repos", "site_admin": False}
    return document | ({"id": number, "node_id": _node("U", number)} if number else {})


def repository_document(base: str, repository: Repository, login: str) -> dict[str, Any]:
    """Describe a repository as `login` sees it."""
    url = _repository_url(base, repository)
    owner, _, name = repository.full_name.partition("/")
    document = {"id": repository.id, "node_id": _node("R", repository.id), "name": name}
    document |= {"full_name": repository.full_name, "private": not repository.is_public, "fork": False}
    document |= {"visibility": "public" if repository.is_public else "private"}
    owner_number = 100_000 + zlib.crc32(owner.lower().encode()) % 100_000  # an organization keeps its id
    document |= {"owner": user_document(base, owner, owner_number) | {"type": "Organization"}}
    document |= {"default_branch": "main"}
    document |= {"html_url": f"{_PAGES}/{repository.full_name}", "description": None, "url": url}
    document |= {f"{kind}_url": f"{url}/{kind}{{/number}}" for kind in ("issues", "pulls")}
    document |= {"contents_url": f"{url}/contents/{{+path}}", "created_at": _WHEN, "updated_at": _WHEN}
    writes = login in repository.writers
    document |= {"permissions": {"admin": False, "maintain": False, "push": writes, "triage": writes, "pull": True}}
    return document | {"open_issues_count": len(repository.issues) + len(repository.pulls)}


def issue_document(base: str, repository: Repository, issue: dict[str, Any]) -> dict[str, Any]:
    """Describe an issue."""
    url = f"{_repository_url(base, repository)}/issues/{issue['number']}"
    document = {name: issue[name] for name in ("id", "number", "state", "title", "body")}
    document |= {"node_id": _node("I", issue["id"]), "url": url, "repository_url": _repository_url(base, repository)}
    document |= {"comments_url": f"{url}/comments", "labels_url": f"{url}/labels{{/name}}", "comments": 0}
    document |= {"html_url": f"{_PAGES}/{repository.full_name}/issues/{issue['number']}", "labels": []}
    return document | {"user": user_document(base, issue["author"]), "created_at": _WHEN, "updated_at": _WHEN}


def pull_document(base: str, repository: Repository, pull: dict[str, Any], *, whole: bool = False) -> dict[str, Any]:
    """Describe a pull request."""
    home = _repository_url(base, repository)
    url = f"{home}/pulls/{pull['number']}"
    document = {name: pull[name] for name in ("number", "state", "title", "head")}
    document |= {
        "id": repository.id * 1000 + pull["number"],
        "url": url,
        "issue_url": f"{home}/issues/{pull['number']}",
    }
    document |= {"html_url": f"{_PAGES}/{repository.full_name}/pull/{pull['number']}", "created_at": _WHEN}
    document |= {"user": user_document(base, pull["author"]), "base": {"label": "main", "ref": "main"}, "draft": False}
    return document | (
        {"merged": False, "mergeable": True, "commits": 1, "changed_files": 1, "additions": 3} if whole else {}
    )


def contents_document(base: str, repository: Repository, path: str) -> dict[str, Any] | list[dict[str, Any]] | None:
    """Describe a file with its content, list a folder, or return None where there is neither."""
    if path in repository.files:
        document = _entry(base, repository, path, "file")
        content = base64.encodebytes(repository.files[path]).decode()
        return document | {"encoding": "base64", "content": content}
    folder = f"{path}/" if path else ""
    names = sorted(
        {name.removeprefix(folder).partition("/")[0] for name in repository.files if name.startswith(folder)}
    )
    kinds = {name: "file" if folder + name in repository.files else "dir" for name in names}
    return [_entry(base, repository, folder + name, kind) for name, kind in kinds.items()] or None


def _entry(base: str, repository: Repository, path: str, kind: str) -> dict[str, Any]:
    content = repository.files.get(path, b"")
    # GitHub names a file by git's hash of it; nothing is secured by that.
    sha = sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()
    url = f"{_repository_url(base, repository)}/contents/{path}"
    return {"type": kind, "name": path.rpartition("/")[2], "path": path, "sha": sha, "size": len(content), "url": url}


def _repository_url(base: str, repository: Repository) -> str:
    return f"{base}/repos/{repository.full_name}"


def _node(kind: str, number: int) -> str:
    return f"{kind}_" + base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")
