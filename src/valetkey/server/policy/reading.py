"""A policy as administrators write it, read strictly: what is misspelled is refused, with what was probably meant.

Every name that can be known is held against the catalogue. Nothing is guessed and nothing is left out in silence.
"""

import difflib
import re
import tomllib
from collections import Counter as Tally
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import time
from typing import Any, Final
from zoneinfo import ZoneInfo

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.history import Counter, Label
from valetkey.server.policy.rules import (
    DAYS,
    ID,
    WORDS_OF_ACTIONS,
    Condition,
    Counted,
    Effect,
    Hours,
    Labelled,
    Parameter,
    Rule,
    Span,
)

LONGEST: Final = 192 * 1024  # escaped, it still fits into one request of /v1
MOST_RULES: Final = 2_000
_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TOP: Final = ("silence", "rule", "case", "cedar")
_KEYS: Final = (
    "id", "effect", "agents", "users", "integration", "actions", "resources", "except_resources", "when", "observe",
    "why", "answered_by", "enough", "danger",
)  # fmt: skip
_WHEN: Final = ("public", "leaves", "named", "parameters", "labels", "counts", "hours")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A policy as it was written. `cases` belong to `policy test` and decide nothing."""

    rules: tuple[Rule, ...] = ()
    cedar: str = ""
    observes_silence: bool = False
    cases: tuple[Mapping[str, Any], ...] = ()


def read_policy(text: str, catalogue: Mapping[str, Integration]) -> Written:
    """The policy. Raises `InvalidRequest` with the rule, what is wrong, and what was probably meant."""
    if len(text.encode()) > LONGEST:
        raise InvalidRequest(f"A policy is at most {LONGEST // 1024} KiB long.")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"The policy is no TOML: {error}.", hint="docs/policy.md has an example.") from error
    _known(document, _TOP, "the policy")
    silence = document.get("silence", "deny")
    if silence not in ("deny", "observe"):
        raise InvalidRequest(f'silence is "deny" or "observe", not {silence!r}.')
    rows = document.get("rule", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidRequest("Rules are written as [[rule]].")
    if len(rows) > MOST_RULES:
        raise InvalidRequest(f"A policy has at most {MOST_RULES} rules.")
    rules = tuple(_rule(row, number, catalogue) for number, row in enumerate(rows, 1))
    if doubled := sorted(_doubled(rule.id for rule in rules)):
        raise InvalidRequest(f"Two rules are called {doubled[0]}.", hint="Every rule has an id of its own.")
    cedar = document.get("cedar", "")
    cases = document.get("case", [])
    if not isinstance(cedar, str) or not isinstance(cases, list) or not all(isinstance(c, dict) for c in cases):
        raise InvalidRequest("cedar is a text, and cases are written as [[case]].")
    return Written(rules=rules, cedar=cedar, observes_silence=silence == "observe", cases=tuple(cases))


def _doubled(ids: Iterable[str]) -> set[str]:
    return {name for name, count in Tally(ids).items() if count > 1}


def _rule(row: Mapping[str, Any], number: int, catalogue: Mapping[str, Integration]) -> Rule:
    name = row.get("id", "")
    at = f"rule {name}" if isinstance(name, str) and name else f"rule number {number}"
    _known(row, _KEYS, at)
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise InvalidRequest(
            f"{at}: an id is 1 to 64 lower-case letters, digits, dots, dashes or underscores.",
            hint="It is what people are told when the rule refuses them.",
        )
    effect = row.get("effect")
    if effect not in list(Effect):
        raise _meant(f"{at}: effect", effect, [e.value for e in Effect])
    integration = row.get("integration", "")
    if integration and integration not in catalogue:
        raise _meant(f"{at}: integration", integration, catalogue)
    actions = _texts(row, "actions", at)
    for action in actions:
        _check_action(action, catalogue.get(integration), at)
    resources, except_resources = _resources(row, "resources", at), _resources(row, "except_resources", at)
    if (resources or except_resources) and not integration:
        raise InvalidRequest(f"{at}: resources belong to an API.", hint='Add integration = "github" or another one.')
    when = row.get("when", {})
    if not isinstance(when, dict):
        raise InvalidRequest(f"{at}: when is a table.", hint="when = { public = true }")
    _known(when, _WHEN, f"{at}: when")
    enough, answered_by = row.get("enough", 1), _texts(row, "answered_by", at)
    if type(enough) is not int or not 1 <= enough <= max(1, len(answered_by)):
        raise InvalidRequest(f"{at}: enough is a number of the people in answered_by.")
    if (answered_by or "danger" in row or enough > 1) and effect != Effect.ASK:
        raise InvalidRequest(f"{at}: answered_by, enough and danger belong to a rule that asks.")
    why = row.get("why", "")
    if not isinstance(why, str) or len(why) > 200 or not why.isprintable():
        raise InvalidRequest(f"{at}: why is one sentence of at most 200 characters.")
    return Rule(
        id=name,
        effect=Effect(effect),
        agents=_texts(row, "agents", at),
        users=_texts(row, "users", at),
        integration=integration,
        actions=actions,
        resources=resources,
        except_resources=except_resources,
        public=_flag(when, "public", at) if "public" in when else None,
        leaves=_flag(when, "leaves", at) if "leaves" in when else None,
        named=_flag(when, "named", at) if "named" in when else None,
        conditions=_conditions(when, at),
        observe=_flag(row, "observe", at),
        why=why,
        answered_by=answered_by,
        enough=enough,
        danger=_flag(row, "danger", at),
    )


def _check_action(action: str, integration: Integration | None, at: str) -> None:
    if action in WORDS_OF_ACTIONS:
        return
    if integration is None:
        raise InvalidRequest(
            f"{at}: {action} is an action of one API, and the rule names none.",
            hint=f"Add integration, or use one of {', '.join(WORDS_OF_ACTIONS)}.",
        )
    operations = {operation for scope in integration.scopes.values() for operation in scope.operations}
    if action not in integration.scopes and action not in operations:
        raise _meant(f"{at}: actions", action, [*WORDS_OF_ACTIONS, *integration.scopes, *sorted(operations)])


def _resources(row: Mapping[str, Any], key: str, at: str) -> tuple[str, ...]:
    names = _texts(row, key, at)
    for name in names:
        star = name.removesuffix("/*")
        if name == "*" or "*" in star or not star or name == ID:
            raise InvalidRequest(
                f"{at}: {name} names no resource.",
                hint="A resource is a name, owner/*, or id: and the API's own id. Leave resources out to mean all.",
            )
    return names


def _conditions(when: Mapping[str, Any], at: str) -> tuple[Condition, ...]:
    found: list[Condition] = []
    for name, values in _table(when, "parameters", at).items():
        found.append(Parameter(name, frozenset(_texts({name: values}, name, f"{at}: parameters"))))
    if "labels" in when:
        row = _table(when, "labels", at)
        _known(row, ("all", "within"), f"{at}: labels")
        labels = _texts(row, "all", f"{at}: labels")
        for label in labels:
            if label not in list(Label):
                raise _meant(f"{at}: labels", label, [x.value for x in Label])
        found.append(Labelled(_span(row, at), frozenset(Label(label) for label in labels)))
    if "counts" in when:
        row = _table(when, "counts", at)
        _known(row, (*(c.value for c in Counter), "within", "per_resource"), f"{at}: counts")
        for counter in Counter:
            if counter in row:
                limit = row[counter]
                if type(limit) is not int or limit < 1:
                    raise InvalidRequest(f"{at}: {counter} is a number from 1: so many were counted already.")
                found.append(Counted(_span(row, at), counter, limit, _flag(row, "per_resource", at)))
    if "hours" in when:
        found.append(_hours(_table(when, "hours", at), at))
    return tuple(found)


def _hours(row: Mapping[str, Any], at: str) -> Hours:
    _known(row, ("from", "to", "zone", "days"), f"{at}: hours")
    zone, days = row.get("zone", "UTC"), _texts(row, "days", f"{at}: hours") or DAYS
    try:
        begin, end = (time.fromisoformat(str(row[key])) for key in ("from", "to"))
        ZoneInfo(zone)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise InvalidRequest(
            f"{at}: hours are not understood.",
            hint='hours = { from = "22:00", to = "07:00", zone = "Europe/Berlin", days = ["mon"] }',
        ) from error
    if begin == end or begin.tzinfo or end.tzinfo:
        raise InvalidRequest(f"{at}: hours begin and end at different times.", hint="Leave hours out to mean always.")
    for day in days:
        if day not in DAYS:
            raise _meant(f"{at}: days", day, DAYS)
    return Hours(begin, end, zone, frozenset(days))


def _span(row: Mapping[str, Any], at: str) -> Span:
    within = row.get("within", Span.TASK.value)
    if within not in list(Span):
        raise _meant(f"{at}: within", within, [s.value for s in Span])
    return Span(within)


def _table(row: Mapping[str, Any], key: str, at: str) -> Mapping[str, Any]:
    found = row.get(key, {})
    if not isinstance(found, dict) or (key in row and not found):
        raise InvalidRequest(f"{at}: {key} is a table that is not empty.")
    return found


def _texts(row: Mapping[str, Any], key: str, at: str) -> tuple[str, ...]:
    found = row.get(key, [])
    # SECURITY: an empty list is refused: nobody must read "for nobody" where the rule would mean "for anybody".
    # Guarded by tests/rules/test_policy_reading.py::test_an_empty_list_is_refused_rather_than_read_as_any
    if not isinstance(found, list) or (key in row and not found):
        raise InvalidRequest(f"{at}: {key} is a list that is not empty.", hint=f"Leave {key} out to mean any.")
    for text in found:
        if not isinstance(text, str) or not 0 < len(text) <= 256 or not text.isprintable():
            raise InvalidRequest(f"{at}: {key} holds names of up to 256 characters.")
    return tuple(found)


def _flag(row: Mapping[str, Any], key: str, at: str) -> bool:
    found = row.get(key, False)
    if not isinstance(found, bool):
        raise InvalidRequest(f"{at}: {key} is true or false.")
    return found


def _known(row: Mapping[str, Any], keys: Collection[str], at: str) -> None:
    for key in row:
        if key not in keys:
            raise _meant(f"{at} has no", key, keys)


def _meant(what: str, given: object, known: Iterable[str]) -> InvalidRequest:
    names = list(known)
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(sorted(names)[:12])}."
    return InvalidRequest(f"{what} {str(given)[:64]!r}: there is no such name.", hint=hint)
