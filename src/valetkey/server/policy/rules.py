"""A rule of a policy: who, at which API, doing what, to what, under which conditions: allow, ask or deny. Frozen; pure.

Everything that is named is named as people know it: agents by name, users by email address, actions by scope or
operation, resources by name or by `id:` and the upstream's immutable id.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum
from typing import Final, Literal
from zoneinfo import ZoneInfo

from valetkey.server.integrations.model import Integration, Operation
from valetkey.server.policy.history import Counter, History, Label, Memory

_FOLD: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
ID: Final = "id:"
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Effect(StrEnum):
    """What a rule says. Deny beats ask beats allow."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class Span(StrEnum):
    """How far back a condition looks."""

    TASK = "task"
    USER_HOUR = "user-hour"  # this agent for this user
    AGENT_HOUR = "agent-hour"  # this agent for anybody

    def of(self, history: History) -> Memory:
        """That part of what is remembered."""
        if self is Span.TASK:
            return history.task
        return history.agent_for_user if self is Span.USER_HOUR else history.agent

    @property
    def attribute(self) -> str:
        """Its name in Cedar's context."""
        return self.value.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Labelled:
    """All of these were read."""

    span: Span
    labels: frozenset[Label]

    @property
    def cedar(self) -> str:
        return (
            f"context.labels.{self.span.attribute}.containsAll([{', '.join(quoted(x) for x in sorted(self.labels))}])"
        )

    def holds(self, situation: "Situation") -> bool:
        return self.labels <= self.span.of(situation.history).labels


@dataclass(frozen=True, slots=True)
class Counted:
    """So much was done already, in all or at the resource of this call."""

    span: Span
    counter: Counter
    at_least: int
    here: bool

    @property
    def cedar(self) -> str:
        name = f"{self.counter}_here" if self.here else self.counter.value
        return f"context.counts.{self.span.attribute}.{name} >= {self.at_least}"

    def holds(self, situation: "Situation") -> bool:
        return (
            self.span.of(situation.history).count(self.counter, situation.where if self.here else "") >= self.at_least
        )


@dataclass(frozen=True, slots=True)
class Parameter:
    """A judged parameter of the call has one of these values."""

    name: str
    values: frozenset[str]

    @property
    def cedar(self) -> str:
        pairs = ", ".join(quoted(f"{self.name}={value}") for value in sorted(self.values))
        return f"context.parameters.containsAny([{pairs}])"

    def holds(self, situation: "Situation") -> bool:
        return situation.parameters.get(self.name) in self.values


@dataclass(frozen=True, slots=True)
class Hours:
    """It is between two times of a day, as clocks show it there. Past midnight, it belongs to the day it began on."""

    begin: time
    end: time
    zone: str
    days: frozenset[str]

    @property
    def text(self) -> str:
        days = ",".join(day for day in DAYS if day in self.days)
        return f"{self.begin:%H:%M}-{self.end:%H:%M} {self.zone} {days}"

    @property
    def cedar(self) -> str:
        return f"context.within.contains({quoted(self.text)})"

    def holds(self, situation: "Situation") -> bool:
        there = datetime.fromtimestamp(situation.now, ZoneInfo(self.zone))
        clock, today, yesterday = there.time(), DAYS[there.weekday()], DAYS[there.weekday() - 1]
        if self.begin < self.end:
            return today in self.days and self.begin <= clock < self.end
        return (today in self.days and clock >= self.begin) or (yesterday in self.days and clock < self.end)


Condition = Labelled | Counted | Parameter | Hours
"""What is looked at on every call, however often the call was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What conditions are held against."""

    history: History
    parameters: Mapping[str, str]
    where: str  # the id of the call's resource
    now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. An empty set of agents, users, actions or resources means any; `observe` records and does nothing."""

    id: str
    effect: Effect
    agents: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    integration: str = ""
    actions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    except_resources: tuple[str, ...] = ()
    public: bool | None = None
    leaves: bool | None = None
    named: bool | None = None
    conditions: tuple[Condition, ...] = ()
    observe: bool = False
    why: str = ""
    answered_by: tuple[str, ...] = ()
    enough: int = 1
    danger: bool = False

    @property
    def words(self) -> str:
        """The rule as people are told of it."""
        return f"Rule {self.id}: {self.why}" if self.why else f"Rule {self.id}."

    @property
    def is_about_history(self) -> bool:
        return any(isinstance(condition, Labelled | Counted) for condition in self.conditions)

    @property
    def needs_a_call(self) -> bool:
        """Whether it can be judged only when there is a concrete call."""
        seen = (self.public, self.leaves, self.named)
        return bool(self.conditions or self.except_resources) or any(one is not None for one in seen)


def quoted(text: str) -> str:
    """A string literal of Cedar.

    >>> print(quoted('a"b'))
    "a\\"b"
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in escaped) + '"'


def folded(name: str) -> str:
    """A name as rules compare it: without the sign of a channel, ASCII case ignored.

    Ignoring case where an API does not can make a rule apply to one thing too many, which an `allow` cannot turn into
    more than was delegated.
    """
    return name.removeprefix("#").translate(_FOLD)


def groups(operation: Operation, integration: Integration) -> frozenset[str]:
    """What an operation belongs to: its scopes, and the plain words rules may use."""
    scopes = [scope for scope in integration.scopes.values() if operation.id in scope.operations]
    own = integration.scopes.get(operation.scope)
    found = {f"{integration.name}:{scope.name}" for scope in scopes}
    found |= {"any", f"{integration.name}:*", operation.access}
    if deletes(operation):
        found.add("delete")
    if own is None or own.tier == "danger":  # not known to be harmless: it counts as dangerous
        found.add("danger")
    if "outlives" in operation.tags or own is None or own.outlives:
        found.add("outlives")
    return frozenset(found)


WORDS_OF_ACTIONS: Final[tuple[Literal["read", "write", "delete", "danger", "outlives"], ...]] = (
    "read",
    "write",
    "delete",
    "danger",
    "outlives",
)


def deletes(operation: Operation) -> bool:
    """Whether it removes something, as far as its method or its name says. Fails towards yes."""
    name = operation.id.translate(_FOLD)
    return operation.access == "write" and (
        operation.method == "DELETE"
        or any(word in name for word in ("delete", "remove", "destroy", "archive", "trash", "purge", "revoke"))
    )


def action_uids(action: str, integration: str) -> tuple[str, ...]:
    """How an action of a rule is called in Cedar: a plain word, or a scope and an operation of that name.

    >>> action_uids("delete", "github"), action_uids("admin", "github")
    (('delete',), ('github:admin', 'github/admin'))
    """
    return (action,) if action in WORDS_OF_ACTIONS else (f"{integration}:{action}", f"{integration}/{action}")
