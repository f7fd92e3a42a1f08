"""Credentials issued per second: token exchange, judged, recorded and durable, against tokens made from memory."""

from base64 import b64encode
from urllib.parse import urlencode

from bench import load, peers
from bench.cores import measured
from bench.deployment import Deployment
from bench.rows import Row, ratio_row

ROUNDS = 7
CONNECTIONS = 64
NOTE = "credentials/s, one worker, against node oidc-provider (ES256 JWT, client credentials, from memory)"


def rows(deployments: dict[str, Deployment]) -> list[Row]:
    """One row per database, all in turns with the peer."""
    with measured():
        peer = peers.oidc_provider()
        provider = peer.__enter__()
    try:
        pair = b64encode(f"{provider.client_id}:{provider.client_secret}".encode()).decode()
        form = urlencode({"grant_type": "client_credentials", "scope": provider.scope, "resource": provider.resource})

        def theirs(seconds: float = load.SECONDS) -> float:
            url = f"{provider.url}/token"
            return load.post_form(url, basic=f"Basic {pair}", body=form, connections=CONNECTIONS, seconds=seconds).rate

        def ours(house: Deployment, seconds: float = load.SECONDS) -> float:
            url = f"{house.url}/oauth/token"
            return load.post_form(
                url, basic=house.basic, body=house.form, connections=CONNECTIONS, seconds=seconds
            ).rate

        theirs(1)
        for house in deployments.values():
            ours(house, 1)
        peer_rates: list[float] = []
        our_rates: dict[str, list[float]] = {name: [] for name in deployments}
        for _ in range(ROUNDS):
            peer_rates.append(theirs())
            for name, house in deployments.items():
                our_rates[name].append(ours(house))
    finally:
        peer.__exit__(None, None, None)
    return [
        ratio_row(name, rates, peer_rates, goal=2.0, bar=1.5, note=f"{NOTE}; durable and audited")
        for name, rates in our_rates.items()
    ]
