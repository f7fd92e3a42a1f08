"""An authorization request, read: small named checks in one list, each with the section it comes from. Pure.

The same request is read when it arrives, when the person comes back from signing in or from the consent page, and when
it was pushed: always by `request_of`, from what the server itself kept. `redirect_of` comes first: until the redirect
URI is known to be the client's, nobody is sent anywhere. What a client without an organization asks for may be known to
its person's alone: it is read once she is known.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from valetkey.server.delegations.checks import LONGEST_PURPOSE
from valetkey.server.delegations.consent import Line, Wanted
from valetkey.server.delegations.model import Grant
from valetkey.server.errors import Denied, InvalidRequest
from valetkey.server.integrations.model import Integration
from valetkey.server.oauth.clients.model import Client, ClientKind
from valetkey.server.oauth.clients.redirects import is_of_this_device, matching
from valetkey.server.oauth.details import details_of, scopes_of
from valetkey.server.oauth.form import Form

OFFLINE = "offline_access"
OPENID = "openid"
SPECIAL_SCOPES = frozenset({OPENID, OFFLINE})
LONGEST_STATE = 2_048
LONGEST_NONCE = 512
MOST_LINES = 32
MOST_SHARED_WITH = 16
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[a-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a request is read against. `target` says which integration a resource means to an organization.

    `org` is whose request it is: the client's organization, or else its person's; None as long as neither is known.
    """

    catalogue: Mapping[str, Integration]
    target: Callable[[str, str | None], Integration | None]
    org: str | None = None

    def named(self, name: str) -> Integration | None:
        """The API of that name, as far as it exists for whose request it is."""
        found = self.catalogue.get(name)
        return found if found is not None and found.is_seen_by(self.org) else None

    def meant(self, resource: str) -> Integration | None:
        """The API a resource names, likewise."""
        return self.target(resource, self.org) if _is_absolute(resource) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """`redirect_uri` and `challenge` are None for a request that is answered on another device.

    `resources` holds audiences; `lines` what is asked of the person; `scopes` those that are about the request itself.
    `is_read` is False as long as only her organization can tell what `resources` and `lines` are.
    """

    client: Client
    redirect_uri: str | None = None
    named_redirect: bool = True  # RFC 6749 section 4.1.3: the token request names it exactly if this one did
    state: str | None = None
    challenge: str | None = None
    lines: tuple[Line, ...] = ()
    resources: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()
    is_read: bool = True
    nonce: str | None = None
    jkt: str | None = None
    prompt: frozenset[str] = frozenset()
    max_age: int | None = None
    acr_values: tuple[str, ...] = ()
    login_hint: str | None = None
    purpose: str = ""
    seconds: int | None = None
    share_with: tuple[str, ...] = ()

    @property
    def standing(self) -> bool:
        """Whether it asks to act while the person is away."""
        return OFFLINE in self.scopes

    @property
    def identifies(self) -> bool:
        """Whether it asks who the person is."""
        return OPENID in self.scopes

    def wanted(self, *, user: str, agent: str) -> Wanted:
        """What it asks of this person, for whom the client is this agent."""
        return Wanted(
            user=user,
            agent=agent,
            client=self.client.id,
            digest=self.client.metadata.digest,
            lines=self.lines,
            purpose=self.purpose,
            seconds=self.seconds,
            standing=self.standing,
            identifies=self.identifies,
            share_with=self.share_with,
            shows_again="consent" in self.prompt,
            is_impersonable=self.client.is_public
            and (self.client.kind is ClientKind.DYNAMIC or is_of_this_device(self.redirect_uri or "")),
        )


Check = Callable[[Form, Client, Rules], dict[str, Any]]


def redirect_of(form: Form, client: Client) -> str:
    """RFC 6749 section 3.1.2.3, RFC 9700 section 2.1: where the answer goes, or a refusal that is shown, never sent."""
    asked = form.get("redirect_uri")
    registered = client.metadata.redirect_uris
    if asked is None and len(registered) == 1:
        return registered[0]
    if asked is None or not matching(asked, registered):
        raise InvalidRequest(
            "The agent asked to be answered at an address it did not register.",
            hint="Its developer registers redirect URIs exactly as they are sent (valetkey agent client).",
        )
    return asked


