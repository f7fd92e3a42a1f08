"""How an API gives out credentials: by OAuth, or as a key somebody makes on a page of its own.

Responsible for the addresses, the quirks as named options, and what each permission of the API means in one plain
sentence. Refuses to know apps, people, and how anything is sent. What an API does not say stays at the safe default.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import urlsplit

from valetkey.server.integrations.model import Tier

ClientAuthentication = Literal["basic", "post", "none"]
Refreshes = Literal["none", "stable", "rotating"]
RevokesBy = Literal["rfc7009", "bearer", "github", "path"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamScope:
    """A permission under the API's own name. `sentence` completes "it may …"; `covers` are scopes of ours it is needed
    for, and what the credential could be used for if it leaked."""

    name: str
    sentence: str
    tier: Tier
    reversible: bool
    covers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """How to make the API forget a credential.

    `rfc7009`: POST `token=` with client authentication. `bearer`: `method` on `url` with the credential itself.
    `github`: DELETE with Basic client authentication and a JSON body that holds the access token; `{client_id}` in
    `url` is filled in. `path`: `method` on `url` with the credential in place of `{token}`. `of` says which credential
    that is; `kills` whether all of the grant dies with it (`grant`), or the one credential only (`token`).
    """

    by: RevokesBy
    url: str
    method: Literal["POST", "DELETE", "GET"] = "POST"
    of: Literal["access", "refresh"] = "access"
    kills: Literal["grant", "token"] = "grant"
    one_url: str = ""
    """The same, for the one credential only, where `url` ends all of the grant and others may live by it."""

    def of_one(self) -> "Revocation | None":
        """How to end the one credential and nothing beside it; None where the API has no such way."""
        if self.kills == "token":
            return self
        return replace(self, url=self.one_url, kills="token", one_url="") if self.one_url else None


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """The authorization server of an API (RFC 6749), as it really behaves.

    `issuer` is compared with `iss` of the answer where it is sent, and must be there when `sends_iss` (RFC 9207).
    `body` is how the token request is written. `token_at` and `account_at` are dotted paths into the token's answer:
    the object that holds the access token (Slack's user token), and who it is. `success` must be true in every answer
    of an API that says 200 to failures. `refresh`: whether a refresh token comes, and whether it changes each time.
    `variants` are other kinds of app at the same API (a bot, a GitHub App): the same, but for what each one names.
    """

    authorize_url: str
    token_url: str
    device_url: str = ""
    issuer: str = ""
    sends_iss: bool = False
    client_authentication: ClientAuthentication = "post"
    pkce: bool = True
    scope_parameter: str = "scope"
    scope_separator: str = " "
    extra: Mapping[str, str] = field(default_factory=dict)
    always: tuple[str, ...] = ()
    body: Literal["form", "json"] = "form"
    refresh_url: str = ""
    """Where refresh tokens are taken, when that is not the token endpoint (Figma)."""
    token_at: str = ""
    token_type: str = ""
    """What the answer must call the credential. With it, an answer without `token_at` is read at its top, because a
    refresh is answered so (Slack), and a bot's credential is still never taken for a person's."""
    account_at: str = ""
    account_id_at: str = ""
    workspace_at: str = ""
    granted_at: str = "scope"
    success: str = ""
    refresh: Refreshes = "none"
    refresh_kills_access: bool = False
    """A refresh also ends the access token that was good until then (GitHub)."""
    lasts_seconds: int | None = None
    """For how long an access token is good when its answer does not say; None: until it is revoked."""
    revocation: Revocation | None = None
    scopes: Mapping[str, UpstreamScope] = field(default_factory=dict)
    app_decides: bool = False
    """What a credential can do is set where the app is registered, and no scope is asked for (GitHub Apps, Notion)."""
    variants: Mapping[str, "OAuth"] = field(default_factory=dict)

    def at_origin(self, origin: str) -> "OAuth":
        """The same at another origin, such as `https://git.acme.com`; every address keeps its path.

        Nothing is known of the issuer's name there.
        """
        revocation = self.revocation and replace(
            self.revocation,
            url=_moved(self.revocation.url, origin),
            one_url=_moved(self.revocation.one_url, origin),
        )
        return replace(
            self,
            authorize_url=_moved(self.authorize_url, origin),
            token_url=_moved(self.token_url, origin),
            device_url=_moved(self.device_url, origin),
            refresh_url=_moved(self.refresh_url, origin),
            issuer="",
            revocation=revocation,
            variants={name: variant.at_origin(origin) for name, variant in self.variants.items()},
        )

    def variant(self, name: str) -> "OAuth":
        """The kind of app of that name; empty is the usual one. Raises KeyError if there is none."""
        return self.variants[name] if name else self

    def asked_for(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """The API's permissions needed for these scopes of ours, and those that are asked for always, in file order."""
        wanted = frozenset(wanted)
        needed = {name for name, scope in self.scopes.items() if scope.covers & wanted}
        return (
            *(name for name in self.scopes if name in needed),
            *(name for name in self.always if name not in needed),
        )

    def chosen(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the API's permissions that are described here, and those asked for always, in file order."""
        names = frozenset(names)
        return (
            *(name for name in self.scopes if name in names or name in self.always),
            *(name for name in self.always if name not in self.scopes),
        )

    def powers(self, granted: Iterable[str]) -> frozenset[str]:
        """Scopes of ours that a credential with these permissions can serve; one nobody described adds none.

        `*` where the app decides: the API itself is then the only one who knows.
        """
        if self.app_decides:
            return frozenset({"*"})
        return frozenset().union(*(self.scopes[name].covers for name in granted if name in self.scopes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A credential a person makes on the API's own page and pastes. `made_at` is that page; `advice` what to tick."""

    made_at: str
    advice: str
    pattern: str = ""
    """The whole shape of such a key, to catch a slip of the hand; never a proof."""
    revocation: Revocation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """An app that was installed on an organization gets credentials for it that name resources and permissions.

    Addresses are paths below the API's base; `{installation}` is filled in. `permissions` says which scopes of ours
    each permission of the API's needs: it is asked for only when all of them were delegated, for it can do as much.
    """

    mint: str
    revoke: str
    account: str
    resource_kind: str
    permissions: Mapping[str, frozenset[str]]


def _moved(url: str, origin: str) -> str:
    return f"{origin}{urlsplit(url).path}" if url else ""
