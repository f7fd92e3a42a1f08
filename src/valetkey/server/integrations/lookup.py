"""How to ask an upstream what a name or an id means now, and how to read what it answers.

Responsible for the path to GET, or the form to POST, and the meaning of the JSON. Refuses to know how the question is
sent, with whose credential, and how long an answer is remembered.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from valetkey.server.integrations.model import ResourceFacts, ResourceRef

_WRITABLE: Final = re.compile(r"[A-Za-z0-9_.-]+")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """How to ask the upstream which thing a reference means: a GET, and where its JSON says id, name and owner."""

    kind: str
    by_name: str
    by_id: str
    id: str
    name: str
    owner_id: str = ""
    private: str = ""
    """Where the answer says that not everybody may read it, or in `public` that everybody may."""
    public: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    """What every such question says besides (Drive leaves shared drives out unless it is told otherwise)."""

    def segments(self, ref: ResourceRef) -> tuple[str, ...]:
        """The path to GET for `ref`, decoded, below the base path. Raises ValueError for another kind of resource."""
        if ref.kind != self.kind or (ref.name is None) == (ref.id is None):
            raise ValueError(f"not one {self.kind}: {ref}")
        template, value = (self.by_name, ref.name) if ref.name is not None else (self.by_id, ref.id)
        if "/{+" in template:  # the name is one segment, its slashes written as `%2F` (GitLab)
            value, head = value or "", template.split("/")[1:-1]
            if {"", ".", ".."} & {*value.split("/")}:
                raise ValueError(f"not the address of a {self.kind}: {ref}")
            return (*head, value)
        names = iter((value or "").split("/"))
        path = tuple(next(names, "") if part.startswith("{") else part for part in template.split("/")[1:])
        if {"", ".", ".."} & {*path} or next(names, None) is not None:
            raise ValueError(f"not the address of a {self.kind}: {ref}")
        return path

    def ref(self, text: str) -> ResourceRef:
        """What somebody who writes `text` means: a name."""
        return ResourceRef(self.kind, name=text)

    def facts(self, document: object) -> ResourceFacts | None:
        """Read the upstream's answer; None when it does not plainly name the thing, which nobody may trust then."""
        found = [_pointed(document, p) for p in (self.id, self.name, self.owner_id or self.id)]
        if not all(found):
            return None
        public = _is_public(document, private=self.private, public=self.public)
        owner = found[2] if self.owner_id else ""
        return ResourceFacts(self.kind, name=found[1], id=found[0], owner_id=owner, public=public, outside=public)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A list that is walked for a name, because the API knows no address by name. `arguments` go with every page."""

    path: str
    at: str
    cursor: str
    next: str
    most_pages: int
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormLookup:
    """How to ask an API that is asked by POSTing forms (Slack): an id is one question, a name is found in a list.

    `ids` is what an id looks like, whole; every name begins with `sign`. `success` must be true in an answer, because
    failures are 200 as well. `at` is the object in it; `id`, `name` and `owner_id` are members of that.
    """

    kind: str
    by_id: str
    argument: str
    ids: str
    success: str
    at: str
    id: str
    name: str
    owner_id: str = ""
    private: str = ""
    """Where the answer says that only members read it, and in `shared` that people outside do as well."""
    shared: str = ""
    sign: str = ""
    listed: Listed | None = None

    def ref(self, text: str) -> ResourceRef:
        """What somebody who writes `text` means: an id, or a name with or without its sign."""
        if re.fullmatch(self.ids, text):
            return ResourceRef(self.kind, id=text)
        return ResourceRef(self.kind, name=self.sign + text.removeprefix(self.sign))

    def facts(self, document: object) -> ResourceFacts | None:
        """Read the answer to a question by id; None when it does not plainly name the thing."""
        return self._facts(_found(document, self.at)) if _found(document, self.success) is True else None

    def page(self, document: object, name: str) -> tuple[ResourceFacts | None, str]:
        """The thing of exactly that name, if it is on this page of the list, and where the next page begins."""
        if self.listed is None or _found(document, self.success) is not True:
            return None, ""
        items = _found(document, self.listed.at)
        found = [facts for item in (items if isinstance(items, list) else []) if (facts := self._facts(item))]
        return next((f for f in found if f.name == name), None), _pointed(document, self.listed.next)

    def _facts(self, item: object) -> ResourceFacts | None:
        id_, name = _pointed(item, self.id), _pointed(item, self.name)
        if not id_ or not re.fullmatch(self.ids, id_):
            return None
        # NOTE: what has no name (a direct message), or one that cannot be written into a grant, is known by its id.
        known_as = self.sign + name if _WRITABLE.fullmatch(name) else id_
        public = _is_public(item, private=self.private, public=self.shared)
        owner = _pointed(item, self.owner_id or "")
        shared = _found(item, self.shared) if self.shared else None
        outside = shared if isinstance(shared, bool) else None
        return ResourceFacts(self.kind, name=known_as, id=id_, owner_id=owner, public=public, outside=outside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How to ask a GraphQL API in which resource a thing is: fixed documents of ours with one variable, `$it`.

    `answers` is the kind of that resource: an issue (`kind`) is in a team. `id`, `name` and `owner_id` say where the
    answer has it; of several places with `|` between them, the one that is there.
    """

    kind: str
    answers: str
    path: str
    by_id: str
    id: str
    name: str
    by_name: str = ""
    owner_id: str = ""
    private: str = ""
    """Where the answer says that not everybody may read it; of several places, the one that is there."""
    within_workspace: bool = False
    """Nobody outside the workspace reads any of them, open or not."""

    @property
    def is_by_name(self) -> bool:
        """Whether people name such a thing in a grant."""
        return self.kind == self.answers and bool(self.by_name)

    def ref(self, text: str) -> ResourceRef:
        """What somebody who writes `text` means."""
        return ResourceRef(self.kind, name=text)

    def body(self, ref: ResourceRef) -> str:
        """The JSON to POST. Where things have names, what is a UUID is the id, and nothing else is."""
        value = (ref.id if ref.name is None else ref.name) or ""
        document = self.by_name if self.by_name and not _UUID.fullmatch(value) else self.by_id
        return json.dumps({"query": document, "variables": {"it": value}}, ensure_ascii=False)

    def facts(self, document: object) -> ResourceFacts | None:
        """Read the answer; None when it does not plainly name one resource."""
        if isinstance(document, dict) and document.get("errors"):
            return None
        found = [_one_of(document, places) for places in (self.id, self.name, self.owner_id or self.id)]
        if not all(found):
            return None
        public = _is_public(document, private=self.private, public="")
        owner = found[2] if self.owner_id else ""
        outside = False if self.within_workspace else public
        return ResourceFacts(self.answers, name=found[1], id=found[0], owner_id=owner, public=public, outside=outside)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose a credential is, as the API says it. `workspace` is empty where there is none, or it says none."""

    name: str
    id: str
    workspace: str = ""

    @property
    def title(self) -> str:
        """How people know it.

        >>> Account(name="alice", id="U1", workspace="Acme").title
        'alice (Acme)'
        """
        return f"{self.name} ({self.workspace})" if self.workspace else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify:
    """How to ask whose credential this is: one request, and where its JSON says name, id and workspace.

    `success` must be true in the answer of an API that says 200 to failures (Slack). `body` is JSON.
    """

    path: str
    name: str
    id: str
    method: Literal["GET", "POST"] = "GET"
    body: str = ""
    success: str = ""
    workspace: str = ""

    def account(self, document: object) -> Account | None:
        """Read the API's answer; None when it does not plainly say who it is."""
        if self.success and _found(document, self.success) is not True:
            return None
        name, id_ = _pointed(document, self.name), _pointed(document, self.id)
        if not name or not id_:
            return None
        return Account(name=name, id=id_, workspace=_pointed(document, self.workspace) if self.workspace else "")


def _pointed(document: object, pointer: str) -> str:
    """The text or number at `a.b` in a document, as text; empty when it is not there."""
    found = _found(document, pointer)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) else ""


def _is_public(document: object, *, private: str, public: str) -> bool | None:
    """What the answer says of it; None where it leaves out one of the places that say it, or contradicts itself.

    Saying that it is open is enough; that it is closed counts only when every place does.
    """
    closed = [found for at in private.split("|") if at and isinstance(found := _found(document, at), bool)]
    opened = [found for at in public.split("|") if at and isinstance(found := _found(document, at), bool)]
    if any(opened) or False in closed:
        return True
    is_said = (not private or bool(closed)) and (not public or bool(opened)) and bool(private or public)
    return False if is_said else None


def _one_of(document: object, pointers: str) -> str:
    """What is at the one of several places where something is; empty for none, and for several."""
    found = [value for pointer in pointers.split("|") if (value := _pointed(document, pointer))]
    return found[0] if len(found) == 1 else ""


def _found(document: Any, pointer: str) -> object:
    for key in pointer.split("."):
        if isinstance(document, list):  # `0` is the only one there is
            document = document[0] if key == "0" and len(document) == 1 else None
        else:
            document = document.get(key) if isinstance(document, dict) else None
    return document