def response_type(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """RFC 6749 section 3.1.1: a code, nothing else."""
    asked = form.must("response_type")
    if asked != "code":
        raise Denied("Only response_type=code is served.", reason="unsupported_response_type")
    if "authorization_code" not in client.metadata.grant_types:
        raise Denied("The client did not register for authorization codes.", reason="unauthorized_client")
    return {}


def response_mode(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """OAuth 2.0 Multiple Response Type Encoding Practices, section 2.1."""
    if form.get("response_mode") not in (None, "query"):
        raise InvalidRequest("Only response_mode=query is served.")
    return {}


def redirect(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """RFC 6749 section 3.1.2."""
    return {"redirect_uri": redirect_of(form, client), "named_redirect": form.get("redirect_uri") is not None}


def state(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """RFC 6749 section 4.1.1: given back as it came, so it is bounded and printable."""
    text = form.get("state")
    if text is not None and (len(text) > LONGEST_STATE or not text.isprintable()):
        raise InvalidRequest(f"state is at most {LONGEST_STATE} printable characters.")
    return {"state": text}


def challenge(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """RFC 7636 section 4.3, OAuth 2.1 section 4.1.1: S256, of every client, confidential ones too."""
    text = form.get("code_challenge")
    if text is None:
        raise InvalidRequest("code_challenge is missing: PKCE is required of every client.")
    if form.get("code_challenge_method") != "S256":
        raise InvalidRequest("code_challenge_method must be S256.")
    if _CHALLENGE.fullmatch(text) is None:
        raise InvalidRequest("code_challenge is not the base64url of a SHA-256 digest.")
    return {"challenge": text}


def what_is_asked(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """RFC 8707, RFC 9396, RFC 6749 section 3.3: resources, authorization details and scopes, as lines."""
    scopes, details = scopes_of(form.get("scope")), details_of(form.get("authorization_details"))
    special, plain = scopes & SPECIAL_SCOPES, scopes - SPECIAL_SCOPES
    # SECURITY: before anybody signed in, what an organization registered is answered like what nobody did.
    # Guarded by tests/attacks/test_outside_consent.py::test_nobody_learns_of_an_audience_before_she_signed_in
    if rules.org is None and _is_hers_to_know(form, plain, details, rules):
        return {"scopes": special, "is_read": False}
    targets = _targets(form, rules)
    lines = [_detailed(grant, rules) for grant in details]
    lines += _scoped(plain, targets, rules)
    if not details and not plain:
        lines = [_offered(integration) for integration in targets.values()]
    if not lines or len(lines) > MOST_LINES:
        raise Denied("The request names nothing it asks for, or too much.", reason="scope")
    if targets and (beyond := {line.grant.integration for line in lines} - {i.name for i in targets.values()}):
        raise Denied(f"No resource of the request means {', '.join(sorted(beyond))}.", reason="target")
    return {"lines": tuple(lines), "resources": tuple(targets), "scopes": special}


def nonce(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """OpenID Connect Core section 3.1.2.1."""
    text = form.get("nonce")
    if text is not None and (len(text) > LONGEST_NONCE or not text.isprintable()):
        raise InvalidRequest(f"nonce is at most {LONGEST_NONCE} printable characters.")
    return {"nonce": text}


def key_binding(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """RFC 9449 section 10: the code is bound to this key."""
    text = form.get("dpop_jkt")
    if text is not None and _CHALLENGE.fullmatch(text) is None:
        raise InvalidRequest("dpop_jkt is not the base64url of a SHA-256 thumbprint.")
    return {"jkt": text}


def prompt(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """OpenID Connect Core section 3.1.2.1."""
    wanted = frozenset((form.get("prompt") or "").split())
    if not wanted <= {"none", "login", "consent", "select_account"} or ("none" in wanted and len(wanted) > 1):
        raise InvalidRequest("prompt is none alone, or of login, consent and select_account.")
    return {"prompt": wanted}


def authentication(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """RFC 9470 section 4, OpenID Connect Core section 3.1.2.1."""
    age, levels, hint = form.get("max_age"), (form.get("acr_values") or "").split(), form.get("login_hint")
    if age is not None and not _is_number(age):
        raise InvalidRequest("max_age is a number of seconds.")
    if len(levels) > 10 or any(len(level) > 200 for level in levels):
        raise InvalidRequest("acr_values names too much.")
    if hint is not None and (len(hint) > 254 or not hint.isprintable()):
        raise InvalidRequest("login_hint is at most 254 printable characters.")
    return {"max_age": None if age is None else int(age), "acr_values": tuple(levels), "login_hint": hint}


def purpose_and_limits(form: Form, client: Client, rules: Rules) -> dict[str, Any]:
    """Valetkey's own parameters: `purpose`, `requested_seconds`, and `share_with`, names of agents."""
    purpose, seconds = (form.get("purpose") or "").strip(), form.get("requested_seconds")
    if len(purpose) > LONGEST_PURPOSE or not purpose.isprintable():
        raise InvalidRequest(f"purpose is at most {LONGEST_PURPOSE} printable characters.")
    if seconds is not None and (not _is_number(seconds) or int(seconds) < 1):
        raise InvalidRequest("requested_seconds is a number of seconds.")
    names = (form.get("share_with") or "").split()
    if len(names) > MOST_SHARED_WITH or len(set(names)) != len(names) or not all(map(_NAME.fullmatch, names)):
        raise InvalidRequest(f"share_with is at most {MOST_SHARED_WITH} names of agents, none twice.")
    return {"purpose": purpose, "seconds": None if seconds is None else int(seconds), "share_with": tuple(names)}


EVERYWHERE: tuple[Check, ...] = (what_is_asked, key_binding, authentication, purpose_and_limits)
"""What holds for every request, however it is answered."""

REDIRECTED: tuple[Check, ...] = (
    redirect,
    state,
    response_type,
    response_mode,
    challenge,
    prompt,
    nonce,
    *EVERYWHERE,
)
"""What holds for a request that is answered by a redirect with a code."""


def request_of(
    form: Form, client: Client, rules: Rules, checks: tuple[Check, ...] = REDIRECTED, *, org: str | None
) -> AuthorizationRequest:
    """The request, once every check held. Raises the refusal of the first that did not.

    `org` is the person's organization, once she is known; before, the client's if it has one.
    """
    rules = replace(rules, org=org)
    members: dict[str, Any] = {}
    for check in checks:
        members |= check(form, client, rules)
    return AuthorizationRequest(client=client, **members)


def _is_hers_to_know(form: Form, scopes: frozenset[str], details: Sequence[Grant], rules: Rules) -> bool:
    """Whether it names something that is not for everybody: her organization may have it, and another may not."""
    targets = [rules.meant(text) for text in form.every("resource") if _is_absolute(text)]
    held = {scope for target in targets if target is not None for scope in target.scopes}
    names = {scope.partition(":")[0] for scope in scopes - held if ":" in scope} | {d.integration for d in details}
    return None in targets or any(rules.named(name) is None for name in names)


def _targets(form: Form, rules: Rules) -> dict[str, Integration]:
    """RFC 8707 section 2: absolute, without a fragment, each one known: an unknown one is refused, never ignored."""
    found: dict[str, Integration] = {}
    for text in form.every("resource"):
        integration = rules.meant(text)
        if integration is None:
            raise Denied("A resource of the request is not an API known here.", reason="target")
        found[integration.audience] = integration
    return found


def _detailed(grant: Grant, rules: Rules) -> Line:
    integration = rules.named(grant.integration)
    unknown = grant.scopes - integration.scopes.keys() if integration is not None else grant.scopes
    if integration is None or unknown:
        raise Denied(
            "The authorization_details name a type or an action that is not known here.", reason="authorization_details"
        )
    return Line(grant=grant)


def _scoped(scopes: frozenset[str], targets: Mapping[str, Integration], rules: Rules) -> list[Line]:
    """Scopes belong to the API of the `resource`, or name theirs: `github:repo:read`. What could be two is refused."""
    by_integration: dict[str, set[str]] = {}
    for scope in sorted(scopes):
        holders = [i.name for i in targets.values() if scope in i.scopes]
        if not holders:
            name, _, rest = scope.partition(":")
            prefixed = rules.named(name)
            holders = [name] if prefixed is not None and rest in prefixed.scopes else []
            scope = rest
        if len(holders) != 1:
            raise Denied("A scope is unknown, or no single resource says whose it is.", reason="scope")
        by_integration.setdefault(holders[0], set()).add(scope)
    return [
        Line(grant=Grant(integration=name, connection="", scopes=frozenset(found), resources=()))
        for name, found in by_integration.items()
    ]


def _offered(integration: Integration) -> Line:
    """RFC 6749 section 3.3: where no scope is asked for, the person may tick what reads; nothing is ticked for her."""
    reads = frozenset(s.name for s in integration.scopes.values() if s.tier == "read" and s.operations)
    if not reads:
        raise Denied(f"Say which scopes of {integration.title} are asked for.", reason="scope")
    return Line(grant=Grant(integration=integration.name, connection="", scopes=reads, resources=()), is_asked=False)


def _is_absolute(resource: str) -> bool:
    return "#" not in resource and ":" in resource


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
