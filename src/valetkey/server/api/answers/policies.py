"""The organization's rules, and what they decide."""

from typing import Literal, NotRequired, TypedDict

from valetkey.server.policy.ready import ReadyMode


class Policy(TypedDict):
    """One version of the organization's policy. The newest is in force. `text` is left out in lists."""

    id: str
    number: int
    digest: str
    why: str
    applied_by: str
    applied_at: int
    text: NotRequired[str]


class CheckedPolicy(TypedDict):
    """How many rules a text holds that could be applied, and their names."""

    rules: list[str]


class ReadyRule(TypedDict):
    """One of them. `why` is what whoever is asked or refused is told."""

    id: str
    effect: str
    why: str


class ReadyRules(TypedDict):
    """The ready rules and what they do here. `edition` names these very rules; `text` is how they are written.

    Who chose it, when and why are left out where nobody chose.
    """

    mode: ReadyMode
    edition: str
    rules: list[ReadyRule]
    text: str
    chosen_by: NotRequired[str]
    chosen_at: NotRequired[int]
    why: NotRequired[str]


class ExplainedDecision(TypedDict):
    """Why a recorded call was decided as it was. `policies` are the versions it was decided under."""

    decision: str
    event: str
    words: str
    policies: list[str]
    rules: list[str]
    observed: list[str]
    chosen: NotRequired[str]
    """The audit record of the choice the ready rules were under, for who may see it."""


class ForeseenDecision(TypedDict):
    """What would be decided of a call that nobody made. Budgets are not looked at."""

    decision: Literal["allow", "ask", "deny"]
    reason: str
    words: str
    calls: list[str]
    connection: str
    policies: list[str]
    rules: list[str]
    observed: list[str]
