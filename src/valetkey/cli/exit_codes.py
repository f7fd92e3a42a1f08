"""Exit codes: one table, which the commands, their JSON errors and `valetkey help exit-codes` share."""

from collections.abc import Mapping
from typing import Final

OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
CANCELLED: Final = 3
LOGIN_NEEDED: Final = 4
DENIED: Final = 5
APPROVAL_PENDING: Final = 6
UNREACHABLE: Final = 7
NOT_CONNECTED: Final = 8

MEANING: Final[Mapping[int, str]] = {
    OK: "done",
    FAILURE: "failure: not found, a conflict, an invalid request, a failed check, or an error of the server",
    USAGE: "usage: the command line itself is wrong",
    CANCELLED: "cancelled, or timed out waiting for somebody",
    LOGIN_NEEDED: "login needed: valetkey login",
    DENIED: "denied: not permitted, revoked, expired, or the person has not agreed",
    APPROVAL_PENDING: "approval pending: a person has to approve this call first",
    UNREACHABLE: "the server cannot be reached, or cannot record anything right now",
    NOT_CONNECTED: "the account is not connected: valetkey connect",
}

BY_CODE: Final[Mapping[str, int]] = {
    "not_authenticated": LOGIN_NEEDED,
    "denied": DENIED,
    "revoked": DENIED,
    "expired": DENIED,
    "consent_required": DENIED,
    "approval_required": APPROVAL_PENDING,
    "unreachable": UNREACHABLE,
    "unavailable": UNREACHABLE,
    "connection_required": NOT_CONNECTED,
    "usage": USAGE,
    "cancelled": CANCELLED,
}
"""Problem codes that have an exit code of their own; every other one is a failure."""


def of(code: str) -> int:
    """The exit code of a problem code.

    >>> of("revoked"), of("not_found")
    (5, 1)
    """
    return BY_CODE.get(code, FAILURE)


def page() -> str:
    """What `valetkey help exit-codes` prints."""
    lines = ["Exit codes", ""]
    lines += [f"  {number}  {meaning}" for number, meaning in MEANING.items()]
    lines += [
        "",
        "`valetkey run` ends with the exit code of its command: 126 when it cannot be run, 127 when there is no",
    ]
    lines += [
        "such command, 128 + N when signal N ended it. With --json an error also says its `code` and `exit_code`."
    ]
    return "\n".join(lines)
