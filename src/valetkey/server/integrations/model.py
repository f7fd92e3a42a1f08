"""What an integration is: a third-party API as a value. Frozen data and the pure rules that belong to it.

Responsible for saying which scope contains which operation, which scope is wider, and which resource a call names.
Refuses to know users, delegations, sockets, and where the data came from.
"""

import hashlib
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from valetkey.server.integrations.authorization import Installation, Key, OAuth
    from valetkey.server.integrations.databases import Database
    from valetkey.server.integrations.git import GitHost
    from valetkey.server.integrations.lookup import FormLookup, Identify, Lookup, Question
    from valetkey.server.integrations.operations import Operations
    from valetkey.server.integrations.reading import Reader
    from valetkey.server.integrations.role import Role

Access = Literal["read", "write"]
Tier = Literal["read", "write", "danger"]
Shows = Literal["outsiders", "members", "nothing"]
Layout = Literal["agent", "rfc8693"]
Refusals = Literal["", "google"]

_FOLD: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_BASE: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~-]+)*/?")
ACCOUNT: Final = "account"
"""What a call is counted by that names no resource."""
GIT_PREFIX: Final = "git"
"""The first segment of the git host's addresses at the gateway: `/p/github/git/acme-corp/backend.git`."""
FOLDER: Final = "folder"
"""A place inside a bucket: `acme-reports/2027` is every key that begins with `2027/`. Its name is its id."""
NESTING: Final = frozenset({"bucket", FOLDER})
"""Kinds of things that hold folders, by their names."""
_FOLDED_KINDS: Final = frozenset({"repository", "organization", "enterprise", "user"})


def same_name(a: str, b: str, *, kind: str = "repository") -> bool:
    """Whether two names mean the same thing to the upstream: ASCII case is ignored, nothing else is.

    >>> same_name("Acme/Backend", "acme/backend"), same_name("acme/bac\u212aend", "acme/backend")
    (True, False)
    """
    # NOTE: a channel is bound as `#general`, and people leave the sign out; at no API do two names differ by it alone.
    a, b = a.removeprefix("#"), b.removeprefix("#")
    # SECURITY: not `casefold`: KELVIN SIGN would become `k`, and a name nobody granted would compare equal.
    return a.translate(_FOLD) == b.translate(_FOLD) if kind in _FOLDED_KINDS else a == b


