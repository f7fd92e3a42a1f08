"""What an audit record is: its event, its place, and what may never stand in it.

Knows nothing of storage, keys or clocks. The line on the wire is `chain`'s and `members`' business.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from valetkey.server.secret import Secret, SecretBytes

FORMAT: Final = 1
NO_DIGEST: Final = bytes(32)
"""What the first record of a writer, and the first checkpoint, name as the one before."""

MAX_LINE: Final = 65_536  # bytes, without the newline
MAX_INTEGER: Final = 2**53 - 1  # what every JSON reader holds exactly (RFC 7493 section 2.2)


class Event(StrEnum):
    """Everything that can be recorded: `noun.past-verb`. Names are added, never changed or reused."""

    ORGANIZATION_CREATED = "organization.created"
    UNKNOWN_CLIENT_CEILING_CHANGED = "organization.unknown-client-ceiling-changed"
    BOOTSTRAP_OFFERED = "bootstrap.offered"
    BOOTSTRAP_USED = "bootstrap.used"

    USER_CREATED = "user.created"
    USER_SUSPENDED = "user.suspended"
    USER_RESUMED = "user.resumed"
    USER_ROLE_CHANGED = "user.role-changed"
    INVITATION_CREATED = "invitation.created"
    INVITATION_USED = "invitation.used"
    LOGIN_SUCCEEDED = "login.succeeded"
    LOGIN_FAILED = "login.failed"
    SESSION_ENDED = "session.ended"
    LOGIN_WAY_ADDED = "login-way.added"
    LOGIN_WAY_REMOVED = "login-way.removed"
    RECOVERY_CODE_USED = "recovery-code.used"
    IDENTITY_PROVIDER_ADDED = "identity-provider.added"
    IDENTITY_PROVIDER_REMOVED = "identity-provider.removed"

    AGENT_CREATED = "agent.created"
    AGENT_ROTATED = "agent.rotated"
    AGENT_SUSPENDED = "agent.suspended"
    AGENT_RESUMED = "agent.resumed"
    AGENT_CEILING_CHANGED = "agent.ceiling-changed"
    AGENT_CLIENT_CHANGED = "agent.client-changed"
    SERVICE_ACCOUNT_CREATED = "service-account.created"
    SERVICE_ACCOUNT_ROTATED = "service-account.rotated"
    SERVICE_ACCOUNT_SUSPENDED = "service-account.suspended"
    SERVICE_ACCOUNT_RESUMED = "service-account.resumed"

    ENGINE_ADDED = "engine.added"

    CLIENT_REGISTERED = "client.registered"
    CLIENT_CHANGED = "client.changed"
    CLIENT_REMOVED = "client.removed"
    INITIAL_ACCESS_TOKEN_ISSUED = "initial-access-token.issued"  # noqa: S105 - the name of an event
    TRUSTED_ISSUER_ADDED = "trusted-issuer.added"
    TRUSTED_ISSUER_REMOVED = "trusted-issuer.removed"

    APP_REGISTERED = "app.registered"
    APP_CHANGED = "app.changed"
    APP_REMOVED = "app.removed"
    RESOURCE_SERVER_REGISTERED = "resource-server.registered"
    CONNECTION_CREATED = "connection.created"
    CONNECTION_LINKED_AGAIN = "connection.linked-again"
    CONNECTION_CODE_ISSUED = "connection.code-issued"
    CONNECTION_CODE_OPENED = "connection.code-opened"
    CONNECTION_LINK_REFUSED = "connection.link-refused"
    CONNECTION_ENDED_THERE = "connection.ended-there"
    CONNECTION_REFRESHED = "connection.refreshed"
    CONNECTION_REFRESH_FAILED = "connection.refresh-failed"
    CONNECTION_NEEDS_RECONNECT = "connection.needs-reconnect"
    ENTITLEMENT_RECORDED = "entitlement.recorded"
    ENTITLEMENT_REMOVED = "entitlement.removed"

    POLICY_APPLIED = "policy.applied"
    OWN_RULES_CHANGED = "own-rules.changed"
    READY_RULES_CHOSEN = "ready-rules.chosen"

    DELEGATION_RECORDED = "delegation.recorded"
    DELEGATION_NARROWED = "delegation.narrowed"
    DELEGATION_EXTENDED = "delegation.extended"
    CONSENT_DECLINED = "consent.declined"
    REQUEST_MADE = "request.made"
    REQUEST_CONFIRMED = "request.confirmed"
    REQUEST_APPROVED = "request.approved"
    REQUEST_REDEEMED = "request.redeemed"
    REQUEST_REUSED = "request.reused"
    USER_CODE_GUESSED = "user-code.guessed"
    CODE_ISSUED = "code.issued"
    CODE_REDEEMED = "code.redeemed"
    CODE_REUSED = "code.reused"
    REFRESH_TOKEN_ROTATED = "refresh-token.rotated"  # noqa: S105
    REFRESH_TOKEN_REUSED = "refresh-token.reused"  # noqa: S105
    EVIDENCE_ISSUED = "evidence.issued"
    ID_JAG_ACCEPTED = "id-jag.accepted"
    TASK_OPENED = "task.opened"
    TASK_ENDED = "task.ended"
    TOKEN_ISSUED = "token.issued"  # noqa: S105 - the name of an event
    TOKEN_REFUSED = "token.refused"  # noqa: S105

    LEASE_OPENED = "lease.opened"
    LEASE_REFUSED = "lease.refused"
    LEASE_OBTAINED = "lease.obtained"
    LEASE_FAILED = "lease.failed"
    LEASE_LOST = "lease.lost"
    LEASE_ENDED = "lease.ended"

    APPROVAL_ASKED = "approval.asked"
    APPROVAL_AGREED = "approval.agreed"
    APPROVAL_ANSWERED = "approval.answered"
    APPROVAL_CANCELLED = "approval.cancelled"
    NOTICE_ADDRESS_ADDED = "notice-address.added"
    NOTICE_ADDRESS_CONFIRMED = "notice-address.confirmed"
    NOTICE_ADDRESS_REMOVED = "notice-address.removed"
    STANDING_ANSWER_GIVEN = "standing-answer.given"
    STANDING_ANSWER_ENDED = "standing-answer.ended"

    # One decision, one of these three; an allowed call is followed by how it ended, or by `call.unknown`.
    CALL_ALLOWED = "call.allowed"
    CALL_HELD = "call.held"
    CALL_DENIED = "call.denied"
    CALL_FINISHED = "call.finished"
    CALL_UNKNOWN = "call.unknown"

    NODE_REVOKED = "node.revoked"
    KEY_CREATED = "key.created"
    KEY_ROTATED = "key.rotated"
    KEY_RETIRED = "key.retired"
    DATA_KEY_ROTATED = "data-key.rotated"
    DATA_KEY_DESTROYED = "data-key.destroyed"
    ROOT_KEY_ROTATED = "root-key.rotated"
    WRITER_STARTED = "writer.started"
    DATABASE_RESTORED = "database.restored"


class Unrecordable(TypeError):
    """A value that has no place in an audit record: a secret, a float, null, bytes, or an object of another kind.

    A bug of whoever recorded it, never an answer to a caller. The message names the member and the type, not the value.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One line of the chain, read. `time` is UTC text; `event` is text, for a newer version may know more names."""

    writer: str
    seq: int
    prev: bytes
    id: str
    time: str
    event: str
    org: str
    members: Mapping[str, object]


def fingerprint(secret: Secret | SecretBytes) -> str:
    """Return what a record may hold of a secret: enough to recognise it, nothing to use.

    Only for secrets nobody can guess: twelve digits of a hash are no cover for a short password.

    >>> fingerprint(Secret("hunter2"))
    'sha256:f52fbd32b2b3'
    """
    value = secret.reveal()
    octets = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return "sha256:" + hashlib.sha256(octets).hexdigest()[:12]
