"""`valetkey doctor`: looks at this machine and the server, and says for each thing found how to mend it.

Failures make the exit code 1; warnings do not. Changes nothing.
"""

import asyncio
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from email.utils import parsedate_to_datetime
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from valetkey.cli import exit_codes
from valetkey.cli.options import Json
from valetkey.cli.output import inert, show
from valetkey.cli.signed_in import signed_in
from valetkey.client.errors import ValetkeyError
from valetkey.client.http import Transport, base_of, is_loopback, proxy_for
from valetkey.client.profile import Profile
from valetkey.client.protocol import get
from valetkey.client.sync import Client

if TYPE_CHECKING:
    from valetkey.server.settings import Settings

SAFE_SQLITE: Final = (3, 51, 3)
MOST_SKEW_SECONDS: Final = 5
WIDEST_PROXIES_BITS: Final = 16
_PROXIES: Final = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")

Level = Literal["ok", "warning", "failure", "skipped"]


class Finding(NamedTuple):
    """One thing looked at. `fix` is empty when there is nothing to do."""

    id: str
    level: Level
    seen: str
    fix: str = ""


def doctor(*, json: Json = False) -> int:
    """Check the server, the clock, the login, the data folder and the database; each finding has a fix.

    For example: valetkey doctor
    """
    profile = Profile()
    found = [*_of_server(profile), *_of_environment(profile), *_of_login(profile), *_of_sign_in(), *_of_apps(profile)]
    found += _of_data()
    is_ok = not any(finding.level == "failure" for finding in found)
    text = "\n".join(_worded(finding) for finding in found)
    show({"ok": is_ok, "findings": [finding._asdict() for finding in found]}, as_json=json, text=text)
    return exit_codes.OK if is_ok else exit_codes.FAILURE


def _worded(finding: Finding) -> str:
    line = f"{finding.level:<8} {finding.id}: {inert(finding.seen)}"
    return f"{line}\n         fix: {inert(finding.fix)}" if finding.fix else line


def _of_server(profile: Profile) -> Iterator[Finding]:
    url = profile.url
    try:
        transport = Transport(url, timeout=5)
    except ValetkeyError as error:
        yield Finding("server-address", "failure", error.detail, error.hint)
        return
    try:
        sent = time.time()
        response = transport.send(get("/.well-known/oauth-authorization-server"))
    except ValetkeyError as error:
        yield Finding("server-reachable", "failure", error.detail, "Start it (valetkey serve), or set VALETKEY_URL.")
        return
    finally:
        transport.close()
    if response.status != 200 or f'"{url}"'.encode() not in response.body:
        seen = f"{url} answers {response.status}, but not as the server of that name"
        yield Finding("server-reachable", "failure", seen, "Make VALETKEY_URL the server's own VALETKEY_PUBLIC_URL.")
        return
    yield Finding("server-reachable", "ok", url)
    yield skew(response.headers.get("date", ""), between=(sent, time.time()))


def skew(date: str, *, between: tuple[float, float]) -> Finding:
    """How far the server's clock is from this one, from its Date header and when it was asked and answered."""
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return Finding("clock", "skipped", "the server sends no Date")
    asked, answered = between
    # A Date is cut to whole seconds, and says when the answer was made: somewhere between asking and answering.
    off = max(0.0, asked - (theirs + 1), theirs - answered)
    if off <= MOST_SKEW_SECONDS:
        return Finding("clock", "ok", "agrees with the server's")
    fix = "Synchronise both clocks (NTP): short credentials expire early or live long otherwise."
    return Finding("clock", "failure", f"{off:.0f} s away from the server's", fix)


def _of_environment(profile: Profile) -> Iterator[Finding]:
    named = [name for name in _PROXIES if os.environ.get(name)]
    if named:
        try:
            goes_through = proxy_for(base_of(profile.url), os.environ) is not None
        except ValetkeyError:
            goes_through = False
        seen = f"{', '.join(named)} is set; calls to {profile.url} {'go' if goes_through else 'do not go'} through it"
        fix = "Programs given the gateway's address may use the proxy: add the host to NO_PROXY."
        yield Finding("proxy", "warning", seen, fix)
    else:
        yield Finding("proxy", "ok", "no proxy is set")


