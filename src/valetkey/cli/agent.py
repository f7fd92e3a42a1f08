"""`valetkey agent create | list | show | suspend | resume | rotate | ceiling | client`."""

import json as json_text
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from valetkey.cli.options import Json, group
from valetkey.cli.output import facts, inert, notice, show, table
from valetkey.cli.problems import Usage
from valetkey.cli.signed_in import signed_in
from valetkey.client.answers import Agent
from valetkey.client.profile import Profile

app = group("agent", "Register agents and set their limits.")

Save = Annotated[bool, Parameter(help="Keep the secret in the private profile of this machine instead of printing it.")]


@app.command
def create(
    name: str,
    /,
    *,
    ceiling: Annotated[list[str] | None, Parameter(help="A grant it may never exceed; may be repeated.")] = None,
    jwks: Annotated[
        Path | None, Parameter(help="A file with its public keys: it will sign in with its own key.")
    ] = None,
    save: Save = False,
    json: Json = False,
) -> int:
    """Register an agent of yours. Its secret is shown only now, or kept with --save.

    For example: valetkey agent create pr-reviewer-v2 --save
    """
    keys = None if jwks is None else _keys(jwks)
    with signed_in() as client:
        agent = client.agents.create(name, ceiling=ceiling, jwks=keys)
    secret = _kept(agent["name"], agent["id"], agent.pop("secret", None), save=save)
    return show(
        {**agent, **secret}, as_json=json, text=_worded(agent) + "".join(f"\nsecret   {s}" for s in secret.values())
    )


@app.command(name="list")
def list_agents(*, json: Json = False) -> int:
    """List the agents you can see.

    For example: valetkey agent list
    """
    with signed_in() as client:
        agents = client.agents.list()
    text = "" if json else table(agents, ["id", "name", "status", "ceiling"], empty="There are no agents yet.")
    return show(agents, as_json=json, text=text)


@app.command(name="show")
def show_agent(agent: str, /, *, json: Json = False) -> int:
    """Show one agent, by name or id.

    For example: valetkey agent show pr-reviewer-v2
    """
    with signed_in() as client:
        found = client.agents.get(agent)
    return show(found, as_json=json, text=_worded(found))


@app.command
def suspend(agent: str, /, *, json: Json = False) -> int:
    """Stop an agent until it is resumed: no credential, no call.

    For example: valetkey agent suspend pr-reviewer-v2
    """
    with signed_in() as client:
        changed = client.agents.set_status(agent, "suspend")
    return show(changed, as_json=json, text=f"{inert(changed['name'])} is suspended.")


@app.command
def resume(agent: str, /, *, json: Json = False) -> int:
    """Let a suspended agent go on.

    For example: valetkey agent resume pr-reviewer-v2
    """
    with signed_in() as client:
        changed = client.agents.set_status(agent, "resume")
    return show(changed, as_json=json, text=f"{inert(changed['name'])} is active.")


@app.command
def rotate(agent: str, /, *, save: Save = False, json: Json = False) -> int:
    """Give an agent a new secret; the old one is refused from now on. Shown only now, or kept with --save.

    For example: valetkey agent rotate pr-reviewer-v2 --save
    """
    with signed_in() as client:
        fresh = client.agents.rotate(agent)
        name = client.agents.get(agent)["name"]
    secret = _kept(name, fresh["id"], fresh["secret"], save=save)
    return show({"id": fresh["id"], "name": name, **secret}, as_json=json, text=facts({"id": fresh["id"], **secret}))


@app.command
def ceiling(
    agent: str,
    /,
    grants: Annotated[list[str] | None, Parameter(help="The grants it may never exceed.")] = None,
    *,
    none: Annotated[bool, Parameter(help="Nothing at all.")] = False,
    json: Json = False,
) -> int:
    """Set what an agent may never exceed. Its owner may lower it; only an administrator raises it.

    For example: valetkey agent ceiling pr-reviewer-v2 'github:repo:read@acme-corp/*'
    """
    if bool(grants) == none:
        raise Usage("Give the grants of the ceiling, or --none.", hint="valetkey agent ceiling --help")
    with signed_in() as client:
        changed = client.agents.set_ceiling(agent, grants or [])
    return show(changed, as_json=json, text=_worded(changed))


@app.command
def client(
    agent: str,
    /,
    *,
    redirect_uri: Annotated[list[str] | None, Parameter(help="Where it is answered; may be repeated.")] = None,
    auth: Annotated[
        str, Parameter(help="client_secret_basic, client_secret_post, private_key_jwt, or none for a public client.")
    ] = "client_secret_basic",
    native: Annotated[bool, Parameter(help="It runs on the person's device.")] = False,
    must_push: Annotated[bool, Parameter(help="Take its requests at /oauth/par only.")] = False,
    must_sign: Annotated[bool, Parameter(help="Take only requests it signed.")] = False,
    dpop_bound: Annotated[bool, Parameter(help="Give it only tokens bound to a key it proves.")] = False,
    jwks: Annotated[Path | None, Parameter(help="A file with the public keys it signs its requests with.")] = None,
    json: Json = False,
) -> int:
    """Say where and how an agent takes part in OAuth. Without --redirect-uri it shows what is registered.

    For example: valetkey agent client pr-reviewer-v2 --redirect-uri http://127.0.0.1/callback --auth none --native
    """
    with signed_in() as api:
        if not redirect_uri:
            found = api.agents.client(agent)
        else:
            found = api.agents.set_client(
                agent,
                redirect_uris=redirect_uri,
                token_endpoint_auth_method=auth,
                application_type="native" if native else "web",
                require_pushed_authorization_requests=must_push,
                require_signed_request_object=must_sign,
                dpop_bound_access_tokens=dpop_bound,
                **({"jwks": _keys(jwks)} if jwks is not None else {}),
            )
    said = {
        "client id": found["client_id"],
        "redirects": found["redirect_uris"] or ["none"],
        "auth": found["token_endpoint_auth_method"],
        "type": found["application_type"],
    }
    return show(found, as_json=json, text=facts(said))


def _worded(agent: Agent) -> str:
    limits = agent["ceiling"] or ["nothing"]
    return facts({"id": agent["id"], "name": agent["name"], "status": agent["status"], "ceiling": limits})


def _kept(name: str, agent_id: str, secret: str | None, *, save: bool) -> dict[str, str]:
    """Keep the secret in the profile, or hand it back to be printed this once."""
    if secret is None:
        return {}
    if save:
        profile = Profile()
        profile.keep_agent(name, agent_id=agent_id, secret=secret)
        notice(f"Its secret is kept in {profile.path}.")
        return {}
    notice("The secret is shown only now. Give it to the agent as VALETKEY_AGENT_SECRET.")
    return {"secret": secret}


def _keys(path: Path) -> dict[str, object]:
    try:
        keys = json_text.loads(path.read_text())
    except ValueError:
        keys = None
    if not isinstance(keys, dict):
        raise Usage(f"{path} is not a JSON Web Key Set.", hint='It looks like {"keys": [{"kty": "EC", …}]}.')
    return keys
