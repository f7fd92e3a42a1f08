"""The refusals of a server as exceptions, named like the problem codes, after what the caller does next.

Each carries the stable `code`, the `detail` sentence, the `hint` that says the next step, the HTTP `status` (0 when no
answer came) and `members`: whatever else the problem document held (ids, links, reasons).
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class ValetkeyError(Exception):
    """Something went wrong inside the server."""

    code: ClassVar[str] = "internal"
    usual_hint: ClassVar[str] = "Try again; if it persists, give the request id to your administrator."

    def __init__(
        self, detail: str = "", *, hint: str = "", status: int = 0, members: Mapping[str, Any] | None = None
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint or self.usual_hint
        self.status = status
        self.members: dict[str, Any] = dict(members or {})
        super().__init__(self.detail)

    @property
    def request_id(self) -> str:
        """The id to give to an administrator; empty when no answer came."""
        return str(self.members.get("request_id", ""))

    def document(self) -> dict[str, Any]:
        """The problem document, as the server sent it or as it would have."""
        return {"status": self.status, **self.members, "code": self.code, "detail": self.detail, "hint": self.hint}


class InvalidRequest(ValetkeyError):
    """The request is malformed."""

    code = "invalid_request"
    usual_hint = "Correct the request and send it again."


class NotAuthenticated(ValetkeyError):
    """The credential is missing or not valid here."""

    code = "not_authenticated"
    usual_hint = "Sign in again: valetkey login"


class Denied(ValetkeyError):
    """This is not permitted."""

    code = "denied"
    usual_hint = "Do not retry. Ask the person you act for to delegate it, if it is needed."


class ApprovalRequired(ValetkeyError):
    """A person has to approve this call first."""

    code = "approval_required"
    usual_hint = "Wait for the approval, then repeat the same call."


class ConnectionRequired(ValetkeyError):
    """The account this needs is not connected."""

    code = "connection_required"
    usual_hint = "Connect the account, then try again."


class ConsentRequired(ValetkeyError):
    """The person you act for has to agree first."""

    code = "consent_required"
    usual_hint = "Ask the person you act for to record or confirm the delegation."


class NotFound(ValetkeyError):
    """There is no such thing, or it is not yours."""

    code = "not_found"
    usual_hint = "Check the id and who you are signed in as."


class Conflict(ValetkeyError):
    """This clashes with what already exists."""

    code = "conflict"
    usual_hint = "Read the current state, then decide again."


class Expired(ValetkeyError):
    """This has expired."""

    code = "expired"
    usual_hint = "Mint a new credential while the task lives, or open a new task."


class Revoked(ValetkeyError):
    """This has been revoked."""

    code = "revoked"
    usual_hint = "Stop. A new delegation is needed to go on."


class TooMany(ValetkeyError):
    """A limit was reached."""

    code = "too_many"
    usual_hint = "Wait, then try again."

    @property
    def retry_after(self) -> int:
        """Seconds to wait."""
        seconds = self.members.get("retry_after", 1)
        return seconds if isinstance(seconds, int) else 1


class UpstreamFailed(ValetkeyError):
    """Another server that this depends on did not answer properly."""

    code = "upstream_failed"
    usual_hint = "This is not your request's fault. Try again later."


class Unavailable(ValetkeyError):
    """The server cannot record this right now, so it does nothing."""

    code = "unavailable"
    usual_hint = "Try again in a few seconds."


class Unreachable(ValetkeyError):
    """The server cannot be reached."""

    code = "unreachable"
    usual_hint = "Start it (valetkey serve) or name another one: VALETKEY_URL=https://…"


BY_CODE: Mapping[str, type[ValetkeyError]] = {
    kind.code: kind
    for kind in (
        ValetkeyError, InvalidRequest, NotAuthenticated, Denied, ApprovalRequired, ConnectionRequired, ConsentRequired,
        NotFound, Conflict, Expired, Revoked, TooMany, UpstreamFailed, Unavailable, Unreachable,
    )
}  # fmt: skip
