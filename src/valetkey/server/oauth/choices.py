"""What a person chose on the consent page, as less than or as much as what was asked: never more. Pure.

A form only narrows: lines, scopes and names that were not asked for are refused, not ignored.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from valetkey.server.delegations.consent import Line
from valetkey.server.delegations.grants import check_resource_name
from valetkey.server.delegations.model import Grant, Mode, Resource, narrowed
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.integrations.model import Integration
from valetkey.server.oauth.form import Form
from valetkey.server.oauth.request import AuthorizationRequest

DAY_SECONDS = 86_400
MOST_NAMES = 50
TASKS_PER_DAY = (1, 5, 24, 100)
_STEPS = (600, 1_800, 3_600, 4 * 3_600, 8 * 3_600, DAY_SECONDS)
_STANDING_STEPS = (DAY_SECONDS, 7 * DAY_SECONDS, 14 * DAY_SECONDS, 30 * DAY_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long she can be offered, in seconds: one task's usual length, and the longest standing delegation."""

    usual: int
    standing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What she ticked. `grants` name the connection she chose, and things by name, not yet bound to what they are."""

    grants: tuple[Grant, ...]
    seconds: int
    mode: Mode
    tasks_per_day: int
    share_with: tuple[str, ...]


def seconds_offered(request: AuthorizationRequest, limits: Limits) -> tuple[int, ...]:
    """How long, while she is there: what was asked at most, and no more than a day."""
    asked = min(request.seconds or limits.usual, DAY_SECONDS)
    return tuple(sorted({*(step for step in _STEPS if step < asked), asked}))


def standing_offered(request: AuthorizationRequest, limits: Limits) -> tuple[int, ...]:
    """How long, while she is away; nothing where it was not asked for."""
    if not request.standing:
        return ()
    asked = min(request.seconds or limits.standing, limits.standing)
    return tuple(sorted({*(step for step in _STANDING_STEPS if step < asked), asked}))


def chosen(request: AuthorizationRequest, form: Form, catalogue: Mapping[str, Integration], limits: Limits) -> Choice:
    """Read the form against what was asked."""
    ticked = _ticked(form, len(request.lines))
    on = form.every("line")
    grants = [
        _line(line, ticked[number], form, number, catalogue)
        for number, line in enumerate(request.lines)
        if str(number) in on and ticked[number]
    ]
    if not grants:
        raise InvalidRequest("Nothing is ticked.", hint="Tick what the agent may do, or cancel.")
    share_with = form.every("share")
    if not set(share_with) <= set(request.share_with):
        raise _more()
    is_standing = form.get("standing") is not None
    offered = standing_offered(request, limits) if is_standing else seconds_offered(request, limits)
    seconds = _among(form.get("standing_seconds" if is_standing else "seconds"), offered)
    return Choice(
        grants=tuple(grants),
        seconds=seconds,
        mode=Mode.STANDING if is_standing else Mode.ATTENDED,
        tasks_per_day=_among(form.get("tasks_per_day"), TASKS_PER_DAY) if is_standing else 0,
        share_with=share_with,
    )


def names_in(text: str) -> tuple[Resource, ...]:
    """The names of a text field, one after another."""
    names = [name for name in re.split(r"[\s,]+", text) if name]
    if not 1 <= len(names) <= MOST_NAMES or len(set(names)) != len(names):
        raise InvalidRequest(
            f"Name what it is about: 1 to {MOST_NAMES} names, none twice.", hint="For example: acme-corp/backend"
        )
    for name in names:
        check_resource_name(name, name)
    return tuple(Resource(name=name) for name in names)


def _ticked(form: Form, lines: int) -> list[frozenset[str]]:
    found: list[set[str]] = [set() for _ in range(lines)]
    for value in (*form.every("scope"), *form.every("danger")):
        number, _, scope = value.partition(":")
        if not (number.isascii() and number.isdigit() and len(number) < 4 and int(number) < lines):
            raise _more()
        found[int(number)].add(scope)
    return [frozenset(scopes) for scopes in found]


def _line(line: Line, scopes: frozenset[str], form: Form, number: int, catalogue: Mapping[str, Integration]) -> Grant:
    # SECURITY: the scopes are compared as written: one that includes another is not the same thing to have agreed to.
    # Guarded by tests/rules/test_choices.py::test_nobody_can_tick_what_was_not_asked
    if not scopes <= line.grant.scopes:
        raise _more()
    resources = names_in(form.get(f"resources-{number}") or "")
    asks = str(number) in form.every("ask")
    picked = Grant(integration=line.grant.integration, connection="", scopes=scopes, resources=resources, ask=asks)
    held = replace(line.grant, connection="", resources=line.grant.resources or (Resource(name="*"),))
    try:
        narrowed((held,), (picked,), catalogue)
    except Denied as error:
        raise _more() from error
    return replace(picked, connection=line.grant.connection or form.get(f"connection-{number}") or "")


def _among(text: str | None, offered: Sequence[int]) -> int:
    if text is None or text not in {str(number) for number in offered}:
        raise _more()
    return int(text)


def _more() -> InvalidRequest:
    return InvalidRequest(
        "This is more than the agent asked for, or something else.", hint="Go back, reload the page and try again."
    )
