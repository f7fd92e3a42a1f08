"""A role of an AWS account, taken on for a while with a policy that leaves of it only what was delegated. Pure.

Responsible for which IAM actions a scope is, on which ARNs, and for the session policy that says so. What was not
written here is not in it; names of people never bring a wildcard. Refuses to know how it is sent, and whose key signs.
Facts: AWS IAM User Guide, "Session policies", "Policy evaluation logic"; STS API Reference, `AssumeRole`.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from valetkey.server.integrations.model import ResourceFacts, ResourceRef

LONGEST_POLICY: Final = 2_048
TAGS: Final = ("valetkey:user", "valetkey:agent", "valetkey:task")
"""What every session is tagged with: ids of ours."""
ARN: Final = re.compile(r"arn:aws:iam::([0-9]{12}):role/[A-Za-z0-9+=,.@_/-]{1,512}")
# NOTE: of S3's names only these: what a wildcard or a variable of a policy could be (`*`, `?`, `$`) is in none.
_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_NAMES: Final[Mapping[str, re.Pattern[str]]] = {"bucket": _BUCKET}


class PolicyTooLong(ValueError):
    """The policy does not fit: fewer resources, or scopes, would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """IAM actions that one scope of ours consists of, on one kind of ARN. `{name}` in it is the resource's name."""

    scope: str
    actions: frozenset[str]
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """How a role is taken on, and what scopes of ours are in IAM's words. `region` is the one requests are signed for.

    The account of the role owns all it is used on: a bucket of that name that is somebody else's now is no bucket.
    """

    sts: str
    region: str
    resource_kind: str
    allowed: tuple[Allowed, ...]

    def at_origin(self, origin: str) -> "Role":
        """The same at another place: a stand-in of AWS answers for all its services at one."""
        return replace(self, sts=f"{origin}{urlsplit(self.sts).path}")

    def actions_of(self, scopes: Collection[str]) -> frozenset[str]:
        """Everything these scopes are in IAM's words."""
        return frozenset().union(*(one.actions for one in self.allowed if one.scope in scopes))

    def facts(self, ref: ResourceRef, account: str) -> ResourceFacts | None:
        """What a name means in that AWS account; None for what is no such name. Its name is its id, the account's."""
        name = ref.name or ref.id or ""
        if ref.kind != self.resource_kind or _NAMES[self.resource_kind].fullmatch(name) is None:
            return None
        return ResourceFacts(ref.kind, name=name, id=name, owner_id=account)

    def policy(self, scopes: Collection[str], names: Iterable[str], *, account: str, ends_at: int) -> str:
        """The session policy: these scopes on these resources of that account, before that moment.

        Raises `ValueError` for anything empty, `PolicyTooLong` for what STS would not take.
        """
        names = sorted(set(names))
        # SECURITY: a policy without a resource, or with a `*` for one, is another policy altogether.
        # Guarded by tests/rules/test_session_policy.py::test_nothing_named_is_no_policy
        if not names or any(_NAMES[self.resource_kind].fullmatch(name) is None for name in names):
            raise ValueError("a session policy names its resources, every one")
        by_arn: dict[str, set[str]] = {}
        for one in self.allowed:
            if one.scope in scopes:
                by_arn.setdefault(one.resource, set()).update(one.actions)
        if not by_arn:
            raise ValueError("a session policy allows something")
        # SECURITY: AWS compares its own clock at every call, so it ends with the task to the second, which
        # `DurationSeconds` (at least 900) does not. Whoever took the name of a deleted bucket is another account.
        # Guarded by tests/flows/test_aws_leases.py::test_what_sts_received_says_who_what_where_and_until_when
        condition = {
            "DateLessThan": {"aws:CurrentTime": moment(ends_at)},
            "StringEquals": {"aws:ResourceAccount": account},
        }
        statements = [
            {
                "Effect": "Allow",
                "Action": sorted(actions),
                "Resource": [arn.replace("{name}", name) for name in names],
                "Condition": condition,
            }
            for arn, actions in sorted(by_arn.items())
        ]
        text = _compact({"Version": "2012-10-17", "Statement": statements})
        if len(text) > LONGEST_POLICY:
            raise PolicyTooLong(f"{len(text)} characters")
        return text


NOTHING: Final = msgspec.json.encode(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}
).decode()
"""The policy under which a role is tried out: it may do nothing at all."""


def account_of(arn: str) -> str:
    """The AWS account a role is in; empty for what is no role's ARN.

    >>> account_of("arn:aws:iam::111122223333:role/agents"), account_of("arn:aws:iam::1:role/x")
    ('111122223333', '')
    """
    found = ARN.fullmatch(arn)
    return found[1] if found else ""


def moment(at: int) -> str:
    """Seconds since the epoch as AWS writes a moment.

    >>> moment(1_800_000_000)
    '2027-01-15T08:00:00Z'
    """
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _compact(document: Mapping[str, Any]) -> str:
    return msgspec.json.encode(document).decode()
