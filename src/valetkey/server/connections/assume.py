"""Taking on a role at AWS: proving that we may, and the sessions that are made, each with a policy of its own.

1. one POST to STS, signed with the account's access key or with a token of ours in it, 2. the answer is believed only
when it names the session that was asked for and says that a policy lies on it. A session cannot be ended singly; its
policy ends it.
Facts: STS API Reference, `AssumeRole` and `AssumeRoleWithWebIdentity`; IAM User Guide, "Pass session tags in AWS STS".
"""

import datetime
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import urlencode

import msgspec

from valetkey.server.clock import Clock
from valetkey.server.connections.borrow import OpenedRole
from valetkey.server.connections.installation import Minted
from valetkey.server.connections.model import RoleKey
from valetkey.server.connections.web_identity import AUDIENCE, NOBODY, USUAL_AUDIENCE, WebIdentity
from valetkey.server.egress import Egress
from valetkey.server.errors import ConnectionRequired, InvalidRequest, UpstreamFailed
from valetkey.server.integrations.role import ARN, NOTHING, Role, moment
from valetkey.server.secret import Secret
from valetkey.server.sigv4 import signed

SHORTEST_SECONDS: Final = 900  # AWS makes none that is shorter: the policy ends it sooner
LONGEST_SECONDS: Final = 3_600  # what every role allows unless its owner says more
_MOST_BYTES: Final = 1 << 16
_NO: Final = "AccessDenied"
_LATER: Final = frozenset(
    {"IDPCommunicationError", "ExpiredTokenException", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
)
"""What says nothing of the role: STS could not read our keys just now, or was asked too often."""
_ACCESS_KEY: Final = re.compile(r"[A-Z0-9]{16,128}")
_SECRET: Final = re.compile(r"[A-Za-z0-9/+=]{16,128}")
# SECURITY: no XML parser: each member is looked for by its name, must be there once, and holds nothing to unescape.
# Guarded by tests/rules/test_session_policy.py::test_an_answer_that_is_not_exactly_a_session_is_refused
_MEMBERS: Final[Mapping[str, str]] = {
    "AccessKeyId": r"[A-Z0-9]{16,128}",
    "SecretAccessKey": r"[A-Za-z0-9/+=]{16,128}",
    "SessionToken": r"[A-Za-z0-9/+=]{16,8192}",
    "Expiration": r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z",
    "Arn": r"arn:aws:sts::[0-9]{12}:assumed-role/[A-Za-z0-9+=,.@_/-]{1,600}",
    "PackedPolicySize": r"[0-9]{1,3}",
}


class Assume:
    """One per process."""

    def __init__(self, egress: Egress, identity: WebIdentity, clock: Clock, *, timeout: float) -> None:
        self._egress = egress
        self._identity = identity
        self._clock = clock
        self._timeout = timeout

    async def prove(self, how: Role, opened: OpenedRole, *, tags: Mapping[str, str], name: str, source: str) -> None:
        """Take the role on with every tag, for nothing at all. Raises `InvalidRequest` when we may not.

        A role that is taken on by tokens must refuse one for another organization.
        """
        try:
            await self._session(
                how, opened, policy=NOTHING, name=name, tags=tags, source=source, seconds=SHORTEST_SECONDS
            )
        except ConnectionRequired as error:
            raise _not_let(opened, error.detail) from error
        if not opened.role.audience:
            return
        nobody = replace(opened, org=NOBODY)
        try:
            await self._session(
                how, nobody, policy=NOTHING, name=name, tags=tags, source=source, seconds=SHORTEST_SECONDS
            )
        except ConnectionRequired as error:
            # SECURITY: only a plain no says that the role trusts nobody else; any other refusal says nothing of that.
            # Guarded by tests/attacks/test_web_identity.py::test_only_a_plain_no_shows_that_a_role_trusts_nobody_else
            if error.detail.endswith(f": {_NO}"):
                return
            raise UpstreamFailed(
                "AWS did not say whether the role trusts other organizations of this server.", detail=error.detail
            ) from error
        # SECURITY: such a role can be connected, and used, by every organization of this server.
        # Guarded by tests/attacks/test_web_identity.py::test_a_role_that_trusts_every_organization_is_not_connected
        raise InvalidRequest("The role trusts tokens of this server for any organization.", hint=_trust(opened.org))

    async def assume(
        self,
        how: Role,
        opened: OpenedRole,
        *,
        policy: str,
        name: str,
        tags: Mapping[str, str],
        source: str,
        ends_at: int,
    ) -> Minted:
        """A session with that policy on it. `ends_at` is when the policy ends it; it is never longer than an hour."""
        seconds = min(max(ends_at - int(self._clock.now()), SHORTEST_SECONDS), LONGEST_SECONDS)
        said = await self._session(how, opened, policy=policy, name=name, tags=tags, source=source, seconds=seconds)
        until = min(_seconds(said["Expiration"]), ends_at)
        document = {
            "Version": 1,
            "AccessKeyId": said["AccessKeyId"],
            "SecretAccessKey": said["SecretAccessKey"],
            "SessionToken": said["SessionToken"],
            "Expiration": moment(until),
        }
        text = msgspec.json.encode(document).decode()
        # Nothing ends it, so nothing but its public id is kept.
        return Minted(credential=Secret(text), expires_at=until, kept=Secret(said["AccessKeyId"]))

    async def _session(
        self,
        how: Role,
        opened: OpenedRole,
        *,
        policy: str,
        name: str,
        tags: Mapping[str, str],
        source: str,
        seconds: int,
    ) -> Mapping[str, str]:
        action = "AssumeRoleWithWebIdentity" if opened.role.audience else "AssumeRole"
        asked = {
            "Action": action,
            "Version": "2011-06-15",
            "RoleArn": opened.role.arn,
            "RoleSessionName": name,
            "DurationSeconds": str(seconds),
            "Policy": policy,
        }
        if opened.role.audience:
            token = await self._identity.token(opened.role.audience, org=opened.org, tags=tags, source=source)
            asked["WebIdentityToken"] = token.reveal()
        else:
            asked |= {"SourceIdentity": source} | _tagged(tags)
        status, answer = await self._asked(how, opened, urlencode(asked).encode())
        if status in (400, 403):
            code = _one("Code", r"[A-Za-z]{1,64}", answer)
            if code in _LATER:
                raise UpstreamFailed("AWS could not look at this just now.", detail=f"{action}: {code}")
            if code == "PackedPolicyTooLarge":
                raise InvalidRequest(
                    "AWS cannot pack this many resources and tags into a session.", hint="Ask for fewer buckets."
                )
            raise ConnectionRequired(
                f"AWS no longer lets {'this server' if opened.role.audience else 'the access key'} take on the role.",
                hint="Ask an administrator to connect the role again.",
                detail=f"{action}: {code}",
            )
        if status != 200:
            raise UpstreamFailed("AWS made no session.", detail=f"{action} answered {status}")
        return read_session(answer, role=opened.role.arn, name=name)

    async def _asked(self, how: Role, opened: OpenedRole, body: bytes) -> tuple[int, str]:
        base = opened.base
        host = base.host if base.port == (443 if base.scheme == "https" else 80) else base.place
        headers = {"host": host, "content-type": "application/x-www-form-urlencoded"}
        if not opened.role.audience:
            headers = signed(
                "POST",
                base.target.decode(),
                headers,
                body,
                access_key=opened.role.access_key,
                secret=opened.secret,
                region=how.region,
                service="sts",
                now=self._clock.now(),
            )
        del headers["host"]  # the client writes it, from the same address
        headers |= {"accept": "text/xml", "user-agent": "valetkey", "content-length": str(len(body))}
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        status, _, answer = await self._egress.fetch(
            "POST", base, sent, max_bytes=_MOST_BYTES, timeout=self._timeout, body=body
        )
        if status == 429 or status >= 500:
            raise UpstreamFailed(detail=f"{base.place} answered {status}")
        return status, answer.decode("utf-8", errors="replace")


def check_role(role: RoleKey, secret: Secret) -> None:
    """Raises `InvalidRequest` for what is no role, no access key or secret of one, and no audience of AWS."""
    if ARN.fullmatch(role.arn) is None:
        raise InvalidRequest(
            "This is not the ARN of a role.", hint="Write it like arn:aws:iam::111122223333:role/NAME."
        )
    if role.audience:
        if role.access_key or secret.reveal():
            raise InvalidRequest("A role is taken on by an access key or by tokens of this server, not by both.")
        if AUDIENCE.fullmatch(role.audience) is None:
            raise InvalidRequest(
                "This is not an audience of AWS.", hint=f"Use {USUAL_AUDIENCE}, or {USUAL_AUDIENCE}:WORD."
            )
        return
    if _ACCESS_KEY.fullmatch(role.access_key) is None or _SECRET.fullmatch(secret.reveal()) is None:
        raise InvalidRequest("This is not an access key of AWS: its id and its secret.")


def read_session(answer: str, *, role: str, name: str) -> Mapping[str, str]:
    """What STS made, member by member. Raises `UpstreamFailed` unless it is a session of that role and that name."""
    said = {member: _one(member, shape, answer) for member, shape in _MEMBERS.items()}
    if not all(said.values()) or "<!" in answer:
        raise UpstreamFailed("AWS made no session that can be read.")
    # SECURITY: STS says how much room policy and tags take together; none means that the policy was lost too.
    # More than that an answer does not prove: that the session is narrow follows from what was asked, over TLS.
    # Guarded by tests/attacks/test_aws_leases.py::test_a_session_without_its_policy_is_handed_to_nobody
    account, of_role = role.split(":")[4], role.rpartition("/")[2]
    if said["Arn"] != f"arn:aws:sts::{account}:assumed-role/{of_role}/{name}" or said["PackedPolicySize"] == "0":
        raise UpstreamFailed("AWS made another session than was asked for.")
    return said


def _tagged(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as parameters, all of which stay on roles that are taken on from there."""
    said = {}
    for number, (key, value) in enumerate(tags.items(), start=1):
        said[f"Tags.member.{number}.Key"] = key
        said[f"Tags.member.{number}.Value"] = value
        said[f"TransitiveTagKeys.member.{number}"] = key
    return said


def _not_let(opened: OpenedRole, detail: str) -> InvalidRequest:
    if opened.role.audience:
        return InvalidRequest(
            "AWS does not let tokens of this server take on the role.", hint=_trust(opened.org), detail=detail
        )
    return InvalidRequest(
        "AWS does not let this access key take on the role.",
        hint="The role must trust the key's user for sts:AssumeRole, sts:TagSession and sts:SetSourceIdentity.",
        detail=detail,
    )


def _trust(org: str) -> str:
    return (
        "Make this server an OpenID Connect provider in IAM, and let the role trust it for "
        f"sts:AssumeRoleWithWebIdentity and sts:TagSession where its sub is like org:{org}:* (docs/aws.md)."
    )


def _one(member: str, shape: str, answer: str) -> str:
    found = re.findall(rf"<{member}>\s*({shape})\s*</{member}>", answer)
    return found[0] if len(found) == 1 and answer.count(f"<{member}>") == 1 else ""


def _seconds(said: str) -> int:
    return int(datetime.datetime.fromisoformat(said).timestamp())
