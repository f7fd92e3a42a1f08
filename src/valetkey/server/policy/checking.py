"""Trying a policy before it is applied: Cedar held against a schema made from the integrations, and cases. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import cedarpy

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.model import Integration, ResourceFacts
from valetkey.server.policy.history import Counter, History, Label, Memory
from valetkey.server.policy.layer import Asked
from valetkey.server.policy.reading import read_policy
from valetkey.server.policy.rules import WORDS_OF_ACTIONS, Effect, groups
from valetkey.server.policy.versions.model import compiled

_CASE: Final = (
    "name", "agent", "user", "integration", "operation", "resource", "resource_id", "parameters", "labels", "counts",
    "at", "expect",
)  # fmt: skip
_TEXT: Final = {"type": "String"}
_TEXTS: Final = {"type": "Set", "element": _TEXT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One case: what was expected, what was decided, and by which rules."""

    name: str
    expected: str
    decided: str
    rules: tuple[str, ...]


def schema_of(catalogue: Mapping[str, Integration]) -> dict[str, Any]:
    """What rules can be about, as a schema of Cedar: every operation and scope of these APIs."""
    shape = {"type": "Record", "attributes": _context_shape()}
    applies = {"principalTypes": ["Agent"], "resourceTypes": ["Resource"], "context": shape}
    actions: dict[str, Any] = {}
    for integration in catalogue.values():
        for operation in integration.operations.values():
            parents = groups(operation, integration)
            for parent in parents:
                actions.setdefault(parent, {})
            actions[f"{integration.name}/{operation.id}"] = {
                "memberOf": [{"id": parent} for parent in sorted(parents)],
                "appliesTo": applies,
            }
        for scope in integration.scopes:
            actions.setdefault(f"{integration.name}:{scope}", {})
    for word in WORDS_OF_ACTIONS:
        actions.setdefault(word, {})
    return {"": {"entityTypes": {"Agent": {}, "Resource": {}}, "actions": actions}}


def _context_shape() -> dict[str, Any]:
    long = {"type": "Long"}
    spans = ("task", "user_hour", "agent_hour")
    counts = {f"{counter}{here}": long for counter in Counter for here in ("", "_here")}
    return {
        "integration": _TEXT,
        "user": _TEXT,
        "access": _TEXT,
        "resource": {"type": "Record", "attributes": dict.fromkeys(("name", "owner", "id", "kind"), _TEXT)},
        **{key: {"type": "Boolean"} for key in ("public", "leaves", "named")},
        "parameters": _TEXTS,
        "labels": {"type": "Record", "attributes": dict.fromkeys(spans, _TEXTS)},
        "counts": {
            "type": "Record",
            "attributes": {span: {"type": "Record", "attributes": counts} for span in spans},
        },
        "within": _TEXTS,
        "utc": {"type": "Record", "attributes": {"minute": long, "weekday": long}},
    }


def problems_of(text: str, catalogue: Mapping[str, Integration]) -> list[str]:
    """What Cedar's validator says of what was written in Cedar; rules in TOML were held against the catalogue."""
    cedar = read_policy(text, catalogue).cedar
    if not cedar.strip():
        return []
    named = {name: one for name, one in catalogue.items() if f'"{name}/' in cedar or f'"{name}:' in cedar}
    found = cedarpy.validate_policies(cedar, json.dumps(schema_of(named or catalogue)), release_gil=True)
    names = found.id_annotations_by_policy_id
    first: dict[str, str] = {}
    for error in found.errors:  # the same slip is found at every operation it concerns
        first.setdefault(error.policy_id, f"{names.get(error.policy_id, error.policy_id)}: {error.error}")
    return list(first.values())


def tried(text: str, catalogue: Mapping[str, Integration]) -> list[Tried]:
    """Every case of a policy, judged. Raises `InvalidRequest` for a case that is not understood."""
    layer = compiled(text, catalogue, id="")
    results = []
    for number, case in enumerate(read_policy(text, catalogue).cases, 1):
        at = f"case number {number}"
        if unknown := sorted(case.keys() - set(_CASE)):
            raise InvalidRequest(f"{at} has no {unknown[0]!r}.", hint=f"Known: {', '.join(_CASE)}.")
        if case.get("expect") not in list(Effect):
            raise InvalidRequest(f"{at}: expect is allow, ask or deny.")
        verdict = layer.judge(_asked(case, catalogue, at))
        results.append(
            Tried(
                name=str(case.get("name", at)),
                expected=case["expect"],
                decided=verdict.effect.value,
                rules=verdict.rules,
            )
        )
    return results


def _asked(case: Mapping[str, Any], catalogue: Mapping[str, Integration], at: str) -> Asked:
    integration = catalogue.get(str(case.get("integration", "")))
    operation = None if integration is None else integration.operations.get(str(case.get("operation", "")))
    if integration is None or operation is None:
        raise InvalidRequest(f"{at}: an integration and an operation of it are needed.", hint="See the catalogue.")
    name, fields = str(case.get("resource", "")), dict(case.get("parameters", {}))
    actual = None
    if name or case.get("resource_id"):
        actual = ResourceFacts(operation.resource_kind, name=name, id=str(case.get("resource_id", "")))
    try:
        now = datetime.fromisoformat(str(case.get("at", "2026-01-01T12:00:00Z"))).timestamp()
        memory = Memory(
            labels=frozenset(Label(label) for label in case.get("labels", [])),
            counts={(Counter(key), ""): int(value) for key, value in case.get("counts", {}).items()},
        )
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{at}: labels, counts or the time are not understood.") from error
    return Asked(
        agent=str(case.get("agent", "")),
        user=str(case.get("user", "")),
        integration=integration,
        operation=operation,
        scopes_needed=frozenset(guard.scope for guard in operation.guards if guard.applies(fields)),
        actual=actual,
        resource=name,
        parameters={key: str(value) for key, value in fields.items()},
        history=History(task=memory, agent_for_user=memory, agent=memory),
        now=now,
    )
