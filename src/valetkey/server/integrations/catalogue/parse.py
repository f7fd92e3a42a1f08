"""One TOML document and its table of operations, read into an `Integration`, whole or not at all.

Responsible for the rules every file keeps, whoever wrote it: `Misdescribed` names the key that breaks one. In order:
who and where the API is, what its operations and scopes are, how credentials enter, how they are had. Refuses to know
other files.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from valetkey.server.integrations.authorization import Installation
from valetkey.server.integrations.catalogue.credentials import read_key, read_oauth
from valetkey.server.integrations.catalogue.roles import read_role
from valetkey.server.integrations.catalogue.scopes import read_scopes
from valetkey.server.integrations.catalogue.typed import (
    Misdescribed,
    check_address,
    check_header,
    mapping,
    read,
    tables,
)
from valetkey.server.integrations.git import GitHost
from valetkey.server.integrations.graphql.reader import GraphQL
from valetkey.server.integrations.graphql.table import parse_table
from valetkey.server.integrations.lookup import FormLookup, Identify, Listed, Lookup, Question
from valetkey.server.integrations.model import Addresses, Injection, Integration, Operation, Refusals, TokenPosition
from valetkey.server.integrations.operations import (
    ALIAS_TAG,
    BODY_TAG,
    WEBSOCKET_TAG,
    Alias,
    Operations,
    compile_operations,
    parse_operations,
)
from valetkey.server.integrations.readers import READERS
from valetkey.server.integrations.reading import Reader
from valetkey.server.integrations.texts import TEXT_TAG, Texts

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_HOST: Final = re.compile(r"(?:[a-z0-9-]+\.)*[a-z0-9-]+(?::[1-9][0-9]{0,4})?|\[::1\](?::[1-9][0-9]{0,4})?")

_MOST_PAGES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The top of a file. Tables are read one by one."""

    name: str
    title: str
    audience: str
    base_url: str
    hosts: frozenset[str]
    injection: Mapping[str, Any]
    token_positions: list[Mapping[str, Any]]
    encoded_slash: bool = False
    operations: str = ""
    reader: str = ""
    success: str = ""
    refusals: Refusals = ""
    git: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    aliases: list[Mapping[str, Any]] = field(default_factory=list)
    scopes: Mapping[str, Any] = field(default_factory=dict)
    graphql: Mapping[str, Any] | None = None
    lookups: Mapping[str, Any] = field(default_factory=dict)
    questions: Mapping[str, Any] = field(default_factory=dict)
    identify: Mapping[str, Any] | None = None
    addresses: Mapping[str, Any] = field(default_factory=dict)
    oauth: Mapping[str, Any] | None = None
    key: Mapping[str, Any] | None = None
    installation: Mapping[str, Any] | None = None
    role: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _GraphQL:
    """Where an API speaks GraphQL, and the table of what can be asked there."""

    path: str
    table: str


def parse_integration(
    document: Mapping[str, Any], table: str | None, *, calls: str | None = None, loopback: bool = False
) -> Integration:
    """Build an integration of a file, its table of operations, and its table of GraphQL calls.

    Raises `Misdescribed` for the first thing that is not as every file must be.
    """
    file = read(_File, dict(document), "")
    _check_place(file, loopback=loopback)
    try:
        rows = parse_operations(table) if table is not None else []
        graphql = None if file.graphql is None else _graphql(file, calls or "")
        rows += [] if graphql is None else graphql.table.operations
        aliases = [read(Alias, dict(alias), "aliases") for alias in file.aliases]
        git = None if file.git is None else _git(file.git, file, loopback=loopback)
        at_git = () if git is None else git.operations()
        operations = compile_operations(rows, aliases, at_git)
    except Misdescribed:
        raise
    except ValueError as error:
        raise Misdescribed("operations", str(error), "a table as docs/integrations.md describes") from error
    scopes = read_scopes(tables(file.scopes, "scopes"), [*rows, *at_git])
    integration = Integration(
        name=file.name,
        title=file.title,
        audience=file.audience,
        base_url=file.base_url,
        hosts=file.hosts,
        encoded_slash=file.encoded_slash,
        headers=MappingProxyType(dict(file.headers)),
        scopes=MappingProxyType(scopes),
        operations=operations,
        reader=_with_texts(graphql or _reader(file.reader, operations), operations),
        success=file.success,
        refusals=file.refusals,
        git=git,
        token_positions=tuple(_position(position) for position in file.token_positions),
        injection=_injection(file.injection),
        lookups=MappingProxyType({kind: _lookup(kind, how) for kind, how in tables(file.lookups, "lookups").items()}),
        questions=MappingProxyType(
            {kind: _question(kind, how, file.lookups) for kind, how in tables(file.questions, "questions").items()}
        ),
        identify=None if file.identify is None else _identify(file.identify),
        addresses=read(Addresses, dict(file.addresses), "addresses"),
        oauth=None if file.oauth is None else read_oauth(file.oauth, scopes, file.hosts, loopback=loopback),
        key=None if file.key is None else read_key(file.key, file.hosts, loopback=loopback),
        installation=None if file.installation is None else _installation(file.installation, scopes.keys()),
        role=None if file.role is None else read_role(file.role, scopes.keys(), file.hosts, loopback=loopback),
    )
    _check_websockets(rows, integration)
    return integration


