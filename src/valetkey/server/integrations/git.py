"""Clone, fetch and push over HTTPS: what a call to an API's git host does, by its path and its query.

Responsible for the four requests of git's smart protocol (git's gitprotocol-http, "Smart Clients") and for nothing else
at that host. What the pack says is not judged: a push may do whatever its scope says in words. Refuses to know bodies,
so packs of any size stream through; connections, and what is allowed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from valetkey.server.integrations.model import GIT_PREFIX, Match, Operation

_SUFFIX: Final = ".git"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_FIELDS: Final = ("owner", "repo")
_KIND: Final = "repository"


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHost:
    """Where an API's repositories are, the scopes to read and to push, and the user name its credential goes under."""

    base_url: str
    user: str
    read: str
    write: str

    def at_origin_of(self, base_url: str) -> "GitHost":
        """The same where an API has its repositories at its own origin, as GitHub Enterprise Server has."""
        parts = urlsplit(base_url)
        return replace(self, base_url=f"{parts.scheme}://{parts.netloc}")

    def operations(self) -> tuple[Operation, ...]:
        """The four, to be listed among the API's own."""
        return tuple(self._operation(asked) for asked in _ASKED.values())

    def match(self, method: str, segments: tuple[str, ...], query: tuple[tuple[str, str], ...]) -> Match | None:
        """The operation of these decoded segments, the prefix first, or None, which is denied."""
        if len(segments) < 4 or segments[0] != GIT_PREFIX:
            return None
        _, owner, repo, *rest = segments
        # SECURITY: the whole query is compared: of two values of `service`, or a second name, the host might take
        # another than was judged. Guarded by tests/rules/test_git.py::test_a_query_with_two_readings_is_no_operation
        asked = _ASKED.get((method, "/".join(rest), query))
        name = repo.removesuffix(_SUFFIX)
        # SECURITY: the host drops the ending once, in the spelling it knows; a name it could drop it from again, or
        # spelled another way, might be two repositories. Guarded by tests/rules/test_git.py::test_a_name_is_one_name
        # The host keeps a repository's wiki under a name of its own (`.wiki`), which no grant is about.
        if asked is None or name.lower().endswith((_SUFFIX, ".wiki")) or {owner, name} & {".", ".."}:
            return None
        if not _NAME.fullmatch(owner) or not _NAME.fullmatch(name):
            return None
        return Match(self._operation(asked), {"owner": owner, "repo": name})

    def _operation(self, asked: "_Asked") -> Operation:
        return Operation(
            id=f"git/{asked.id}",
            method=asked.method,
            template=f"/{GIT_PREFIX}/{{owner}}/{{repo}}/{asked.path}",
            category="smart-http",
            access="write" if asked.pushes else "read",
            scope=self.write if asked.pushes else self.read,
            resource_kind=_KIND,
            resource_fields=_FIELDS,
            tags=frozenset({"outlives"}) if asked.pushes else frozenset(),
        )


class _Asked(NamedTuple):
    id: str
    method: str
    path: str
    pushes: bool
    query: tuple[tuple[str, str], ...] = ()


_ALL: Final = (
    _Asked("fetch-refs", "GET", "info/refs", pushes=False, query=(("service", "git-upload-pack"),)),
    _Asked("fetch", "POST", "git-upload-pack", pushes=False),
    _Asked("push-refs", "GET", "info/refs", pushes=True, query=(("service", "git-receive-pack"),)),
    _Asked("push", "POST", "git-receive-pack", pushes=True),
)
_ASKED: Final[Mapping[tuple[str, str, tuple[tuple[str, str], ...]], _Asked]] = {
    (asked.method, asked.path, asked.query): asked for asked in _ALL
}
