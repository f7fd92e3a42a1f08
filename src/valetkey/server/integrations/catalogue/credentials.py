"""How credentials of an API are had, as a file says it: `[oauth]`, its variants, and `[key]`.

Responsible for addresses that are https, revocations that can be carried out, and permissions of the API's that say in
words what they allow and are no safer than what they cover. Refuses to know how any of it is sent.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from valetkey.server.integrations.authorization import Key, OAuth, Revocation, UpstreamScope
from valetkey.server.integrations.catalogue.scopes import RANK, check_sentence
from valetkey.server.integrations.catalogue.typed import Misdescribed, check_address, dotted, read, tables
from valetkey.server.integrations.model import Scope

_ADDRESSES: Final = ("authorize_url", "token_url", "device_url", "refresh_url", "issuer")
_OURS: Final = frozenset(
    {"client_id", "client_secret", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "state"}
) | {"nonce", "scope", "request", "request_uri", "response_mode"}
_UPSTREAM_NAME: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")  # RFC 6749 section 3.3


def read_oauth(
    described: Mapping[str, Any], scopes: Mapping[str, Scope], hosts: frozenset[str], *, loopback: bool
) -> OAuth:
    """The usual app, and each other kind of app as what it says differently."""
    about = dict(described)
    variants = tables(about.pop("variants", {}), "oauth.variants")
    usual = _oauth(about, "oauth", scopes, hosts, loopback=loopback)
    others = {}
    for name, how in variants.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name) or "variants" in how:
            raise Misdescribed(
                dotted("oauth", "variants", name), "is no name of a kind of app", "small letters, dashes"
            )
        others[name] = _oauth({**about, **how}, dotted("oauth", "variants", name), scopes, hosts, loopback=loopback)
    return replace(usual, variants=MappingProxyType(others))


def read_key(described: Mapping[str, Any], hosts: frozenset[str], *, loopback: bool) -> Key:
    """How somebody makes a key by hand."""
    about = dict(described)
    revocation = _revocation(about.pop("revocation", None), "key.revocation", hosts, loopback=loopback)
    key = read(Key, about, "key", revocation=revocation)
    check_address(key.made_at, "key.made_at", loopback=loopback)
    if not key.advice.strip() or not key.advice.isprintable():
        raise Misdescribed("key.advice", "says nothing", "what to choose on that page")
    try:
        if key.pattern and re.compile(key.pattern).fullmatch(""):
            raise Misdescribed("key.pattern", "is the shape of nothing, too", "the whole shape of a key")
    except re.error as error:
        raise Misdescribed("key.pattern", f"is no pattern: {error}", "a regular expression") from error
    return key


def _oauth(
    described: Mapping[str, Any], at: str, scopes: Mapping[str, Scope], hosts: frozenset[str], *, loopback: bool
) -> OAuth:
    about = dict(described)
    upstream = {
        name: _upstream_scope(name, how, dotted(at, "scopes", name), scopes)
        for name, how in tables(about.pop("scopes", {}), f"{at}.scopes").items()
    }
    told = about.pop("revocation", None)
    oauth = read(OAuth, about, at, scopes=MappingProxyType(upstream), revocation=None, variants=MappingProxyType({}))
    for name in _ADDRESSES:
        if address := getattr(oauth, name):
            check_address(address, f"{at}.{name}", loopback=loopback)
    own = hosts | {urlsplit(url).netloc for url in (oauth.authorize_url, oauth.token_url)}
    oauth = replace(oauth, revocation=_revocation(told, f"{at}.revocation", own, loopback=loopback))
    _check(oauth, at)
    return oauth


def _check(oauth: OAuth, at: str) -> None:
    for name in oauth.extra:
        if name in _OURS or name == oauth.scope_parameter:
            raise Misdescribed(f"{at}.extra.{name}", "is said by every request anyway", "leave it out")
    for name in oauth.always:
        if not oauth.app_decides and name not in oauth.scopes:
            raise Misdescribed(f"{at}.always", f"asks for {name}, which nobody described", f'[{at}.scopes."{name}"]')
    if oauth.app_decides and (oauth.scopes or oauth.always):
        raise Misdescribed(f"{at}.app_decides", "the app decides, yet scopes are asked for", "one or the other")
    if oauth.scope_separator not in (" ", ",", "+"):
        raise Misdescribed(f"{at}.scope_separator", "is no separator", 'a space or ","')
    if oauth.refresh_kills_access and oauth.refresh == "none":
        raise Misdescribed(f"{at}.refresh", "nothing is refreshed that could end anything", '"stable" or "rotating"')
    if oauth.lasts_seconds is not None and oauth.lasts_seconds <= 0:
        raise Misdescribed(f"{at}.lasts_seconds", "is no time", "seconds, or leave it out")
    if oauth.sends_iss and not oauth.issuer:
        raise Misdescribed(f"{at}.issuer", "is missing, so that nothing can be compared", "what `iss` will say")


def _upstream_scope(name: str, how: Mapping[str, Any], at: str, scopes: Mapping[str, Scope]) -> UpstreamScope:
    if not _UPSTREAM_NAME.fullmatch(name):
        raise Misdescribed(at, "is no name of a permission", "the API's own name of it")
    about = {"reversible": how.get("tier") == "read", **how}
    if "name" in about:
        raise Misdescribed(f"{at}.name", "is not written here", "nothing")
    scope = read(UpstreamScope, about, at, name=name)
    check_sentence(scope.sentence, f"{at}.sentence")
    if scope.covers - scopes.keys():
        raise Misdescribed(
            f"{at}.covers",
            f"covers scopes nobody described: {sorted(scope.covers - scopes.keys())}",
            "scopes of this file",
        )
    for covered in scope.covers:
        if RANK[scopes[covered].tier] > RANK[scope.tier]:
            raise Misdescribed(
                f"{at}.tier", f"it allows {covered}, which is more dangerous", "its tier, or a higher one"
            )
    return scope


def _revocation(told: object, at: str, hosts: frozenset[str], *, loopback: bool) -> Revocation | None:
    if told is None:
        return None
    revocation = read(Revocation, told, at)
    _check_revocation(revocation, at, hosts, loopback=loopback)
    if revocation.one_url:
        if revocation.kills != "grant":
            raise Misdescribed(f"{at}.one_url", "the other way ends no more than one credential", "leave it out")
        one = replace(revocation, url=revocation.one_url, one_url="")
        _check_revocation(one, f"{at}.one_url", hosts, loopback=loopback)
    return revocation


def _check_revocation(revocation: Revocation, at: str, hosts: frozenset[str], *, loopback: bool) -> None:
    check_address(revocation.url.replace("{token}", "t").replace("{client_id}", "c"), f"{at}.url", loopback=loopback)
    needed = {"path": "{token}", "github": "{client_id}"}.get(revocation.by, "")
    for placeholder in ("{token}", "{client_id}"):
        if revocation.url.count(placeholder) != int(placeholder == needed):
            raise Misdescribed(f"{at}.url", f"by {revocation.by}, it has {needed or 'nothing'} to fill in, once")
    if revocation.url.count("{") != int(bool(needed)):
        raise Misdescribed(f"{at}.url", "has something nobody fills in", "{token} or {client_id}")
    # SECURITY: a credential, or an app's secret, goes to the API or its authorization server and nowhere else.
    if urlsplit(revocation.url).netloc not in hosts:
        raise Misdescribed(f"{at}.url", "is at a host that is neither the API's nor its authorization server's")
    if revocation.by in ("rfc7009", "github") and revocation.method != (
        "DELETE" if revocation.by == "github" else "POST"
    ):
        raise Misdescribed(f"{at}.method", f"is not how {revocation.by} revokes", "see docs/integrations.md")
