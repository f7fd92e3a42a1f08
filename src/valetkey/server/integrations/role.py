"""A role of an AWS account, taken on for a while with a policy that leaves of it only what was delegated. Pure.

Responsible for which IAM actions a scope is, on which ARNs, and for the session policy that says so. What was not
written here is not in it; names of people never bring a wildcard. Refuses to know how it is sent, and whose key signs.
Facts: AWS IAM User Guide, "Session policies", "Policy evaluation logic"; STS API Reference, `AssumeRole`.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from valetkey.server.integrations.model import FOLDER, ResourceFacts, ResourceRef

LONGEST_POLICY: Final = 2_048
OBJECT: Final = "object"
"""The kind of what a call names: a bucket, `/`, and a key or the beginning of keys."""
TAGS: Final = ("valetkey:user", "valetkey:agent", "valetkey:task")
"""What every session is tagged with: ids of ours."""
ARN: Final = re.compile(r"arn:aws:iam::([0-9]{12}):role/[A-Za-z0-9+=,.@_/-]{1,512}")
# NOTE: of S3's names only these: what a wildcard or a variable of a policy could be (`*`, `?`, `$`) is in none.
_BUCKET: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_FOLDERS: Final = re.compile(r"(?!\.\.?(?:/|$))[A-Za-z0-9_.-]{1,200}(?:/(?!\.\.?(?:/|$))[A-Za-z0-9_.-]{1,200})*")
EVERYTHING: Final = "*"
"""Stands for every bucket of the account, in a policy for the gateway alone: it judges each call."""


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
        bucket, slash, key = name.partition("/")
        if ref.kind not in (self.resource_kind, FOLDER, OBJECT) or _BUCKET.fullmatch(bucket) is None:
            return None
        match ref.kind:
            case kind if kind == self.resource_kind and not slash:
                return ResourceFacts(kind, name=name, id=name, owner_id=account)
            case "folder" if _FOLDERS.fullmatch(key):
                return ResourceFacts(FOLDER, name=name, id=name, owner_id=account)
            case "object" if slash:
                parts = key.split("/")[:-1]
                inside = tuple("/".join((bucket, *parts[: n + 1])) for n in range(len(parts)))
                return ResourceFacts(self.resource_kind, name=bucket, id=bucket, owner_id=account, inside=inside)
        return None

    def policy(self, scopes: Collection[str], names: Iterable[str], *, account: str, ends_at: int) -> str:
        """The session policy: these scopes on these buckets and folders of that account, before that moment.

        Raises `ValueError` for anything empty, `PolicyTooLong` for what STS would not take.
        """
        names = sorted(set(names))
        if EVERYTHING in names:
            raise ValueError("a session policy names its resources, every one")
        return self.policy_of([(scopes, names)], account=account, ends_at=ends_at)

    def policy_of(self, lines: Sequence[tuple[Collection[str], Iterable[str]]], *, account: str, ends_at: int) -> str:
        """The same for several lines, each with scopes of its own."""
        if not lines:
            raise ValueError("a session policy allows something")
        text = _compact(
            {
                "Version": "2012-10-17",
                "Statement": [
                    statement
                    for scopes, names in lines
                    for statement in self._statements(scopes, sorted(set(names)), account=account, ends_at=ends_at)
                ],
            }
        )
        if len(text) > LONGEST_POLICY:
            raise PolicyTooLong(f"{len(text)} characters")
        return text

    def _statements(
        self, scopes: Collection[str], names: Sequence[str], *, account: str, ends_at: int
    ) -> list[dict[str, Any]]:
        # SECURITY: a policy without a resource, or with a `*` nobody asked for, is another policy altogether.
        # Guarded by tests/rules/test_session_policy.py::test_nothing_named_is_no_policy
        if not names or not all(name == EVERYTHING or _is_nameable(name) for name in names):
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
        statements = []
        for arn, actions in sorted(by_arn.items()):
            is_below = arn.endswith("/*")
            whole = [name for name in names if is_below or "/" not in name]
            if whole:
                statements.append(_statement(actions, [arn.replace("{name}", name) for name in whole], condition))
            for name in names:
                if not is_below and "/" in name:  # of the bucket itself, only what lies in the folder is listed
                    bucket, _, folder = name.partition("/")
                    within = {**condition, "StringLike": {"s3:prefix": [f"{folder}/*"]}}
                    statements.append(_statement(actions, [arn.replace("{name}", bucket)], within))
        return statements


def _statement(actions: Collection[str], arns: list[str], condition: Mapping[str, Any]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": arns, "Condition": condition}


def _is_nameable(name: str) -> bool:
    bucket, slash, folder = name.partition("/")
    return _BUCKET.fullmatch(bucket) is not None and (not slash or _FOLDERS.fullmatch(folder) is not None)


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
