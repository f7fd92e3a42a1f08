"""`valetkey trusted-issuer add | list | remove`: platforms whose tokens mean an agent, and identity providers."""

import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, inert, show, table
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in

app = group("trusted-issuer", "Platforms whose tokens mean an agent of yours, and identity providers.")


@app.command
def add(
    issuer: str,
    /,
    *,
    kind: Annotated[str, Parameter(help="kubernetes, github, spiffe, generic, or idp for an identity provider.")],
    jwks_uri: Annotated[str | None, Parameter(help="Where its public keys are.")] = None,
    jwks: Annotated[Path | None, Parameter(help="A file with its public keys, when they cannot be fetched.")] = None,
    audience: Annotated[str | None, Parameter(help="What its tokens name as audience; this server if unset.")] = None,
    rule: Annotated[
        list[str] | None, Parameter(help="AGENT:CLAIM=VALUE[,CLAIM=VALUE]: whoever this is true of is the agent.")
    ] = None,
    tenant: Annotated[list[str] | None, Parameter(help="CLAIM=VALUE that every token has to carry.")] = None,
    token_endpoint_audience: Annotated[
        bool, Parameter(help="Also take tokens whose audience is the token endpoint.")
    ] = False,
    json: Json = False,
) -> int:
    """Trust an issuer, as an administrator.

    For example: valetkey trusted-issuer add https://token.actions.githubusercontent.com --kind github
    --jwks-uri https://token.actions.githubusercontent.com/.well-known/jwks --rule ci:repository=acme-corp/backend
    """
    with signed_in() as client:
        added = client.trusted_issuers.create(
            issuer,
            kind=kind,
            jwks_uri=jwks_uri,
            jwks=None if jwks is None else _keys(jwks),
            audience=audience,
            rules=[_rule(text) for text in rule or ()],
            tenant=_claims(tenant or ()),
            token_endpoint_audience=token_endpoint_audience,
        )
    shown = {name: added[name] for name in ("id", "issuer", "kind", "keys", "audience")}
    return show(added, as_json=json, text=facts(shown))


@app.command(name="list")
def list_issuers(*, json: Json = False) -> int:
    """List the trusted issuers.

    For example: valetkey trusted-issuer list
    """
    with signed_in() as client:
        issuers = client.trusted_issuers.list()
    columns = ["id", "issuer", "kind", "audience"]
    text = "" if json else table(issuers, columns, empty="No issuer is trusted.")
    return show(issuers, as_json=json, text=text)


@app.command
def remove(issuer: str, /, *, json: Json = False) -> int:
    """Trust an issuer no more, by its id: its next token proves nothing.

    For example: valetkey trusted-issuer remove iss_01…
    """
    with signed_in() as client:
        removed = client.trusted_issuers.remove(issuer)
    return show(removed, as_json=json, text=f"{inert(removed['issuer'])} is not trusted any more.")


def _rule(text: str) -> dict[str, Any]:
    agent, colon, claims = text.partition(":")
    if not colon or not claims:
        raise Usage(f"{text!r} is not a rule.", hint="Write AGENT:CLAIM=VALUE[,CLAIM=VALUE].")
    return {"agent": agent, "claims": _claims(claims.split(","))}


def _claims(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if any(not equals or not name for name, equals, _ in pairs) or len({name for name, _, _ in pairs}) != len(pairs):
        raise Usage("A claim is written CLAIM=VALUE, each one once.")
    return {name: value for name, _, value in pairs}


def _keys(path: Path) -> dict[str, Any]:
    try:
        keys = json_text.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Usage(f"{path} cannot be read as a key set.") from error
    if not isinstance(keys, dict):
        raise Usage(f"{path} is not a key set.")
    return keys
