"""The integrations that come with Valetkey: one TOML file each, and its table of operations beside it.

Responsible for reading those files into `Integration` values, whole or not at all: an unknown key, a scope nobody
described or an operation of another kind of resource raises ValueError. Refuses to know what is done with them.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from valetkey.server.integrations.authorization import Installation, Key, OAuth, Revocation, UpstreamScope
from valetkey.server.integrations.lookup import Identify, Lookup
from valetkey.server.integrations.model import (
    Addresses,
    Injection,
    Integration,
    Operation,
    Scope,
    TokenPosition,
)
from valetkey.server.integrations.operations import Alias, compile_operations, parse_operations

_KEYS: Final = frozenset(
    {"name", "title", "audience", "base_url", "hosts", "encoded_slash", "operations", "scopes"}
) | {
    *("injection", "token_positions", "aliases", "identify", "lookups", "addresses", "oauth", "key", "installation"),
}


@cache
def load_integration(name: str) -> Integration:
    """One integration by name. Raises KeyError if there is none."""
    catalogue = resources.files(__package__)
    if f"{name}.toml" not in {entry.name for entry in catalogue.iterdir()}:
        raise KeyError(name)
    document = tomllib.loads((catalogue / f"{name}.toml").read_text(encoding="utf-8"))
    table = (catalogue / document["operations"]).read_text(encoding="utf-8") if "operations" in document else None
    return parse_integration(document, table)


@cache
def load_catalogue() -> Mapping[str, Integration]:
    """All integrations by name."""
    files = sorted(entry.name for entry in resources.files(__package__).iterdir())
    names = [file.removesuffix(".toml") for file in files if file.endswith(".toml")]
    catalogue = {name: load_integration(name) for name in names}
    if len({integration.audience for integration in catalogue.values()}) != len(names):
        raise ValueError("two integrations have one audience")
    if any(integration.name != name for name, integration in catalogue.items()):
        raise ValueError("an integration is not called like its file")
    return MappingProxyType(catalogue)


def parse_integration(document: Mapping[str, Any], table: str | None) -> Integration:
    """Build an integration from its TOML document and the text of its operations table, if it has one."""
    if document.keys() - _KEYS:
        raise ValueError(f"unknown keys: {sorted(document.keys() - _KEYS)}")
    rows = parse_operations(table) if table is not None else []
    addresses = document.get("addresses", {})
    return Integration(
        name=document["name"],
        title=document["title"],
        audience=document["audience"],
        base_url=document["base_url"],
        hosts=frozenset(document["hosts"]),
        encoded_slash=document.get("encoded_slash", False),
        scopes=MappingProxyType(_scopes(document.get("scopes", {}), rows)),
        operations=compile_operations(rows, [Alias(**alias) for alias in document.get("aliases", [])]),
        token_positions=tuple(TokenPosition(**position) for position in document["token_positions"]),
        injection=Injection(**document["injection"]),
        lookups=MappingProxyType({kind: Lookup(kind=kind, **how) for kind, how in document.get("lookups", {}).items()}),
        identify=Identify(**document["identify"]) if "identify" in document else None,
        addresses=Addresses(
            keys=frozenset(addresses.get("keys", [])),
            key_endings=tuple(addresses.get("key_endings", [])),
            headers=frozenset(addresses.get("headers", [])),
        ),
        oauth=_oauth(document["oauth"], document.get("scopes", {})) if "oauth" in document else None,
        key=_key(document["key"]) if "key" in document else None,
        installation=_installation(document["installation"], document.get("scopes", {}))
        if "installation" in document
        else None,
    )


def _oauth(described: Mapping[str, Any], scopes: Mapping[str, Any]) -> OAuth:
    about = dict(described)
    upstream = {name: _upstream_scope(name, how, scopes) for name, how in about.pop("scopes", {}).items()}
    revocation = about.pop("revocation", None)
    return OAuth(
        scopes=MappingProxyType(upstream),
        always=tuple(about.pop("always", ())),
        extra=MappingProxyType(about.pop("extra", {})),
        revocation=None if revocation is None else Revocation(**revocation),
        **about,
    )


def _key(described: Mapping[str, Any]) -> Key:
    about = dict(described)
    revocation = about.pop("revocation", None)
    return Key(revocation=None if revocation is None else Revocation(**revocation), **about)


def _installation(described: Mapping[str, Any], scopes: Mapping[str, Any]) -> Installation:
    about = dict(described)
    permissions = {name: frozenset(needed) for name, needed in about.pop("permissions").items()}
    for name, needed in permissions.items():
        # SECURITY: a permission that needed nothing would be asked for always.
        if not needed or needed - scopes.keys() or name.count(":") != 1:
            raise ValueError(f"{name} is no permission, or needs nothing, or scopes nobody described")
    return Installation(permissions=MappingProxyType(permissions), **about)


def _upstream_scope(name: str, how: Mapping[str, Any], scopes: Mapping[str, Any]) -> UpstreamScope:
    about = dict(how)
    covers = frozenset(about.pop("covers", ()))
    if covers - scopes.keys():
        raise ValueError(f"{name} covers scopes nobody described: {sorted(covers - scopes.keys())}")
    return UpstreamScope(name=name, covers=covers, reversible=about.pop("reversible", about["tier"] == "read"), **about)


def _scopes(described: Mapping[str, Mapping[str, Any]], rows: list[Operation]) -> dict[str, Scope]:
    own: dict[str, set[str]] = {name: set() for name in described}
    for row in rows:
        if row.scope not in own or described[row.scope]["resource_kind"] != row.resource_kind:
            raise ValueError(f"{row.id} is about {row.resource_kind}, which {row.scope} is not, or nobody described it")
        own[row.scope].add(row.id)
    guards = {guard.scope for row in rows for guard in row.guards}
    if guards - own.keys():
        raise ValueError(f"guards ask for scopes nobody described: {sorted(guards - own.keys())}")
    return {name: _scope(name, described, own) for name in described}


def _scope(name: str, described: Mapping[str, Mapping[str, Any]], own: Mapping[str, set[str]]) -> Scope:
    about = dict(described[name])
    pending, seen = [*about.pop("includes", [])], {name}
    while pending:
        inner = pending.pop()
        if inner not in described or described[inner]["resource_kind"] != about["resource_kind"]:
            raise ValueError(f"{name} includes {inner}, which is another kind of scope, or nobody described it")
        if inner not in seen:
            seen.add(inner)
            pending.extend(described[inner].get("includes", []))
    operations = frozenset().union(*(own[scope] for scope in seen))
    reversible = about.pop("reversible", about["tier"] == "read")
    outlives = about.pop("outlives", False)
    return Scope(name=name, operations=operations, reversible=reversible, outlives=outlives, **about)
