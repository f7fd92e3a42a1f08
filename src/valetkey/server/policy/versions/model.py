"""A version of a policy, and how its text becomes what decides. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from valetkey.server.errors import InvalidRequest
from valetkey.server.integrations.model import Integration
from valetkey.server.policy.cedar import clauses_of, handle_of
from valetkey.server.policy.layer import Layer
from valetkey.server.policy.reading import read_policy
from valetkey.server.policy.rules import Effect

MOST_OWN_RULES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One applied policy of an organization. `number` counts from 1; an old text applied again is a new version."""

    id: str
    org: str
    number: int
    text: str
    digest: str
    people: Mapping[str, str]
    why: str
    applied_by: str
    applied_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRules:
    """A user's own rules, as they were saved last."""

    user: str
    text: str
    number: int


def compiled(
    text: str,
    catalogue: Mapping[str, Integration],
    *,
    id: str,  # noqa: A002
    number: int = 0,
    people: Mapping[str, str] | None = None,
    is_own: bool = False,
) -> Layer:
    """What decides by this text. Raises `InvalidRequest` for anything in it that is not understood."""
    written = read_policy(text, catalogue)
    clauses = clauses_of(written.rules, written.cedar)
    if is_own:
        if len(clauses) > MOST_OWN_RULES:
            raise InvalidRequest(f"There are at most {MOST_OWN_RULES} rules of one's own.")
        # SECURITY: rules of one's own only take away: none of them lets anything happen.
        # Guarded by tests/rules/test_policy.py::test_own_rules_cannot_allow_what_the_organization_denies
        if any(clause.effect is Effect.ALLOW for clause in clauses) or written.cedar:
            raise InvalidRequest("Rules of one's own deny or ask.", hint="What may be done is delegated, not ruled.")
    handle_of(clauses)
    return Layer(
        id=id,
        number=number,
        clauses=clauses,
        silence=Effect.ALLOW if is_own else Effect.DENY,
        observes_silence=written.observes_silence,
        people=people or {},
    )


def node_of_policy(org: str) -> str:
    """What the change feed calls the policy of an organization, whichever version is in force."""
    return f"pol_of_{org.removeprefix('org_')}"


def kept_under(org: str) -> str:
    """Under which name the choices about the ready rules are kept: never among an organization's own versions."""
    return f"rdy_of_{org.removeprefix('org_')}"


def node_of_own_rules(user: str) -> str:
    """What the change feed calls the rules of a user."""
    return f"own_of_{user.removeprefix('usr_')}"


def people_named(text: str, catalogue: Mapping[str, Integration]) -> frozenset[str]:
    """The email addresses of all who are to answer."""
    return frozenset(email for rule in read_policy(text, catalogue).rules for email in rule.answered_by)


def digest_of(text: str) -> str:
    """What tells one text from another."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()