def _check_place(file: _File, *, loopback: bool) -> None:
    if not _NAME.fullmatch(file.name):
        raise Misdescribed("name", f"{file.name!r} is no name", "small letters, digits and dashes, at most 40")
    if not file.title.strip() or not file.title.isprintable() or len(file.title) > 60:
        raise Misdescribed("title", "is no title", "what people call the API, in at most 60 characters")
    check_address(file.audience, "audience", loopback=loopback)
    check_address(file.base_url, "base_url", loopback=loopback)
    if file.audience.endswith("/") or file.base_url.endswith("/"):
        raise Misdescribed("audience" if file.audience.endswith("/") else "base_url", "ends with /", "it without the /")
    for host in file.hosts:
        if not _HOST.fullmatch(host):
            raise Misdescribed("hosts", f"{host!r} is no host", "a whole host name, without scheme, path and wildcard")
    if urlsplit(file.base_url).netloc not in file.hosts:
        raise Misdescribed("hosts", "lacks the host of base_url", f'add "{urlsplit(file.base_url).netloc}"')
    for name, value in file.headers.items():
        check_header(name, "headers")
        if name == "authorization" or not value.isascii() or not value.isprintable():
            raise Misdescribed("headers", f"{name} is no line to send always", "a version the API insists on")
    if not file.token_positions:
        raise Misdescribed("token_positions", "is empty", "[[token_positions]] with header and scheme")


def _graphql(file: _File, calls: str) -> GraphQL:
    about = read(_GraphQL, dict(file.graphql or {}), "graphql")
    _check_path(about.path, "graphql.path")
    if file.reader:
        raise Misdescribed("reader", "the calls are read as GraphQL already", "one of the two")
    try:
        table = parse_table(calls, about.path)
    except ValueError as error:
        raise Misdescribed("graphql.table", str(error), "a table as docs/graphql.md describes") from error
    return GraphQL(tuple(about.path.split("/")[1:]), table)


def _git(described: Mapping[str, Any], file: _File, *, loopback: bool) -> GitHost:
    git = read(GitHost, dict(described), "git")
    check_address(git.base_url, "git.base_url", loopback=loopback)
    parts = urlsplit(git.base_url)
    if parts.netloc not in file.hosts or parts.path:
        raise Misdescribed(
            "git.base_url", "is not one of the hosts, or has a path", f'"https://{parts.netloc}", in hosts'
        )
    if not re.fullmatch(r"[A-Za-z0-9-]+", git.user):
        raise Misdescribed("git.user", f"{git.user!r} is no user name", "letters, digits and dashes")
    if "repository" not in file.lookups:
        raise Misdescribed("git", "nobody can say which repository a name means", "[lookups.repository]")
    return git


def _reader(name: str, operations: Operations) -> Reader | None:
    if not name:
        return None
    if name not in READERS:
        raise Misdescribed("reader", f"{name!r} is no reader", " or ".join(sorted(READERS)))
    try:
        return READERS[name](operations)
    except ValueError as error:
        raise Misdescribed("operations", str(error), "the operations this reader speaks of") from error


def _with_texts(reader: Reader | None, operations: Operations) -> Reader | None:
    """The same, reading besides the bodies of what is marked as writing text."""
    writes_text = any(TEXT_TAG in operation.tags for operation in operations.values())
    return Texts(operations, reader) if writes_text else reader


def _check_websockets(rows: Iterable[Operation], integration: Integration) -> None:
    for operation in rows:
        if WEBSOCKET_TAG not in operation.tags:
            continue
        if operation.method != "GET" or operation.tags & {ALIAS_TAG, BODY_TAG}:
            raise Misdescribed("operations", f"{operation.id} cannot be a WebSocket", "a GET that its path names")
        if not integration.speaks:
            raise Misdescribed(
                "operations",
                f"{operation.id} cannot be a WebSocket at an API whose calls are read or signed",
                "an integration of its own for it",
            )


