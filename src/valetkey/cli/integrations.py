"""`valetkey integrations list | show | add | apps | remove | test | discover`: APIs, apps at them, files of one's own.

The first five ask the server. `test` reads a file with the server's own rules and `discover` asks an authorization
server what it says of itself; both run here, without a server and without a login.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from valetkey.cli.asked import secret
from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, inert, show, table
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in

if TYPE_CHECKING:
    from valetkey.server.integrations.authorization import OAuth
    from valetkey.server.integrations.model import Integration

app = group("integrations", "The APIs that can be delegated, and files that describe more of them.")
_LARGEST_METADATA = 256 * 1024


@app.default
def list_integrations(*, json: Json = False) -> int:
    """List the APIs this server knows, with their scopes.

    For example: valetkey integrations
    """
    with signed_in() as client:
        found = client.integrations.list()
    rows = [{"name": i["name"], "scope": s["name"], "means": s["sentence"]} for i in found for s in i["scopes"]]
    text = "" if json else table(rows, ["name", "scope", "means"], empty="No API is known here.")
    return show(found, as_json=json, text=text)


app.command(list_integrations, name="list")


@app.command(name="show")
def show_integration(name: str, /, *, json: Json = False) -> int:
    """Show one API: where it is, and what each scope means.

    For example: valetkey integrations show github
    """
    with signed_in() as client:
        found = {i["name"]: i for i in client.integrations.list()}
    if name not in found:
        raise Usage(f"No integration is called {name}.", hint=f"Known: {', '.join(sorted(found))}.")
    about = found[name]
    scopes = [{"scope": s["name"], "tier": s["tier"], "means": s["sentence"]} for s in about["scopes"]]
    head = facts({key: about[key] for key in ("name", "title", "audience", "base_url", "gateway")})
    text = "" if json else f"{head}\n\n{table(scopes, ['scope', 'tier', 'means'], empty='It has no scopes.')}"
    return show(about, as_json=json, text=text)


@app.command
def add(
    integration: str,
    /,
    *,
    client_id: Annotated[str, Parameter(help="As the API shows it.")],
    client_secret_stdin: Annotated[bool, Parameter(help="Read the client secret from standard input.")] = False,
    kind: Annotated[str, Parameter(help="Which kind of app, where the API has several.")] = "",
    public: Annotated[bool, Parameter(help="The API gives its apps no secret.")] = False,
    json: Json = False,
) -> int:
    """Register your organization's app at an API, so that people connect their accounts there. For administrators.

    For example: valetkey integrations add slack --client-id 4711.815 --client-secret-stdin < secret.txt
    """
    given = (
        None if public else secret("The client secret", from_stdin=client_secret_stdin, flag="--client-secret-stdin")
    )
    with signed_in() as client:
        found = client.apps.add(integration, client_id=client_id, client_secret=given, kind=kind)
    text = facts({"id": found["id"], "integration": found["integration"], "client_id": found["client_id"]})
    text += f"\n\nEnter this redirect URI at the API, exactly:\n{inert(found['redirect_uri'])}"
    return show(found, as_json=json, text=text)


@app.command(name="apps")
def list_apps(*, json: Json = False) -> int:
    """List the APIs your organization has an app at, with the redirect URI of each.

    For example: valetkey integrations apps
    """
    with signed_in() as client:
        found = client.apps.list()
    columns = ["id", "integration", "client_id", "redirect_uri"]
    text = "" if json else table(found, columns, empty="No app is registered: valetkey integrations add slack …")
    return show(found, as_json=json, text=text)


@app.command
def remove(app_id: str, /, *, json: Json = False) -> int:
    """Forget an app. What was connected by it is not renewed any more. For administrators.

    For example: valetkey integrations remove app_…
    """
    with signed_in() as client:
        removed = client.apps.remove(app_id)
    return show(removed, as_json=json, text=f"{inert(removed['id'])} is forgotten.")


@app.command(name="test")
def try_file(
    file: Path,
    /,
    *,
    loopback: Annotated[bool, Parameter(help="Let addresses be plain http inside this machine.")] = False,
    json: Json = False,
) -> int:
    """Try a file that describes an API, offline: what it would ask for, and what it would allow.

    For example: valetkey integrations test acme.toml
    """
    from valetkey.server.errors import InvalidRequest
    from valetkey.server.integrations.catalogue import joined, load_catalogue, load_file
    from valetkey.server.integrations.catalogue.lines import line_of
    from valetkey.server.integrations.catalogue.typed import Misdescribed

    try:
        integration = load_file(file, loopback=loopback)
        joined(load_catalogue(), [integration])
    except Misdescribed as wrong:
        line = line_of(file.read_text(encoding="utf-8", errors="replace"), wrong.key)
        place = f"{file}, line {line}" if line else str(file)
        raise InvalidRequest(
            f"{place}: {wrong}", hint=f"Write instead: {wrong.instead}" if wrong.instead else "docs/integrations.md"
        ) from wrong
    return show(_facts(integration), as_json=json, text=_worded(integration))


@app.command
def discover(issuer: str, /, *, json: Json = False) -> int:
    """Draft a file from what an authorization server says of itself (RFC 8414, OpenID Connect Discovery).

    For example: valetkey integrations discover https://id.acme.com > acme.toml
    """
    from valetkey.server.errors import InvalidRequest
    from valetkey.server.integrations.catalogue.draft import draft
    from valetkey.server.integrations.catalogue.typed import Misdescribed

    try:
        source, metadata = asyncio.run(_metadata(issuer))
        text = draft(issuer, metadata, source)
    except Misdescribed as wrong:
        raise InvalidRequest(str(wrong), hint=f"Write {wrong.instead}." if wrong.instead else "") from wrong
    return show({"source": source, "toml": text}, as_json=json, text=text.rstrip("\n"))


async def _metadata(issuer: str) -> tuple[str, dict[str, Any]]:
    """The first place that answers. Raises `UpstreamFailed` of the last when none does."""
    from valetkey.server.clock import SystemClock
    from valetkey.server.egress import Egress
    from valetkey.server.egress.document import Documents
    from valetkey.server.egress.url import parsed
    from valetkey.server.errors import UpstreamFailed
    from valetkey.server.integrations.catalogue.draft import places

    first, last = places(issuer)
    # SECURITY: the way out that the server has: an address inside this machine or its network is not asked.
    egress = Egress()
    await egress.open()
    try:
        documents = Documents(egress, SystemClock())
        for place in (first, last):
            try:
                return place, dict((await documents.get(parsed(place), most_bytes=_LARGEST_METADATA)).members)
            except UpstreamFailed:
                if place == last:
                    raise
        raise AssertionError("two places were asked")
    finally:
        await egress.close()


def _facts(integration: "Integration") -> dict[str, Any]:
    return {
        "ok": True,
        "name": integration.name,
        "audience": integration.audience,
        "hosts": sorted(integration.hosts),
        "asks_for": {
            kind or "app": {name: scope.sentence for name, scope in oauth.scopes.items()}
            for kind, oauth in _apps(integration).items()
        },
        "allows": {
            scope.name: {"sentence": scope.sentence, "tier": scope.tier, "operations": sorted(scope.operations)}
            for scope in integration.scopes.values()
        },
    }


def _worded(integration: "Integration") -> str:
    injected = f"{integration.injection.header}: {integration.injection.value}"
    lines = [
        f"{inert(integration.name)} can be used.",
        "",
        facts(
            {
                "audience": integration.audience,
                "calls go to": integration.base_url,
                "credential goes to": sorted(integration.hosts),
                "as": injected,
                "account asked at": integration.identify.path if integration.identify else "nowhere",
                "connected by": _ways(integration),
            }
        ),
    ]
    for kind, oauth in _apps(integration).items():
        lines += ["", f"It asks for{f' (as {kind})' if kind else ''}:"]
        if oauth.app_decides:
            lines.append("  nothing: what it may do is set where the app is registered")
        lines += [f"  it may {inert(s.sentence)} ({inert(s.name)})" for s in oauth.scopes.values()]
    lines += ["", "An agent can be allowed to:"]
    for scope in integration.scopes.values():
        ends = "" if scope.reversible else ", cannot be undone"
        lines.append(f"  {inert(scope.sentence)} ({scope.name}: {scope.tier}{ends})")
        for name in sorted(scope.operations):
            operation = integration.operations[name]
            lines.append(f"    {operation.method} {inert(operation.template)}")
    lines += ["", "Everything else is denied."]
    return "\n".join(lines)


def _apps(integration: "Integration") -> dict[str, "OAuth"]:
    oauth = integration.oauth
    return {} if oauth is None else {"": oauth, **oauth.variants}


def _ways(integration: "Integration") -> list[str]:
    ways = [
        ("OAuth", integration.oauth is not None),
        ("a pasted key", integration.key is not None),
        ("an installed app", integration.installation is not None),
    ]
    return [", ".join(way for way, is_there in ways if is_there) or "a pasted credential"]