def _of_login(profile: Profile) -> Iterator[Finding]:
    try:
        profile.credential()
    except ValetkeyError as error:
        level: Level = "warning" if error.code == "not_authenticated" else "failure"
        yield Finding("login", level, error.detail, error.hint)
    else:
        where = "VALETKEY_TOKEN" if os.environ.get("VALETKEY_TOKEN") else str(profile.path)
        yield Finding("login", "ok", f"there is a credential in {where}")


def _of_apps(profile: Profile) -> Iterator[Finding]:
    """Whether each API knows the organization's app there. Only an administrator's login may ask."""
    try:
        client = Client(profile.url, credential=profile.credential())
        apps = client.apps.list()
    except ValetkeyError:
        return  # the login has a finding of its own
    for app in apps:
        name = f"app-{app['integration']}"
        try:
            checked = client.apps.check(app["id"])
        except ValetkeyError as error:
            yield Finding(name, "skipped", error.detail, "Run it with an administrator's login.")
            continue
        again = f"valetkey integrations add {app['integration']} --client-id {app['client_id']} --client-secret-stdin"
        match checked["client"]:
            case "accepted":
                yield Finding(name, "ok", f"the API knows it; its redirect URI is {checked['redirect_uri']}")
            case "refused":
                yield Finding(name, "failure", "the API does not know it by this secret", again)
            case _:
                seen = f"the API answered neither way; its redirect URI is {checked['redirect_uri']}"
                yield Finding(name, "warning", seen, "Compare the client id and the redirect URI with the API's page.")


def _of_sign_in() -> Iterator[Finding]:
    """Whether the company's sign-in answers, as the server sees it. Only administrators may ask."""
    try:
        with signed_in() as client:
            checked = [client.identity_providers.check(found["id"]) for found in client.identity_providers.list()]
    except ValetkeyError:  # nobody is signed in, not as an administrator, or no server is there: said elsewhere
        return
    for provider in checked:
        if provider["works"]:
            yield Finding("sign-in", "ok", f"{provider['issuer']} answers as it should")
        else:
            fix = "Until it answers, nobody signs in by it. Was it moved? valetkey sso remove, then add it anew."
            yield Finding("sign-in", "failure", f"{provider['issuer']}: {provider['problem']}", fix)


def _of_data() -> Iterator[Finding]:
    from valetkey.cli import db

    try:
        settings = db.settings()
    except Exception as error:  # whatever keeps the server from reading its settings is the finding
        seen, fix = str(getattr(error, "public", error)), str(getattr(error, "next_step", ""))
        yield Finding("settings", "failure", seen, fix or "Correct valetkey.toml or VALETKEY_*.")
        return
    yield Finding("settings", "ok", f"data in {settings.data}")
    yield from origins(settings.issuer, settings.gateway)
    yield senders(settings.trusted_proxies, is_on_loopback=settings.is_on_loopback)
    if settings.smtp:
        yield mail(settings)
    if settings.database_url is None and not settings.data.is_dir():
        yield Finding("data-folder", "skipped", f"{settings.data} does not exist: no server has started here")
        return
    yield from modes(settings.data)
    if settings.database_url is None:
        yield sqlite_version(sqlite3.sqlite_version_info)
    yield _root_key(settings)
    yield _database(settings, db.findings)


def origins(issuer: str, gateway: str) -> Iterator[Finding]:
    """Whether pages and gateway are apart, and neither is plain http beyond this machine."""
    seen_origins = []
    for name, url in (("public-url", issuer), ("gateway-url", gateway)):
        try:
            parts = base_of(url)
        except ValetkeyError as error:
            yield Finding(name, "failure", error.detail, error.hint)
            continue
        seen_origins.append((parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}[parts.scheme]))
        yield Finding(name, "ok", f"{url}{' (this machine only)' if is_loopback(parts) else ''}")
    if len(seen_origins) == 2 and seen_origins[0] == seen_origins[1]:
        seen = "the gateway shares the host name of the pages"
        fix = "Give it one of its own: VALETKEY_GATEWAY_URL=https://gateway.…"
        yield Finding("gateway-apart", "warning", seen, fix)


