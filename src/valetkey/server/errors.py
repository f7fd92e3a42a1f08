"""Every way the server can refuse, named after what the caller does next.

A class carries a stable `code`, a `public` sentence for the person who meets it (default: the class docstring), the
`hint` that says the next step, and a private `detail` for us. No HTTP status lives here: each door translates once.
"""

from typing import Any, ClassVar


class ValetkeyError(Exception):
    """Something went wrong inside Valetkey."""

    code: ClassVar[str] = "internal"
    hint: ClassVar[str] = "Try again; if it persists, send the request id to your administrator."

    def __init__(self, public: str | None = None, *, detail: str = "", hint: str | None = None, **members: Any) -> None:
        self.public = public or (type(self).__doc__ or "").strip().splitlines()[0]
        self.detail = detail
        self.next_step = hint or type(self).hint
        self.members = members  # extra public members of the problem document (ids, links, reasons)
        super().__init__(detail or self.public)


class InvalidRequest(ValetkeyError):
    """The request is malformed."""

    code = "invalid_request"
    hint = "Correct the request and send it again."


class NotAuthenticated(ValetkeyError):
    """The credential is missing or not valid here."""

    code = "not_authenticated"
    hint = "Present a valid credential for this address."


class ProofRefused(NotAuthenticated):
    """The proof of the key is missing or not valid here."""

    hint = "Send a fresh DPoP proof for this very request, made with the key the token is bound to."

    def __init__(self, public: str | None = None, *, error: str = "invalid_dpop_proof", nonce: str = "") -> None:
        super().__init__(public, reason=error)
        self.error = error  # the code of RFC 9449 sections 5, 7.1 and 8, or of RFC 6750 section 3.1
        self.nonce = nonce  # to be put into the next proof


class Denied(ValetkeyError):
    """This is not permitted."""

    code = "denied"
    hint = "Do not retry. Ask the person you act for to delegate it, if it is needed."


class ApprovalRequired(ValetkeyError):
    """A person has to approve this call first."""

    code = "approval_required"
    hint = "Wait for the approval, then repeat the same call."
    retry_after: ClassVar[int] = 10  # seconds


class ConnectionRequired(ValetkeyError):
    """The account this needs is not connected."""

    code = "connection_required"
    hint = "Connect the account, then try again."


class ConsentRequired(ValetkeyError):
    """The person you act for has to agree first."""

    code = "consent_required"
    hint = "Ask the person you act for to record or confirm the delegation, then open the task again."


class NotFound(ValetkeyError):
    """There is no such thing, or it is not yours."""

    code = "not_found"
    hint = "Check the id and who you are signed in as."


class Conflict(ValetkeyError):
    """This clashes with what already exists."""

    code = "conflict"
    hint = "Read the current state, then decide again."


class Expired(ValetkeyError):
    """This has expired."""

    code = "expired"
    hint = "Mint a new credential while the task lives, or open a new task."


class Revoked(ValetkeyError):
    """This has been revoked."""

    code = "revoked"
    hint = "Stop. A new delegation is needed to go on."


class TooMany(ValetkeyError):
    """A limit was reached."""

    code = "too_many"
    hint = "Wait, then try again."

    def __init__(
        self, public: str | None = None, *, retry_after: int | None = 1, detail: str = "", **members: Any
    ) -> None:
        waits: dict[str, Any] = {} if retry_after is None else {"retry_after": retry_after}
        super().__init__(public, detail=detail, **waits, **members)
        self.retry_after = retry_after  # seconds; None where waiting does not help


class UpstreamFailed(ValetkeyError):
    """Another server that this depends on did not answer properly."""

    code = "upstream_failed"
    hint = "This is not your request's fault. Try again later."
    retry_after: ClassVar[int] = 60  # seconds, for as long as a host that failed is not asked again
    is_unreached = False  # no connection came about
    is_silent = False  # there was one, and no answer in time
    was_sent = True  # False: it failed so often that it was not even asked


class Unavailable(ValetkeyError):
    """The server cannot record this right now, so it does nothing."""

    code = "unavailable"
    hint = "Try again in a few seconds."

    def __init__(self, public: str | None = None, *, retry_after: int = 2, detail: str = "", **members: Any) -> None:
        super().__init__(public, detail=detail, **members)
        self.retry_after = retry_after  # seconds