def _position(described: Mapping[str, Any]) -> TokenPosition:
    position = read(TokenPosition, dict(described), "token_positions")
    check_header(position.header, "token_positions.header")
    schemes = ("Bearer", "token", "Basic") if position.header == "authorization" else ("",)
    if position.scheme not in schemes or position.basic != (position.scheme == "Basic"):
        raise Misdescribed(
            "token_positions.scheme", f"{position.scheme!r} is no scheme of {position.header}", repr(schemes)
        )
    return position


def _injection(described: Mapping[str, Any]) -> Injection:
    injection = read(Injection, dict(described), "injection")
    check_header(injection.header, "injection.header")
    # SECURITY: the value is a format, and a second field of it would be filled in with what was never meant.
    if (
        injection.value.count("{token}") != 1
        or injection.value.count("{") != 1
        or not injection.value.isascii()
        or not injection.value.isprintable()
    ):
        raise Misdescribed("injection.value", "has no place for the credential", '"Bearer {token}", once')
    return injection


def _lookup(kind: str, how: Mapping[str, Any]) -> Lookup | FormLookup:
    if "argument" in how:
        return _form_lookup(kind, how)
    lookup = read(Lookup, {**how, "kind": kind}, f"lookups.{kind}")
    for name in ("by_name", "by_id"):
        _check_path(getattr(lookup, name), f"lookups.{kind}.{name}")
    for name, value in lookup.query.items():
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,40}", name) or not re.fullmatch(r"[A-Za-z0-9._,-]{1,200}", value):
            raise Misdescribed(f"lookups.{kind}.query", f"{name} is no plain parameter", 'name = "value"')
    return lookup


def _form_lookup(kind: str, how: Mapping[str, Any]) -> FormLookup:
    at = f"lookups.{kind}"
    listed = None if "listed" not in how else read(Listed, how["listed"], f"{at}.listed")
    lookup = read(FormLookup, {**how, "kind": kind}, at, listed=listed)
    _check_path(lookup.by_id, f"{at}.by_id")
    if listed is not None:
        _check_path(listed.path, f"{at}.listed.path")
        if not 1 <= listed.most_pages <= _MOST_PAGES:
            raise Misdescribed(f"{at}.listed.most_pages", "is no bound", f"at most {_MOST_PAGES}")
    try:
        if re.compile(lookup.ids).fullmatch(""):
            raise Misdescribed(f"{at}.ids", "is the shape of nothing, too", "the whole shape of an id")
    except re.error as error:
        raise Misdescribed(f"{at}.ids", f"is no pattern: {error}", "a regular expression") from error
    return lookup


def _question(kind: str, how: Mapping[str, Any], lookups: Mapping[str, Any]) -> Question:
    question = read(Question, {**how, "kind": kind}, f"questions.{kind}")
    _check_path(question.path, f"questions.{kind}.path")
    # SECURITY: a question of ours reads: it is asked before anything was allowed.
    # Guarded by tests/rules/test_catalogue.py::test_a_question_that_does_more_than_ask_is_refused
    for name, text in (("by_id", question.by_id), ("by_name", question.by_name or question.by_id)):
        if not text.lstrip().startswith("query($it:") or text.count("$it") != 2:  # declared, and used once
            raise Misdescribed(
                f"questions.{kind}.{name}", "is no question about one thing", "query($it: ID!) { … $it … }"
            )
    if kind in lookups:
        raise Misdescribed(f"questions.{kind}", f"{kind} is looked up already", "one of the two")
    return question


def _identify(described: Mapping[str, Any]) -> Identify:
    identify = read(Identify, dict(described), "identify")
    _check_path(identify.path, "identify.path")
    if "{" in identify.path or (identify.body and identify.method == "GET"):
        raise Misdescribed("identify", "asks with something to fill in, or a GET with a body", "a fixed question")
    return identify


def _check_path(path: str, key: str) -> None:
    if not path.startswith("/") or not path.isascii() or "?" in path or "#" in path or "" in path.split("/")[1:]:
        raise Misdescribed(key, f"{path!r} is no path", "/PATH below base_url, without a query")


def _installation(described: Mapping[str, Any], scopes: Any) -> Installation:
    permissions = {
        name: frozenset(needed)
        for name, needed in mapping(described.get("permissions"), "installation.permissions").items()
    }
    for name, needed in permissions.items():
        # SECURITY: a permission that needed nothing would be asked for always.
        if not needed or needed - scopes or name.count(":") != 1:
            raise Misdescribed(
                "installation.permissions", f"{name} is no permission, or needs nothing, or scopes nobody described"
            )
    return read(Installation, dict(described), "installation", permissions=MappingProxyType(permissions))
