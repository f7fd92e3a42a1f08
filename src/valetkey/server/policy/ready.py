"""The ready rules every organization has: about where information flows, off, observed (the default) or enforced. Pure.

They are a layer of their own that only takes away: its silence says nothing. Observed, it is asked after the decision,
in the commit that records it, so that it can change none; enforced, it is a layer like the others.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.cedar import clauses_of
from valetkey.server.policy.layer import Layer
from valetkey.server.policy.reading import read_policy
from valetkey.server.policy.rules import Effect, Rule

PREFIX: Final = "ready/"
"""How their ids begin. No rule of an organization or a person can be called so."""

EDITION: Final = "ready_"
"""How a record's names of their editions begin."""

log = logging.getLogger("valetkey")


class ReadyMode(StrEnum):
    """What the ready rules do in an organization."""

    OFF = "off"
    OBSERVE = "observe"
    ENFORCE = "enforce"


DEFAULT: Final = ReadyMode.OBSERVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The layer in each way of having it, compiled once for one catalogue. `id` names this edition of the rules."""

    id: str
    rules: tuple[Rule, ...]
    layer: Layer

    def enforced(self, mode: ReadyMode) -> Layer | None:
        """What decides with the other layers."""
        return self.layer if mode is ReadyMode.ENFORCE else None

    def watched(self, mode: ReadyMode) -> Layer | None:
        """What is only recorded."""
        return self.layer if mode is ReadyMode.OBSERVE and self.rules else None


def ready(catalogue: Mapping[str, Integration]) -> Ready:
    """The set for this catalogue. What is not understood denies where it is enforced, as with any policy."""
    written, edition = text(), edition_of(text())
    try:
        rules = tuple(replace(rule, id=PREFIX + rule.id) for rule in read_policy(written, catalogue).rules)
    except InvalidRequest as error:
        # SECURITY: a set that is enforced and cannot be read must not be one that says nothing.
        # Guarded by tests/rules/test_ready_rules.py::test_a_set_that_is_not_understood_denies_where_it_is_enforced
        log.error("the ready rules are not understood with these integrations: %s", error.public)
        return Ready(id=edition, rules=(), layer=Layer(id=edition))
    layer = Layer(id=edition, clauses=clauses_of(rules, ""), silence=Effect.ALLOW)
    return Ready(id=edition, rules=rules, layer=layer)


@cache
def text() -> str:
    """The rules as they are shipped."""
    return resources.files("valetkey.server.policy").joinpath("ready.toml").read_text("utf-8")


def edition_of(written: str) -> str:
    """What a record calls these rules: another text is another edition."""
    return f"{EDITION}{hashlib.sha256(written.encode()).hexdigest()[:16]}"
