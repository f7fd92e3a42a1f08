"""The scopes of a file: named sets of its operations, in words, in tiers that are kept.

Responsible for what a scope may hold: one kind of resource; nothing that writes where it says it reads; nothing that
outlives the task, mints a credential, shows one or changes access below the danger tier; and danger in no scope that
does not say it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from valetkey.server.integrations.catalogue.typed import Misdescribed, dotted
from valetkey.server.integrations.catalogue.typed import read as read_table
from valetkey.server.integrations.model import Operation, Scope, Tier

RANK: Final[Mapping[Tier, int]] = {"read": 0, "write": 1, "danger": 2}
DANGEROUS: Final = frozenset({"outlives", "mints", "access", "reveals"})
_LONGEST_SENTENCE: Final = 160


def read_scopes(described: Mapping[str, Mapping[str, Any]], rows: Sequence[Operation]) -> dict[str, Scope]:
    """All scopes by name, each with its operations and those of the scopes it includes."""
    own: dict[str, set[str]] = {name: set() for name in described}
    for row in rows:
        if row.scope not in own or described[row.scope].get("resource_kind") != row.resource_kind:
            raise Misdescribed(
                "operations", f"{row.id} is about {row.resource_kind}, which {row.scope} is not, or nobody described it"
            )
        own[row.scope].add(row.id)
    guards = {guard.scope for row in rows for guard in row.guards}
    if guards - own.keys():
        raise Misdescribed("operations", f"guards ask for scopes nobody described: {sorted(guards - own.keys())}")
    scopes = {name: _scope(name, described, own) for name in described}
    by_id = {row.id: row for row in rows}
    for scope in scopes.values():
        _check(scope, [by_id[operation] for operation in scope.operations], scopes)
    return scopes


def check_sentence(sentence: str, key: str) -> None:
    """A sentence completes "it may …": it begins small, ends without a full stop, and is one line."""
    first = sentence[:1]
    if not sentence.isprintable() or not 1 <= len(sentence) <= _LONGEST_SENTENCE or not sentence.strip():
        raise Misdescribed(key, "is no sentence of one line", 'what completes "it may …", such as "read issues"')
    if not first.islower() or sentence.endswith(".") or sentence.startswith(("may ", "can ", "to ")):
        raise Misdescribed(key, 'does not complete "it may …"', "a verb first, small, and no full stop")


def _scope(name: str, described: Mapping[str, Mapping[str, Any]], own: Mapping[str, set[str]]) -> Scope:
    at = dotted("scopes", name)
    about = dict(described[name])
    pending, seen = [*about.pop("includes", [])], {name}
    while pending:
        inner = pending.pop()
        if inner not in described or described[inner].get("resource_kind") != about.get("resource_kind"):
            raise Misdescribed(
                f"{at}.includes", f"{name} includes {inner}, which is another kind of scope, or nobody described it"
            )
        if inner not in seen:
            seen.add(inner)
            pending.extend(described[inner].get("includes", []))
    operations = frozenset().union(*(own[scope] for scope in seen))
    about = {"reversible": about.get("tier") == "read", "outlives": False, **about}
    for key in ("name", "operations"):
        if key in about:
            raise Misdescribed(f"{at}.{key}", "is not written here", "nothing")
    scope = read_table(Scope, about, at, name=name, operations=operations)
    check_sentence(scope.sentence, f"{at}.sentence")
    return scope


def _check(scope: Scope, rows: Sequence[Operation], scopes: Mapping[str, Scope]) -> None:
    at = dotted("scopes", scope.name)
    if scope.outlives and scope.tier != "danger":
        raise Misdescribed(f"{at}.tier", "outlives the task, so it is dangerous", 'tier = "danger"')
    if scope.tier == "read" and not scope.reversible:
        raise Misdescribed(f"{at}.reversible", "reading changes nothing", "leave it out")
    for row in rows:
        if row.access == "write" and scope.tier == "read":
            raise Misdescribed(f"{at}.tier", f"it holds {row.id}, which writes", 'tier = "write"')
        if scope.tier != "danger" and row.tags & DANGEROUS:
            raise Misdescribed(
                f"{at}.tier", f"it holds {row.id}, which {', '.join(sorted(row.tags & DANGEROUS))}", 'tier = "danger"'
            )
        if RANK[scopes[row.scope].tier] > RANK[scope.tier]:
            raise Misdescribed(f"{at}.includes", f"implies {row.scope}, which is more dangerous", "leave it out")
        if "outlives" in row.tags and not scope.outlives:
            raise Misdescribed(f"{at}.outlives", f"it holds {row.id}, which outlives the task", "outlives = true")
