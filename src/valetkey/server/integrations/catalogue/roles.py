"""The `[role]` of a file: where a role is taken on, and each scope in IAM's words.

Responsible for actions that are spelled out, ARNs that are about the named resource alone, and an address that is one
of the file's hosts. Refuses to know what a session is.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from valetkey.server.integrations.catalogue.typed import Misdescribed, check_address, read
from valetkey.server.integrations.role import Allowed, Role

_ACTION: Final = re.compile(r"[a-z0-9-]+:[A-Za-z0-9]+")
_ARN: Final = re.compile(r"arn:aws:[a-z0-9-]+:[a-z0-9-]*:[0-9]*:\{name\}(?:/\*)?")
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-[0-9]")


def read_role(described: Mapping[str, Any], scopes: Collection[str], hosts: frozenset[str], *, loopback: bool) -> Role:
    """The table, and the list `[[role.allowed]]` in it."""
    about = dict(described)
    allowed = tuple(_allowed(one, scopes) for one in about.pop("allowed", []))
    if missing := sorted(set(scopes) - {one.scope for one in allowed}):
        raise Misdescribed("role.allowed", f"says nothing of {', '.join(missing)}", "a [[role.allowed]] for each scope")
    role = read(Role, about, "role", allowed=allowed)
    check_address(role.sts, "role.sts", loopback=loopback)
    # SECURITY: what is signed with the account's key goes to a host the file names, and nowhere else.
    if urlsplit(role.sts).netloc not in hosts or not role.sts.endswith("/"):
        raise Misdescribed("role.sts", "is not at a host of this file, or has no / at its end", "https://HOST/")
    if not _REGION.fullmatch(role.region):
        raise Misdescribed("role.region", f"{role.region!r} is no region", '"us-east-1"')
    if role.resource_kind != "bucket":
        raise Misdescribed("role.resource_kind", "is no kind whose names are known to be safe in an ARN", '"bucket"')
    return role


def _allowed(described: object, scopes: Collection[str]) -> Allowed:
    one = read(Allowed, described, "role.allowed")
    if one.scope not in scopes:
        raise Misdescribed("role.allowed.scope", f"{one.scope} is a scope nobody described")
    # SECURITY: an action is written out: with `s3:*` or `s3:Get*` AWS would add to it what it invents next year.
    if not one.actions or not all(_ACTION.fullmatch(action) for action in one.actions):
        raise Misdescribed("role.allowed.actions", "is empty, or has a wildcard", '["s3:GetObject"]')
    if not _ARN.fullmatch(one.resource):
        raise Misdescribed(
            "role.allowed.resource", f"{one.resource!r} is not about one resource", "arn:aws:s3:::{name}"
        )
    return one
