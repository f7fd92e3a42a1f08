"""Refreshes per second: rotated, judged, recorded and durable, against a peer that refreshes from memory.

Ours opens nothing new: the refresh token is a handle on one task, and each use brings a credential and its successor.
The peer answers from one seeded token that it does not rotate, which is its fastest honest setting.
"""

import asyncio
from base64 import b64encode
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.support.http import call
from tests.support.tab import Tab

from bench import load, peers
from bench.cores import measured
from bench.deployment import Deployment
from bench.rows import Row, ratio_row
from valetkey.client.protocol import get, post, send

ROUNDS = 5
CONNECTIONS = 32
RESOURCE = "https://notes.example"
REDIRECT = "https://client.example/back"
VERIFIER = "a" * 43
CHALLENGE = "ZtNPunH49FD35FWYhT5Tv8I7vRKQJ8uxMaL0_9eHjNA"
NOTE = "refreshes/s, one worker, ours with rotation, against node oidc-provider without, from memory"


def rows(deployments: dict[str, Deployment]) -> list[Row]:
    """One row per database, all in turns with the peer."""
    tokens = {name: asyncio.run(_tokens(house)) for name, house in deployments.items()}
    with measured():
        peer = peers.oidc_provider()
        provider = peer.__enter__()
    try:
        pair = b64encode(f"{provider.client_id}:{provider.client_secret}".encode()).decode()
        form = urlencode({"grant_type": "refresh_token", "refresh_token": provider.refresh_token})

        def theirs(seconds: float = load.SECONDS) -> float:
            url = f"{provider.url}/token"
            return load.post_form(url, basic=f"Basic {pair}", body=form, connections=CONNECTIONS, seconds=seconds).rate

        theirs(1)
        peer_rates: list[float] = []
        our_rates: dict[str, list[float]] = {name: [] for name in deployments}
        for _ in range(ROUNDS):
            peer_rates.append(theirs())
            for name, house in deployments.items():
                our_rates[name].append(_refreshed(house, tokens[name]))
                tokens[name] = asyncio.run(_tokens(house))
    finally:
        peer.__exit__(None, None, None)
    return [
        ratio_row(name, rates, peer_rates, goal=1.5, bar=1.5, note=f"{NOTE}; durable and audited")
        for name, rates in our_rates.items()
    ]


def _refreshed(house: Deployment, tokens: list[str]) -> float:
    with NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(tokens) + "\n")
        file.flush()
        return load.refresh(
            f"{house.url}/oauth/token", basic=house.basic, tokens=Path(file.name), connections=CONNECTIONS
        ).rate


async def _tokens(house: Deployment) -> list[str]:
    """A refresh token for each connection, and one for the request that wrk makes only to look at it.

    The person agrees once, and every code after it brings one.
    """
    tab = await _person(house)
    query = urlencode(
        {
            "client_id": house.agent_id, "redirect_uri": REDIRECT, "response_type": "code", "resource": RESOURCE,
            "scope": "notes:read", "code_challenge": CHALLENGE, "code_challenge_method": "S256",
            "requested_seconds": 8 * 3600, "purpose": "measure",
        }
    )  # fmt: skip
    found = []
    for _ in range(CONNECTIONS + 1):
        reply = await tab.get(f"/oauth/authorize?{query}")
        if reply.header("location") is None:
            reply = await tab.submit("/consent", button="Allow")
        [code] = parse_qs(urlsplit(reply.header("location") or "").query)["code"]
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER,
        }  # fmt: skip
        answer = await call(house.url, "POST", "/oauth/token", headers={"authorization": house.basic}, form=form)
        found.append(answer.json()["refresh_token"])
    return found


async def _person(house: Deployment) -> Tab:
    """Somebody signed in at the server, whose agent is registered as a client of a resource server of her own."""
    tab = _tabs.get(house.url)
    if tab is not None:
        return tab
    scopes = [{"name": "notes:read", "sentence": "read your notes"}]
    house.alice.call(post("/v1/resource-servers", name="notes", audience=RESOURCE, scopes=scopes))
    agent = f"/v1/agents/{house.agent_id}"
    ceiling = [*house.alice.call(get(agent))["ceiling"], "notes:notes:read@*"]
    house.alice.call(send("PUT", f"{agent}/ceiling", ceiling=ceiling))
    house.alice.call(send("PUT", f"{agent}/client", redirect_uris=[REDIRECT]))
    invited = house.alice.users.create("bob@acme.com")
    tab = _tabs[house.url] = Tab(house.url, f"http://localhost:{urlsplit(house.url).port}")
    await tab.get("/login")
    await tab.submit("/login/code", {"code": str(invited["code"])})
    return tab


_tabs: dict[str, Tab] = {}
