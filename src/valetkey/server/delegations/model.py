"""Delegation, Grant, Task: what a person permitted, and one narrower run of it. Frozen; pure; narrowing only.

A resource is a thing, not a name: it is bound to the upstream's immutable id, and the id decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from valetkey.server.delegations.budgets.model import Limits, strictest
from valetkey.server.errors import Denied
from valetkey.server.integrations.model import FOLDER, NESTING, Integration, ResourceFacts, same_name

Catalogue = Mapping[str, Integration]


class Basis(StrEnum):
    """Whose word created it."""

    CONSENT = "consent"
    ADMINISTRATOR = "administrator"


class Mode(StrEnum):
    """Attended: every task needs fresh evidence of the user. Standing: may act while she is away."""

    ATTENDED = "attended"
    STANDING = "standing"


class Fit(Enum):
    """How an actual resource stands to a granted one."""

    YES = "yes"
    NO = "no"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource as granted: `*`, `owner/*`, `schema.*`, or one name; bound when it carries the upstream's ids."""

    name: str
    id: str = ""
    owner: str = ""
    kind: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it is all there is of one owner (`owner/*`) or of one schema (`schema.*`)."""
        return self.name.endswith(("/*", ".*"))

    def fit(self, actual: ResourceFacts) -> Fit:
        """Whether `actual` is this resource. A name that now means another thing is `CHANGED`, never `YES`."""
        if self.name == "*":
            return Fit.YES
        # A folder's name is its id; what is in it is never another kind of thing under the same name.
        if self.kind in ("", FOLDER) and self.name in actual.inside:
            return Fit.YES if not self.owner or actual.owner_id == self.owner else Fit.CHANGED
        if self.kind and self.kind != actual.kind:
            return Fit.NO  # ids of different kinds may be equal: a repository's and an organization's
        if self.is_whole:
            mark = self.name[-2]
            named = same_name(self.name[:-2], actual.name.partition(mark)[0], kind=_kind(mark)) and mark in actual.name
            if not self.owner:
                return Fit.YES if named else Fit.NO
            if actual.owner_id == self.owner:
                return Fit.YES
            return Fit.CHANGED if named else Fit.NO
        named = same_name(self.name, actual.name, kind=actual.kind)
        if not self.id:
            owned = not self.owner or actual.owner_id == self.owner
            return Fit.YES if named and owned else Fit.CHANGED if named else Fit.NO
        if actual.id == self.id:
            return Fit.YES if not self.owner or actual.owner_id == self.owner else Fit.CHANGED
        return Fit.CHANGED if named else Fit.NO

    def within(self, wider: "Resource") -> "Resource | None":
        """This resource under the binding of `wider`, or None when `wider` does not contain it.

        What is bound lies within a name only where the name is bound as well: the thing may carry another name.
        """
        if wider.name == "*":
            return self
        if self.name == "*" or ((self.id or self.owner) and not (wider.id or wider.owner)):
            return None
        if wider.is_whole:
            mark = wider.name[-2]
            head, marked, _ = self.name.partition(mark)
            if not marked or not same_name(head, wider.name[:-2], kind=_kind(mark)):
                return None
            if self.owner and wider.owner and self.owner != wider.owner:
                return None
            kind = self.kind or (wider.kind if self.is_whole else "")
            return replace(self, owner=self.owner or wider.owner, kind=kind)
        if wider.kind in NESTING and self.kind in ("", FOLDER) and self.name.startswith(wider.name + "/"):
            if self.is_whole or (self.owner and self.owner != wider.owner):
                return None
            return replace(self, id=self.name, owner=wider.owner, kind=FOLDER)
        exact = "table" if "table" in (self.kind, wider.kind) else "repository"
        if self.is_whole or not same_name(self.name, wider.name, kind=exact):
            return None
        if (self.id and wider.id and self.id != wider.id) or (self.owner and wider.owner and self.owner != wider.owner):
            return None
        return replace(
            self,
            name=wider.name,
            id=self.id or wider.id,
            owner=self.owner or wider.owner,
            kind=self.kind or wider.kind,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant(Limits):
    """One line: scopes on resources through one connection, under conditions. Times are seconds since the epoch."""

    integration: str
    connection: str
    scopes: frozenset[str]
    resources: tuple[Resource, ...]
    not_after: int | None = None
    ask: bool = False
    """The person is asked before each of these calls."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of the line: it grants nothing."""
        return not self.scopes or not self.resources

    def lessened(self, kept: "Kept") -> "Grant":
        """The line with only what is kept of it; empty when nothing is left of its scopes or of its resources."""
        if not kept.scopes <= self.scopes or not kept.resources <= {r.name for r in self.resources}:
            raise Denied("A delegation is only ever narrowed. To give more, agree again.", reason="widening")
        resources = tuple(r for r in self.resources if r.name in kept.resources)
        if not kept.scopes or not resources:
            return replace(self, scopes=frozenset(), resources=())
        return replace(self, scopes=kept.scopes, resources=resources)

    def by_name(self) -> "Grant":
        """The same line as a ceiling is written: over any connection, by names alone."""
        # The names of tables compare letter by letter, so the kind stays with them.
        named = (Resource(name=r.name, kind=r.kind if r.kind == "table" else "") for r in self.resources)
        return replace(self, connection="", resources=tuple(named), ask=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays of one line: scopes and names of resources."""

    scopes: frozenset[str]
    resources: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    id: str
    org: str
    user: str
    agent: str
    basis: Basis
    mode: Mode
    purpose: str
    grants: tuple[Grant, ...]
    share_with: frozenset[str]  # ids of the agents that may receive part of it
    tasks_per_day: int
    created_by: str
    created_at: int
    expires_at: int

    def is_live(self, now: float) -> bool:
        return now < self.expires_at

    @property
    def lines(self) -> tuple[Grant, ...]:
        """The lines that still grant something."""
        return tuple(line for line in self.grants if not line.is_empty)

    def lessened(self, kept: Sequence["Kept"], *, expires_at: int) -> "Delegation":
        """The same delegation with less on its lines, or an earlier end. Raises `Denied` for anything that is more.

        Every line keeps its place, an emptied one too: calls are counted by it.
        """
        if len(kept) != len(self.grants) or expires_at > self.expires_at:
            raise Denied("A delegation is only ever narrowed. To give more, agree again.", reason="widening")
        return replace(
            self,
            grants=tuple(line.lessened(part) for line, part in zip(self.grants, kept, strict=True)),
            expires_at=expires_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    id: str
    org: str
    delegation: str
    agent: str
    parent: str | None
    root: str
    depth: int
    grants: tuple[Grant, ...]
    purpose: str
    evidence: str
    created_at: int
    expires_at: int

    def is_live(self, now: float) -> bool:
        return now < self.expires_at


def narrowed(held: Sequence[Grant], asked: Sequence[Grant], catalogue: Catalogue) -> tuple[Grant, ...]:
    """The asked grants, each under the bindings and conditions of what is held. Asking for more raises `Denied`.

    An empty list of grants, scopes or resources grants nothing and is refused.
    """
    if not asked:
        raise Denied("Nothing was asked for.", detail="empty list of grants")
    return tuple(_narrowed(held, line, catalogue) for line in asked)


def _narrowed(held: Sequence[Grant], asked: Grant, catalogue: Catalogue) -> Grant:
    if not asked.scopes or not asked.resources:
        raise Denied("A grant without scopes or without resources grants nothing.")
    integration = catalogue.get(asked.integration)
    lines = [g for g in held if g.integration == asked.integration and asked.connection in ("", g.connection)]
    connections = {g.connection for g in lines}
    if integration is None or not lines:
        raise Denied(f"{asked.integration} was never delegated.", reason="not_delegated")
    if len(connections) > 1:
        raise Denied(
            f"Several {asked.integration} connections were delegated.",
            hint=f"Name one: {asked.integration}/CONNECTION:scope@resource.",
            reason="ambiguous_connection",
        )
    resources: list[Resource] = []
    under = [asked]
    for resource in asked.resources:
        bound, needed = _covered(lines, asked.scopes, resource, integration)
        resources.append(bound)
        under += needed
    return Grant(
        integration=asked.integration,
        connection=connections.pop(),
        scopes=asked.scopes,
        resources=tuple(resources),
        **strictest(under),
        not_after=min((g.not_after for g in under if g.not_after is not None), default=None),
        ask=any(g.ask for g in under),
    )


def _covered(
    lines: Sequence[Grant], scopes: frozenset[str], resource: Resource, integration: Integration
) -> tuple[Resource, list[Grant]]:
    """The resource as held, and the lines that hold it: one for all the scopes if there is one, else one for each."""
    line, wider = _covering(lines, scopes, resource, integration)
    if line is not None and wider is not None:
        return resource.within(wider) or resource, [line]
    bound, needed, containing = resource, [], []
    for scope in sorted(scopes):
        # SECURITY: bindings add up: a scope held on everything must not loosen what another line binds.
        # Guarded by tests/rules/test_narrowing.py::test_a_second_line_never_loosens_the_binding_of_the_first
        line, wider = _covering(lines, frozenset({scope}), bound, integration)
        if line is None or wider is None:
            raise Denied(f"{scope} on {resource.name} was never delegated.", reason="not_delegated")
        bound = bound.within(wider) or bound
        needed.append(line)
        containing.append(wider)
    # SECURITY: a binding one line adds must lie within the others too: a name and an id are two sets of things.
    # Guarded by tests/rules/test_narrowing.py::test_a_name_on_one_line_and_an_owner_on_another_do_not_mix
    if any(bound.within(wider) != bound for wider in containing):
        raise Denied(
            f"{', '.join(sorted(scopes))} on {resource.name} stand on lines that bind it differently.",
            hint="Ask for them on a line each.",
            reason="not_delegated",
        )
    return bound, needed


def _covering(
    lines: Sequence[Grant], scopes: frozenset[str], resource: Resource, integration: Integration
) -> tuple[Grant | None, Resource | None]:
    """The first line that has all these scopes on the resource, and which of its resources contains it."""
    for line in lines:
        if not all(any(integration.includes(held, scope) for held in line.scopes) for scope in scopes):
            continue
        for wider in line.resources:
            # SECURITY: what a resource server of somebody's own calls its things is its business: no letter is folded.
            # Guarded by tests/rules/test_registered.py::test_names_of_a_registered_server_compare_exactly
            if resource.within(wider) is not None and (not integration.is_registered or spelled(resource, wider)):
                return line, wider
    return None, None


def _kind(mark: str) -> str:
    """Of names before a slash ASCII case says nothing; the names of schemas differ by it."""
    return "repository" if mark == "/" else "schema"


def spelled(resource: Resource, wider: Resource) -> bool:
    """Whether `wider` contains the resource letter by letter."""
    if wider.name == "*" or resource.name == wider.name:
        return True
    return wider.name.endswith("/*") and resource.name.startswith(wider.name[:-1])


def common_scopes(grants: Sequence[Grant]) -> frozenset[str]:
    """The scopes allowed on every listed resource: what a `scope` claim may say without lying."""
    if not grants:
        return frozenset()
    return frozenset.intersection(*(g.scopes for g in grants))
