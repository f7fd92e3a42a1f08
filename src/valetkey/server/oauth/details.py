"""What a request asks for, in OAuth's words: targets, scopes and authorization details, as an `Ask` or as grants.

RFC 8707, RFC 9396. An unknown member, an empty list and a repeated scope are refused, never ignored.
"""

import msgspec

from valetkey.server.credentials.issue import Ask
from valetkey.server.delegations.grants import check_resource_name
from valetkey.server.delegations.model import Grant, Resource
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.oauth.form import Form

_MOST_TARGETS = 8


def ask_of(form: Form) -> Ask:
    """What a token exchange asks for. A delegated credential has one audience, which may be named more than once."""
    targets = sorted({*form.every("resource"), *form.every("audience")})
    if not 1 <= len(targets) <= _MOST_TARGETS:
        raise Denied("Name the resource or audience the credential is for.", reason="target")
    seconds = form.get("requested_expires_in")
    if seconds is not None and not (seconds.isascii() and seconds.isdigit() and len(seconds) < 6):
        raise InvalidRequest("requested_expires_in is a number of seconds.")
    return Ask(
        target=targets[0],
        also=frozenset(targets[1:]),
        scopes=scopes_of(form.get("scope")),
        grants=details_of(form.get("authorization_details")),
        seconds=None if seconds is None else int(seconds),
    )


def scopes_of(text: str | None) -> frozenset[str]:
    """The scopes of a parameter: bounded, none twice. Absent means what the task has."""
    if text is None:
        return frozenset()
    scopes = text.split(" ")
    if len(text) > 4096 or len(set(scopes)) != len(scopes) or "" in scopes:
        raise Denied("The scope parameter is malformed.", reason="scope")
    return frozenset(scopes)


class _Detail(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    actions: list[str]
    resources: list[str]
    connection: str = ""


_details = msgspec.json.Decoder(list[_Detail])


def details_of(text: str | None) -> tuple[Grant, ...]:
    """RFC 9396 authorization details as grants; an unknown member or an empty list is refused, never ignored."""
    if text is None:
        return ()
    try:
        details = _details.decode(text) if len(text) <= 16_384 else []
        grants = tuple(_grant(d) for d in details)
    except (msgspec.MsgspecError, InvalidRequest, RecursionError) as error:
        raise Denied(
            "The authorization_details cannot be read.", detail=str(error), reason="authorization_details"
        ) from error
    if not grants:
        raise Denied("The authorization_details are empty or too long.", reason="authorization_details")
    return grants


def _grant(detail: _Detail) -> Grant:
    for name in detail.resources:
        check_resource_name(name, name)
    if not detail.actions or not detail.resources:
        raise InvalidRequest("actions and resources must not be empty")
    return Grant(
        integration=detail.type,
        connection=detail.connection,
        scopes=frozenset(detail.actions),
        resources=tuple(Resource(name=name) for name in detail.resources),
    )