def modes(folder: Path) -> Iterator[Finding]:
    """Whether anyone but the owner can reach the data folder or a file in it."""
    loose = []
    for path in sorted([folder, *folder.rglob("*")]):
        found = path.lstat()
        if not stat.S_ISLNK(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
            loose.append(path)
    # In a private folder, what lies inside is out of reach whatever its own mode says.
    if folder in loose:
        seen = f"others can look into {folder}"
        yield Finding("data-modes", "failure", seen, f"chmod 700 {folder}; chmod -R go= {folder}")
    elif loose:
        seen = f"{len(loose)} files in {folder} are open to others, but for the folder around them"
        yield Finding("data-modes", "warning", seen, f"chmod -R go= {folder}")
    else:
        yield Finding("data-modes", "ok", f"only the owner reaches {folder}")


def senders(trusted: tuple[str, ...], *, is_on_loopback: bool) -> Finding:
    """Whether the server can tell where a request came from, or takes everybody's word for it."""
    if not trusted and is_on_loopback:
        return Finding("senders", "ok", "no proxy is believed; a request comes from whoever sends it")
    if not trusted:
        seen = "no proxy is believed: behind one, everybody has its address, in limits and on pages"
        return Finding("senders", "warning", seen, "Name your own proxies: VALETKEY_TRUSTED_PROXIES=10.0.0.7,10.0.0.8")
    wide = [text for text in trusted if (n := ip_network(text)).max_prefixlen - n.prefixlen > WIDEST_PROXIES_BITS]
    if wide:
        seen = f"whoever is in {', '.join(wide)} may say where a request came from"
        return Finding("senders", "warning", seen, "List the addresses of the proxies, not the network they are in.")
    return Finding("senders", "ok", f"{', '.join(trusted)} may say where a request came from, by X-Forwarded-For")


def mail(settings: "Settings") -> Finding:
    """Whether the mail server proves its name and takes the login. Nothing is sent."""
    from valetkey.server.approvals.notices.mail import open_smtp
    from valetkey.server.clock import SystemClock
    from valetkey.server.errors import ValetkeyError as Refused

    async def signs_in() -> None:
        async with AsyncExitStack() as opened:
            found = await open_smtp(settings, SystemClock(), opened)
            assert found is not None
            await found.check()

    try:
        asyncio.run(signs_in())
    except Refused as error:
        seen = f"{settings.smtp}: {error.public}"
        fix = "Compare smtp, smtp_tls, smtp_login and smtp_network with what the mail server's operator says."
        return Finding("mail", "failure", seen, fix)
    return Finding("mail", "ok", f"{settings.smtp} proves its name and takes the login; notices come from it")


def sqlite_version(version: tuple[int, ...]) -> Finding:
    """Whether this SQLite is beyond the WAL-reset bug."""
    text = ".".join(map(str, version))
    if version >= SAFE_SQLITE:
        return Finding("sqlite", "ok", text)
    seen = f"{text} is older than 3.51.3: a rare WAL reset can lose commits when several processes checkpoint"
    fix = "One server process per file (as here) is safe; never open the file with other programs while it runs."
    return Finding("sqlite", "warning", seen, fix)


def _root_key(settings: "Settings") -> Finding:
    """Whether the root key is there, private and works. That it is the right one, the server proves at its start."""
    from valetkey.server.errors import ValetkeyError as Refused
    from valetkey.server.vault.kms.open_root import prove_root, root_path

    path = root_path(settings)
    if not path.exists():  # opening would create one, which would open nothing that is sealed
        seen = f"there is no root key at {path}"
        return Finding("root-key", "warning", seen, "Put it back, unless no server has started with these settings.")
    try:
        return Finding("root-key", "ok", prove_root(settings))
    except Refused as error:
        return Finding("root-key", "failure", error.public, error.next_step)


def _database(settings: "Settings", findings: "Callable[[Settings], list[str]]") -> Finding:
    try:
        problems = findings(settings)
    except Exception as error:  # whatever keeps it from being opened is the finding
        if getattr(error, "code", "") == "conflict" and settings.database_url is None:
            return Finding("database", "skipped", "a server process has it open; its /readyz tells how it is")
        seen, fix = str(getattr(error, "public", error)), str(getattr(error, "next_step", ""))
        return Finding("database", "failure", seen, fix or "valetkey db check")
    if problems:
        return Finding("database", "failure", "; ".join(problems), "valetkey db migrate, or restore a backup")
    return Finding("database", "ok", "opens, its schema is current, its newest audit records hold")