@dataclass(frozen=True, slots=True)
class ResourceRef:
    """A resource as one call addresses it: by name or by the upstream's immutable id, never both."""

    kind: str
    name: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ResourceFacts:
    """A resource as the upstream describes it now. Ids are text; `owner_id` is empty where there is no owner."""

    kind: str
    name: str
    id: str
    owner_id: str = ""
    inside: tuple[str, ...] = ()
    """Names of the folders that hold all of what a call is about, where names of folders can be granted."""
    public: bool | None = None
    """Whether people can read it whom nobody let in by name; None: the API did not say."""
    outside: bool | None = None
    """Whether people outside the organization can: of what is open inside a workspace they cannot. None: not said."""

    @property
    def key(self) -> str:
        """What it is counted by, whatever it is called: one thing, one key, at most 200 characters."""
        key = f"{self.kind}/{self.id}"
        return key if len(key) <= 150 else f"{self.kind[:20]}/{hashlib.sha256(key.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition on one path field: touching `place`, a file or (with a final `/`) a folder, also needs `scope`."""

    field: str
    place: str
    scope: str

    def applies(self, fields: Mapping[str, str]) -> bool:
        """Whether the field is the place, below it, or above it. Case is ignored, to deny rather than to miss.

        >>> guard = Guard("path", ".github/workflows/", "workflows:write")
        >>> [guard.applies({"path": path}) for path in (".github/workflows/ci.yml", ".github", "README.md")]
        [True, True, False]
        """
        value, place = fields.get(self.field, "").casefold() + "/", self.place.casefold().rstrip("/") + "/"
        # NOTE: above it too, because a file written where a folder was replaces all that is in the folder.
        return value.startswith(place) or place.startswith(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation an API publishes. `template` is RFC 6570: `{x}` is one segment, `{+x}` one or more."""

    id: str
    method: str
    template: str
    category: str
    access: Access
    scope: str
    """The narrowest scope that contains it."""
    resource_kind: str
    """`account` means: names nothing narrower than the connected account."""
    resource_fields: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    judged: tuple[str, ...] = ()
    """Path fields that may be recorded. Never bodies, never fields that carry a secret."""
    guards: tuple[Guard, ...] = ()
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Path fields that take only these values."""
    never: Mapping[str, str] = field(default_factory=dict)
    """Path fields that must not hold any of these characters, because they would name another resource."""


@dataclass(frozen=True, slots=True)
class Match:
    """A call recognised as an operation, with what its path fields say. `fields` are percent-decoded."""

    operation: Operation
    fields: Mapping[str, str]
    ref: ResourceRef | None = None
    """The resource, where a reader found it; None where the path says it."""
    connection: str = ""
    """The connection it goes through, by its name or id, where the call says it."""
    comments: int = 1
    """How many comments it writes, where its operation writes any."""

    @property
    def judged(self) -> dict[str, str]:
        """The fields that policy sees and the audit keeps."""
        return {name: self.fields[name] for name in self.operation.judged if name in self.fields}

    @property
    def scopes_needed(self) -> frozenset[str]:
        """Scopes needed besides one that contains the operation, because of what the fields say."""
        return frozenset(guard.scope for guard in self.operation.guards if guard.applies(self.fields))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A named set of operations. `sentence` completes "you may …"; a danger tier is never part of a plain write."""

    name: str
    sentence: str
    tier: Tier
    reversible: bool
    outlives: bool
    resource_kind: str
    operations: frozenset[str]
    shows: Shows = "outsiders"
    """Who may have written what its operations return, where the resource is public: anybody, or members only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPosition:
    """A header position clients use for their token; `basic` means: the password of HTTP Basic, any user name."""

    header: str
    scheme: str
    basic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """How the real credential enters a request: header name and value, with `{token}` in it."""

    header: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where an answer carries addresses of the API: JSON keys (exact or by ending) and header names, lower-case."""

    keys: frozenset[str] = frozenset()
    key_endings: tuple[str, ...] = ()
    headers: frozenset[str] = frozenset()

    def is_key(self, key: str) -> bool:
        """Whether the value of this JSON key is an address (or an RFC 6570 template of one)."""
        return key in self.keys or key.endswith(self.key_endings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Integration:
    """The description of one API. What is not described does not exist: no scope, no operation, no match."""

    name: str
    title: str
    audience: str
    base_url: str
    hosts: frozenset[str]
    """`host` or `host:port` a credential may be sent to."""
    scopes: Mapping[str, Scope]
    operations: "Operations"
    token_positions: tuple[TokenPosition, ...]
    injection: Injection
    reader: "Reader | None" = None
    """How calls are read whose path does not say all they do; None where every path does."""
    success: str = ""
    """The first member of every answer, false where the call failed, at an API that says 200 to failures too."""
    refusals: Refusals = ""
    """Whose way of saying no its clients read besides problem details."""
    git: "GitHost | None" = None
    """Where its repositories are cloned from and pushed to; None where it has none."""
    usually_at: tuple[tuple[str, str], ...] = ()
    """What `known_at` was before it was pointed at another base."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lines the API insists on, sent with questions of ours; an agent's call brings its own."""
    encoded_slash: bool = False
    """`%2F` in a path means `/` at this API."""
    lookups: Mapping[str, "Lookup | FormLookup"] = field(default_factory=dict)
    questions: Mapping[str, "Question"] = field(default_factory=dict)
    """Look-ups that are asked by POST, by the kind of what a call names."""
    identify: "Identify | None" = None
    addresses: Addresses = field(default_factory=Addresses)
    oauth: "OAuth | None" = None
    """How it is connected by the API's own consent; None where there is no such way."""
    key: "Key | None" = None
    """How its keys are made, where they may be pasted."""
    installation: "Installation | None" = None
    """How an app installed there gets narrow credentials; None where there are none to be had."""
    role: "Role | None" = None
    """How a role is taken on there, by whoever signs its calls; None where there are none."""
    database: "Database | None" = None
    """How a database is connected; None for an API. Of one, only questions pass the gateway."""
    org: str | None = None
    """The one organization that registered it as a resource server of its own; None for what everybody may use."""
    layout: Layout = "agent"
    algorithm: str = ""
    """What its credentials are signed with; empty means what the settings say."""

    @property
    def is_registered(self) -> bool:
        """Whether somebody registered it as a resource server: nothing is connected, the gateway never serves it."""
        return self.org is not None

    @property
    def speaks(self) -> bool:
        """Whether operations of it may be opened as WebSockets: where the path says all, and one header is injected."""
        return self.reader is None and self.role is None and self.database is None and not self.is_registered

    def is_seen_by(self, org: str | None) -> bool:
        """Whether it exists for that organization; for nobody's, what everybody may use does."""
        return self.org in (None, org)

    @property
    def base_path(self) -> str:
        """What stands before an operation's path: empty, or `/api/v3`."""
        return urlsplit(self.base_url).path

    @property
    def known_at(self) -> tuple[tuple[str, str], ...]:
        """The addresses clients know it by, each with what stands for it below its address at the gateway."""
        here = ((self.base_url, ""), *(((self.git.base_url, f"/{GIT_PREFIX}"),) if self.git else ()))
        found = dict.fromkeys((*self.usually_at, *here))
        return tuple(place for place in found if place[0].startswith("https://"))

    def operations_of(self, scope: str) -> frozenset[str]:
        """Ids of the operations in a scope; an unknown scope holds none."""
        found = self.scopes.get(scope)
        return found.operations if found else frozenset()

    def contains(self, scope: str, operation: str) -> bool:
        """Whether the scope holds the operation."""
        return operation in self.operations_of(scope)

    def match(self, method: str, segments: tuple[str, ...], query: tuple[tuple[str, str], ...]) -> Match | None:
        """The operation of this target, at the API or at its git host; None is denied."""
        if self.git is not None and self.is_git(segments):
            return self.git.match(method, segments, query)
        return self.operations.match(method, segments)

    def is_git(self, segments: tuple[str, ...]) -> bool:
        """Whether a target means the API's git host."""
        return self.git is not None and segments[:1] == (GIT_PREFIX,)

    def includes(self, wider: str, narrower: str) -> bool:
        """Whether `narrower` asks for nothing beyond `wider`: a partial order over the known scopes."""
        if wider not in self.scopes or narrower not in self.scopes:
            return False
        inner = self.operations_of(narrower)
        # An empty scope is a subset of everything; it is part of nothing but itself.
        return wider == narrower or (bool(inner) and inner <= self.operations_of(wider))

    def with_host(self, base_url: str, *, audience: str | None = None) -> "Integration":
        """The same API at another base, such as `https://git.acme.com/api/v3`, its consent at the same origin.

        Raises ValueError for a poor address.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
            raise ValueError(f"not a base address: {base_url!r}")
        # Reading the port proves it is a number. A path that has two readings is no base.
        if parts.port == 0 or not _BASE.fullmatch(base_url) or {".", ".."} & {*parts.path.split("/")}:
            raise ValueError(f"not a base address: {base_url!r}")
        base = f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"
        hosts = frozenset({parts.netloc.lower()})
        oauth = self.oauth and self.oauth.at_origin(f"{parts.scheme}://{parts.netloc.lower()}")
        role = self.role and self.role.at_origin(f"{parts.scheme}://{parts.netloc.lower()}")
        git = self.git and self.git.at_origin_of(base)
        moved = replace(
            self, base_url=base, hosts=hosts, audience=audience or self.audience, oauth=oauth, role=role, git=git
        )
        return replace(moved, usually_at=self.known_at)


def resource_of(match: Match) -> ResourceRef | None:
    """The resource a call names, as it names it; None when it names nothing narrower than the account.

    A path fills every field its operation promises. A body may leave them out: then only all there is covers the call.
    """
    operation, fields = match.operation, match.fields
    if operation.resource_kind == "account":
        return None
    if match.ref is not None:
        return match.ref
    if not fields:
        return None
    by_id = f"{operation.resource_kind}_id"
    if operation.resource_fields == (by_id,) or operation.resource_fields[0] not in fields:
        return ResourceRef(operation.resource_kind, id=fields[by_id])
    return ResourceRef(operation.resource_kind, name="/".join(fields[name] for name in operation.resource_fields))
